"""Groups that are disjoint by unit: what each costs is what one costs, and only there (parallel composition)."""

from __future__ import annotations

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from gateway.planning.query import plan_query, plan_question

from .conftest import VERSION, nafld


def constant(*names: str) -> DatasetDeclaration:
    declaration = nafld()
    for table in declaration.tables:
        for column in table.columns:
            column.constant_per_unit = column.name in names
    return declaration


def planned(sql: str, declaration: DatasetDeclaration) -> Plan:
    return plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)


UNITS = "SELECT test, COUNT(DISTINCT id) FROM labs GROUP BY test"


def test_counting_units_by_what_is_constant_is_as_exact_in_each_group_as_in_one() -> None:
    everybody = planned("SELECT COUNT(DISTINCT id) FROM labs", nafld()).statistics[0].sigma
    by_test = planned(UNITS, constant("Test")).statistics[0].sigma
    assert by_test == pytest.approx(everybody, rel=1e-6)
    assert planned(UNITS, nafld()).statistics[0].sigma == pytest.approx(3**0.5 * everybody, rel=1e-3)


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ("test", 1),
        ("fasting", 2),
        ("test, fasting", 2),
        ("LOWER(test)", 1),
        ("CASE WHEN test = 'hdl' THEN 1 ELSE 0 END", 1),
        ("CASE WHEN fasting THEN test ELSE 'none' END", 4),
    ],
)
def test_a_unit_is_in_as_many_groups_as_the_other_keys_make(keys: str, most: int) -> None:
    sql = f"SELECT {keys}, COUNT(DISTINCT id) FROM labs GROUP BY {keys}"
    assert planned(sql, constant("Test")).clipping.max_groups == most


def test_what_may_be_missing_after_a_join_is_not_constant() -> None:
    declaration = constant("Test")
    sql = "SELECT b.test, COUNT(DISTINCT a.id) FROM labs a {} JOIN labs b ON a.id = b.id AND a.days < b.days GROUP BY 1"
    assert planned(sql.format(""), declaration).clipping.max_groups == 1
    assert planned(sql.format("LEFT"), declaration).clipping.max_groups == 3


def test_an_undeclared_value_is_found_with_fewer_units_where_each_has_one() -> None:
    def threshold(declaration: DatasetDeclaration) -> int:
        sql = "SELECT note, COUNT(*) FROM labs GROUP BY note"
        stage = plan_question(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7).plan
        return stage.key_selection.threshold

    assert threshold(constant("note")) < threshold(nafld())
