"""Columns without missing values: COUNT(*) and COUNT(x) are one number, measured once."""

from __future__ import annotations

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from gateway.planning.query import plan_query

from .conftest import VERSION, nafld


def complete() -> DatasetDeclaration:
    declaration = nafld()
    for table in declaration.tables:
        for column in table.columns:
            column.required = column.name in ("value", "age")
    return declaration


def planned(sql: str, declaration: DatasetDeclaration) -> Plan:
    return plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)


def kinds(sql: str, declaration: DatasetDeclaration) -> list[str | None]:
    return [statistic.WhichOneof("kind") for statistic in planned(sql, declaration).statistics]


TOGETHER = "SELECT test, COUNT(*), COUNT(value), SUM(value), AVG(value) FROM labs GROUP BY test"


def test_a_column_with_missing_values_has_a_count_of_its_own() -> None:
    assert kinds(TOGETHER, nafld()) == ["row_count", "non_null_count", "bounded_sum"]


def test_a_required_column_is_counted_with_the_rows() -> None:
    assert kinds(TOGETHER, complete()) == ["row_count", "bounded_sum"]


def test_so_each_has_more_of_the_budget() -> None:
    alone, shared = (planned(TOGETHER, declaration).statistics[0].sigma for declaration in (nafld(), complete()))
    assert shared / alone == pytest.approx((2 / 3) ** 0.5, rel=1e-3)


@pytest.mark.parametrize(
    "rest",
    ["labs WHERE value >= 5", "labs WHERE value IN (1, 2)", "labs WHERE value IS NOT NULL", "labs WHERE value = days"],
)
def test_a_condition_that_needs_a_value_says_that_there_is_one(rest: str) -> None:
    if "= days" in rest:
        rest = "labs WHERE value > CAST(days AS DOUBLE)"
    assert kinds(f"SELECT COUNT(*), AVG(value) FROM {rest}", nafld()) == ["row_count", "bounded_sum"]


@pytest.mark.parametrize("rest", ["labs WHERE value IS NULL OR days > 3", "labs WHERE NOT fasting"])
def test_another_condition_does_not(rest: str) -> None:
    assert "non_null_count" in kinds(f"SELECT COUNT(*), AVG(value) FROM {rest}", nafld())


def test_the_right_side_of_a_left_join_may_be_missing() -> None:
    sql = "SELECT COUNT(*), AVG(age), AVG(value) FROM labs LEFT JOIN patients USING (id)"
    assert kinds(sql, complete()) == ["row_count", "bounded_sum", "non_null_count", "bounded_sum"]
    inner = sql.replace("LEFT JOIN", "JOIN")
    assert kinds(inner, complete()) == ["row_count", "bounded_sum", "bounded_sum"]


def test_moments_need_no_count_of_their_own_either() -> None:
    sql = "SELECT COUNT(*), VAR_SAMP(value), CORR(value, age) FROM labs JOIN patients USING (id)"
    found = kinds(sql, complete())
    assert found[0] == "row_count"
    assert set(found[1:]) == {"bounded_sum"}


def test_expressions_are_counted_by_themselves() -> None:
    """A product may be NULL where its factors are not: infinity times zero."""
    assert "non_null_count" in kinds("SELECT COUNT(*), AVG(value * 2) FROM labs", complete())
    assert "non_null_count" not in kinds("SELECT COUNT(*), AVG(COALESCE(days, 0)) FROM labs", complete())
