"""The encrypted total of a job, added from the contributions, and what it opens to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.node_pb2 import (
    Contribution,
    OpenedTotal,
    OpeningShare,
    OpeningShareBody,
    OpenTask,
    Task,
    TaskResult,
)
from yingbi.api.v1.receipt_pb2 import ContributionBody

from enclave_sim.paillier.encoding import from_bytes, to_bytes
from enclave_sim.paillier.encryption import add
from enclave_sim.paillier.keys import BadCiphertextError, ThresholdKey
from enclave_sim.paillier.opening import Opening
from enclave_sim.paillier.packing import Layout, unpack
from enclave_sim.paillier.share_proof import CheckedPartials, ShareProof, WrongShareError, check_partials
from enclave_sim.paillier.threshold import TooFewSharesError, combine

Stretches = Iterable[tuple[int, list[list[bytes]]]]
"""The same stretch of every contribution, in the order of the holders, with where it begins."""


@dataclass(frozen=True)
class Total:
    """The sum of all contributions: the ciphertexts, and the digest that nodes bind a job to."""

    ciphertexts: list[int]
    digest: bytes


def add_up(stretches: Stretches, contributions: Sequence[Contribution], key: ThresholdKey) -> Total:
    """The total of the contributions, whose vectors come in stretches.

    Raises:
        Problem: FAILED "bad_contribution" that names the node, for what is no ciphertext, or not what was signed.
    """
    bodies = [ContributionBody.FromString(one.signed.body) for one in contributions]
    running = [digests.Running(digests.CIPHERTEXTS) for _ in bodies]
    total: list[int] = []
    for _, stretch in stretches:
        vectors = [_numbers(body.node, part, key) for body, part in zip(bodies, stretch, strict=True)]
        for state, part in zip(running, stretch, strict=True):
            for number in part:
                state.add(number)
        total += add(key.public, vectors)
    for body, state in zip(bodies, running, strict=True):
        if state.digest() != body.ciphertexts_digest:
            raise _bad(body.node, "is not what its enclave signed")
    encoded = to_bytes(total, key.public.nsquare)
    return Total(total, digests.digest_all(digests.CIPHERTEXTS, encoded))


def consent_tasks(job: str, stretches: Stretches, contributions: Sequence[Contribution]) -> Iterator[Task]:
    """The messages of the task to consent to the total of these contributions."""
    before: list[list[bytes]] = []
    for first, stretch in stretches:
        if first:
            parts = [Contribution(ciphertexts=part) for part in before]
            yield Task(job=job, open=OpenTask(contributions=parts), more=True)
        before = stretch
    last = [
        Contribution(signed=one.signed, proof=one.proof, heads=one.heads, ciphertexts=part)
        for one, part in zip(contributions, before, strict=True)
    ]
    yield Task(job=job, open=OpenTask(contributions=last))


class Partials:
    """Nodes' opening shares, put together from their messages."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[bytes]] = {}

    def take(self, node: str, result: TaskResult) -> None:
        """Move the numbers of a node's result here: they replace what came at their place before."""
        share, numbers = result.opening_share, self._numbers.setdefault(node, [])
        numbers[share.part.first : share.part.first + len(share.partials)] = share.partials
        share.ClearField("partials")

    def share(self, node: str, last: OpeningShare) -> OpeningShare:
        """The whole share, whose last message is `last`; to be had once."""
        numbers = self._numbers.pop(node)
        return OpeningShare(body=last.body, signature=last.signature, proof=last.proof, partials=numbers)


def open_with(
    shares: Iterable[OpeningShare], total: Total, epoch: KeyEpoch, key: ThresholdKey, layout: Layout
) -> OpenedTotal:
    """What the total holds, from the nodes' shares of which every one is proven right before it is used.

    Shares are taken one after another: none is held in both of its forms beside the others.

    Raises:
        Problem: FAILED "bad_share" that names the node.
    """
    opening = _combined(shares, total, epoch, key)
    return OpenedTotal(cells=unpack(opening.residues, layout, key.n), randomness=to_bytes(opening.randomness, key.n))


def _combined(shares: Iterable[OpeningShare], total: Total, epoch: KeyEpoch, key: ThresholdKey) -> Opening:
    partials, manifests = [], set()
    for share in shares:
        manifests.add(OpeningShareBody.FromString(share.body).manifest_digest)
        if (checked := _checked(share, total, epoch, key)) is not None:
            partials.append(checked)
    if len(manifests) > 1:
        raise Problem(Kind.FAILED, "bad_share", "The nodes opened the total under different manifests.")
    try:
        return combine(key, partials)
    except TooFewSharesError as error:
        raise Problem(Kind.FAILED, "too_few_shares", f"The total cannot be opened: {error}.") from error


def _checked(share: OpeningShare, total: Total, epoch: KeyEpoch, key: ThresholdKey) -> CheckedPartials | None:
    """A share's partial decryptions; None of a node that only consented."""
    body = OpeningShareBody.FromString(share.body)
    holder = next((holder for holder in epoch.holders if holder.node == body.node), None)
    if holder is None or not digests.is_signed(holder.signing_key, digests.OPENING_SHARE, share.body, share.signature):
        raise _bad_share(body.node, "is not signed by its enclave")
    if body.total_digest != total.digest:
        raise _bad_share(body.node, "is of another total than the one to open")
    if digests.digest_all(digests.CIPHERTEXTS, share.partials) != body.partials_digest:
        raise _bad_share(body.node, "is not what its enclave signed")
    if not share.partials:
        return None
    numbers = [int.from_bytes(part, "big") for part in share.partials]
    proof = ShareProof(int.from_bytes(share.proof.challenge, "big"), int.from_bytes(share.proof.response, "big"))
    try:
        return check_partials(key, holder.index, total.ciphertexts, numbers, proof, body.manifest_digest)
    except WrongShareError as error:
        raise _bad_share(body.node, "is not proven to be right") from error


def _numbers(node: str, encoded: Sequence[bytes], key: ThresholdKey) -> list[int]:
    try:
        return from_bytes(encoded, key.public)
    except BadCiphertextError as error:
        raise _bad(node, f"holds a number that is no ciphertext: {error}") from error


def _bad(node: str, reason: str) -> Problem:
    return Problem(Kind.FAILED, "bad_contribution", f"The contribution of {node} {reason}.")


def _bad_share(node: str, reason: str) -> Problem:
    return Problem(Kind.FAILED, "bad_share", f"The opening share of {node} {reason}.")
