"""Which queries of a batch share a plan: those of one subject, and those that are more exact together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Formula, Output

from enclave_sim.plan.sensitivity import groups as count_groups
from gateway.planning.batch_queries import ReadQuery
from gateway.planning.plan_measures import formulas_of
from gateway.planning.pooled import Pool
from gateway.planning.query import (
    refuse_size,
)
from gateway.planning.shared_plan import shared_plan
from gateway.planning.shared_ranges import range_subject, shared_ranges

MAX_SHARED_PARTS = 1_500_000
"""Groups times parts of formulas of a shared plan: whoever verifies its receipt computes them all."""

_QUANTILE_PARTS = 70
"""What reading a tree of counts comes to."""


def together(read: Sequence[ReadQuery]) -> list[list[ReadQuery]]:
    """The queries by the plans that they share."""
    found: list[list[ReadQuery]] = []
    for each in read:
        group = next((group for group in found if group[0].subject == each.subject and _fit([*group, each])), None)
        if group is None:
            found.append([each])
        else:
            group.append(each)
    return found


def ranged(groups: Sequence[list[ReadQuery]]) -> list[list[ReadQuery]]:
    """The same, counts of ranges of one expression put together where that makes them more exact."""
    found = list(groups)
    subjects = {subject for group in groups for subject in [_range_subject(group)] if subject is not None}
    for subject in sorted(subjects):
        # Queries of one group measure what they share once already.
        alone = [group[0] for group in found if len(group) == 1 and _range_subject(group) == subject]
        while (shared := shared_ranges([read.draft for read in alone])) is not None:
            ranges, indexes = shared
            together = [replace(alone[index], ranges=ranges, alone=alone[index]) for index in indexes]
            numbers = {read.index for read in together}
            alone = [read for read in alone if read.index not in numbers]
            found = [*(group for group in found if group[0].index not in numbers), together]
    return sorted(found, key=lambda group: group[0].index)


def _range_subject(group: Sequence[ReadQuery]) -> bytes | None:
    return range_subject(group[0].draft) if group[0].ranges is None else None


def pooled(groups: Sequence[list[ReadQuery]]) -> list[list[ReadQuery]]:
    """The same, those about the same rows by different keys put together where that makes them more exact."""
    found: list[list[ReadQuery]] = []
    waiting = list(groups)
    while waiting:
        group = waiting.pop(0)
        for other in waiting:
            both = _pool([*group, *other]) if _is_alike(group, other) else None
            if both is not None:
                # With more keys than before others may be of use.
                waiting = [both, *(each for each in [*found, *waiting] if each is not other)]
                found = []
                break
        else:
            found.append(group)
    return sorted(found, key=lambda group: min(read.index for read in group))


def _is_alike(one: Sequence[ReadQuery], other: Sequence[ReadQuery]) -> bool:
    subject = _pool_subject(one)
    return subject is not None and subject == _pool_subject(other)


def _pool_subject(group: Sequence[ReadQuery]) -> bytes | None:
    if any(read.ranges for read in group):
        return None
    subjects = {read.by_itself.pool_subject for read in group}
    return subjects.pop() if len(subjects) == 1 else None


def _pool(group: Sequence[ReadQuery]) -> list[ReadQuery] | None:
    """The queries with the keys of all of them; None where that gains nothing, or is more than a plan holds."""
    alone = sorted((read.by_itself for read in group), key=lambda read: read.index)
    pool = Pool.of([read.draft for read in alone])
    questions = [pool.places(read.draft) for read in alone]
    tables = sum(len(read.draft.statistics) for read in alone)
    in_order = all(list(places) == sorted(places) for places in questions)
    if not in_order or not pool.is_small or not pool.gains(questions, tables):
        return None
    pooled = [replace(read, draft=pool.draft(read.draft), pool=pool, alone=read) for read in alone]
    return pooled if _fit(pooled) else None


def _fit(group: Sequence[ReadQuery]) -> bool:
    try:
        draft, views = shared_plan(group)
        cells = count_groups(draft)
        refuse_size(draft, cells)
    except Problem:
        return False
    if any(each.HasField("marginal") for each in draft.statistics) and any(map(_has_window, views)):
        return False  # Windows need to know what the noises of different rows have in common.
    return cells * sum(_parts(output) for output in draft.outputs) <= MAX_SHARED_PARTS


def _has_window(view: View) -> bool:
    return any(formula.HasField("window") for formula in formulas_of(view))


def _parts(output: Output) -> int:
    """Measures, constants and operations of a column."""
    pending, count = [output.formula if output.HasField("formula") else Formula(measure=output.measure)], 0
    while pending:
        formula = pending.pop()
        count += _QUANTILE_PARTS if formula.measure.HasField("quantile") else 1
        pending += [*formula.operation.operands, *formula.window.operands]
        pending += [ordering.formula for ordering in formula.window.order_by]
    return count
