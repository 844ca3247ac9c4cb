"""From rows to the clipped sums over units, in exact integers.

Rows come in batches that have all rows of their units, so a batch's units are clipped and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ModelVector, Plan, RangeCounts, Statistic, UnitNorms

from enclave_sim.engine.entries import Booleans, Entries, Floats, Numbers, entries_of, sum_at, whole
from enclave_sim.engine.groups import Groups
from enclave_sim.engine.marginals import Part, parts_of
from enclave_sim.engine.models.unit_vectors import clipped_sum
from enclave_sim.engine.protocol import EngineError, never
from enclave_sim.engine.terms import leaves, steps
from enclave_sim.plan.sensitivity import cells, is_joint
from enclave_sim.privacy.clipping import (
    Integers,
    ceil_isqrt,
    indicator_weights,
    sixteenths,
    weigh_down,
    weigh_down_jointly,
)

RowInput: TypeAlias = Floats | Booleans | Integers | None
"""What a statistic takes from each row. None: every row counts. Booleans: those that are true. Floats: a term,
NaN where there is none, and the row adds nothing."""


@dataclass(frozen=True)
class NormInput:
    """What norms take from each row: a number for its key, -1 for none, and what their vector's statistics take."""

    keys: Integers
    vector: tuple[RowInput, ...]


@dataclass(frozen=True)
class TermsInput:
    """What a model's vector takes from each row: numbers for its terms, NaN where there is none."""

    columns: tuple[Floats, ...]


Input: TypeAlias = RowInput | NormInput | TermsInput

_LOW_BITS = 32
_SQUARE_BITS = 26
_LOW_SQUARE = (1 << _SQUARE_BITS) - 1
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Batch:
    """Rows, with all rows of their units, in any order.

    `units` are int32 or int64; `inputs` has one for each statistic of the plan.
    """

    units: NDArray[np.signedinteger]
    groups: Groups
    inputs: Sequence[Input]
    is_sorted: bool = False
    """Whether units are known to ascend."""

    def split(self, rows: int) -> Iterator[Batch]:
        """The same, whose units are sorted, in batches of about so many rows."""
        start = 0
        while len(self.units) - start > rows + rows // 2:
            stop = int(np.searchsorted(self.units, self.units[start + rows]))
            if stop > start:
                yield self._part(slice(start, stop))
            start, rows = (stop, rows) if stop > start else (start, 2 * rows)
        yield self._part(slice(start, len(self.units)))

    def of_spans(self, spans: Integers) -> Batch:
        """The rows in these spans: pairs of where a unit's rows start and stop. Units get numbers from 0."""
        lengths = spans[:, 1] - spans[:, 0]
        rows = np.repeat(spans[:, 0] - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        return replace(self._part(rows), units=np.repeat(np.arange(len(spans)), lengths))

    def _part(self, rows: slice | Integers) -> Batch:
        # Inputs that are one stay one.
        parts = {id(of_rows): _part(of_rows, rows) for of_rows in self.inputs}
        inputs = [parts[id(of_rows)] for of_rows in self.inputs]
        return Batch(self.units[rows], self.groups.part(rows), inputs, is_sorted=True)


def _part(of_rows: Input, rows: slice | Integers) -> Input:
    if isinstance(of_rows, NormInput):
        vector = tuple(None if each is None else each[rows] for each in of_rows.vector)
        return NormInput(of_rows.keys[rows], vector)
    if isinstance(of_rows, TermsInput):
        return TermsInput(tuple(column[rows] for column in of_rows.columns))
    return None if of_rows is None else of_rows[rows]


class UnitSums:
    """The cells of a plan, added up batch by batch."""

    def __init__(self, plan: Plan) -> None:
        length = cells(plan)
        # Apart, so no int64 wraps, whatever the number of batches below 2^31.
        self._high, self._low = np.zeros(length, np.int64), np.zeros(length, np.int64)

    def add(self, vector: Integers) -> None:
        """Add the cells of one batch."""
        self._high += vector >> _LOW_BITS
        self._low += vector & ((1 << _LOW_BITS) - 1)

    def join(self, other: UnitSums) -> None:
        """Add what another one has."""
        self._high += other._high
        self._low += other._low

    def vector(self) -> list[int]:
        """The cells so far, exactly."""
        return [(high << _LOW_BITS) + low for high, low in zip(self._high.tolist(), self._low.tolist(), strict=True)]


def clipped_cells(plan: Plan, batch: Batch, cancelled: Callable[[], bool] = never) -> Integers:
    """The cells of the plan over the batch's units. Raises Cancelled soon after `cancelled()` turned true."""
    if not len(batch.units):
        return np.zeros(cells(plan), np.int64)
    found: dict[int, Integers] = {}
    for part in parts_of(plan):
        found |= _cells_of_part(plan, part, batch, cancelled)
    return np.concatenate([found[index] for index in range(len(plan.statistics))])


def _cells_of_part(plan: Plan, part: Part, batch: Batch, cancelled: Callable[[], bool]) -> dict[int, Integers]:
    """The cells of statistics with the same groups over the batch's units, by index."""
    own = _Clipped(plan, part.count, replace(batch, groups=part.groups(batch.groups)), cancelled)
    pairs = {index: (plan.statistics[index], batch.inputs[index]) for index in part.statistics}
    is_in = {index: is_joint(plan, statistic) for index, (statistic, _) in pairs.items()}
    joint = iter(own.joint_cells([pair for index, pair in pairs.items() if is_in[index]]))
    return {index: next(joint) if is_in[index] else own.cells(*pair) for index, pair in pairs.items()}


class _Clipped:
    """One batch's cells, clipped unit by unit."""

    def __init__(self, plan: Plan, group_count: int, batch: Batch, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._clipping, self._fraction_bits = plan.clipping, plan.fraction_bits
        self._groups, self._groups_of_rows = group_count, batch.groups
        units = batch.units.astype(np.int64, copy=False)
        self._entries: Entries = entries_of(units, batch.groups, self._groups, is_sorted=batch.is_sorted)
        self._rows = whole(self._entries.add_up(None))
        squares = self._entries.squares_by_unit(self._rows)
        # ⌈√x⌉ > C just where x > C². Norms of other units are not needed, and left at 0.
        self._over = squares > plan.clipping.max_rows**2
        self._norms = np.zeros(len(squares), np.int64)
        self._norms[self._over] = ceil_isqrt(squares[self._over])
        self._over_entries = self._entries.of_units(self._over) if self._over.any() else _NONE
        self._counted: dict[int, Integers] = {}

    def cells(self, statistic: Statistic, of_rows: Input) -> Integers:
        """The cells of one statistic, summed over the batch's units."""
        match statistic.WhichOneof("kind"):
            case "row_count" | "non_null_count":
                return self._counts(of_rows)
            case "bounded_sum":
                sums = self._entries.add_steps(statistic.bounded_sum, _floats(of_rows), self._fraction_bits)
                return self._weighed(sums, 0)
            case "distinct_units":
                return self._units(of_rows)
            case "range_counts":
                return self._ranges(statistic.range_counts, _floats(of_rows))
            case "unit_norms":
                return self._unit_norms(statistic.unit_norms, of_rows)
            case "model_vector":
                return self._model_vector(statistic.model_vector, of_rows)
            case other:
                raise EngineError(f"the plan has a statistic of an unknown kind: {other}")

    def joint_cells(self, vector: Sequence[tuple[Statistic, Input]]) -> list[Integers]:
        """Of each statistic of the joint vector the cells, summed over the batch's units."""
        values = [self._steps(statistic, of_rows) for statistic, of_rows in vector]
        if not values:
            return []
        squares = sum_of_squares(values, self._fraction_bits, self._entries.by_unit)
        over = squares > self._clipping.joint_norm**2
        if over.any():
            norms = np.zeros(len(squares), np.int64)
            norms[over] = ceil_isqrt(squares[over])
            entries = self._entries.of_units(over)
            own = norms[self._entries.unit_of(entries)]
            for each in values:
                each[entries] = weigh_down_jointly(each[entries], own, self._clipping.joint_norm, self._fraction_bits)
        return [self._entries.by_group(each) for each in values]

    def _steps(self, statistic: Statistic, of_rows: Input) -> Integers:
        """Each entry's value in grid steps, before it is clipped; in an array of its own."""
        if statistic.HasField("bounded_sum"):
            return whole(self._entries.add_steps(statistic.bounded_sum, _floats(of_rows), self._fraction_bits))
        counts = self._rows if of_rows is None else whole(self._entries.add_up(_weights(of_rows)))
        return counts << self._fraction_bits

    def _counts(self, of_rows: Input) -> Integers:
        # Statistics that count the same rows share the array that says which.
        if id(of_rows) not in self._counted:
            counts = self._rows if of_rows is None else self._entries.add_up(_weights(of_rows))
            self._counted[id(of_rows)] = self._weighed(counts, self._fraction_bits)
        return self._counted[id(of_rows)]

    def _weighed(self, values: Numbers, shift: int) -> Integers:
        """The sums by group of values << shift, those of units over the bound being scaled down."""
        entries = self._over_entries
        total = self._entries.by_group(values) << shift
        if not len(entries):
            return total
        before = whole(values[entries]) << shift
        norms = self._norms[self._entries.unit_of(entries)]
        after = weigh_down(before, norms, self._clipping.max_rows)
        return total + sum_at(self._entries.group_of(entries), after - before, self._groups)

    def _units(self, of_rows: Input) -> Integers:
        present = (self._rows if of_rows is None else self._entries.add_up(_weights(of_rows))) > 0
        entries = np.flatnonzero(present)
        weights = indicator_weights(self._entries.by_unit(present), self._clipping.max_groups, self._fraction_bits)
        return sum_at(self._entries.group_of(entries), weights[self._entries.unit_of(entries)], self._groups)

    def _ranges(self, ranges: RangeCounts, term: Floats) -> Integers:
        """Rows of units within the bound need no unit any more; those of the others are clipped by node."""
        levels = _level_widths(ranges)
        counting, cell = ~np.isnan(term), leaves(ranges, term)
        group = self._groups_of_rows.of_rows()
        counting &= group >= 0
        if self._groups > 1:
            cell += group * levels[-1]
        over = self._over[self._entries.units] & counting if len(self._over_entries) else None
        within = counting if over is None else counting & ~over
        counts = np.bincount(cell if within.all() else cell[within], None, self._groups * levels[-1])
        totals = _levels(counts << self._fraction_bits, levels)
        if over is not None:
            unit, own = self._entries.units[over], cell[over]
            for position, level in enumerate(levels):
                nodes = self._nodes(unit, own // (levels[-1] // level), self._groups * level)
                totals[position] += nodes.reshape(self._groups, level)
        return np.concatenate(totals, axis=1).ravel()

    def _unit_norms(self, norms: UnitNorms, given: Input) -> Integers:
        """Units by their norm over the keys; those without a row that counts are in no cell."""
        if not isinstance(given, NormInput):
            raise EngineError("norms are not given a key for each row")
        counting = (given.keys >= 0) & (self._groups_of_rows.of_rows() >= 0)
        units, keys = self._entries.units[counting], given.keys[counting]
        different = int(keys.max(initial=0)) + 1
        pairs, pair_of_row, rows = np.unique(units * different + keys, return_inverse=True, return_counts=True)
        present, unit_of_pair = np.unique(pairs // different, return_inverse=True)

        def by_unit(values: Integers) -> Integers:
            return sum_at(unit_of_pair, values, len(present))

        if norms.vector:
            vector = zip(norms.vector, given.vector, strict=True)
            values = [self._of_pairs(*each, counting, pair_of_row, len(pairs)) for each in vector]
            squares = sum_of_squares(values, self._fraction_bits, by_unit)
        else:
            squares = by_unit(rows * rows)
        found = np.searchsorted(np.array(norms.edges, np.int64), ceil_isqrt(squares))
        return np.bincount(found, None, len(norms.edges) + 1) << self._fraction_bits

    def _model_vector(self, vector: ModelVector, given: Input) -> Integers:
        if not isinstance(given, TermsInput):
            raise EngineError("a model's vector is not given its terms")
        grouped = self._groups_of_rows.of_rows() >= 0
        units = self._entries.units
        return clipped_sum(vector, self._fraction_bits, units, given.columns, grouped, self._cancelled)

    def _of_pairs(
        self, statistic: Statistic, of_rows: RowInput, counting: Booleans, pair_of_row: Integers, pairs: int
    ) -> Integers:
        """What a statistic adds up to, in grid steps, for each (unit, key) of the rows that count."""
        if statistic.HasField("bounded_sum"):
            weights: Numbers | Booleans = steps(statistic.bounded_sum, _floats(of_rows), self._fraction_bits)[counting]
            return sum_at(pair_of_row, weights, pairs)
        counted = np.ones(len(pair_of_row), np.bool_) if of_rows is None else _weights(of_rows)[counting]
        return sum_at(pair_of_row, counted, pairs) << self._fraction_bits

    def _nodes(self, unit: Integers, node: Integers, count: int) -> Integers:
        """The clipped counts of one level's nodes, all of them of units over the bound."""
        pairs, counts = np.unique(unit * count + node, return_counts=True)
        norms = self._norms[pairs // count]
        values = weigh_down(counts << self._fraction_bits, norms, self._clipping.max_rows)
        return sum_at(pairs % count, values, count)


def sum_of_squares(values: Sequence[Integers], fraction_bits: int, by_unit: Callable[[Integers], Integers]) -> Integers:
    """Of each unit: the sum over its entries and all statistics of their squares, in sixteenths of a row, exactly.

    `by_unit` adds up in doubles; so the low bits and the high ones are added apart, and each sum is below 2^53: a
    unit has fewer than 2^24 entries, and its squares at most 2^62 in all (`enclave_sim.privacy.clipping`).
    """
    total: Integers = np.zeros(1, np.int64)
    for each in values:
        squares = sixteenths(each, fraction_bits) ** 2
        total = total + (by_unit(squares >> _SQUARE_BITS) << _SQUARE_BITS) + by_unit(squares & _LOW_SQUARE)
    return total


def _level_widths(ranges: RangeCounts) -> list[int]:
    return [ranges.branching**level for level in range(1, ranges.levels + 1)]


def _levels(leaf_cells: Integers, widths: list[int]) -> list[Integers]:
    """From cells of (group, leaf), those of (group, node) on each level."""
    by_leaf = leaf_cells.reshape(-1, widths[-1])
    return [by_leaf.reshape(len(by_leaf), level, -1).sum(axis=2) for level in widths]


def _floats(of_rows: Input) -> Floats:
    if of_rows is None or isinstance(of_rows, NormInput | TermsInput) or of_rows.dtype != np.float64:
        raise EngineError("a term is not given as float64")
    return cast(Floats, of_rows)


def _weights(of_rows: Input) -> Booleans:
    if of_rows is None or isinstance(of_rows, NormInput | TermsInput) or of_rows.dtype != np.bool_:
        raise EngineError("which rows count is not given as bool")
    return cast(Booleans, of_rows)
