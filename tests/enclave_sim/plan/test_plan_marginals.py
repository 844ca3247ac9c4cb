"""Statistics by some of the keys: what a plan may say of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_INT64,
    ColumnReference,
    GroupingSet,
    Plan,
    Statistic,
    Value,
)

from enclave_sim.plan.releases import releases
from enclave_sim.plan.sensitivity import cells, cells_of, delta2_squared
from enclave_sim.plan.validation import PlanError, check_plan

from .conftest import price


@pytest.fixture
def totals(plan: Plan) -> Plan:
    """Rows by ward and urgency, by ward, and all of them."""
    plan.group_by.add(expression=plan.group_by[0].expression, values=[Value(bool_value=True), Value(bool_value=False)])
    plan.group_by[1].expression.column.CopyFrom(ColumnReference(name="urgent", type=COLUMN_TYPE_BOOL))
    rows = plan.statistics[0]
    del plan.statistics[:], plan.outputs[1:]
    plan.outputs.add(name="n").measure.count.statistic = 0
    for keys in (None, [0], []):
        own = plan.statistics.add()
        own.CopyFrom(rows)
        if keys is not None:
            own.marginal.CopyFrom(GroupingSet(keys=keys))
    for keys in ([0, 1], [0], []):
        plan.grouping_sets.add(keys=keys)
    price(plan)
    return plan


def refused(plan: Plan, declaration: DatasetDeclaration) -> PlanError:
    price(plan)
    with pytest.raises(PlanError) as caught:
        check_plan(plan, declaration, dataset_version=plan.dataset_version)
    return caught.value


def test_a_marginal_has_a_cell_for_each_combination_of_its_keys(totals: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(totals, declaration, dataset_version=totals.dataset_version)
    assert [cells_of(totals, each) for each in totals.statistics] == [4, 2, 1]
    assert cells(totals) == 7


def test_each_is_a_release_with_the_sensitivity_of_its_kind_and_a_price_of_its_own(totals: Plan) -> None:
    assert [(each.statistics, each.cells) for each in releases(totals)] == [((0,), 4), ((1,), 2), ((2,), 1)]
    assert {delta2_squared(totals, each) for each in totals.statistics} == {(5 * 2**16) ** 2}


def test_a_price_below_the_true_one_is_refused(totals: Plan, declaration: DatasetDeclaration) -> None:
    totals.statistics[2].rho_units -= 1
    with pytest.raises(PlanError, match=r"statistics\[2\].rho_units"):
        check_plan(totals, declaration, dataset_version=totals.dataset_version)


def _distinct(statistic: Statistic) -> None:
    statistic.distinct_units.SetInParent()


def _ranges(statistic: Statistic) -> None:
    statistic.range_counts.term.column.CopyFrom(ColumnReference(name="days", type=COLUMN_TYPE_INT64))
    statistic.range_counts.upper, statistic.range_counts.branching, statistic.range_counts.levels = 8, 2, 1


@pytest.mark.parametrize("change", [_distinct, _ranges])
def test_only_counts_of_rows_and_sums_have_marginals(
    totals: Plan, declaration: DatasetDeclaration, change: Callable[[Statistic], None]
) -> None:
    change(totals.statistics[1])
    assert refused(totals, declaration).path == "statistics[1].marginal"


@pytest.mark.parametrize(
    ("keys", "message"),
    [([0, 1], "all keys"), ([1, 0], "ascend"), ([0, 0], "ascend"), ([2], "index of group_by")],
)
def test_its_keys_are_some_of_the_plans(
    totals: Plan, declaration: DatasetDeclaration, keys: list[int], message: str
) -> None:
    totals.statistics[1].marginal.CopyFrom(GroupingSet(keys=keys))
    with pytest.raises(PlanError, match=message):
        check_plan(totals, declaration, dataset_version=totals.dataset_version)


def test_a_joint_vector_has_none(totals: Plan, declaration: DatasetDeclaration) -> None:
    totals.clipping.joint_norm = 80
    assert "joint vector" in str(refused(totals, declaration))


def test_one_marginal_is_measured_once(totals: Plan, declaration: DatasetDeclaration) -> None:
    totals.statistics[1].marginal.CopyFrom(GroupingSet(keys=[]))
    assert "one marginal twice" in str(refused(totals, declaration))


def test_every_row_of_the_answer_follows_from_what_is_measured(totals: Plan, declaration: DatasetDeclaration) -> None:
    del totals.statistics[0]
    assert "a grouping set follows from" in str(refused(totals, declaration))
    del totals.grouping_sets[0]
    price(totals)
    check_plan(totals, declaration, dataset_version=totals.dataset_version)


def test_a_rest_is_beside_other_values(totals: Plan, declaration: DatasetDeclaration) -> None:
    totals.group_by[0].rest = True
    check_plan(totals, declaration, dataset_version=totals.dataset_version)
    del totals.group_by[0].values[1:]
    assert "nothing but the rest" in str(refused(totals, declaration))
