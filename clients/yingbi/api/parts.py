"""Long vectors in several messages, between a provider's enclave and the gateway. Pure.

A message holds about half a mebibyte of vectors. Results say where a part begins, since one may arrive twice; the
messages of a task arrive once, in order (`Task.sequence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.node_pb2 import (
    Contribution,
    OpenedTotal,
    OpeningShare,
    Part,
    ReceiptSignature,
    SignTask,
    Task,
    TaskResult,
)

PART_BYTES = 1 << 19
"""About how long the vectors in one message are."""

_CELLS = PART_BYTES // 8


def numbers_in_part(number_bytes: int, vectors: int = 1) -> int:
    """How many numbers of this length each of several vectors may have in one message: at least one."""
    return max(1, PART_BYTES // number_bytes // vectors)


def split_result(result: TaskResult) -> Iterator[TaskResult]:
    """The messages of a result."""
    match result.WhichOneof("kind"):
        case "contribution":
            whole = result.contribution
            for part, numbers in _split(whole.ciphertexts):
                said = Contribution()
                if not part.more:
                    said = Contribution(signed=whole.signed, proof=whole.proof, heads=whole.heads)
                said.ciphertexts.extend(numbers)
                said.part.CopyFrom(part)
                yield TaskResult(id=result.id, job=result.job, contribution=said)
        case "opening_share":
            share = result.opening_share
            for part, numbers in _split(share.partials):
                opening = OpeningShare()
                if not part.more:
                    opening = OpeningShare(body=share.body, signature=share.signature, proof=share.proof)
                opening.partials.extend(numbers)
                opening.part.CopyFrom(part)
                yield TaskResult(id=result.id, job=result.job, opening_share=opening)
        case "receipt_signature":
            signature = result.receipt_signature
            body = signature.receipt_body
            for first in range(0, max(1, len(body)), PART_BYTES):
                more = first + PART_BYTES < len(body)
                signed = ReceiptSignature(receipt_body=body[first : first + PART_BYTES])
                if not more:
                    signed.signature.CopyFrom(signature.signature)
                signed.part.CopyFrom(Part(first=first, more=more))
                yield TaskResult(id=result.id, job=result.job, receipt_signature=signed)
        case _:
            yield result


def is_last(result: TaskResult) -> bool:
    """Whether no message of this result follows."""
    match result.WhichOneof("kind"):
        case "contribution":
            return not result.contribution.part.more
        case "opening_share":
            return not result.opening_share.part.more
        case "receipt_signature":
            return not result.receipt_signature.part.more
        case _:
            return True


def sign_tasks(job: str, opened: OpenedTotal) -> Iterator[Task]:
    """The messages of the task to sign an opened total."""
    roots = numbers_in_part(len(opened.randomness[0])) if opened.randomness else 1
    count = max(1, -(-len(opened.cells) // _CELLS), -(-len(opened.randomness) // roots))
    for index in range(count):
        part = OpenedTotal(
            cells=opened.cells[index * _CELLS : (index + 1) * _CELLS],
            randomness=opened.randomness[index * roots : (index + 1) * roots],
        )
        yield Task(job=job, sign=SignTask(opened=part), more=index + 1 < count)


class TaskParts:
    """Puts the messages of tasks together, whichever tasks they are of."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` of all tasks that lack a message; beyond that those that began first are forgotten."""
        self._most_bytes = most_bytes
        self._begun: dict[str, Task] = {}
        self._bytes: dict[str, int] = {}

    def add(self, message: Task) -> Task | None:
        """The whole task, or None while more of it is to come.

        Raises:
            Problem: MALFORMED "lost_part" where the messages do not belong together: one was lost or forgotten.
        """
        begun = self._begun.pop(message.id, None)
        size = self._bytes.pop(message.id, 0) + message.ByteSize()
        task = message if begun is None else _joined(begun, message)
        if not message.more:
            return task
        self._begun[message.id], self._bytes[message.id] = task, size
        while sum(self._bytes.values()) > self._most_bytes:
            oldest = next(iter(self._begun))
            del self._begun[oldest], self._bytes[oldest]
        return None


def _joined(begun: Task, message: Task) -> Task:
    """`message` with the vectors of those before it in front of its own."""
    match begun.WhichOneof("kind"), message.WhichOneof("kind"):
        case "open", "open":
            if len(begun.open.contributions) != len(message.open.contributions):
                raise _lost()
            for before, last in zip(begun.open.contributions, message.open.contributions, strict=True):
                before.ciphertexts.extend(last.ciphertexts)
                before.signed.MergeFrom(last.signed)
                before.proof.MergeFrom(last.proof)
                before.heads.MergeFrom(last.heads)
        case "sign", "sign":
            begun.sign.opened.MergeFrom(message.sign.opened)
        case _:
            raise _lost()
    return begun


def _split(numbers: Sequence[bytes]) -> Iterator[tuple[Part, Sequence[bytes]]]:
    step = numbers_in_part(len(numbers[0])) if numbers else 1
    for first in range(0, max(1, len(numbers)), step):
        yield Part(first=first, more=first + step < len(numbers)), numbers[first : first + step]


def _lost() -> Problem:
    return Problem(Kind.MALFORMED, "lost_part", "A message of a task with long vectors is missing.")
