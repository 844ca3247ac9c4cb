"""COUNT(DISTINCT x) of another column than the privacy unit: how many values of x enough units have.

Whether a value is there at all is the secret of whoever alone has it, so it cannot be told. What can be told is which
values many units have: x becomes one more group key, the distinct units of each value are released with noise, and
`clients/yingbi/distinct.py` counts those values whose released number reaches a public threshold. It looks at nothing
but released numbers, so it reveals nothing beyond them: the sensitivity, price and noise are those of COUNT(DISTINCT
unit) GROUP BY x.

The query cannot have other aggregates beside it: rows whose x is NULL, or no listed value, are in no group of x, and
would be lost to them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.sensitivity import groups
from gateway.planning.aggregates import Counted, Function
from gateway.planning.asked import Asked
from gateway.planning.keys import counted_key
from gateway.planning.plan_measures import measures_of

FALSE_VALUES = 0.05
"""Values that one unit has, or none, and that noise alone makes count: on average, over all cells, at most."""


def with_counted_key(asked: Asked) -> Asked:
    """What a query asks, with x as a key where it counts the values of x.

    Raises:
        Problem: with the place of a count of values that stands beside something else, goes with totals, or is of
            an x whose values make no groups.
    """
    counted = next((each.counted for each in asked.aggregates if each.counted is not None), None)
    if counted is None:
        return asked
    _refuse_company(asked, counted)
    keys = counted_key(asked.scope, asked.selection.keys, counted.term, counted.node)
    return replace(asked, selection=replace(asked.selection, keys=keys))


def set_thresholds(plan: Plan, answer: Plan | View) -> None:
    """Set the threshold of every count of values in an answer of the plan, whose statistics have their σ."""
    for measure in measures_of(answer):
        if measure.HasField("distinct_values"):
            sigma = plan.statistics[measure.distinct_values.statistic].sigma
            deviation = math.sqrt(plan.noise.parties) * sigma / 2**plan.fraction_bits
            measure.distinct_values.threshold = threshold(deviation, groups(plan))


def threshold(deviation: float, cells: int) -> float:
    """The least whole number of units that noise takes for one unit seldom enough; at least 2.

    A cell of one unit or none reaches T with P(noise >= T - 1) <= FALSE_VALUES / cells. So even if every cell is one,
    those that are counted are FALSE_VALUES on average. This is for the meaning of the answer, that one unit's value
    hardly ever raises the count; differential privacy is about the released cells and does not rest on it.

    Args:
        deviation: of the noise in a cell, in units; above 0.
        cells: of the whole answer; at least 1.
    """
    return float(math.ceil(1 + NormalDist().inv_cdf(1 - FALSE_VALUES / cells) * deviation))


def _refuse_company(asked: Asked, counted: Counted) -> None:
    source, name = asked.scope.source, f"COUNT(DISTINCT {counted.term.label})"
    if any(each.function is not Function.VALUES for each in asked.aggregates):
        raise source.unsupported(
            f"{name} does not go with other aggregates: rows without a listed value would be missing in those.",
            at=counted.node,
            hint=f"Ask for {name} in a query of its own.",
        )
    for each in asked.aggregates:
        if each.counted is not None and each.counted != counted:
            raise source.unsupported(
                f"The values of {each.counted.term.label} cannot be counted in one query with those of "
                f"{counted.term.label}.",
                at=each.counted.node,
                hint=f"Ask for COUNT(DISTINCT {each.counted.term.label}) in a query of its own.",
            )
    keys = asked.selection.keys
    if keys.sets:
        raise source.unsupported(
            "Values cannot be counted with ROLLUP, CUBE or GROUPING SETS: one unit may be in several groups.",
            at=counted.node,
            hint=f"Ask for {name} in one query for each set of keys.",
        )
    if keys.find(counted.term.expression) is not None:
        raise source.unsupported(
            f"{counted.term.label} is a key, so every group has one value of it.",
            at=counted.node,
            hint=f"Leave {counted.term.label} out of GROUP BY, or ask for COUNT(*).",
        )
