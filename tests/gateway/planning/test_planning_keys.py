"""What groups can be made by."""

from __future__ import annotations

import pytest
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan import values
from enclave_sim.plan.sensitivity import groups
from gateway.planning.notes import clipping_notes

from .conftest import Planner, nafld, refusal


def listed(plan: Plan, key: int = 0) -> list[values.PythonValue]:
    return [values.to_python(value) for value in plan.group_by[key].values]


def sets(plan: Plan) -> list[list[int]]:
    return [list(chosen.keys) for chosen in plan.grouping_sets]


def test_ranges_of_a_number_with_bounds_are_keys(planned: Planner) -> None:
    plan = planned("SELECT FLOOR(value / 100) * 100 AS low, COUNT(*) FROM labs GROUP BY low")
    assert listed(plan) == [0, 100, 200, 300]
    assert plan.outputs[0].key == 0


def test_a_part_of_a_date_is_a_key_in_ascending_order(planned: Planner) -> None:
    assert listed(planned("SELECT MONTH(seen), COUNT(*) FROM labs GROUP BY 1")) == list(range(1, 13))


def test_a_condition_is_a_key(planned: Planner) -> None:
    assert set(listed(planned("SELECT value > 100 AS high, COUNT(*) FROM labs GROUP BY high"))) == {False, True}


def test_a_case_is_a_key(planned: Planner) -> None:
    plan = planned("SELECT CASE WHEN value > 100 THEN 'high' ELSE 'low' END c, COUNT(*) FROM labs GROUP BY c")
    assert set(listed(plan)) == {"high", "low"}


def test_an_item_is_a_key_when_it_is_the_same_expression(planned: Planner) -> None:
    plan = planned("SELECT upper( TEST ), COUNT(*) FROM labs GROUP BY UPPER(labs.test)")
    assert listed(plan) == ["HDL", "CHOL", "SMOKE"]
    assert plan.outputs[0].name == "upper( TEST )"


def test_all_means_every_item_without_an_aggregate(planned: Planner) -> None:
    plan = planned("SELECT fasting, COUNT(*) AS n, test, n / 2, 7 FROM labs GROUP BY ALL")
    assert [key.expression.column.name for key in plan.group_by] == ["fasting", "Test"]
    assert planned("SELECT COUNT(*) AS n FROM labs GROUP BY ALL") == planned("SELECT COUNT(*) AS n FROM labs")


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("ROLLUP (test, fasting)", [[0, 1], [0], []]),
        ("CUBE (test, fasting)", [[0, 1], [0], [1], []]),
        ("GROUPING SETS ((test, fasting), (test), ())", [[0, 1], [0], []]),
        ("GROUPING SETS (test, ROLLUP (test, fasting))", [[0], [0, 1], []]),
        ("test, ROLLUP (fasting)", [[0, 1], [0]]),
        ("ROLLUP ((test, fasting))", [[0, 1], []]),
        ("CUBE (test), CUBE (fasting)", [[0, 1], [0], [1], []]),
        ("GROUPING SETS ((test, fasting))", []),
        ("(test, fasting)", []),
    ],
)
def test_sets_of_keys_are_those_of_sql_each_once(planned: Planner, clause: str, expected: list[list[int]]) -> None:
    plan = planned(f"SELECT test, fasting, COUNT(*) FROM labs GROUP BY {clause}")
    assert sets(plan) == expected
    assert groups(plan) == 6


def test_an_empty_group_by_is_one_group(planned: Planner) -> None:
    assert planned("SELECT COUNT(*) AS n FROM labs GROUP BY ()") == planned("SELECT COUNT(*) AS n FROM labs")


def test_the_notes_say_what_totals_leave_out(planned: Planner) -> None:
    notes = clipping_notes(planned("SELECT test, COUNT(*) FROM labs GROUP BY ROLLUP (test)"), nafld())
    assert "Totals are added up from the groups, so rows that are in no group are in no total." in notes


@pytest.mark.parametrize(
    ("sql", "code", "position", "hint"),
    [
        ("SELECT COUNT(*) FROM labs GROUP BY value", "undeclared_group_key", "1:36", "FLOOR(value / 10) * 10"),
        ("SELECT COUNT(*) n FROM labs GROUP BY n", "not_supported", "1:38", "HAVING"),
        ("SELECT COUNT(*) FROM labs GROUP BY COUNT(*)", "not_supported", None, "HAVING"),
        ("SELECT COUNT(*) FROM labs GROUP BY test WITH ROLLUP", "not_supported", "1:36", "ROLLUP (a, b)"),
        ("SELECT COUNT(DISTINCT id) FROM labs GROUP BY ROLLUP (test)", "not_supported", "1:23", "one query for each"),
        ("SELECT COUNT(*) FROM labs GROUP BY days, MONTH(seen)", "too_many_groups", "1:42", "wider ranges"),
        ("SELECT LOWER(test), COUNT(*) FROM labs GROUP BY test", "raw_columns", "1:8", "GROUP BY"),
    ],
)
def test_what_makes_no_groups(planned: Planner, sql: str, code: str, position: str | None, hint: str) -> None:
    problem = refusal(planned, sql)
    assert problem.code == code
    assert problem.position == position or position is None
    assert hint in str(problem.hint)
