"""The encrypted total of a job, added from the contributions, and what it opens to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
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
from enclave_sim.paillier.share_proof import Parts, ShareProof, WrongShareError, check_partials, parts_of
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
    """What the total holds, from the nodes' shares. What opens proves itself: no share's own proof is looked at.

    Shares are taken one after another: none is held in both of its forms beside the others.

    Raises:
        Problem: FAILED "bad_share" that names the node, where a share is none.
        WrongPartsError: they do not open. Ask for their proofs: `who_was_wrong`.
    """
    opening = _combined(shares, total, epoch, key)
    return OpenedTotal(cells=unpack(opening.residues, layout, key.n), randomness=to_bytes(opening.randomness, key.n))


def _combined(shares: Iterable[OpeningShare], total: Total, epoch: KeyEpoch, key: ThresholdKey) -> Opening:
    partials, manifests = [], set()
    for share in shares:
        manifests.add(_body(share).manifest_digest)
        if share.partials:
            partials.append(_parts(share, total, epoch, key))
        else:
            _check_signed(share, total, epoch)  # a node that only consented
    if len(manifests) > 1:
        raise Problem(Kind.FAILED, "bad_share", "The nodes opened the total under different manifests.")
    try:
        return combine(key, partials)
    except TooFewSharesError as error:
        raise Problem(Kind.FAILED, "too_few_shares", f"The total cannot be opened: {error}.") from error


def who_was_wrong(
    given: Iterable[OpeningShare], proven: Iterable[OpeningShare], total: Total, epoch: KeyEpoch, key: ThresholdKey
) -> Problem:
    """Why shares did not open: FAILED "bad_share", which names a node.

    Args:
        given: the partial decryptions that did not open.
        proven: the same nodes' again, in the same order, with proofs.

    Who proves its share right sent a right one, unless it sent another one before; both are signed. An honest enclave
    repeats itself to the bit, so whoever is named deviated; if none can be named, all were right, and the key is not.
    """
    try:
        for first, again in zip(given, proven, strict=True):
            _check_proof(again, total, epoch, key)
            if _body(first).partials_digest != _body(again).partials_digest:
                return _bad_share(_body(again).node, "is another one than it sent before")
    except Problem as problem:
        return problem
    said = "Every node proved its share of the opening, and they do not open the total: the key was dealt wrong."
    return Problem(Kind.FAILED, "bad_key", said)


def _parts(share: OpeningShare, total: Total, epoch: KeyEpoch, key: ThresholdKey) -> Parts:
    """A share's partial decryptions, right or wrong, as its enclave signed them."""
    holder = _check_signed(share, total, epoch)
    try:
        return parts_of(key, holder.index, total.ciphertexts, _partials(share))
    except WrongShareError as error:
        raise _bad_share(holder.node, "holds what is no partial decryption") from error


def _check_proof(share: OpeningShare, total: Total, epoch: KeyEpoch, key: ThresholdKey) -> None:
    holder, manifest = _check_signed(share, total, epoch), _body(share).manifest_digest
    proof = ShareProof(int.from_bytes(share.proof.challenge, "big"), int.from_bytes(share.proof.response, "big"))
    try:
        check_partials(key, holder.index, total.ciphertexts, _partials(share), proof, manifest)
    except WrongShareError as error:
        raise _bad_share(holder.node, "is not proven to be right") from error


def _check_signed(share: OpeningShare, total: Total, epoch: KeyEpoch) -> KeyHolder:
    """Whose it is, if its enclave signed it and its partial decryptions for this total."""
    body = _body(share)
    holder = next((holder for holder in epoch.holders if holder.node == body.node), None)
    if holder is None or not digests.is_signed(holder.signing_key, digests.OPENING_SHARE, share.body, share.signature):
        raise _bad_share(body.node, "is not signed by its enclave")
    if body.total_digest != total.digest:
        raise _bad_share(body.node, "is of another total than the one to open")
    if digests.digest_all(digests.CIPHERTEXTS, share.partials) != body.partials_digest:
        raise _bad_share(body.node, "is not what its enclave signed")
    return holder


def _body(share: OpeningShare) -> OpeningShareBody:
    return OpeningShareBody.FromString(share.body)


def _partials(share: OpeningShare) -> list[int]:
    return [int.from_bytes(part, "big") for part in share.partials]


def _numbers(node: str, encoded: Sequence[bytes], key: ThresholdKey) -> list[int]:
    try:
        return from_bytes(encoded, key.public)
    except BadCiphertextError as error:
        raise _bad(node, f"holds a number that is no ciphertext: {error}") from error


def _bad(node: str, reason: str) -> Problem:
    return Problem(Kind.FAILED, "bad_contribution", f"The contribution of {node} {reason}.")


def _bad_share(node: str, reason: str) -> Problem:
    return Problem(Kind.FAILED, "bad_share", f"The opening share of {node} {reason}.")
