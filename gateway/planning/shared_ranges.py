"""Counts of one batch under different conditions, read off one table or tree of counts.

`COUNT(*) WHERE age < 30` and `COUNT(*) WHERE age BETWEEN 30 AND 49` are about different rows, and would have plans and
parts of the budget of their own. Both are counts of ranges of one x, though: with the conditions as `FILTER`, over
the rows that both have in common, `range_workload` lays them out on one statistic, which has the parts of all of
them. Of m questions about ranges that do not overlap each then has an m-th of the variance.

A FILTER leaves a unit's norm as it is, which WHERE does not. So this is done only where no unit has more rows than are
counted in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Conjunction, Expression, Measure, Plan, RangeCountMeasure, Relation, Statistic

from enclave_sim.plan.relations import max_rows_bound
from enclave_sim.plan.sensitivity import groups
from gateway.planning.aggregates import Aggregate, Function
from gateway.planning.marginals import LEAST_GAIN
from gateway.planning.narrowing import conjuncts_of
from gateway.planning.plan_measures import measures_of
from gateway.planning.range_workload import Place, RangeWorkload, asked_variance


@dataclass(frozen=True)
class SharedRanges:
    """Drafts whose counts are all read off one statistic."""

    drafts: tuple[Plan, ...]
    relation: Relation
    """The rows that they have in common."""
    places: tuple[tuple[Place, ...], ...]
    """Of every statistic of each draft."""

    @property
    def gains(self) -> bool:
        """Whether no count is less exact than from its own part of the budget, and all are more so on average."""
        tree, shared = self.places[0][0].statistic.range_counts, len(self.drafts)
        ratios = [
            asked_variance(tree, [(place.first, place.end)]) / shared / len(places)
            for places in self.places
            for place in places
        ]
        return max(ratios) <= 1 and sum(ratios) <= len(ratios) * (1 - LEAST_GAIN)

    def plan(self) -> tuple[Plan, list[View]]:
        """The draft that answers all of them, without outputs, and what each of them shows of it."""
        plan = Plan()
        plan.CopyFrom(self.drafts[0])
        plan.relation.CopyFrom(self.relation)
        for name in ("statistics", "outputs", "grouping_sets", "presentation"):
            plan.ClearField(name)
        plan.statistics.add().CopyFrom(self.places[0][0].statistic)
        return plan, [_view(*pair) for pair in zip(self.drafts, self.places, strict=True)]


def range_subject(draft: Plan) -> bytes | None:
    """What questions whose counts can be read off one statistic have in common; None for what is no such question."""
    counts = all(_is_plain_count(each) for each in draft.statistics)
    measures = all(measure.HasField("count") for measure in measures_of(draft))
    if not counts or not measures or draft.grouping_sets or draft.clipping.joint_norm:
        return None
    if not draft.relation.HasField("selection"):
        return None
    bound = draft.clipping.max_rows
    if bound > 1 and max_rows_bound(draft.relation.selection.input) > bound:
        return None
    common = Plan(relation=draft.relation.selection.input, group_by=draft.group_by, clipping=draft.clipping)
    return common.SerializeToString(deterministic=True)


def shared_ranges(drafts: Sequence[Plan]) -> tuple[SharedRanges, list[int]] | None:
    """Those of some drafts of one subject that share a statistic, with their indexes; None if fewer than two do."""
    if len(drafts) < 2:
        return None
    conditions = [list(conjuncts_of(draft.relation.selection.condition)) for draft in drafts]
    common = [each for each in conditions[0] if all(each in others for others in conditions[1:])]
    counts = [
        [
            Aggregate(
                Function.ROWS, filter=_all_of([*(each for each in own if each not in common), *_filter(statistic)])
            )
            for statistic in draft.statistics
        ]
        for draft, own in zip(drafts, conditions, strict=True)
    ]
    workload = RangeWorkload((count for own in counts for count in own), groups(drafts[0]))
    found = [[workload.place(count) for count in own] for own in counts]
    first = next((place.statistic for own in found for place in own if place is not None), None)
    chosen = [
        (index, tuple(place for place in own if place is not None))
        for index, own in enumerate(found)
        if all(place is not None and place.statistic == first for place in own)
    ]
    if len(chosen) < 2:
        return None
    relation = drafts[0].relation.selection.input
    if common:
        rows = Relation()
        rows.selection.input.CopyFrom(relation)
        rows.selection.condition.CopyFrom(_all_of(common) or common[0])
        relation = rows
    shared = SharedRanges(tuple(drafts[index] for index, _ in chosen), relation, tuple(places for _, places in chosen))
    return (shared, [index for index, _ in chosen]) if shared.gains else None


def _is_plain_count(statistic: Statistic) -> bool:
    return statistic.HasField("row_count") and not statistic.HasField("marginal")


def _filter(statistic: Statistic) -> Iterator[Expression]:
    if statistic.HasField("filter"):
        yield from conjuncts_of(statistic.filter)


def _all_of(conditions: Sequence[Expression]) -> Expression | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return Expression(conjunction=Conjunction(operands=conditions))


def _view(draft: Plan, places: Sequence[Place]) -> View:
    presentation = draft.presentation if draft.HasField("presentation") else None
    view = View(outputs=draft.outputs, grouping_sets=draft.grouping_sets, presentation=presentation)
    _replace(view, places)
    return view


def _replace(message: Message, places: Sequence[Place]) -> None:
    """Every count in a message by the range that it is."""
    if isinstance(message, Measure):
        place = places[message.count.statistic]
        message.range_count.CopyFrom(RangeCountMeasure(first_leaf=place.first, end_leaf=place.end))
        return
    for field, content in message.ListFields():
        if field.message_type is not None:
            for each in [content] if isinstance(content, Message) else content:
                _replace(each, places)
