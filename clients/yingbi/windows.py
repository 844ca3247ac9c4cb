"""Numbers made of several rows of the answer: ranks, neighbours, and sums over partitions and frames.

Windows see the rows that HAVING kept, before QUALIFY, ORDER BY and LIMIT, with released values; so they cost nothing,
and noise decides which of two near rows comes first.

Errors go through as everywhere: every row's cells have sources of noise of their own (`cells.Row.parts`), so a sum
over rows adds independent noises, and in a share of it the numerator is known to be part of the denominator. What
counts rows of the answer, ranks among it, has no standard error. A sum or extreme of more sources than the caller
lets them have, in answers of many rows, has none either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from yingbi import uncertain
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.plan_pb2 import Formula, Frame, OutputOrdering
from yingbi.cells import PlanError, Row
from yingbi.measures import Reading
from yingbi.ordering import Order, arranged
from yingbi.uncertain import Linear, Number, Smooth

_Function = plan_pb2.Window
_COUNTS = frozenset(
    {_Function.FUNCTION_ROW_NUMBER, _Function.FUNCTION_RANK, _Function.FUNCTION_DENSE_RANK, _Function.FUNCTION_TILE}
    | {_Function.FUNCTION_PERCENT_RANK, _Function.FUNCTION_CUMULATIVE_DISTRIBUTION}
)
_SHIFTS = {_Function.FUNCTION_LAG: -1, _Function.FUNCTION_LEAD: 1}
_ENDS = frozenset({_Function.FUNCTION_FIRST, _Function.FUNCTION_LAST})
_FRAME_COUNTS = frozenset({_Function.FUNCTION_COUNT_ROWS, _Function.FUNCTION_COUNT})
_WIDE = frozenset({_Function.FUNCTION_SUM, _Function.FUNCTION_MEAN})
_EXTREMES: dict[int, Callable[[Sequence[Number]], Number]] = {
    _Function.FUNCTION_MINIMUM: uncertain.least,
    _Function.FUNCTION_MAXIMUM: uncertain.greatest,
}

COUNTING = _COUNTS | _FRAME_COUNTS
"""Functions that count rows of the answer, so that their numbers have no standard error."""

_Operand = Number | None


def is_wide(window: plan_pb2.Window) -> bool:
    """Whether its numbers may carry the noise of many rows."""
    return window.function in _WIDE or window.function in _EXTREMES


def is_share(window: plan_pb2.Window) -> bool:
    """Whether its numbers are from 0 to 1."""
    return window.function in (_Function.FUNCTION_PERCENT_RANK, _Function.FUNCTION_CUMULATIVE_DISTRIBUTION)


def exact(value: float) -> Smooth:
    """A number that counts rows of the answer: it has no standard error that could be told."""
    return Smooth(value, None, None)


@dataclass(frozen=True)
class Window:
    """A window of the plan, ready to be computed."""

    message: plan_pb2.Window
    operands: tuple[Reading, ...]
    order: tuple[Order[Row], ...]

    @classmethod
    def of(
        cls,
        message: plan_pb2.Window,
        keys: int,
        number: Callable[[Formula], Reading],
        order: Callable[[OutputOrdering], Order[Row]],
    ) -> Window:
        """Raises PlanError for a window that means nothing; `keys` is how many the plan has."""
        _check(message, keys)
        operands = tuple(number(operand) for operand in message.operands)
        return cls(message, operands, tuple(order(ordering) for ordering in message.order_by))

    @property
    def is_public(self) -> bool:
        """Whether the order of the rows follows from their keys alone."""
        return all(ordering.WhichOneof("kind") == "key" for ordering in self.message.order_by)

    def cost(self, rows: int) -> int:
        """What one row costs beside reading its operands, in steps."""
        frame, sorting = self.message.frame, 2 * (1 + len(self.order))
        if not frame.HasField("start"):
            # Frames with one start are read once, from the first row to the last.
            return sorting
        if frame.peers or not frame.HasField("end"):
            return sorting + rows
        return sorting + max(0, min(rows, frame.end - frame.start + 1))

    def compute(self, rows: Sequence[Row], most_sources: int) -> dict[int, _Operand]:
        """The window's number for each row, by `Row.place`.

        Args:
            rows: in the answer's order, each with a place of its own.
            most_sources: numbers with more sources of noise have no error.
        """
        partitions: dict[Hashable, list[Row]] = {}
        for row in rows:
            partitions.setdefault(tuple(row.keys[key] for key in self.message.partition_by), []).append(row)
        found: dict[int, _Operand] = {}
        for partition in partitions.values():
            ordered = _Partition.of(arranged(partition, self.order), self.order)
            numbers = self._numbers(ordered, most_sources)
            found.update(zip((row.place for row in ordered.rows), numbers, strict=True))
        return found

    def _numbers(self, partition: _Partition, most_sources: int) -> Iterator[_Operand]:
        function, rows = self.message.function, partition.rows
        if function in _COUNTS:
            return (exact(self._place(partition, index)) for index in range(len(rows)))
        read = [self.operands[0](row) for row in rows] if self.operands else [exact(1)] * len(rows)
        if function in _SHIFTS:
            return self._shifted(rows, read)
        frames = [partition.frame(self.message.frame, index) for index in range(len(rows))]
        if function in _ENDS:
            is_first = function == _Function.FUNCTION_FIRST
            return (None if start >= end else read[start if is_first else end - 1] for start, end in frames)
        return _running(read, frames, lambda: self._made(most_sources))

    def _place(self, partition: _Partition, index: int) -> float:
        rows, first = len(partition.rows), partition.first[index]
        match self.message.function:
            case _Function.FUNCTION_ROW_NUMBER:
                return index + 1
            case _Function.FUNCTION_RANK:
                return first + 1
            case _Function.FUNCTION_DENSE_RANK:
                return partition.dense[index]
            case _Function.FUNCTION_PERCENT_RANK:
                return first / (rows - 1) if rows > 1 else 0
            case _Function.FUNCTION_CUMULATIVE_DISTRIBUTION:
                return partition.after[index] / rows
        # TILE: the first parts have one row more where they cannot all have as many.
        size, larger = divmod(rows, self.message.offset)
        start = larger * (size + 1)
        return index // (size + 1) + 1 if index < start else larger + (index - start) // size + 1

    def _shifted(self, rows: Sequence[Row], read: Sequence[_Operand]) -> Iterator[_Operand]:
        by = _SHIFTS[self.message.function] * self.message.offset
        for index, row in enumerate(rows):
            if 0 <= index + by < len(rows):
                yield read[index + by]
            else:
                yield self.operands[1](row) if len(self.operands) > 1 else None

    def _made(self, most_sources: int) -> _Made:
        function = self.message.function
        if function in _FRAME_COUNTS:
            return _Count()
        if function in _EXTREMES:
            return _Extreme(function, most_sources)
        return _Sum(most_sources, is_mean=function == _Function.FUNCTION_MEAN)


@dataclass(frozen=True)
class _Partition:
    """The rows of one partition in order; of each the first that is equal to it, and the first after those."""

    rows: Sequence[Row]
    first: Sequence[int]
    after: Sequence[int]
    dense: Sequence[int]
    """Of each row: how many different places there are up to its own."""

    @classmethod
    def of(cls, rows: Sequence[Row], order: Sequence[Order[Row]]) -> _Partition:
        keys = [tuple(each.key(row) for each in order) for row in rows]
        starts = [index for index in range(len(rows)) if index == 0 or keys[index] != keys[index - 1]]
        first: list[int] = []
        after: list[int] = []
        dense: list[int] = []
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True), start=1):
            first += [start] * (end - start)
            after += [end] * (end - start)
            dense += [number] * (end - start)
        return cls(rows, first, after, dense)

    def frame(self, frame: Frame, index: int) -> tuple[int, int]:
        """The first row of the frame, and the first after it; the same, or less, for an empty one."""
        count = len(self.rows)
        start, end = 0, count
        if frame.HasField("start"):
            start = self.first[index] if frame.peers else min(max(0, index + frame.start), count)
        if frame.HasField("end"):
            end = self.after[index] if frame.peers else min(max(0, index + frame.end + 1), count)
        return start, end


def _running(
    read: Sequence[_Operand], frames: Sequence[tuple[int, int]], new: Callable[[], _Made]
) -> Iterator[_Operand]:
    """What is made of each frame; a frame that only goes on from the last one takes it up."""
    made, start, end = new(), 0, 0
    result = made.number()
    for frame in frames:
        if frame == (start, end):
            yield result
            continue
        if frame[0] != start or frame[1] < end:
            made, start, end = new(), frame[0], frame[0]
        for number in read[end : frame[1]]:
            if number is not None:
                made.add(number)
        end = max(end, frame[1])
        result = made.number()
        yield result


class _Count:
    def __init__(self) -> None:
        self._count = 0

    def add(self, _: Number) -> None:
        self._count += 1

    def number(self) -> Number:
        return exact(self._count)


class _Sum:
    def __init__(self, most_sources: int, *, is_mean: bool) -> None:
        self._most, self._is_mean = most_sources, is_mean
        self._count, self._value, self._is_linear = 0, 0.0, True
        self._only: Number | None = None
        self._noise: dict[uncertain.Source, float] | None = {}
        self._slack = 0.0

    def add(self, number: Number) -> None:
        self._only = number if self._count == 0 else None
        self._count += 1
        self._value += number.value
        self._slack += uncertain.slack(number)
        self._is_linear = self._is_linear and isinstance(number, Linear)
        noise = number.noise
        if noise is None or self._noise is None or len(self._noise) + len(noise) > self._most:
            self._noise = None
            return
        for source, part in noise.items():
            self._noise[source] = self._noise.get(source, 0.0) + part

    def number(self) -> Number | None:
        if self._count <= 1:
            return self._only
        share = 1 / self._count if self._is_mean else 1.0
        value = self._value * share
        if not math.isfinite(value):
            return None
        if self._noise is None:
            return Smooth(value, None, None)
        noise = {source: part * share for source, part in self._noise.items()}
        return Linear(value, noise) if self._is_linear else uncertain.first_order(value, noise, self._slack * share)


class _Extreme:
    def __init__(self, function: int, most_sources: int) -> None:
        self._choose = min if function == _Function.FUNCTION_MINIMUM else max
        self._extreme, self._most = _EXTREMES[function], most_sources
        self._numbers: list[Number] = []
        self._value: float | None = None
        self._sources = 0

    def add(self, number: Number) -> None:
        self._value = number.value if self._value is None else self._choose(self._value, number.value)
        self._sources += 1 + len(number.noise or ())
        if self._sources <= self._most:
            self._numbers.append(number)

    def number(self) -> Number | None:
        if self._value is None:
            return None
        return self._extreme(self._numbers) if self._sources <= self._most else Smooth(self._value, None, None)


_Made = _Count | _Sum | _Extreme


def _check(message: plan_pb2.Window, keys: int) -> None:
    if message.function in _SHIFTS:
        least, most = 1, 2
    elif message.function in _COUNTS or message.function == _Function.FUNCTION_COUNT_ROWS:
        least = most = 0
    elif message.function in _ENDS or message.function == _Function.FUNCTION_COUNT or is_wide(message):
        least = most = 1
    else:
        raise PlanError("a window in the plan is of a kind that this version does not know")
    if not least <= len(message.operands) <= most:
        raise PlanError("a window in the plan has the wrong number of operands")
    if any(key >= keys for key in message.partition_by):
        raise PlanError("a window in the plan names a key that is not there")
    if message.function == _Function.FUNCTION_TILE and message.offset < 1:
        raise PlanError("a window in the plan has no parts")
