"""The plan that answers several queries of a batch, what each of them shows of it, and what it lays on each statistic.

The proof that no query loses by it is in `gateway.planning.batch`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from yingbi.api.marginals import Keys
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import GroupingSet, NonNullCount, Output, Plan, RowCount, Statistic

from enclave_sim.plan.sensitivity import groups as count_groups
from gateway.planning.batch_queries import ReadQuery
from gateway.planning.marginals import by_all_keys, has_marginals, keys_of, measure
from gateway.planning.query import (
    output_of,
    presentation_of,
)
from gateway.planning.selection import Shown
from gateway.planning.statistics import Chooser, shares_of
from gateway.planning.sums import bounded_sum


def shared_plan(group: Sequence[ReadQuery]) -> tuple[Plan, list[View]]:
    """The draft that answers all queries of a group, and what each of them shows of it."""
    if group[0].ranges is not None:
        plan, views = group[0].ranges.plan()
        plan.outputs.extend(_all_outputs(group, views))
        return plan, views
    plan = Plan()
    plan.CopyFrom(group[0].draft)
    if len(group) == 1 and group[0].pool is None:
        return plan, [View(outputs=plan.outputs, grouping_sets=plan.grouping_sets, presentation=_presentation(plan))]
    chooser = Chooser((found for each in group for found in each.asked.aggregates), count_groups(plan))
    views = [
        View(
            outputs=[_output(each, column, own) for column in each.asked.selection.shown],
            grouping_sets=each.draft.grouping_sets,
            presentation=presentation_of(each.asked.presentation, own),
        )
        for each in group
        for own in [chooser.asking(each.asked.aggregates)]
    ]
    for name in ("statistics", "outputs", "grouping_sets", "presentation"):
        plan.ClearField(name)
    plan.statistics.extend(chooser.statistics)
    plan.outputs.extend(_all_outputs(group, views))
    _measure_totals(plan, group)
    return plan, views


def _output(read: ReadQuery, column: Shown, chooser: Chooser) -> Output:
    output = output_of(column, chooser)
    return output if read.pool is None else read.pool.output(output, read.by_itself.draft)


def _measure_totals(plan: Plan, group: Sequence[ReadQuery]) -> None:
    """Measure in a shared plan the marginals that its queries measure alone; all rows of its own follow from them.

    Raises:
        Problem: they are more than a plan holds, so the queries do not share one.
    """
    everything = tuple(range(len(plan.group_by)))
    chosen: dict[int, dict[Keys, None]] = {}
    for each in group:
        for statistic in filter(has_marginals, each.draft.statistics):
            for index, _ in _measured_by(by_all_keys(statistic), plan.statistics):
                chosen.setdefault(index, {})[keys_of(statistic, len(everything))] = None
    if all(list(keys) == [everything] for keys in chosen.values()):
        return
    if not measure(plan, {index: tuple(keys) for index, keys in chosen.items()}):
        raise Problem(Kind.REFUSED, "too_many_statistics", "The queries measure more marginals than a plan holds.")
    sets = {
        tuple(keys.keys): None for each in group for keys in each.draft.grouping_sets or [GroupingSet(keys=everything)]
    }
    covered = [keys for keys in dict.fromkeys(sets) if all(_covers(measured, keys) for measured in chosen.values())]
    plan.grouping_sets.extend(GroupingSet(keys=keys) for keys in covered or [()])


def _covers(measured: Iterable[Keys], keys: Keys) -> bool:
    return any(set(keys) <= set(each) for each in measured)


def _presentation(plan: Plan) -> plan_pb2.Presentation | None:
    return plan.presentation if plan.HasField("presentation") else None


def _all_outputs(group: Sequence[ReadQuery], views: Sequence[View]) -> list[Output]:
    """Every column of all queries, once; named after the first query that has it, so that no two are called alike."""
    found: dict[bytes, Output] = {}
    for read, view in zip(group, views, strict=True):
        for output in view.outputs:
            named = Output()
            named.CopyFrom(output)
            named.ClearField("name")
            content = named.SerializeToString(deterministic=True)
            named.name = f"{read.index + 1}: {output.name}"
            found.setdefault(content, named)
    return list(found.values())


def shares_together(shared: Sequence[Statistic], alone: Iterable[Plan], share: int) -> list[int]:
    """What each statistic of a shared plan has of the ρ of its queries: all that they lay on it."""
    totals = [Fraction(0)] * len(shared)
    for draft in alone:
        for statistic, part in zip(draft.statistics, shares_of(draft, share), strict=True):
            for index, fraction in _measured_by(statistic, shared):
                totals[index] += part * fraction
    return [math.floor(total) for total in totals]


def _measured_by(statistic: Statistic, shared: Sequence[Statistic]) -> list[tuple[int, Fraction]]:
    """Which statistics of a shared plan take the place of one, and which part of its share each of them has."""
    places = {each.SerializeToString(deterministic=True): index for index, each in enumerate(shared)}
    place = places.get(statistic.SerializeToString(deterministic=True))
    if place is not None:
        return [(place, Fraction(1))]
    # A plain sum that is derived from the centred one and the count.
    plain = statistic.bounded_sum
    centred = Statistic()
    centred.CopyFrom(statistic)
    centred.bounded_sum.CopyFrom(bounded_sum(plain.term, plain.lower, plain.upper, centred=True))
    counts = [Statistic(non_null_count=NonNullCount(term=plain.term)), Statistic(row_count=RowCount())]
    for each in counts:
        for name in ("filter", "marginal"):
            if statistic.HasField(name):
                getattr(each, name).CopyFrom(getattr(statistic, name))
    # Where x is never NULL, its count is that of the rows.
    found = [places.get(each.SerializeToString(deterministic=True)) for each in counts]
    count = next(place for place in found if place is not None)
    half, centre = Fraction(centred.bounded_sum.half_range), abs(Fraction(centred.bounded_sum.centre))
    return [
        (places[centred.SerializeToString(deterministic=True)], half / (half + centre)),
        (count, centre / (half + centre)),
    ]
