"""What an answer would be without noise. Only whoever owns the rows can know; the demo does, and says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb
import pandas as pd
import pyarrow as pa
from yingbi.answer import Cell, Table, table_of
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.sealed.schema import UNIT_COLUMN

Truth = Callable[[tuple[Cell, ...]], tuple[Cell, ...] | None]
"""The row of a group, by its keys."""


def clipped(plan: Plan, tables: Mapping[str, pd.DataFrame], unit: str) -> Truth:
    """What the plan computes: values and units clipped and rounded to the grid, no noise added."""

    def open_table(name: str, columns: Sequence[str]) -> pa.Table:
        wanted = tables[name].rename(columns={unit: UNIT_COLUMN})[list(columns)]
        return pa.Table.from_pandas(wanted.sort_values(UNIT_COLUMN), preserve_index=False)

    silent = Plan()
    silent.CopyFrom(plan)
    silent.ClearField("presentation")
    for statistic in silent.statistics:
        statistic.sigma = 0
    return _by_keys(table_of(silent, DuckDBEngine().contribution(plan, open_table)))


def raw(sql: str, tables: Mapping[str, pd.DataFrame], shape: Table) -> Truth:
    """What plain SQL says, without bounds or grid, for an answer of this shape."""
    with duckdb.connect(":memory:") as connection:
        for name, table in tables.items():
            connection.register(name, table)
        rows = connection.sql(sql).fetchall()
    numbers = [tuple(float(cell) if isinstance(cell, int) else cell for cell in row) for row in rows]
    return _by_keys(Table(shape.columns, tuple(numbers), (), ()))


def keys_of(shape: Table, row: tuple[Cell, ...]) -> tuple[Cell, ...]:
    """The cells of a row that say which group it is."""
    return tuple(cell for cell, column in zip(row, shape.columns, strict=True) if column.kind == "key")


def _by_keys(table: Table) -> Truth:
    return {keys_of(table, row): row for row in table.rows}.get
