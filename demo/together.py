"""What travelled encrypted for one answer, and what whoever holds one hospital's machine can open of it.

Without hardware whoever has root on a node's machine has that node's share of the key; here the demo plays that person,
with the files of the zone that it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from yingbi.api.v1.attestation_pb2 import KeyEpoch, SealedKeyShare, SignedKeyEpoch
from yingbi.api.v1.node_pb2 import Contribution
from yingbi.api.v1.receipt_pb2 import Receipt

from enclave_sim.identity import Identity
from enclave_sim.key_share import unseal_share
from enclave_sim.paillier.keys import KeyShare, ThresholdKey
from enclave_sim.paillier.share_proof import check_partials, prove_partials
from enclave_sim.paillier.threshold import WrongPartsError, combine, partial_decrypt
from enclave_sim.shared_key import key_of


@dataclass(frozen=True)
class Travelled:
    """The ciphertexts of one job on their way to the gateway."""

    nodes: int
    each: int
    size: int
    threshold: int

    @classmethod
    def of(cls, receipt: Receipt) -> Travelled:
        """As a receipt tells it."""
        epoch = KeyEpoch.FromString(receipt.key_epoch.body)
        total = receipt.decryption.total
        nodes = len(epoch.holders)
        return cls(nodes, len(total), nodes * sum(len(number) for number in total), epoch.threshold)


def opens(zone: Path, job: str, nodes: Sequence[str]) -> bool:
    """Whether the key shares of these nodes open what the first of them sent to the gateway for a job."""
    stored = zone / "nodes" / nodes[0] / "enclave" / "jobs" / job / "contribution"
    ciphertexts = [int.from_bytes(number, "big") for number in Contribution.FromString(stored.read_bytes()).ciphertexts]
    shares = [_share(zone / "nodes" / node / "enclave") for node in nodes]
    # They try as if they were enough.
    key = replace(shares[0][0], threshold=len(nodes))
    parts = []
    for _, share in shares:
        part = partial_decrypt(key, share, ciphertexts)
        proof = prove_partials(key, share, ciphertexts, part, b"demo")
        parts.append(check_partials(key, share.index, ciphertexts, part, proof, b"demo"))
    try:
        combine(key, parts)
    except WrongPartsError:
        return False
    return True


def _share(enclave: Path) -> tuple[ThresholdKey, KeyShare]:
    """What root on the node's machine reads: simulated enclaves keep their secrets in files."""
    identity, _ = Identity.kept(enclave, (enclave.parent / "ca.crt").read_bytes())
    signed = SignedKeyEpoch.FromString((enclave / "key_epoch.pb").read_bytes())
    sealed = SealedKeyShare.FromString((enclave / "key_share.pb").read_bytes())
    return key_of(KeyEpoch.FromString(signed.body)), unseal_share(identity, sealed.ciphertext, signed.body)
