"""From what each unit has in each group to the clipped sum over units, in exact integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.protocol import EngineError
from enclave_sim.plan.sensitivity import groups
from enclave_sim.privacy.clipping import Integers, clip_indicator, clip_weighted

_LOW_BITS = 32


@dataclass(frozen=True)
class Touched:
    """One entry for each (unit, group) with rows after the filter, sorted by unit; columns of equal length.

    `measures` has a column for each statistic: the non-NULL rows of NonNullCount, the grid steps of
    BoundedSum, the rows of the others.
    """

    units: Integers
    groups: Integers
    rows: Integers
    measures: list[Integers]


def cells(plan: Plan, position: int, touched: Touched) -> list[int]:
    """The cells of the statistic at `position`, one for each group: the sums of the units' clipped values."""
    return _sum(touched.groups, _clipped(plan, position, touched), groups(plan))


def _clipped(plan: Plan, position: int, touched: Touched) -> Integers:
    measure = touched.measures[position]
    match plan.statistics[position].WhichOneof("kind"):
        case "row_count" | "non_null_count":
            values = measure << plan.fraction_bits
        case "bounded_sum":
            values = measure
        case "distinct_units":
            return clip_indicator(touched.units, plan.clipping.max_groups, plan.fraction_bits)
        case other:
            raise EngineError(f"the plan has a statistic of an unknown kind: {other}")
    return clip_weighted(touched.units, touched.rows, values, plan.clipping.max_rows, plan.fraction_bits)


def _sum(positions: Integers, values: Integers, count: int) -> list[int]:
    """The sum of the `values` at each of `count` positions, exactly; fewer than 2^31 values.

    High and low halves are added apart, so no int64 wraps, whatever the number of units.
    """
    high, low = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(high, positions, values >> _LOW_BITS)
    np.add.at(low, positions, values & ((1 << _LOW_BITS) - 1))
    return [(int(upper) << _LOW_BITS) + int(lower) for upper, lower in zip(high, low, strict=True)]
