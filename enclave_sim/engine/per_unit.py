"""From rows to the clipped sums over units, in exact integers.

Rows come in batches that have all rows of their units, so a batch's units are clipped and forgotten. Within one,
rows are added up by *entry*, a (unit, group) pair. Weights are whole numbers up to 2^16 and a batch has fewer than
2^37 rows, so every sum is below 2^53 and exact in a double: `bincount` adds integers, whatever their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import BoundedSum, Plan, RangeCounts, Statistic, UnitNorms

from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.scratch import Scratch
from enclave_sim.plan.sensitivity import cells, groups
from enclave_sim.privacy.clipping import Integers, ceil_isqrt, indicator_weights, weigh_down

Floats: TypeAlias = NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]
Input: TypeAlias = Floats | Booleans | Integers | None
"""What a statistic takes from each row. None: every row counts. Booleans: those that are true. Floats: a term,
NaN where there is none, and the row adds nothing. Integers, for norms: the row's key, -1 for none."""

_LOW_BITS = 32
_DENSE_ENTRIES = 1 << 18
_DENSE_SHARE = 2
_NONE = np.zeros(0, np.int64)
_scratch = Scratch()


@dataclass(frozen=True)
class Batch:
    """Rows, with all rows of their units, in any order.

    `units` and `groups` (-1: in no group) are int64; `inputs` has one for each statistic of the plan.
    """

    units: Integers
    groups: Integers
    inputs: Sequence[Input]


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

    def vector(self) -> list[int]:
        """The cells so far, exactly."""
        return [(high << _LOW_BITS) + low for high, low in zip(self._high.tolist(), self._low.tolist(), strict=True)]


def clipped_cells(plan: Plan, batch: Batch) -> Integers:
    """The cells of the plan over the batch's units."""
    batch = _in_groups(batch)
    if not len(batch.units):
        return np.zeros(cells(plan), np.int64)
    own = _Clipped(plan, batch, _entries(batch, groups(plan)))
    pairs = zip(plan.statistics, batch.inputs, strict=True)
    return np.concatenate([own.cells(statistic, of_rows) for statistic, of_rows in pairs])


def steps(statistic: BoundedSum, term: Floats, fraction_bits: int) -> Floats:
    """Each row's term in grid steps: whole numbers within ±2^fraction_bits, 0 where there is none.

    The ratio is finite and within ±1 but for rounding, since half_range covers both bounds from the centre.
    An int64 may have been rounded to a double before it is clipped: rounding keeps order and the bounds are
    doubles, so the result is the same as clipping first.
    """
    top = float(1 << fraction_bits)
    result = _clip(term, statistic.lower, statistic.upper)
    result -= statistic.centre
    result /= statistic.half_range
    result *= top
    result += 0.5
    np.floor(result, out=result)
    np.minimum(result, top, out=result)
    np.maximum(result, -top, out=result)
    missing = np.isnan(result)
    if missing.any():
        result[missing] = 0.0
    return result


def leaves(statistic: RangeCounts, term: Floats) -> Integers:
    """The leaf that each row's term lies in; no term may be NaN."""
    count = statistic.branching**statistic.levels
    result = _clip(term, statistic.lower, statistic.upper)
    result -= statistic.lower
    result /= statistic.upper - statistic.lower
    result *= count
    np.floor(result, out=result)
    return np.minimum(result, count - 1).astype(np.int64)


def _clip(term: Floats, lower: float, upper: float) -> Floats:
    result: Floats = _scratch.array("term", len(term), np.float64)
    np.maximum(term, lower, out=result)
    return np.minimum(result, upper, out=result)


def _in_groups(batch: Batch) -> Batch:
    if not len(batch.groups) or batch.groups.min() >= 0:
        return batch
    inside = batch.groups >= 0
    inputs = [of_rows if of_rows is None else of_rows[inside] for of_rows in batch.inputs]
    return Batch(batch.units[inside], batch.groups[inside], inputs)


class _Entries(Protocol):
    """The (unit, group) pairs of a batch. Units are numbered from 0."""

    units: Integers
    """Each row's unit."""

    def add_up(self, weights: Floats | Booleans | None) -> Floats | Integers:
        """The sum of the rows' weights at each entry; without weights, the number of rows."""
        ...

    def by_unit(self, values: Integers | Booleans) -> Integers:
        """Of one value for each entry, the sums over each unit's."""
        ...

    def by_group(self, values: Floats | Integers) -> Integers:
        """The sums over each group's."""
        ...

    def of_units(self, chosen: Booleans) -> Integers:
        """The entries of chosen units."""
        ...

    def unit_of(self, entries: Integers) -> Integers: ...

    def group_of(self, entries: Integers) -> Integers: ...


class _Dense:
    """Every unit with every group: entry unit·groups + group."""

    def __init__(self, units: Integers, count: int, groups_of_rows: Integers, groups: int) -> None:
        self.units = units
        self._shape = (count, groups)
        self._of_rows = units
        if groups > 1:
            self._of_rows = np.multiply(units, groups, out=_scratch.array("entries", len(units), np.int64))
            self._of_rows += groups_of_rows

    def add_up(self, weights: Floats | Booleans | None) -> Floats | Integers:
        return np.bincount(self._of_rows, weights, self._shape[0] * self._shape[1])

    def by_unit(self, values: Integers | Booleans) -> Integers:
        return values.reshape(self._shape).sum(axis=1, dtype=np.int64)

    def by_group(self, values: Floats | Integers) -> Integers:
        return values.reshape(self._shape).sum(axis=0).astype(np.int64)

    def of_units(self, chosen: Booleans) -> Integers:
        groups = self._shape[1]
        return (np.flatnonzero(chosen)[:, np.newaxis] * groups + np.arange(groups)).ravel()

    def unit_of(self, entries: Integers) -> Integers:
        return entries // self._shape[1]

    def group_of(self, entries: Integers) -> Integers:
        return entries % self._shape[1]


class _Sparse:
    """The pairs that have rows, sorted."""

    def __init__(self, units: Integers, count: int, groups_of_rows: Integers, groups: int) -> None:
        self.units = units
        self._shape = (count, groups)
        pairs, self._of_rows = np.unique(units * groups + groups_of_rows, return_inverse=True)
        self._units, self._groups = pairs // groups, pairs % groups

    def add_up(self, weights: Floats | Booleans | None) -> Floats | Integers:
        return np.bincount(self._of_rows, weights, len(self._units))

    def by_unit(self, values: Integers | Booleans) -> Integers:
        return _whole(np.bincount(self._units, values, self._shape[0]))

    def by_group(self, values: Floats | Integers) -> Integers:
        return _whole(np.bincount(self._groups, values, self._shape[1]))

    def of_units(self, chosen: Booleans) -> Integers:
        return np.flatnonzero(chosen[self._units])

    def unit_of(self, entries: Integers) -> Integers:
        return self._units[entries]

    def group_of(self, entries: Integers) -> Integers:
        return self._groups[entries]


def _entries(batch: Batch, groups: int) -> _Entries:
    most = max(_DENSE_ENTRIES, _DENSE_SHARE * len(batch.units))
    first = int(batch.units.min())
    count = int(batch.units.max()) - first + 1
    units: Integers = np.subtract(batch.units, first, out=_scratch.array("units", len(batch.units), np.int64))
    if count * groups > most:
        present, units = np.unique(batch.units, return_inverse=True)
        count = len(present)
    return (_Dense if count * groups <= most else _Sparse)(units, count, batch.groups, groups)


class _Clipped:
    """One batch's cells, clipped unit by unit."""

    def __init__(self, plan: Plan, batch: Batch, entries: _Entries) -> None:
        self._clipping, self._fraction_bits = plan.clipping, plan.fraction_bits
        self._groups, self._of_rows = groups(plan), batch.groups
        self._entries = entries
        self._rows = entries.add_up(None)
        self._norms = ceil_isqrt(entries.by_unit(self._rows * self._rows))
        self._over = self._norms > plan.clipping.max_rows
        self._over_entries = entries.of_units(self._over) if self._over.any() else _NONE
        self._counted: dict[int, Integers] = {}

    def cells(self, statistic: Statistic, of_rows: Input) -> Integers:
        """The cells of one statistic, summed over the batch's units."""
        match statistic.WhichOneof("kind"):
            case "row_count" | "non_null_count":
                return self._counts(of_rows)
            case "bounded_sum":
                weights = steps(statistic.bounded_sum, _floats(of_rows), self._fraction_bits)
                return self._weighed(self._entries.add_up(weights), 0)
            case "distinct_units":
                return self._units(of_rows)
            case "range_counts":
                return self._ranges(statistic.range_counts, _floats(of_rows))
            case "unit_norms":
                return self._unit_norms(statistic.unit_norms, of_rows)
            case other:
                raise EngineError(f"the plan has a statistic of an unknown kind: {other}")

    def _counts(self, of_rows: Input) -> Integers:
        # Statistics that count the same rows share the array that says which.
        if id(of_rows) not in self._counted:
            counts = self._rows if of_rows is None else self._entries.add_up(of_rows)
            self._counted[id(of_rows)] = self._weighed(counts, self._fraction_bits)
        return self._counted[id(of_rows)]

    def _weighed(self, values: Floats | Integers, shift: int) -> Integers:
        """The sums by group of values << shift, those of units over the bound being scaled down."""
        entries = self._over_entries
        total = self._entries.by_group(values) << shift
        if not len(entries):
            return total
        before = _whole(values[entries]) << shift
        norms = self._norms[self._entries.unit_of(entries)]
        after = weigh_down(before, norms, self._clipping.max_rows)
        return total + _sum_at(self._entries.group_of(entries), after - before, self._groups)

    def _units(self, of_rows: Input) -> Integers:
        present = (self._rows if of_rows is None else self._entries.add_up(of_rows)) > 0
        entries = np.flatnonzero(present)
        weights = indicator_weights(self._entries.by_unit(present), self._clipping.max_groups, self._fraction_bits)
        return _sum_at(self._entries.group_of(entries), weights[self._entries.unit_of(entries)], self._groups)

    def _ranges(self, ranges: RangeCounts, term: Floats) -> Integers:
        """Rows of units within the bound need no unit any more; those of the others are clipped by node."""
        present = ~np.isnan(term)
        over = self._over[self._entries.units] & present
        within = present & ~over
        levels = _level_widths(ranges)
        leaf_cells = self._of_rows[within] * levels[-1] + leaves(ranges, term[within])
        totals = _levels(np.bincount(leaf_cells, None, self._groups * levels[-1]) << self._fraction_bits, levels)
        if over.any():
            leaf, group, unit = leaves(ranges, term[over]), self._of_rows[over], self._entries.units[over]
            for position, level in enumerate(levels):
                node = group * level + leaf // (levels[-1] // level)
                totals[position] += self._nodes(unit, node, self._groups * level).reshape(self._groups, level)
        return np.concatenate(totals, axis=1).ravel()

    def _unit_norms(self, norms: UnitNorms, keys: Input) -> Integers:
        """Units by their norm over the keys; those without a row that counts are in no cell."""
        if keys is None:
            raise EngineError("the keys of norms are not given")
        counting = keys >= 0
        units, own = self._entries.units[counting], keys[counting]
        pairs, rows = np.unique(units * (int(own.max(initial=0)) + 1) + own, return_counts=True)
        squares = _sum_at(pairs // (int(own.max(initial=0)) + 1), rows * rows, int(units.max(initial=0)) + 1)
        cells = np.searchsorted(np.array(norms.edges, np.int64), ceil_isqrt(squares[squares > 0]))
        return np.bincount(cells, None, len(norms.edges) + 1) << self._fraction_bits

    def _nodes(self, unit: Integers, node: Integers, count: int) -> Integers:
        """The clipped counts of one level's nodes, all of them of units over the bound."""
        pairs, counts = np.unique(unit * count + node, return_counts=True)
        norms = self._norms[pairs // count]
        values = weigh_down(counts << self._fraction_bits, norms, self._clipping.max_rows)
        return _sum_at(pairs % count, values, count)


def _level_widths(ranges: RangeCounts) -> list[int]:
    return [ranges.branching**level for level in range(1, ranges.levels + 1)]


def _levels(leaf_cells: Integers, widths: list[int]) -> list[Integers]:
    """From cells of (group, leaf), those of (group, node) on each level."""
    by_leaf = leaf_cells.reshape(-1, widths[-1])
    return [by_leaf.reshape(len(by_leaf), level, -1).sum(axis=2) for level in widths]


def _sum_at(places: Integers, values: Integers, count: int) -> Integers:
    """The sums of the values at each of `count` places."""
    return _whole(np.bincount(places, values, count))


def _whole(values: Floats | Integers) -> Integers:
    return values.astype(np.int64, copy=False)


def _floats(of_rows: Input) -> Floats:
    if of_rows is None or of_rows.dtype != np.float64:
        raise EngineError("a term is not given as float64")
    return of_rows
