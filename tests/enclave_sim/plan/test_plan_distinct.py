"""Which counts of distinct values an enclave takes for meaningful. They see opened cells only; no price changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Formula, GroupKey, Plan

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.plan.validation import check_plan

from .conftest import price

URGENT = """
expression { column { name: "urgent" type: COLUMN_TYPE_BOOL } } values { bool_value: false } values { bool_value: true }
"""
VALUES = "measure { distinct_values { statistic: 3 threshold: 20 } }"


@pytest.fixture
def counting(plan: Plan) -> Plan:
    """By ward, how many values of `urgent` at least 20 units have."""
    plan.group_by.append(text_format.Parse(URGENT, GroupKey()))
    plan.grouping_sets.add(keys=[0])
    del plan.outputs[1:]
    plan.outputs.add(name="n").measure.distinct_values.CopyFrom(measure().measure.distinct_values)
    price(plan)
    return plan


def measure(text: str = VALUES) -> Formula:
    return text_format.Parse(text, Formula())


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_the_values_of_the_key_that_is_no_key_of_the_rows_are_counted(
    counting: Plan, declaration: DatasetDeclaration
) -> None:
    check(counting, declaration)
    del counting.grouping_sets[0].keys[:]
    check(counting, declaration)


def test_rows_may_be_chosen_and_computed_by_it(counting: Plan, declaration: DatasetDeclaration) -> None:
    counting.outputs[1].formula.operation.CopyFrom(
        measure(f"operation {{ operator: OPERATOR_NEGATE operands {{ {VALUES} }} }}").operation
    )
    counting.presentation.order_by.add(formula=measure())
    check(counting, declaration)


def test_units_still_cannot_be_added_up_beside_it(counting: Plan, declaration: DatasetDeclaration) -> None:
    counting.outputs.add(name="units").measure.count.statistic = 3
    with pytest.raises(PlanError, match="distinct units cannot be added up"):
        check(counting, declaration)


def test_it_costs_what_counting_the_units_of_every_value_costs(counting: Plan, declaration: DatasetDeclaration) -> None:
    """It is read off the same cells: without the set, they would be the answer themselves."""
    before = total_rho_units(counting)
    del counting.grouping_sets[:]
    counting.outputs[1].measure.count.statistic = 3
    price(counting)
    check(counting, declaration)
    assert total_rho_units(counting) == before


def set_threshold(plan: Plan, number: float) -> None:
    plan.outputs[1].measure.distinct_values.threshold = number


WRONG: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "rows by every key": ("", lambda p: p.grouping_sets[0].keys.append(1)),
    "no grouping set": ("", lambda p: p.ClearField("grouping_sets")),
    "two grouping sets": ("", lambda p: p.grouping_sets.add()),
    "a count of rows": (".statistic", lambda p: setattr(p.outputs[1].measure.distinct_values, "statistic", 0)),
    "no statistic": (".statistic", lambda p: setattr(p.outputs[1].measure.distinct_values, "statistic", 9)),
    "no threshold": (".threshold", lambda p: set_threshold(p, 0.0)),
    "a threshold below 0": (".threshold", lambda p: set_threshold(p, -1.0)),
    "an infinite threshold": (".threshold", lambda p: set_threshold(p, math.inf)),
    "a threshold of NaN": (".threshold", lambda p: set_threshold(p, math.nan)),
}


@pytest.mark.parametrize(("path", "change"), WRONG.values(), ids=WRONG.keys())
def test_what_it_cannot_mean_is_refused(
    counting: Plan, declaration: DatasetDeclaration, path: str, change: Callable[[Plan], Any]
) -> None:
    change(counting)
    with pytest.raises(PlanError) as caught:
        check(counting, declaration)
    assert caught.value.path == f"outputs[1].measure.distinct_values{path}"


def test_an_empty_measure_has_neither_statistic_nor_threshold(counting: Plan, declaration: DatasetDeclaration) -> None:
    counting.outputs[1].measure.distinct_values.Clear()
    counting.outputs[1].measure.distinct_values.SetInParent()
    with pytest.raises(PlanError):
        check(counting, declaration)


def test_units_at_several_providers_are_not_counted_by_value_either(
    counting: Plan, declaration: DatasetDeclaration
) -> None:
    declaration.units_disjoint = False
    counting.noise.parties_per_unit = 3
    for statistic in counting.statistics:
        statistic.sigma *= 3
    price(counting)
    with pytest.raises(PlanError, match="distinct"):
        check(counting, declaration)
