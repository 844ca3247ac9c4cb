"""A dataset with every danger in it, questions about it in SQL, and neighbours: with and without one unit's rows."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Plan,
    Value,
)

from enclave_sim.engine.protocol import OpenTable, never
from enclave_sim.plan.releases import releases
from enclave_sim.plan.schema import DEFAULT_LENGTH, check_declaration, is_unit
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN
from gateway.planning.query import plan_query

DELTA = 1e-7
PARTIES = 3
MAX_VISITS, MAX_LABS = 3, 2
NAN, INFINITY = math.nan, math.inf
TOP, BOTTOM = 2**63 - 1, -(2**63)

Tables = dict[str, pa.Table]
Row = Mapping[str, Any]

NUMBERS = [0.0, -0.0, 5e-324, 0.1, 5.0, 9.999999, 10.0, 1e16, 2.0**53, -1.8e308 / 2, NAN, INFINITY, -INFINITY, None]
INTEGERS = [0, 1, -1, 50, 100, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, TOP, TOP - 1, BOTTOM, BOTTOM + 1, None]
TEXTS = ["", " ", "a", "12", "-7", "0x1", "9" * 18, "9" * 40, "%_\\'", "影壁", "a\0b", "x" * 3000, None]
DAYS = [
    datetime.date(1, 1, 1),
    datetime.date(1970, 1, 1),
    datetime.date(2024, 2, 29),
    datetime.date(9999, 12, 31),
    None,
]
TIMES = [datetime.datetime(1, 1, 1), datetime.datetime(2024, 2, 29, 23, 59, 59), datetime.datetime(9999, 12, 31), None]
EXTREMES: dict[str, dict[str, Sequence[Any]]] = {
    "visits": {
        "ward": ["north", "south", "east", "nowhere", "", None],
        "pain": NUMBERS,
        "age": INTEGERS,
        "stay": INTEGERS,
        "night": [True, False, None],
        "note": TEXTS,
        "day": DAYS,
        "seen": TIMES,
    },
    "labs": {"code": ["a", "b", "c", None], "result": NUMBERS, "raw": INTEGERS},
}
"""What rows of each table may hold."""


def clinic(
    *, max_units: int = 100_000, max_visits: int = MAX_VISITS, note_length: int = DEFAULT_LENGTH
) -> DatasetDeclaration:
    """People's visits and laboratory results; `note_length` is in bytes."""
    column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
    wards = [Value(string_value=name) for name in ("north", "south", "east")]
    codes = [Value(string_value=name) for name in ("a", "b")]
    person = column(name="person", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT)
    visits = [
        column(name="ward", type=COLUMN_TYPE_STRING, role=attribute, values=wards),
        column(name="pain", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=0, upper=10),
        column(name="age", type=COLUMN_TYPE_INT64, role=attribute, lower=0, upper=100),
        column(name="stay", type=COLUMN_TYPE_INT64, role=attribute),
        column(name="night", type=COLUMN_TYPE_BOOL, role=attribute),
        column(name="note", type=COLUMN_TYPE_STRING, role=attribute, max_length=note_length),
        column(name="day", type=COLUMN_TYPE_DATE, role=attribute),
        column(name="seen", type=COLUMN_TYPE_TIMESTAMP, role=attribute),
    ]
    labs = [
        column(name="code", type=COLUMN_TYPE_STRING, role=attribute, values=codes),
        column(name="result", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=-1e6, upper=1e6),
        column(name="raw", type=COLUMN_TYPE_INT64, role=attribute, lower=-(2**53), upper=2**53),
    ]
    declaration = DatasetDeclaration(
        dataset="clinic",
        zone="test",
        title={"en": "Clinic"},
        grade=2,
        source="made up for tests",
        privacy_unit="person",
        unit_namespace="person",
        max_units=max_units,
        units_disjoint=True,
        budget_epsilon=200,
        budget_delta=DELTA,
        tables=[
            TableDeclaration(name="visits", max_rows_per_unit=max_visits, columns=[person, *visits]),
            TableDeclaration(name="labs", max_rows_per_unit=MAX_LABS, columns=[person, *labs]),
        ],
    )
    check_declaration(declaration)
    return declaration


CLINIC = clinic()


def asked(sql: str, *, declaration: DatasetDeclaration = CLINIC, epsilon: float = 1.0, parties: int = PARTIES) -> Plan:
    """What the gateway compiles a question to; raises Problem."""
    return plan_query(
        sql, declaration, dataset_version=bytes(32), parties=parties, epsilon=epsilon, delta=declaration.budget_delta
    )


def tables_of(units: Mapping[int, Mapping[str, Sequence[Row]]]) -> Tables:
    """At rest: each unit's rows by table, units ascending; what a row leaves out is NULL."""
    return {declared.name: _table(declared, units) for declared in CLINIC.tables}


def _table(declared: TableDeclaration, units: Mapping[int, Mapping[str, Sequence[Row]]]) -> pa.Table:
    rows = [(unit, row) for unit in sorted(units) for row in units[unit].get(declared.name, ())]
    columns = {UNIT_COLUMN: pa.array([unit for unit, _ in rows], pa.int64())}
    for column in declared.columns:
        if not is_unit(column):
            columns[column.name] = pa.array([row.get(column.name) for _, row in rows], ARROW_TYPES[column.type])
    return pa.table(columns)


def extreme_unit(random: Random, visits: int, labs: int) -> dict[str, list[Row]]:
    """So many rows of values that break things; some of them twice."""
    sizes = {"visits": visits, "labs": labs}
    unit: dict[str, list[Row]] = {}
    for table, size in sizes.items():
        rows = [{name: random.choice(pool) for name, pool in EXTREMES[table].items()} for _ in range(size)]
        unit[table] = [rows[index // 2] if index % 3 == 0 else rows[index] for index in range(size)]
    return unit


def without(tables: Tables, unit: int) -> Tables:
    """The neighbour that lacks the unit's rows."""
    return {name: table.filter(pc.not_equal(table[UNIT_COLUMN], unit)) for name, table in tables.items()}


def alone(tables: Tables, unit: int) -> Tables:
    """The unit's rows and nothing else."""
    return {name: table.filter(pc.equal(table[UNIT_COLUMN], unit)) for name, table in tables.items()}


def opener(tables: Tables) -> OpenTable:
    """What an engine gets in place of sealed shards."""
    return lambda name, columns: tables[name].select(list(columns))


class Contributes(Protocol):
    """What is attacked of an `Engine`."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = ...) -> list[int]: ...


def vector(engine: Contributes, plan: Plan, tables: Tables) -> list[int]:
    """The clipped cells."""
    return engine.contribution(plan, opener(tables))


def moved(plan: Plan, left: Sequence[int], right: Sequence[int]) -> list[tuple[int, int]]:
    """Of each release, a statistic or the joint vector: the squared distance between two vectors, and the claim."""
    distances, start = [], 0
    for statistic in plan.statistics:
        stop = start + cells_of(plan, statistic)
        distances.append(sum((a - b) ** 2 for a, b in zip(left[start:stop], right[start:stop], strict=True)))
        start = stop
    assert start == len(left) == len(right)
    return [
        (sum(distances[index] for index in release.statistics), release.delta2_squared) for release in releases(plan)
    ]


def lies(plan: Plan, left: Sequence[int], right: Sequence[int]) -> bool:
    """Whether some release differs by more than its claim."""
    return any(distance > claim for distance, claim in moved(plan, left, right))


class Unclipped:
    """A broken engine, which forgets to clip."""

    def __init__(self, engine: Contributes) -> None:
        self._engine = engine

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`."""
        loose = Plan()
        loose.CopyFrom(plan)
        loose.clipping.max_rows = loose.clipping.max_groups = 2**20
        if loose.clipping.joint_norm:
            loose.clipping.joint_norm = 2**22
        return self._engine.contribution(loose, open_table, cancelled)
