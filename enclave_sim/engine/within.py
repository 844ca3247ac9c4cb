"""Units that nothing weighs down: their rows are added up by group at once, without an entry for each (unit, group).

A unit is clipped by weights, which are 1 for one within the bounds. With n_g its rows in group g, V = the sum of n_g²,
and G = the number of groups with n_g > 0:

- a count or sum is weighed by max_rows / ceil(sqrt(V)), at most 1, and so not where V <= max_rows²;
- the joint vector is not where the squares of its values, in sixteenths of a row, rounded up, add up to joint_norm² or
  less. No statistic has a value beyond n_g rows in group g, so they are at most S · 256 · V for S statistics;
- COUNT(DISTINCT unit) is not where G <= max_groups.

What this finds within is within. All other units are clipped by `per_unit`, whether they are over or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from yingbi.api.v1.plan_pb2 import Plan, Statistic

from enclave_sim.engine import native
from enclave_sim.engine.entries import Booleans, Floats
from enclave_sim.engine.groups import Groups
from enclave_sim.engine.per_unit import Batch, Input
from enclave_sim.plan.sensitivity import JOINABLE, cells, groups, is_joint
from enclave_sim.privacy.clipping import SIXTEENTHS, Integers

_UNBOUNDED = 2**62
"""More than any unit has, of groups and of squares: it has fewer than 2^24 rows."""


def add_up_within(plan: Plan, batch: Batch) -> tuple[Integers, Batch | None]:
    """The cells of units that are within all bounds, and the rows of all other units; None where there are none.

    `batch` has its rows by unit, ascending. Where the compiled library is not there, or the plan has statistics of
    other kinds, all units are others. Raises EngineError.
    """
    if not (len(batch.units) and native.is_there() and _can(plan, batch)):
        return np.zeros(cells(plan), np.int64), batch if len(batch.units) else None
    rows, bounds = _grouped(batch.groups, groups(plan)), _bounds(plan)
    is_counted = any(statistic.HasField("distinct_units") for statistic in plan.statistics)
    over, units = rows.units_over(batch.units, bounds.squares, bounds.groups, is_counted=is_counted)
    within = _Within(plan.fraction_bits, rows, _between(over, len(batch.units)), units)
    found = [within.cells(*pair) for pair in zip(plan.statistics, batch.inputs, strict=True)]
    return np.concatenate(found), batch.of_spans(over) if len(over) else None


def _can(plan: Plan, batch: Batch) -> bool:
    # A statistic by some of the keys has groups, and so bounds, of its own.
    return not any(statistic.HasField("marginal") for statistic in plan.statistics) and all(
        statistic.WhichOneof("kind") in JOINABLE or (statistic.HasField("distinct_units") and of_rows is None)
        for statistic, of_rows in zip(plan.statistics, batch.inputs, strict=True)
    )


@dataclass(frozen=True)
class _Bounds:
    """What a unit's squares and its number of groups must not be above for it to be within every bound."""

    squares: int
    groups: int


def _bounds(plan: Plan) -> _Bounds:
    joint = [is_joint(plan, statistic) for statistic in plan.statistics]
    distinct = [statistic.HasField("distinct_units") for statistic in plan.statistics]
    squares = [
        plan.clipping.joint_norm**2 // (SIXTEENTHS**2 * sum(joint)) if is_one else plan.clipping.max_rows**2
        for is_one, is_distinct in zip(joint, distinct, strict=True)
        if not is_distinct
    ]
    return _Bounds(min(squares, default=_UNBOUNDED), plan.clipping.max_groups if any(distinct) else _UNBOUNDED)


def _grouped(given: Groups, count: int) -> native.GroupedRows:
    return native.GroupedRows(given.codes, given.starts(count, 1), count)


def _between(over: Integers, rows: int) -> Integers:
    """The rows that are in no span, in spans; some may be empty."""
    return np.concatenate([[0], over.ravel(), [rows]]).astype(np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class _Within:
    """The rows in `spans`, and how many of the units that these are of have rows in each group."""

    fraction_bits: int
    rows: native.GroupedRows
    spans: Integers
    units: Integers

    def cells(self, statistic: Statistic, of_rows: Input) -> Integers:
        """The cells of one statistic, in grid steps."""
        if statistic.HasField("bounded_sum"):
            return self.rows.add_steps(statistic.bounded_sum, cast(Floats, of_rows), self.fraction_bits, self.spans)
        if statistic.HasField("distinct_units"):
            return self.units << self.fraction_bits
        counts = self._all if of_rows is None else self.rows.count(cast(Booleans, of_rows), self.spans)
        return counts << self.fraction_bits

    @cached_property
    def _all(self) -> Integers:
        return self.rows.count(None, self.spans)
