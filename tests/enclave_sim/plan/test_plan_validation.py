"""Every lie that a plan can tell is found by the enclave's own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    ColumnReference,
    Conjunction,
    Expression,
    Negation,
    Plan,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_DEPTH, MAX_NODES
from enclave_sim.plan.validation import check_plan, total_rho_units

from .conftest import price

VERSION = b"12345678901234567890123456789012"
Change = Callable[[Plan], Any]


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=VERSION)


def filtered(text: str) -> Change:
    """Replace the filter by one in text form."""

    def change(plan: Plan) -> None:
        plan.ClearField("filter")
        plan.filter.SetInParent()
        text_format.Parse(text, plan.filter)

    return change


def test_a_good_plan_is_accepted(plan: Plan, declaration: DatasetDeclaration) -> None:
    check(plan, declaration)
    plan.ClearField("filter")
    check(plan, declaration)
    assert total_rho_units(plan) == sum(statistic.rho_units for statistic in plan.statistics)


@pytest.mark.parametrize(
    "text",
    [
        "literal { bool_value: false }",
        'null_test { column { name: "note" type: COLUMN_TYPE_STRING } }',
        'membership { column { name: "days" type: COLUMN_TYPE_INT64 } values { int64_value: 4 } }',
        "disjunction { operands { literal { bool_value: true } } operands { literal { bool_value: false } } }",
        "negation { operand { literal { bool_value: true } } }",
        'comparison { operator: OPERATOR_EQUAL left { column { name: "urgent" type: COLUMN_TYPE_BOOL } } '
        "right { literal { bool_value: true } } }",
    ],
)
def test_good_filters_are_accepted(plan: Plan, declaration: DatasetDeclaration, text: str) -> None:
    filtered(text)(plan)
    check(plan, declaration)


LIES: dict[str, tuple[str, Change]] = {
    "another language": ("language_version", lambda p: setattr(p, "language_version", 2)),
    "another dataset": ("dataset", lambda p: setattr(p, "dataset", "other")),
    "an old version of the data": ("dataset_version", lambda p: setattr(p, "dataset_version", b"1" * 32)),
    "another table": ("table", lambda p: setattr(p, "table", "VISITS")),
    "half the sigma": ("statistics[0].rho_units", lambda p: setattr(p.statistics[0], "sigma", 500_000)),
    "a sigma of 1": ("statistics[0].sigma", lambda p: setattr(p.statistics[0], "sigma", 1)),
    "a sigma of 0": ("statistics[3].sigma", lambda p: setattr(p.statistics[3], "sigma", 0)),
    "a price too low": ("statistics[1].rho_units", lambda p: setattr(p.statistics[1], "rho_units", 1)),
    "a price too high by 1": (
        "statistics[1].rho_units",
        lambda p: setattr(p.statistics[1], "rho_units", p.statistics[1].rho_units + 1),
    ),
    "larger clipping at the old price": ("statistics[0].rho_units", lambda p: setattr(p.clipping, "max_rows", 6)),
    "no clipping": ("clipping.max_rows", lambda p: setattr(p.clipping, "max_rows", 0)),
    "clipping out of range": ("clipping.max_rows", lambda p: setattr(p.clipping, "max_rows", 2**20 + 1)),
    "no groups": ("clipping.max_groups", lambda p: setattr(p.clipping, "max_groups", 0)),
    "more groups than there are": ("clipping.max_groups", lambda p: setattr(p.clipping, "max_groups", 3)),
    "another grid": ("fraction_bits", lambda p: setattr(p, "fraction_bits", 15)),
    "nobody to add noise": ("noise.parties", lambda p: setattr(p.noise, "parties", 0)),
    "more parties than price": ("statistics[0].rho_units", lambda p: setattr(p.noise, "parties", 4)),
    "units at more providers": ("noise.parties_per_unit", lambda p: setattr(p.noise, "parties_per_unit", 3)),
    "narrow slots": ("slot_bits", lambda p: setattr(p, "slot_bits", p.slot_bits - 1)),
    "wide slots": ("slot_bits", lambda p: setattr(p, "slot_bits", p.slot_bits + 1)),
    "a smaller epsilon than is spent": ("epsilon", lambda p: setattr(p, "epsilon", 0.001)),
    "an epsilon of NaN": ("epsilon", lambda p: setattr(p, "epsilon", float("nan"))),
    "a delta of 0": ("delta", lambda p: setattr(p, "delta", 0.0)),
    "no statistics": ("statistics", lambda p: p.ClearField("statistics")),
    "65 statistics": ("statistics", lambda p: p.statistics.extend([p.statistics[0]] * 61)),
    "a statistic without kind": ("statistics[0]", lambda p: p.statistics[0].ClearField("row_count")),
    "bounds upside down": (
        "statistics[1].bounded_sum.lower",
        lambda p: setattr(p.statistics[1].bounded_sum, "lower", 300.0),
    ),
    "bounds wider than the range": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "upper", 200.00000000000003),
    ),
    "a centre off the middle": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "centre", 114.0),
    ),
    "a half range of 0": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "half_range", 0.0),
    ),
    "an infinite half range": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "half_range", float("inf")),
    ),
    "a bound that is NaN": (
        "statistics[1].bounded_sum.lower",
        lambda p: setattr(p.statistics[1].bounded_sum, "lower", float("nan")),
    ),
    "the sum of a string": (
        "statistics[1].bounded_sum.column",
        lambda p: p.statistics[1].bounded_sum.column.CopyFrom(ColumnReference(name="note", type=COLUMN_TYPE_STRING)),
    ),
    "the sum of the unit": (
        "statistics[1].bounded_sum.column",
        lambda p: p.statistics[1].bounded_sum.column.CopyFrom(ColumnReference(name="id", type=COLUMN_TYPE_INT64)),
    ),
    "a count of the unit": (
        "statistics[2].non_null_count.column",
        lambda p: p.statistics[2].non_null_count.column.CopyFrom(ColumnReference(name="id", type=COLUMN_TYPE_INT64)),
    ),
    "groups by the unit": (
        "group_by[0].column",
        lambda p: p.group_by[0].column.CopyFrom(ColumnReference(name="id", type=COLUMN_TYPE_INT64)),
    ),
    "groups by a column of another type": (
        "group_by[0].column",
        lambda p: setattr(p.group_by[0].column, "type", COLUMN_TYPE_BOOL),
    ),
    "a group that nobody declared": (
        "group_by[0].values[2]",
        lambda p: p.group_by[0].values.add(string_value="south"),
    ),
    "a group twice": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add(string_value="east")),
    "a group of another type": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add(bool_value=True)),
    "a key without values": ("group_by[0].values", lambda p: p.group_by[0].ClearField("values")),
    "a key without declared values": (
        "group_by[0].values[0]",
        lambda p: setattr(p.group_by[0].column, "name", "note"),
    ),
    "a key twice": ("group_by", lambda p: p.group_by.append(p.group_by[0])),
    "no outputs": ("outputs", lambda p: p.ClearField("outputs")),
    "an output without name": ("outputs[0].name", lambda p: p.outputs[0].ClearField("name")),
    "an output without kind": ("outputs[0]", lambda p: p.outputs[0].ClearField("key")),
    "two outputs of one name": ("outputs", lambda p: setattr(p.outputs[0], "name", "n")),
    "a key that is not there": ("outputs[0].key", lambda p: setattr(p.outputs[0], "key", 1)),
    "a count that is a sum": ("outputs[1].count.statistic", lambda p: setattr(p.outputs[1].count, "statistic", 1)),
    "a count that is not there": ("outputs[1].count.statistic", lambda p: setattr(p.outputs[1].count, "statistic", 9)),
    "a sum that is a count": ("outputs[2].sum.bounded_sum", lambda p: setattr(p.outputs[2].sum, "bounded_sum", 0)),
    "a centred sum without its count": (
        "outputs[2].sum.non_null_count",
        lambda p: p.outputs[2].sum.ClearField("non_null_count"),
    ),
    "a mean over the row count": (
        "outputs[3].mean.non_null_count",
        lambda p: setattr(p.outputs[3].mean, "non_null_count", 0),
    ),
    "a mean over another column's count": (
        "outputs[2].sum.non_null_count",
        lambda p: p.statistics[2].non_null_count.column.CopyFrom(ColumnReference(name="note", type=COLUMN_TYPE_STRING)),
    ),
}


@pytest.mark.parametrize(("path", "change"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(plan: Plan, declaration: DatasetDeclaration, path: str, change: Change) -> None:
    change(plan)
    with pytest.raises(PlanError) as caught:
        check(plan, declaration)
    assert caught.value.path == path


BAD_FILTERS: dict[str, tuple[str, str]] = {
    "the unit in a comparison": (
        "filter.comparison.left.column",
        'comparison { operator: OPERATOR_EQUAL left { column { name: "id" type: COLUMN_TYPE_INT64 } } '
        "right { literal { int64_value: 7 } } }",
    ),
    "the unit in a null test": (
        "filter.null_test.column",
        'null_test { column { name: "id" type: COLUMN_TYPE_INT64 } }',
    ),
    "the unit in a list": (
        "filter.membership.column",
        'membership { column { name: "id" type: COLUMN_TYPE_INT64 } values { int64_value: 7 } }',
    ),
    "an unknown column": (
        "filter.null_test.column",
        'null_test { column { name: "secret" type: COLUMN_TYPE_INT64 } }',
    ),
    "a column in another case": (
        "filter.null_test.column",
        'null_test { column { name: "NOTE" type: COLUMN_TYPE_STRING } }',
    ),
    "two types": (
        "filter.comparison",
        'comparison { operator: OPERATOR_EQUAL left { column { name: "days" type: COLUMN_TYPE_INT64 } } '
        "right { literal { float64_value: 7 } } }",
    ),
    "no operator": (
        "filter.comparison.operator",
        'comparison { left { column { name: "days" type: COLUMN_TYPE_INT64 } } right { literal { int64_value: 7 } } }',
    ),
    "a comparison of comparisons": (
        "filter.comparison.left",
        "comparison { operator: OPERATOR_EQUAL left { negation { operand { literal { bool_value: true } } } } "
        "right { literal { bool_value: true } } }",
    ),
    "NaN": (
        "filter.comparison.right.literal",
        'comparison { operator: OPERATOR_LESS left { column { name: "pulse" type: COLUMN_TYPE_FLOAT64 } } '
        "right { literal { float64_value: nan } } }",
    ),
    "an empty list": (
        "filter.membership.values",
        'membership { column { name: "days" type: COLUMN_TYPE_INT64 } }',
    ),
    "a list of two types": (
        "filter.membership.values[1]",
        'membership { column { name: "days" type: COLUMN_TYPE_INT64 } values { int64_value: 7 } '
        "values { bool_value: true } }",
    ),
    "a long string": (
        "filter.membership.values[0]",
        'membership { column { name: "note" type: COLUMN_TYPE_STRING } values { string_value: "' + "x" * 1001 + '" } }',
    ),
    "a bare column": ("filter", 'column { name: "urgent" type: COLUMN_TYPE_BOOL }'),
    "a number": ("filter.literal", "literal { int64_value: 1 }"),
    "nothing": ("filter", ""),
    "an empty conjunction": ("filter.conjunction.operands", "conjunction {}"),
    "an empty negation": ("filter.negation.operand", "negation {}"),
}


@pytest.mark.parametrize(("path", "text"), BAD_FILTERS.values(), ids=BAD_FILTERS.keys())
def test_a_bad_filter_is_refused(plan: Plan, declaration: DatasetDeclaration, path: str, text: str) -> None:
    filtered(text)(plan)
    with pytest.raises(PlanError) as caught:
        check(plan, declaration)
    assert caught.value.path == path


def nested(depth: int) -> Expression:
    expression = Expression(literal=Value(bool_value=True))
    for _ in range(depth - 1):
        expression = Expression(negation=Negation(operand=expression))
    return expression


def wide(parts: int) -> Expression:
    truth = Expression(literal=Value(bool_value=True))
    return Expression(conjunction=Conjunction(operands=[truth] * (parts - 1)))


@pytest.mark.parametrize(("make", "limit"), [(nested, MAX_DEPTH), (wide, MAX_NODES)])
def test_filters_have_a_largest_size(
    plan: Plan, declaration: DatasetDeclaration, make: Callable[[int], Expression], limit: int
) -> None:
    plan.filter.CopyFrom(make(limit))
    check(plan, declaration)
    plan.filter.CopyFrom(make(limit + 1))
    with pytest.raises(PlanError, match="more than"):
        check(plan, declaration)


def test_units_at_several_providers_are_never_counted_as_distinct(plan: Plan, declaration: DatasetDeclaration) -> None:
    declaration.units_disjoint = False
    plan.noise.parties_per_unit = 3
    for statistic in plan.statistics:
        statistic.sigma *= 3
    price(plan)
    with pytest.raises(PlanError, match="distinct"):
        check(plan, declaration)
    del plan.statistics[3], plan.outputs[4]
    price(plan)
    check(plan, declaration)


def test_a_sum_around_0_needs_no_count(plan: Plan, declaration: DatasetDeclaration) -> None:
    plan.statistics[1].bounded_sum.centre = 0
    plan.statistics[1].bounded_sum.half_range = 200
    with pytest.raises(PlanError, match="if and only if"):
        check(plan, declaration)
    plan.outputs[2].sum.ClearField("non_null_count")
    check(plan, declaration)


def test_cells_that_no_slot_holds_are_refused(plan: Plan, declaration: DatasetDeclaration) -> None:
    declaration.max_units = 2**43
    with pytest.raises(PlanError, match="bits"):
        check(plan, declaration)
