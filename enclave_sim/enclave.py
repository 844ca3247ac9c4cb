"""What an enclave holds while it runs, and how it comes by it from its node's folder."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from yingbi.api.evidence import EvidenceError, verify_key_epoch
from yingbi.api.v1.attestation_pb2 import KeyEpoch, SealedKeyShare, SignedKeyEpoch
from yingbi.api.verification import RUN_BYTES

from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.authority import Policy
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import Engine
from enclave_sim.heads import Heads
from enclave_sim.identity import Configuration, Identity
from enclave_sim.job_files import JobFiles
from enclave_sim.journal import Journal
from enclave_sim.key_epochs import take
from enclave_sim.key_share import unseal_share
from enclave_sim.models import OpenModel, open_model
from enclave_sim.paillier.keys import KeyShare, ThresholdKey
from enclave_sim.paillier.masks import MaskPool
from enclave_sim.paillier.modulus_proof import ModulusProof, check_modulus
from enclave_sim.paillier.share_proof import check_share
from enclave_sim.programs import OpenSandbox, open_sandbox
from enclave_sim.sandbox.in_use import IN_USE, InUse
from enclave_sim.shared_key import key_of
from enclave_sim.storage.dataset_keys import DatasetKeys
from enclave_sim.storage.rotation import settle
from enclave_sim.uses import Uses

# Ciphertexts that can be made at once; the rest takes a few milliseconds each.
PREPARED_MASKS = 64


@dataclass(frozen=True)
class Enclave:
    """One provider's enclave."""

    node: str
    identity: Identity
    policy: Policy
    signed_epoch: SignedKeyEpoch
    epoch: KeyEpoch
    key: ThresholdKey
    key_share: KeyShare
    masks: MaskPool
    journal: Journal
    heads: Heads
    # Of deployed models.
    uses: Uses
    files: JobFiles
    # shards/<dataset>/<commitment>
    shards: Path
    keys: DatasetKeys
    engine: Engine
    # Of the keyed hashes by which the journal counts answers about a subject.
    subject_key: bytes = field(repr=False)
    # Names this run of the enclave to its peers: what they said to an earlier one is no word to this.
    run: bytes = field(default_factory=partial(secrets.token_bytes, RUN_BYTES))
    # Where programs run.
    open_sandbox: OpenSandbox = open_sandbox
    # Where models do.
    open_model: OpenModel = open_model
    # What of these runs now.
    in_use: InUse = IN_USE


def load_enclave(
    folder: Path,
    ca_pem: bytes,
    backend: SimulatedBackend | None = None,
    configuration: Configuration | None = None,
) -> Enclave:
    """Everything an enclave holds, from its node's folder; on another platform than the one there if one is given.

    `configuration`: what confines its process.

    Raises EvidenceError, InvalidTag, JournalError, RootError, OSError: an enclave whose root, key epoch, share or
    journal does not verify does not start, nor does one that runs other code than the key was dealt to, or that has
    been in a later key epoch.
    """
    backend = backend or SimulatedBackend.load(folder / "platform")
    policy = Policy.from_json((folder / "policy.json").read_text())
    identity, root = Identity.kept(folder, ca_pem, backend, configuration)
    signed_epoch = SignedKeyEpoch.FromString((folder / "key_epoch.pb").read_bytes())
    epoch = verify_key_epoch(signed_epoch, ca_pem)
    _check_holders(epoch, identity, backend.measure())
    sealed = SealedKeyShare.FromString((folder / "key_share.pb").read_bytes())
    key = key_of(epoch)
    roots = tuple(int.from_bytes(root, "big") for root in epoch.modulus_proof)
    check_modulus(key.n, ModulusProof(roots), key.public.bits)
    share = unseal_share(identity, sealed.ciphertext, signed_epoch.body)
    check_share(key, share)
    journal = Journal(folder / "journal", root.derive("journal"))
    try:
        take(journal, epoch, signed_epoch.body, _read(folder / "standing.pb"))
    except BaseException:
        journal.close()
        raise
    (folder / "shards").mkdir(exist_ok=True)
    settle(folder, root)
    return Enclave(
        node=backend.name,
        identity=identity,
        policy=policy,
        signed_epoch=signed_epoch,
        epoch=epoch,
        key=key,
        key_share=share,
        masks=MaskPool(key.public, PREPARED_MASKS),
        journal=journal,
        heads=Heads(journal),
        uses=Uses(journal),
        files=JobFiles(folder / "jobs"),
        shards=folder / "shards",
        keys=DatasetKeys.under(root, folder),
        engine=DuckDBEngine(),
        subject_key=root.derive("verification subjects"),
    )


def _read(path: Path) -> bytes:
    """A file that a zone's first key epoch does not have."""
    return path.read_bytes() if path.exists() else b""


def _check_holders(epoch: KeyEpoch, identity: Identity, measurement: bytes) -> None:
    if identity.public_signing_key not in [holder.signing_key for holder in epoch.holders]:
        raise EvidenceError("the key was dealt to other enclaves than this one")
    if any(holder.measurement != measurement for holder in epoch.holders):
        raise EvidenceError(
            "the key was dealt to enclaves that run other code. After an upgrade, `yingbi upgrade finish` deals it to "
            "this code; without one, install the version that made the key"
        )
