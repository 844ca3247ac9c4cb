"""What a query is compiled to."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Expression, Output, Plan, Relation, Scan

from enclave_sim.plan.canonical import decode, encode
from enclave_sim.plan.sensitivity import delta2_squared, groups, total_rho_units
from enclave_sim.plan.statistics import is_centred
from enclave_sim.privacy.gaussian import rho_units_of
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query
from gateway.planning.sums import bounded_sum

from .conftest import VERSION, Planner


def kinds(plan: Plan) -> list[str | None]:
    return [statistic.WhichOneof("kind") for statistic in plan.statistics]


def shown(output: Output) -> str | None:
    return output.measure.WhichOneof("kind") if output.HasField("measure") else output.WhichOneof("kind")


def names(plan: Plan) -> list[str]:
    return [output.name for output in plan.outputs]


# Columns of the answer


def test_columns_come_in_the_order_of_the_list_and_are_named_by_their_text(planned: Planner) -> None:
    plan = planned("SELECT COUNT( * ),  avg(Value) ,test, COUNT(DISTINCT id) AS people FROM labs GROUP BY TEST")
    assert names(plan) == ["COUNT( * )", "avg(Value)", "Test", "people"]
    assert [shown(output) for output in plan.outputs] == ["count", "mean", "key", "count"]


def test_an_alias_needs_no_as_and_may_be_quoted(planned: Planner) -> None:
    assert names(planned('SELECT COUNT(*) n, SUM(value) "the sum" FROM labs')) == ["n", "the sum"]


def test_a_text_over_several_lines_with_comments_is_a_name_as_written(planned: Planner) -> None:
    assert names(planned("SELECT SUM(value) -- all\n, /* n */ COUNT(*) FROM labs")) == ["SUM(value)", "COUNT(*)"]


# Groups


@pytest.mark.parametrize("key", ["test", "TEST", "labs.test", "1", "t", "(test)", "test, 1, t"])
def test_a_key_may_be_named_in_many_ways(planned: Planner, key: str) -> None:
    plan = planned(f"SELECT test AS t, COUNT(*) FROM labs GROUP BY {key}")
    assert [key.expression.column.name for key in plan.group_by] == ["Test"]
    assert [value.string_value for value in plan.group_by[0].values] == ["hdl", "chol", "smoke"]
    assert plan.outputs[0].name == "t"


def test_keys_keep_the_order_of_group_by_and_need_not_be_shown(planned: Planner) -> None:
    plan = planned("SELECT fasting, COUNT(*) FROM labs GROUP BY test, fasting")
    assert [key.expression.column.name for key in plan.group_by] == ["Test", "fasting"]
    assert plan.outputs[0].key == 1
    assert groups(plan) == 6


def test_clipping_follows_the_declaration(planned: Planner) -> None:
    assert planned("SELECT COUNT(*) FROM labs").clipping.max_groups == 1
    plan = planned("SELECT COUNT(*) FROM labs GROUP BY test, fasting")
    assert (plan.clipping.max_rows, plan.clipping.max_groups) == (60, 6)


# Tables


@pytest.mark.parametrize(
    "text",
    [
        "LABS WHERE value > 1",
        "labs l WHERE l.value > 1",
        "nafld.labs AS L WHERE l.VALUE > 1",
        '"Labs" WHERE "VALUE" > 1',
    ],
)
def test_names_are_matched_in_whatever_case_and_reported_as_declared(planned: Planner, text: str) -> None:
    plan = planned(f"SELECT COUNT(*) FROM {text}")
    assert plan.relation.selection.input == Relation(scan=Scan(table="labs"))
    assert "value" in str(plan.relation.selection.condition)


# Statistics


def test_each_statistic_is_measured_once(planned: Planner) -> None:
    plan = planned("SELECT COUNT(*) a, COUNT(*) b, AVG(value) c, AVG(value) d, COUNT(value) e FROM labs")
    assert kinds(plan) == ["row_count", "bounded_sum", "non_null_count"]
    assert plan.outputs[4].measure.count.statistic == 2


def test_an_average_is_a_sum_around_the_middle(planned: Planner) -> None:
    total = planned("SELECT AVG(value) FROM labs").statistics[0].bounded_sum
    assert (total.lower, total.upper, total.centre, total.half_range) == (0, 300, 150, 150)


def test_a_sum_alone_is_around_0_and_needs_no_count(planned: Planner) -> None:
    plan = planned("SELECT SUM(value) FROM labs")
    assert kinds(plan) == ["bounded_sum"]
    assert (plan.statistics[0].bounded_sum.centre, plan.statistics[0].bounded_sum.half_range) == (0, 300)
    assert not plan.outputs[0].measure.sum.HasField("non_null_count")


def test_a_sum_beside_an_average_costs_nothing_more(planned: Planner) -> None:
    plan = planned("SELECT SUM(value), AVG(value) FROM labs")
    assert kinds(plan) == ["bounded_sum", "non_null_count"]
    assert plan.outputs[0].measure.sum.non_null_count == 1


def test_a_sum_beside_an_average_around_0_needs_no_count(planned: Planner) -> None:
    plan = planned("SELECT SUM(days), AVG(days) FROM labs")
    assert kinds(plan) == ["bounded_sum", "non_null_count"]
    assert not plan.outputs[0].measure.sum.HasField("non_null_count")


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(FINITE, FINITE, st.booleans())
def test_every_term_lies_within_1_for_whatever_bounds(first: float, second: float, centred: bool) -> None:
    if first == second:
        return
    lower, upper = min(first, second), max(first, second)
    total = bounded_sum(Expression(), lower, upper, centred=centred)
    assert math.isfinite(total.half_range)
    assert total.half_range > 0
    assert is_centred(total)
    # No wider than a rounding: the smallest double that does.
    smaller = Fraction(math.nextafter(total.half_range, 0))
    centre = Fraction(total.centre)
    assert max(abs(Fraction(lower) - centre), abs(Fraction(upper) - centre)) > smaller


# Privacy


@pytest.mark.parametrize("epsilon", [0.01, 0.5, 3.0])
@pytest.mark.parametrize(
    "sql", ["SELECT COUNT(*) FROM labs", "SELECT AVG(value), COUNT(DISTINCT id) FROM labs GROUP BY test"]
)
def test_the_budget_is_used_and_not_exceeded(declaration: DatasetDeclaration, sql: str, epsilon: float) -> None:
    plan = plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=epsilon, delta=1e-7)
    budget = zcdp.rho_units_for(epsilon, 1e-7, zcdp.kept_delta0_units(1e-7))
    assert 0.999 * budget < total_rho_units(plan) <= budget
    part = budget // len(plan.statistics)
    for statistic in plan.statistics:
        delta2 = delta2_squared(plan, statistic)
        assert statistic.rho_units == rho_units_of(delta2, statistic.sigma, 3, groups(plan))
        assert rho_units_of(delta2, statistic.sigma - 1, 3, groups(plan)) > part


def test_the_same_query_makes_the_same_bytes(planned: Planner) -> None:
    sql = "SELECT test, AVG(value) FROM labs WHERE days > 3 AND note IN ('a', 'b') GROUP BY test"
    data = encode(planned(sql))
    assert encode(planned(sql)) == data
    assert encode(decode(data)) == data


@pytest.mark.parametrize(
    ("epsilon", "delta", "field"),
    [(0.0, 1e-7, "epsilon"), (float("nan"), 1e-7, "epsilon"), (1e9, 1e-7, "epsilon"), (1.0, 1.0, "delta")],
)
def test_bad_parameters_are_named(declaration: DatasetDeclaration, epsilon: float, delta: float, field: str) -> None:
    with pytest.raises(Problem) as caught:
        plan_query(
            "SELECT COUNT(*) FROM labs", declaration, dataset_version=VERSION, parties=3, epsilon=epsilon, delta=delta
        )
    assert (caught.value.kind, caught.value.code, caught.value.field) == (Kind.MALFORMED, field, field)


def changed(declaration: DatasetDeclaration, **fields: object) -> DatasetDeclaration:
    other = DatasetDeclaration()
    other.CopyFrom(declaration)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def test_units_at_several_providers_count_for_each(declaration: DatasetDeclaration) -> None:
    shared = changed(declaration, units_disjoint=False)
    plan = plan_query("SELECT COUNT(*) FROM labs", shared, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
    assert plan.noise.parties_per_unit == 3
    assert any("3 providers" in note for note in clipping_notes(plan, shared))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(DISTINCT id) FROM labs",
        "SELECT COUNT(*) FROM labs JOIN patients USING (id)",
        "SELECT AVG(m) FROM (SELECT id, AVG(value) AS m FROM labs GROUP BY id) AS x",
    ],
)
def test_what_needs_all_rows_of_a_unit_needs_them_at_one_provider(declaration: DatasetDeclaration, sql: str) -> None:
    shared = changed(declaration, units_disjoint=False)
    with pytest.raises(Problem) as caught:
        plan_query(sql, shared, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
    assert (caught.value.code, bool(caught.value.position)) == ("units_not_disjoint", True)
    assert plan_query(sql, shared, dataset_version=VERSION, parties=1, epsilon=1, delta=1e-7)


def test_too_many_groups_are_refused(declaration: DatasetDeclaration) -> None:
    many = changed(declaration)
    for name in ("a", "b"):
        column = many.tables[0].columns.add(name=name, type=2, role=ColumnDeclaration.ROLE_ATTRIBUTE)
        for number in range(400):
            column.values.add(int64_value=number)
    with pytest.raises(Problem) as caught:
        plan_query(
            "SELECT COUNT(*) FROM labs GROUP BY a, b", many, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7
        )
    assert (caught.value.kind, caught.value.code) == (Kind.REFUSED, "too_many_groups")


def test_sums_that_no_cell_holds_are_refused(declaration: DatasetDeclaration) -> None:
    large = changed(declaration, max_units=10**9)
    large.tables[0].max_rows_per_unit = 2**20
    with pytest.raises(Problem) as caught:
        plan_query("SELECT COUNT(*) FROM labs", large, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
    assert caught.value.code == "too_wide"


# Relations


def test_columns_after_a_with_are_named_by_their_own_text(planned: Planner) -> None:
    sql = "WITH l AS (SELECT id, MAX(value) AS top FROM labs GROUP BY id) SELECT AVG( top ), COUNT(*) n FROM l"
    assert names(planned(sql)) == ["AVG( top )", "n"]


@pytest.mark.parametrize(
    ("source", "most"),
    [
        ("labs", 60),
        ("patients", 1),
        ("labs JOIN patients USING (id)", 60),
        ("(SELECT id, AVG(value) AS m FROM labs GROUP BY id) AS x", 1),
        ("(SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY seen DESC) AS k FROM labs) AS x WHERE k <= 3", 3),
    ],
)
def test_a_unit_counts_with_as_many_rows_as_it_is_declared_to_have(planned: Planner, source: str, most: int) -> None:
    assert planned(f"SELECT COUNT(*) FROM {source}").clipping.max_rows == most


# Notes and grades


def test_the_notes_say_what_a_join_and_a_formula_leave_out(planned: Planner, declaration: DatasetDeclaration) -> None:
    notes = clipping_notes(planned("SELECT SUM(value * 2) / COUNT(*) FROM labs JOIN patients USING (id)"), declaration)
    assert "Of each id at most 60 rows of the left and 1 of the right are paired." in notes
    assert "Values of value * 2 outside [0, 600] count as the nearest bound; NULL does not count." in notes
    assert any("first-order (delta method)" in note for note in notes)


def test_the_notes_say_in_numbers_what_clipping_does(planned: Planner, declaration: DatasetDeclaration) -> None:
    plan = planned("SELECT test, COUNT(*), SUM(value), COUNT(DISTINCT id) FROM labs GROUP BY test")
    assert clipping_notes(plan, declaration) == [
        "Values of value outside [0, 300] count as the nearest bound; NULL and NaN do not count.",
        "Each value of value is rounded to a grid of steps of 0.00458.",
        "A unit with more than 60 rows that match (as the Euclidean norm over its groups) is weighed down to 60; "
        "one unit moves a count by at most 60.",
        "One unit moves SUM(value) by at most 18,000.",
        "Each unit counts fully in every group that it has rows in.",
        "Rows whose Test is NULL or not a listed value are in no group.",
    ]
