"""The clinic's catalogue, and one way to plan a query over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from google.protobuf import text_format
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.schema import check_declaration
from gateway.planning.query import plan_query

VERSION = b"v" * 32
DECLARATION = """
dataset: "nafld" zone: "medical" title { key: "en" value: "NAFLD" } grade: 2 source: "survival"
privacy_unit: "id" unit_namespace: "patient" max_units: 30000 units_disjoint: true
budget_epsilon: 10 budget_delta: 1e-7
tables {
  name: "labs" max_rows_per_unit: 60
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns {
    name: "Test" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE
    values { string_value: "hdl" } values { string_value: "chol" } values { string_value: "smoke" }
  }
  columns { name: "value" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 300 }
  columns { name: "days" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE lower: -8000 upper: 8000 }
  columns { name: "weeks" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE }
  columns { name: "note" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
  columns { name: "seen" type: COLUMN_TYPE_DATE role: ROLE_ATTRIBUTE }
  columns { name: "at" type: COLUMN_TYPE_TIMESTAMP role: ROLE_ATTRIBUTE }
  columns {
    name: "fasting" type: COLUMN_TYPE_BOOL role: ROLE_ATTRIBUTE values { bool_value: true } values { bool_value: false }
  }
}
tables {
  name: "patients" max_rows_per_unit: 1
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "age" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 18 upper: 100 }
}
"""

Planner: TypeAlias = Callable[[str], Plan]


def nafld() -> DatasetDeclaration:
    """The declaration that the tests of planning share."""
    declaration = text_format.Parse(DECLARATION, DatasetDeclaration())
    check_declaration(declaration)
    return declaration


@pytest.fixture(scope="session")
def declaration() -> DatasetDeclaration:
    return nafld()


@pytest.fixture(scope="session")
def planned(declaration: DatasetDeclaration) -> Planner:
    """Plan a query for three parties at ε = 1, δ = 1e-7."""

    def plan(sql: str) -> Plan:
        return plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)

    return plan


def refusal(planned: Planner, sql: str) -> Problem:
    """The problem with a query that has one."""
    with pytest.raises(Problem) as caught:
        planned(sql)
    return caught.value
