"""Units' vectors: means over their rows, cut to a norm, and added up. Some rows at a time, however many a unit has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.model_vectors import step_width, width
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.engine.models import KERNELS, SUMS
from enclave_sim.engine.models.score import EXPECTED, scores
from enclave_sim.engine.models.second_moments import Products
from enclave_sim.engine.protocol import Cancelled, EngineError, never
from enclave_sim.privacy.clipping import Integers
from enclave_sim.privacy.product_clipping import FEW_ROWS
from enclave_sim.privacy.vector_clipping import clipped, finite

Floats: TypeAlias = NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]

_CHUNK_NUMBERS = 1 << 17
"""Numbers of a chunk's vectors: a megabyte, which stays in the processor's cache."""

_LEAST_ROWS = 16
"""Of a chunk, however wide vectors are."""

_CHUNK_ROWS = 1 << 11
_SUMS_BITS = 16
_NONE = np.zeros(0, np.int64)


def clipped_sum(
    vector: ModelVector,
    fraction_bits: int,
    units: Integers,
    columns: Sequence[Floats],
    counting: Booleans,
    cancelled: Callable[[], bool] = never,
) -> Integers:
    """The sum over units of their clipped vectors, in grid steps.

    Args:
        units: of each row, in any order; all rows of a unit are here.
        columns: the terms, NaN where there is none; a row with one makes no vector.
        counting: whether a row is one of the plan's.
        cancelled: asked before every chunk of rows, which is a few milliseconds' work.

    Raises:
        Cancelled: soon after `cancelled()` turned true; EngineError.
    """
    chunks = _chunks(units, columns, counting, cancelled)
    with np.errstate(all="ignore"):
        if vector.second_moments.products:
            return _products(vector, fraction_bits, chunks)
        kind = vector.WhichOneof("kind") or ""
        if kind not in (EXPECTED if vector.HasField("score") else KERNELS):
            raise EngineError("the plan has a model's vector of an unknown kind")
        total = np.zeros(width(vector), np.int64)
        if kind in SUMS and fraction_bits == _SUMS_BITS and not vector.HasField("score"):
            # Which way a unit's vector is summed is decided by its own rows alone.
            few, chunks = chunks.split(FEW_ROWS)
            add_up = SUMS[kind](vector)
            for terms, starts in few.of_units(_CHUNK_ROWS):
                total += add_up(terms, starts)
        return total + _from_vectors(vector, fraction_bits, chunks)


def _products(vector: ModelVector, fraction_bits: int, chunks: _Chunks) -> Integers:
    if fraction_bits != _SUMS_BITS:
        raise EngineError(f"products are in steps of 2^-{_SUMS_BITS}")
    products, total = Products(vector), np.zeros(width(vector), np.int64)
    few, many = chunks.split(products.few_rows)
    for terms, starts in few.of_units(_CHUNK_ROWS):
        total += products.of_units(terms, starts)
    for start, stop in many.spans():
        total += products.of_long_unit(many.of_rows(start, stop, _CHUNK_ROWS))
    return total


def _from_vectors(vector: ModelVector, fraction_bits: int, chunks: _Chunks) -> Integers:
    """By a vector for each row."""
    sums = _Sums(vector, fraction_bits)
    if len(chunks.rows):
        make = scores(vector) if vector.HasField("score") else KERNELS[vector.WhichOneof("kind") or ""](vector)
        step = _rows_at_once(vector)
        for start in range(0, len(chunks.rows), step):
            sums.add(chunks.units[start : start + step], finite(make(chunks.terms(start, start + step))))
    return sums.total()


def _rows_at_once(vector: ModelVector) -> int:
    """Rows of a chunk. What a score needs of a row on the way is as wide as a step's vector at most, and not its two
    cells; where a step's vectors need not be formed, it is as wide as their factors."""
    if vector.HasField("score") and vector.WhichOneof("kind") in SUMS:
        return _CHUNK_ROWS
    return max(_LEAST_ROWS, _CHUNK_NUMBERS // max(step_width(vector), len(vector.terms)))


@dataclass(frozen=True)
class _Chunks:
    """Rows that make vectors, those of a unit one after another, to be taken some at a time."""

    columns: Sequence[Floats]
    rows: Integers
    units: Integers
    ascend: bool
    """Whether rows do."""
    cancelled: Callable[[], bool]

    def terms(self, start: int, stop: int) -> Floats:
        """Of these of the rows, a row each; column by column in memory. Raises Cancelled."""
        if self.cancelled():
            raise Cancelled
        own = self.rows[start:stop]
        if self.ascend and len(own) and own[-1] - own[0] == len(own) - 1:
            # Rows that ascend without a gap are copied faster.
            return np.array([column[own[0] : own[-1] + 1] for column in self.columns]).T
        return np.array([column[own] for column in self.columns]).T

    def starts(self) -> Integers:
        """Where each unit's rows begin."""
        return np.flatnonzero(np.append(True, self.units[1:] != self.units[:-1])) if len(self.rows) else _NONE

    def split(self, few_rows: int) -> tuple[_Chunks, _Chunks]:
        """The rows of units that have so many rows at most, and those of the others."""
        counts = np.diff(self.starts(), append=len(self.rows))
        are_few = np.repeat(counts <= few_rows, counts)
        if are_few.all():
            return self, replace(self, rows=_NONE, units=_NONE)
        few, many = (replace(self, rows=self.rows[each], units=self.units[each]) for each in (are_few, ~are_few))
        return few, many

    def of_units(self, rows: int) -> Iterator[tuple[Floats, Integers]]:
        """Terms of about so many rows at a time, with all rows of their units, and where each unit's begin."""
        starts = self.starts()
        firsts = np.unique(np.searchsorted(starts, np.arange(0, len(self.rows), rows)))
        for first, last in itertools.pairwise([*firsts[firsts < len(starts)].tolist(), len(starts)]):
            stop = int(starts[last]) if last < len(starts) else len(self.rows)
            own = starts[first:last] - starts[first]
            yield self.terms(int(starts[first]), stop), own

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where each unit's rows begin and end."""
        return itertools.pairwise([*self.starts().tolist(), *([len(self.rows)] if len(self.rows) else [])])

    def of_rows(self, start: int, stop: int, rows: int) -> Iterator[Floats]:
        """The terms of these rows, so many at a time."""
        return (self.terms(each, min(each + rows, stop)) for each in range(start, stop, rows))


def _chunks(units: Integers, columns: Sequence[Floats], counting: Booleans, cancelled: Callable[[], bool]) -> _Chunks:
    """The rows that make vectors."""
    present = counting.copy()
    for column in columns:
        present &= ~np.isnan(column)
    rows = np.flatnonzero(present)
    own = units[rows]
    ascend = not (own[1:] < own[:-1]).any()
    if not ascend:
        rows = rows[np.argsort(own, kind="stable")]
        own = units[rows]
    return _Chunks(columns, rows, own, ascend, cancelled)


def _sums_of_runs(vectors: Floats, starts: Integers) -> Floats:
    """Over the rows from each start to the next, as differences of running sums: they are exact, vectors being in steps
    of a grid that 2^24 rows add up on (`vector_clipping`), and take the same time however many rows a unit has."""
    ends = np.append(starts[1:], len(vectors)) - 1
    running = np.cumsum(vectors.T, axis=1).take(ends, axis=1)
    sums = running.copy()
    sums[:, 1:] -= running[:, :-1]
    return sums.T


class _Sums:
    """Adds up units as soon as all rows of theirs were there; the last one of a chunk may go on in the next."""

    def __init__(self, vector: ModelVector, fraction_bits: int) -> None:
        self._norm, self._bits = vector.max_norm, fraction_bits
        self._total = np.zeros(width(vector), np.int64)
        self._open = np.zeros((0, width(vector)))
        self._open_rows, self._open_unit = 0, 0

    def add(self, units: Integers, vectors: Floats) -> None:
        """Rows of units, which ascend."""
        starts = np.flatnonzero(np.append(True, units[1:] != units[:-1]))
        sums = _sums_of_runs(vectors, starts)
        counts = np.diff(starts, append=len(units))
        if self._open_rows:
            if self._open_unit == units[0]:
                sums[0] += self._open[0]
                counts[0] += self._open_rows
            else:
                self._close(self._open / self._open_rows)
        self._close(sums[:-1] / counts[:-1, np.newaxis])
        self._open, self._open_rows, self._open_unit = sums[-1:], int(counts[-1]), int(units[-1])

    def total(self) -> Integers:
        """With the last unit; to be called once."""
        if self._open_rows:
            self._close(self._open / self._open_rows)
        return self._total

    def _close(self, means: Floats) -> None:
        if len(means):
            # A chunk has 2^17 units at most, of at most 2^26 each.
            self._total += clipped(means, self._norm, self._bits).sum(axis=0)
