"""The encrypted total of a job, added from the contributions. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.node_pb2 import Contribution, OpeningShare, OpeningShareBody

from enclave_sim.paillier.encryption import add
from enclave_sim.paillier.keys import PublicKey


def total_digest(contributions: Sequence[Contribution], epoch: KeyEpoch) -> bytes:
    """The digest of the sum of all contributions; raises ValueError for what is no ciphertext."""
    public = PublicKey(int.from_bytes(epoch.modulus, "big"))
    width = (2 * public.bits + 7) // 8
    vectors = [[int.from_bytes(data, "big") for data in one.ciphertexts] for one in contributions]
    return digests.digest_all(digests.CIPHERTEXTS, (c.to_bytes(width, "big") for c in add(public, vectors)))


def check_shares(shares: Sequence[OpeningShare], total: bytes) -> None:
    """Raise Problem, naming the node, for a share of another total than the gateway's own sum."""
    for share in shares:
        body = OpeningShareBody.FromString(share.body)
        if body.total_digest != total:
            raise Problem(Kind.FAILED, "other_total", f"{body.node} opened another total than the one to open.")
