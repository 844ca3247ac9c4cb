"""Notes say what holds of this plan, in the words of its query."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query, plan_question
from gateway.planning.stages import stage_notes
from gateway.planning.wording import number

from .conftest import VERSION, nafld


def notes(sql: str, declaration: DatasetDeclaration | None = None) -> Sequence[str]:
    known = declaration or nafld()
    return clipping_notes(plan_query(sql, known, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7), known)


# Constants that nobody declared.


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM labs WHERE test = 'HDL'",
        "SELECT COUNT(*) FROM labs WHERE 'HDL' <> test OR value > 3",
        "SELECT COUNT(*) FROM labs WHERE test IN ('hdl', 'HDL')",
        "SELECT COUNT(*) FILTER (WHERE test = 'HDL') FROM labs",
        "SELECT SUM(CASE test WHEN 'HDL' THEN value ELSE 0 END) FROM labs",
        "SELECT COUNT(*) FROM labs JOIN patients USING (id) WHERE test = 'HDL'",
    ],
)
def test_a_constant_that_is_no_declared_value_is_told(sql: str) -> None:
    assert "'HDL' is no declared value of Test." in notes(sql)


@pytest.mark.parametrize("condition", ["test = 'hdl'", "note = 'HDL'", "UPPER(test) = 'HDL'", "weeks = 3"])
def test_other_constants_are_not(condition: str) -> None:
    assert not [note for note in notes(f"SELECT COUNT(*) FROM labs WHERE {condition}") if "no declared" in note]


# What is declared makes some notes untrue.


def changed(*, required: str = "", constant: str = "") -> DatasetDeclaration:
    declaration = nafld()
    for table in declaration.tables:
        for column in table.columns:
            column.required = column.name == required
            column.constant_per_unit = column.name == constant
    return declaration


def says(found: Sequence[str], part: str) -> bool:
    return any(part in note for note in found)


def test_a_unit_with_one_value_of_the_key_counts_fully() -> None:
    sql = "SELECT test, COUNT(DISTINCT id) FROM labs GROUP BY test"
    fully = "Each unit counts fully in every group that it has rows in."
    few = nafld()
    few.tables[0].max_rows_per_unit = 1
    assert says(notes(sql, few), "A unit with rows in more than 1 group counts as less than 1 in each.")
    assert fully in notes(sql, changed(constant="Test"))
    mixed = "SELECT test, days % 90, COUNT(DISTINCT id) FROM labs GROUP BY ALL"
    assert says(notes(mixed, changed(constant="Test")), "more than 60 groups counts as less than 1")
    known = nafld()
    unknown = "SELECT note, COUNT(DISTINCT id) FROM labs GROUP BY note"
    outlook = plan_question(unknown, known, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7).outlook
    assert outlook is not None
    assert says(clipping_notes(outlook, known), "more than 60 groups counts as less than 1")


def test_a_required_column_has_no_missing_values_to_speak_of() -> None:
    sql = "SELECT AVG({}) FROM labs"
    assert says(notes(sql.format("value")), "count as the nearest bound; NULL and NaN do not count.")
    required = notes(sql.format("value"), changed(required="value"))
    assert says(required, "count as the nearest bound.")
    assert not says(required, "NULL")
    assert says(notes(sql.format("SQRT(value)"), changed(required="value")), "NULL does not count")
    left = "SELECT AVG(age) FROM labs LEFT JOIN patients USING (id)"
    assert says(notes(left, changed(required="age")), "NULL and NaN do not count")


@pytest.mark.parametrize(
    ("formula", "is_first_order"),
    [
        ("SUM(value) + COUNT(*)", False),
        ("-(2 * COUNT(*) - SUM(days) / 3) * (1 + 1)", False),
        ("SUM(value) / COUNT(*)", True),
        ("COUNT(*) * COUNT(*)", True),
        ("1 / COUNT(*)", True),
        ("AVG(value) * 2", True),
        ("SQRT(COUNT(*)) + 1", True),
        ("ABS(COUNT(*))", True),
    ],
)
def test_errors_of_sums_are_exact(formula: str, is_first_order: bool) -> None:
    assert says(notes(f"SELECT {formula} AS x FROM labs"), "first-order") == is_first_order


# Names and numbers.


def test_a_key_is_called_as_the_answer_calls_it() -> None:
    shown = notes("SELECT WIDTH_BUCKET(value, 0, 300, 3) AS third, COUNT(*) FROM labs GROUP BY 1")
    assert "Rows whose third is NULL or not a listed value are in no group." in shown
    assert says(notes("SELECT COUNT(*) FROM labs GROUP BY days % 5"), "Rows whose days % 5 is NULL")


def test_a_column_that_two_tables_have_keeps_its_name() -> None:
    sql = (
        "SELECT SUM(t.value) FROM labs JOIN (VALUES ('x', 1), ('y', 2)) t(code, value) ON code = note GROUP BY t.value"
    )
    found = notes(sql)
    assert "value is looked up by note in 2 entries, which the plan and its receipt show." in found
    assert "Values of value outside [1, 2] count as the nearest bound; NULL does not count." in found
    assert not says(found, "value_2")


def test_a_preview_with_automatic_bounds_says_one_bound() -> None:
    sql, known = "SELECT COUNT(*), SUM(value) FROM labs", nafld()
    question = plan_question(sql, known, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7, auto_bounds=True)
    assert question.outlook is not None
    assert says(stage_notes(question.plan), "It is at most that of 60 rows")
    assert says(clipping_notes(question.outlook, known), "is weighed down to 60;")


@pytest.mark.parametrize(
    ("value", "written"), [(6010.41, "6,010.41"), (4250.0, "4,250"), (0.00229, "0.00229"), (-12345.6, "-12,345.6")]
)
def test_thousands_are_told_apart(value: float, written: str) -> None:
    assert number(value) == written
