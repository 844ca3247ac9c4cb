"""The (unit, group) pairs of some rows, and sums over them.

Weights are whole numbers up to 2^16 and a batch has fewer than 2^37 rows, so every sum is below 2^53 and exact in a
double: `bincount` adds integers, whatever their order.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import BoundedSum

from enclave_sim.engine import native
from enclave_sim.engine.groups import Groups
from enclave_sim.engine.scratch import Scratch
from enclave_sim.engine.terms import steps
from enclave_sim.privacy.clipping import Integers

Floats: TypeAlias = NDArray[np.float64]
Booleans: TypeAlias = NDArray[np.bool_]
Numbers: TypeAlias = Floats | Integers

_DENSE_ENTRIES = 1 << 18
_DENSE_SHARE = 2
_scratch = Scratch()


class Entries(Protocol):
    """Pairs by number. Units are numbered from 0."""

    @property
    def units(self) -> Integers:
        """Each row's unit."""
        ...

    def add_up(self, weights: Floats | Booleans | None) -> Numbers:
        """The sum of the rows' weights at each entry; without weights, the number of rows."""
        ...

    def add_steps(self, statistic: BoundedSum, term: Floats, fraction_bits: int) -> Numbers:
        """The sum of the rows' terms at each entry, in grid steps."""
        ...

    def by_unit(self, values: Integers | Booleans) -> Integers:
        """Of one value for each entry, the sums over each unit's."""
        ...

    def squares_by_unit(self, values: Integers) -> Integers:
        """The same of their squares, all of which together are below 2^53 for a unit."""
        ...

    def by_group(self, values: Numbers) -> Integers:
        """The sums over each group's."""
        ...

    def of_units(self, chosen: Booleans) -> Integers:
        """The entries of chosen units."""
        ...

    def unit_of(self, entries: Integers) -> Integers:
        """The units of these entries."""
        ...

    def group_of(self, entries: Integers) -> Integers:
        """The groups of these entries."""
        ...


def entries_of(units: Integers, groups: Groups, count: int, *, is_sorted: bool = False) -> Entries:
    """The entries of rows with these units and groups, of which there are `count` in the plan; one row at least.

    `is_sorted` where units are known to ascend.
    """
    most = max(_DENSE_ENTRIES, _DENSE_SHARE * len(units))
    first, last = (int(units[0]), int(units[-1])) if is_sorted else (int(units.min()), int(units.max()))
    if (last - first + 1) * count <= most:
        return _Dense(units, first, last - first + 1, groups, count)
    present, units = np.unique(units, return_inverse=True)
    if len(present) * count <= most:
        return _Dense(units, 0, len(present), groups, count)
    return _Sparse(units, len(present), groups, count)


class _Dense:
    """Every unit with every group: entry group·units + unit. Rows in no group are in one more, which is cut off."""

    def __init__(self, units: Integers, first: int, count: int, groups: Groups, group_count: int) -> None:
        self._units, self._first = units, first
        self._shape = (group_count, count)
        if native.is_there():
            self._of_rows: Integers = _scratch.array("cells", len(units), np.int64)
            starts, length = groups.starts(group_count, count), (group_count + 1) * count
            self._counts = native.cells(units, first, count, groups.codes, starts, self._of_rows, length)
        else:
            self._of_rows = groups.cells(group_count, count, -first)
            self._of_rows += units

    @cached_property
    def units(self) -> Integers:
        return self._units - self._first

    def add_up(self, weights: Floats | Booleans | None) -> Numbers:
        groups, units = self._shape
        length, end = (groups + 1) * units, groups * units
        if native.is_there() and weights is None:
            return self._counts[:end]
        if native.is_there() and weights is not None and weights.dtype == np.bool_:
            return native.count(self._of_rows, cast(Booleans, weights), length)[:end]
        return np.bincount(self._of_rows, weights, length)[:end]

    def add_steps(self, statistic: BoundedSum, term: Floats, fraction_bits: int) -> Numbers:
        if not native.is_there():
            return self.add_up(steps(statistic, term, fraction_bits))
        groups, units = self._shape
        length = (groups + 1) * units
        return native.add_steps(self._of_rows, statistic, term, fraction_bits, length)[: groups * units]

    def by_unit(self, values: Integers | Booleans) -> Integers:
        sums: Integers = values.reshape(self._shape).sum(axis=0, dtype=np.int64)
        return sums

    def squares_by_unit(self, values: Integers) -> Integers:
        return native.squares(values, self._shape[1]) if native.is_there() else self.by_unit(values * values)

    def by_group(self, values: Numbers) -> Integers:
        return whole(values.reshape(self._shape).sum(axis=1))

    def of_units(self, chosen: Booleans) -> Integers:
        starts = np.arange(self._shape[0], dtype=np.int64)[:, np.newaxis] * self._shape[1]
        return (starts + np.flatnonzero(chosen)).ravel()

    def unit_of(self, entries: Integers) -> Integers:
        return entries % self._shape[1]

    def group_of(self, entries: Integers) -> Integers:
        return entries // self._shape[1]


class _Sparse:
    """The pairs that have rows, sorted; those of rows in no group come last, and are cut off."""

    def __init__(self, units: Integers, count: int, groups: Groups, group_count: int) -> None:
        self.units = units
        self._shape = (group_count, count)
        pairs, self._of_rows = np.unique(groups.cells(group_count, count, 0) + units, return_inverse=True)
        self._pairs = pairs[: np.searchsorted(pairs, group_count * count)]
        self._groups: Integers = self._pairs // count
        self._units: Integers = self._pairs % count

    def add_up(self, weights: Floats | Booleans | None) -> Numbers:
        return np.bincount(self._of_rows, weights, len(self._pairs))[: len(self._pairs)]

    def add_steps(self, statistic: BoundedSum, term: Floats, fraction_bits: int) -> Numbers:
        return self.add_up(steps(statistic, term, fraction_bits))

    def by_unit(self, values: Integers | Booleans) -> Integers:
        return sum_at(self._units, values, self._shape[1])

    def squares_by_unit(self, values: Integers) -> Integers:
        return self.by_unit(values * values)

    def by_group(self, values: Numbers) -> Integers:
        return sum_at(self._groups, values, self._shape[0])

    def of_units(self, chosen: Booleans) -> Integers:
        return np.flatnonzero(chosen[self._units])

    def unit_of(self, entries: Integers) -> Integers:
        return self._units[entries]

    def group_of(self, entries: Integers) -> Integers:
        return self._groups[entries]


def sum_at(places: Integers, values: Numbers | Booleans, count: int) -> Integers:
    """The sums of the values at each of `count` places."""
    return whole(np.bincount(places, values, count))


def whole(values: Numbers) -> Integers:
    """Sums, which are whole numbers, as integers."""
    return values.astype(np.int64, copy=False)
