"""A small clinic: its declaration, and one good plan over it."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.releases import releases
from enclave_sim.plan.sensitivity import slot_bits_needed

DECLARATION = """
dataset: "clinic" zone: "medical" title { key: "en" value: "Clinic" } grade: 2 source: "made up"
privacy_unit: "id" unit_namespace: "patient" max_units: 1000 units_disjoint: true
budget_epsilon: 10 budget_delta: 1e-7
tables {
  name: "visits" max_rows_per_unit: 5
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns {
    name: "ward" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE
    values { string_value: "east" } values { string_value: "west" } values { string_value: "north" }
  }
  columns { name: "urgent" type: COLUMN_TYPE_BOOL role: ROLE_ATTRIBUTE values { bool_value: true } }
  columns { name: "pulse" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 30 upper: 200 }
  columns { name: "days" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE lower: -10 upper: 10 }
  columns { name: "note" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
  columns { name: "day" type: COLUMN_TYPE_DATE role: ROLE_ATTRIBUTE }
  columns { name: "moment" type: COLUMN_TYPE_TIMESTAMP role: ROLE_ATTRIBUTE }
}
tables {
  name: "patients" max_rows_per_unit: 1
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "age" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE lower: 0 upper: 120 }
}
"""

PLAN = """
language_version: 2 dataset: "clinic" dataset_version: "12345678901234567890123456789012"
relation { selection {
  input { scan { table: "visits" } }
  condition { comparison {
    operator: OPERATOR_GREATER
    left { column { name: "days" type: COLUMN_TYPE_INT64 } }
    right { literal { int64_value: 3 } }
  } }
} }
group_by {
  expression { column { name: "ward" type: COLUMN_TYPE_STRING } }
  values { string_value: "east" } values { string_value: "west" }
}
statistics { row_count {} sigma: 1000000 }
statistics {
  bounded_sum {
    term { column { name: "pulse" type: COLUMN_TYPE_FLOAT64 } } lower: 30 upper: 200 centre: 115 half_range: 85
  }
  sigma: 1000000
}
statistics { non_null_count { term { column { name: "pulse" type: COLUMN_TYPE_FLOAT64 } } } sigma: 1000000 }
statistics { distinct_units {} sigma: 200000 }
statistics {
  range_counts { term { column { name: "days" type: COLUMN_TYPE_INT64 } } lower: 0 upper: 8 branching: 2 levels: 3 }
  sigma: 2000000
}
clipping { max_rows: 5 max_groups: 2 }
fraction_bits: 16
noise { parties: 3 parties_per_unit: 1 }
outputs { name: "ward" key: 0 }
outputs { name: "n" measure { count { statistic: 0 } } }
outputs { name: "total" measure { sum { bounded_sum: 1 non_null_count: 2 } } }
outputs { name: "mean" measure { mean { bounded_sum: 1 non_null_count: 2 } } }
outputs { name: "units" measure { count { statistic: 3 } } }
outputs { name: "median" measure { quantile { range_counts: 4 quantile: 0.5 integral: true } } }
outputs { name: "a unit's" formula { operation {
  operator: OPERATOR_DIVIDE
  operands { measure { count { statistic: 0 } } } operands { measure { count { statistic: 3 } } }
} } }
epsilon: 5 delta: 1e-7
"""


def price(plan: Plan) -> None:
    """State the true prices and slot width for the plan's σ."""
    for statistic in plan.statistics:
        statistic.rho_units = 0
    for release in releases(plan):
        first = plan.statistics[release.statistics[0]]
        first.rho_units = release.rho_units(first.sigma, plan.noise.parties)
    plan.slot_bits = slot_bits_needed(plan, max_units=1000)


@pytest.fixture
def declaration() -> DatasetDeclaration:
    return text_format.Parse(DECLARATION, DatasetDeclaration())


@pytest.fixture
def plan() -> Plan:
    good = text_format.Parse(PLAN, Plan())
    price(good)
    return good
