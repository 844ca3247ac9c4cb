"""A count of a range names leaves that are there, of a tree; statistic 4 of the good plan has 2^3."""

from __future__ import annotations

from typing import Any

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Formula, GroupingSet, Measure, Operation, Plan, RangeCountMeasure

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.outputs import check_answer
from enclave_sim.plan.validation import check_plan

TREE = 4


def ranged(first: int, end: int, statistic: int = TREE) -> Measure:
    return Measure(range_count=RangeCountMeasure(range_counts=statistic, first_leaf=first, end_leaf=end))


@pytest.mark.parametrize(("first", "end"), [(0, 1), (0, 8), (3, 5), (7, 8)])
def test_any_neighbouring_leaves_may_be_counted(
    plan: Plan, declaration: DatasetDeclaration, first: int, end: int
) -> None:
    plan.outputs.add(name="x", measure=ranged(first, end))
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


@pytest.mark.parametrize(
    ("measure", "field"),
    [
        (ranged(0, 0), "first_leaf"),
        (ranged(5, 4), "first_leaf"),
        (ranged(8, 9), "end_leaf"),
        (ranged(0, 2**32 - 1), "end_leaf"),
        (ranged(0, 1, statistic=0), "range_counts"),
        (ranged(0, 1, statistic=5), "range_counts"),
    ],
)
def test_a_range_that_is_not_there_is_refused(
    plan: Plan, declaration: DatasetDeclaration, measure: Measure, field: str
) -> None:
    plan.outputs.add(name="x", measure=measure)
    assert refused(plan) == f"outputs[7].measure.range_count.{field}"
    with pytest.raises(PlanError):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_it_is_looked_at_inside_formulas_too(plan: Plan) -> None:
    operands: list[Any] = [Formula(measure=ranged(0, 8)), Formula(measure=ranged(0, 9))]
    plan.outputs.add(name="x", formula=Formula(operation=Operation(operator=Operation.OPERATOR_ADD, operands=operands)))
    assert refused(plan) == "outputs[7].formula.operation.operands[1].measure.range_count.end_leaf"


def test_ranges_can_be_added_up_over_groups(plan: Plan, declaration: DatasetDeclaration) -> None:
    """They count rows, of which each is in one group; units are not."""
    del plan.outputs[4:]
    plan.outputs.add(name="x", measure=ranged(0, 8))
    plan.grouping_sets.extend([GroupingSet(keys=[0]), GroupingSet()])
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


def refused(plan: Plan) -> str:
    with pytest.raises(PlanError) as caught:
        check_answer(plan)
    return caught.value.path
