"""The clinic that the examples of docs/sql.md are about: what is declared of it, and made-up rows."""

from __future__ import annotations

import datetime
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.schema import check_declaration
from enclave_sim.sealed.schema import UNIT_COLUMN

Row: TypeAlias = Mapping[str, Any]

DECLARATION = """
dataset: "clinic" zone: "clinic" title { key: "en" value: "A clinic" } grade: 2 source: "made up"
privacy_unit: "person" unit_namespace: "person" max_units: 3000 units_disjoint: true
budget_epsilon: 10 budget_delta: 1e-7
tables {
  name: "visits" max_rows_per_unit: 6
  columns { name: "person" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns {
    name: "clinic" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE
    values { string_value: "north" } values { string_value: "south" }
  }
  columns { name: "city" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
  columns { name: "pain" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 10 }
  columns { name: "stay" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE lower: 0 upper: 30 }
  columns { name: "weight" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE }
  columns { name: "note" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
  columns { name: "day" type: COLUMN_TYPE_DATE role: ROLE_ATTRIBUTE }
  columns { name: "arrived" type: COLUMN_TYPE_TIMESTAMP role: ROLE_ATTRIBUTE }
  columns { name: "urgent" type: COLUMN_TYPE_BOOL role: ROLE_ATTRIBUTE }
}
tables {
  name: "people" max_rows_per_unit: 1
  columns { name: "person" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "age" type: COLUMN_TYPE_INT64 role: ROLE_ATTRIBUTE lower: 18 upper: 100 }
  columns {
    name: "sex" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE
    values { string_value: "f" } values { string_value: "m" }
  }
}
"""
SHOWN: Row = {
    "clinic": "north",
    "city": "Ulm",
    "pain": 7.25,
    "stay": 5,
    "weight": 71.5,
    "note": " Fell 2 m",
    "day": datetime.date(2024, 2, 29),
    "arrived": datetime.datetime(2024, 2, 29, 23, 30, 5),
    "urgent": True,
}
"""The row that examples of row functions are shown for."""

ODD_ROWS: Sequence[Row] = (
    SHOWN,
    {
        "clinic": "south",
        "city": "",
        "pain": 0.0,
        "stay": 0,
        "weight": -0.5,
        "note": "100%é中",
        "day": datetime.date(1969, 12, 28),
        "arrived": datetime.datetime(1999, 7, 4, 12, 30),
        "urgent": False,
    },
    {
        "clinic": "other",
        "city": "12",
        "pain": 9.99,
        "stay": -7,
        "weight": 1e6,
        "note": "",
        "day": datetime.date(2023, 1, 1),
        "arrived": datetime.datetime(2023, 12, 31, 23, 59, 59),
        "urgent": None,
    },
    dict.fromkeys(SHOWN),
)
"""What row functions are tried on."""

_TYPES = {
    "visits": {
        "person": pa.int64(),
        "clinic": pa.string(),
        "city": pa.string(),
        "pain": pa.float64(),
        "stay": pa.int64(),
        "weight": pa.float64(),
        "note": pa.string(),
        "day": pa.date32(),
        "arrived": pa.timestamp("us"),
        "urgent": pa.bool_(),
    },
    "people": {"person": pa.int64(), "age": pa.int64(), "sex": pa.string()},
}
_PERSONS = 60


def clinic() -> DatasetDeclaration:
    """What is public about the clinic."""
    declaration = text_format.Parse(DECLARATION, DatasetDeclaration())
    check_declaration(declaration)
    return declaration


def tables() -> dict[str, pa.Table]:
    """Rows within the declaration: no unit has too many, all keys are listed. `day` is unique within a person."""
    drawn = random.Random("clinic")
    visits = [row for person in range(_PERSONS) for row in _visits(drawn, person)]
    people = [
        {"person": person, "age": drawn.randrange(18, 101), "sex": drawn.choice("fm")}
        for person in range(_PERSONS)
        if person % 7
    ]
    return {"visits": _table("visits", visits), "people": _table("people", people)}


def odd_table() -> pa.Table:
    """The odd rows, each of a person of its own."""
    return _table("visits", [{"person": person, **row} for person, row in enumerate(ODD_ROWS)])


def database(rows: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """The tables for DuckDB."""
    connection = duckdb.connect()
    for name, table in rows.items():
        connection.register(f"arrow_{name}", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM arrow_{name}")
    return connection


def opened(rows: Mapping[str, pa.Table], name: str, columns: Sequence[str]) -> pa.Table:
    """A table as an engine asks for it."""
    table = rows[name].rename_columns([UNIT_COLUMN if each == "person" else each for each in rows[name].column_names])
    return table.select(list(columns))


def _visits(drawn: random.Random, person: int) -> list[Row]:
    days = drawn.sample(range(366), drawn.choice([1, 2, 3, 6]))
    return [
        {
            "person": person,
            "clinic": drawn.choice(["north", "south"]),
            "city": drawn.choice(["Ulm", "Bern", "Graz"]),
            "pain": drawn.choice([None, *(drawn.randrange(0, 41) / 4 for _ in range(7))]),
            "stay": drawn.choice([None, *range(0, 31)]),
            "weight": drawn.randrange(40, 120) / 2,
            "note": drawn.choice([None, "", "fell", "Fever"]),
            "day": datetime.date(2024, 1, 1) + datetime.timedelta(day),
            "arrived": datetime.datetime(2024, 1, 1) + datetime.timedelta(day, drawn.randrange(86_400)),
            "urgent": drawn.choice([True, False]),
        }
        for day in days
    ]


def _table(name: str, rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist([dict(row) for row in rows], pa.schema(list(_TYPES[name].items())))
