"""Encrypted partial sums: what each enclave signs of its own, and checks of the others'. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.evidence import roster_digest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import ShardRegistration, SignedShardRegistration
from yingbi.api.v1.node_pb2 import Contribution
from yingbi.api.v1.receipt_pb2 import ContributionBody, Manifest

from enclave_sim.bodies import read_body
from enclave_sim.paillier import encoding
from enclave_sim.paillier.keys import BadCiphertextError, PublicKey


def from_bytes(encoded: Sequence[bytes], public: PublicKey) -> list[int]:
    """The ciphertexts; raises Problem for one that is not a unit modulo n^2, or not in its one encoding."""
    try:
        return encoding.from_bytes(encoded, public)
    except BadCiphertextError as error:
        raise Problem(Kind.REFUSED, "bad_ciphertext", f"A ciphertext is not one: {error}") from error


def plaintext_context(job: str, plan_hash: bytes) -> bytes:
    """What a proof of plaintext knowledge is bound to, beside its holder and the key."""
    return digests.digest(digests.PLAINTEXTS, job.encode(), plan_hash)


@dataclass(frozen=True)
class DatasetVersion:
    """One version of a dataset: which shard each key holder has."""

    version: bytes
    dataset: str
    declaration_digest: bytes
    # By node.
    commitments: dict[str, bytes]


def dataset_version(shards: Sequence[SignedShardRegistration], epoch: KeyEpoch) -> DatasetVersion:
    """The version that these shards make; raises Problem unless there is one from every holder, signed."""
    bodies = [read_body(ShardRegistration, shard.body) for shard in shards]
    roster = roster_digest(epoch)
    if [body.node for body in bodies] != [holder.node for holder in epoch.holders]:
        raise Problem(Kind.REFUSED, "bad_shards", "A dataset version has one shard from each key holder.")
    for shard, body, holder in zip(shards, bodies, epoch.holders, strict=True):
        if not digests.is_signed(holder.signing_key, digests.SHARD, shard.body, shard.signature):
            raise Problem(Kind.REFUSED, "bad_shards", f"The shard of {body.node} is not signed by its enclave.")
    if len({(body.dataset, body.declaration_digest, body.ingest_id) for body in bodies}) != 1:
        raise Problem(Kind.REFUSED, "bad_shards", "The shards are of different datasets, declarations or ingests.")
    if any(body.roster != roster for body in bodies):
        # Those of the nodes that stayed would pass for a whole version without the rows of the one that left.
        raise Problem(Kind.REFUSED, "bad_shards", "The shards were sealed with other nodes than the key's holders.")
    return DatasetVersion(
        version=digests.digest_all(digests.DATASET_VERSION, (shard.body for shard in shards)),
        dataset=bodies[0].dataset,
        declaration_digest=bodies[0].declaration_digest,
        commitments={body.node: body.commitment for body in bodies},
    )


def manifest_of(
    contributions: Sequence[Contribution], epoch: KeyEpoch, *, job: str, plan_hash: bytes, version: bytes
) -> Manifest:
    """What decides which total is opened for a job: one signed contribution from every holder, in order.

    Raises Problem, naming the node, where one is missing, doubled, of another job, plan or epoch, unsigned
    or not the ciphertexts that were signed.
    """
    if len(contributions) != len(epoch.holders):
        raise Problem(Kind.REFUSED, "bad_contributions", f"The total needs {len(epoch.holders)} contributions.")
    for contribution, holder in zip(contributions, epoch.holders, strict=True):
        body = read_body(ContributionBody, contribution.signed.body)
        if (body.node, body.job, body.plan_hash) != (holder.node, job, plan_hash):
            raise _bad(holder.node, "belongs to another job, plan or node")
        if body.key_epoch != epoch.epoch:
            said = f"was made under key epoch {body.key_epoch}, and this is {epoch.epoch}"
            raise _bad(holder.node, said, "other_epoch")
        signature = contribution.signed.signature
        if not digests.is_signed(holder.signing_key, digests.CONTRIBUTION, contribution.signed.body, signature):
            raise _bad(holder.node, "is not signed by its enclave")
        if digests.digest_all(digests.CIPHERTEXTS, contribution.ciphertexts) != body.ciphertexts_digest:
            raise _bad(holder.node, "carries other ciphertexts than its enclave signed")
    return Manifest(
        job=job,
        plan_hash=plan_hash,
        dataset_version=version,
        key_epoch=epoch.epoch,
        contributions=[contribution.signed for contribution in contributions],
    )


def _bad(node: str, reason: str, code: str = "bad_contributions") -> Problem:
    return Problem(Kind.REFUSED, code, f"The contribution of {node} {reason}.")
