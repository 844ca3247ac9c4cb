"""The rows of a plan's table as engine columns: physical types, positional names, the group of each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from yingbi.api.v1.plan_pb2 import ColumnType, GroupKey, Plan

from enclave_sim.engine.plan_reading import column_types, scalar
from enclave_sim.engine.protocol import EngineError, OpenTable
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

_PHYSICAL_TYPES: Mapping[ColumnType.ValueType, pa.DataType] = {
    **ARROW_TYPES,
    ColumnType.COLUMN_TYPE_DATE: pa.int32(),
    ColumnType.COLUMN_TYPE_TIMESTAMP: pa.int64(),
}
"""Dates are days and timestamps microseconds, so that every stored value compares and none is special."""


@dataclass(frozen=True)
class Scan:
    """The rows, before the filter.

    `rows` has the columns `unit` (int64, sorted), `grp` (int64, NULL where the row is in no group) and one
    for each column of the plan under the name that `names` gives it: no name of a plan enters SQL.
    """

    rows: pa.Table
    names: Mapping[str, str]


def scan(plan: Plan, open_table: OpenTable) -> Scan:
    """Open the plan's columns; raises EngineError where the shard's types are not the plan's."""
    types = column_types(plan)
    table = open_table(plan.table, [UNIT_COLUMN, *types])
    columns = {name: _physical(table[name], kind, name) for name, kind in types.items()}
    names = {name: f"c{position}" for position, name in enumerate(types)}
    rows = {
        "unit": table[UNIT_COLUMN],
        "grp": _groups(plan, columns, table.num_rows),
        **{names[name]: column for name, column in columns.items()},
    }
    return Scan(pa.table(rows), names)


def _physical(column: pa.ChunkedArray, kind: ColumnType.ValueType, name: str) -> pa.ChunkedArray:
    if column.type != ARROW_TYPES[kind]:
        raise EngineError(f"the column {name} is stored as {column.type}, which is not the plan's type")
    physical = _PHYSICAL_TYPES[kind]
    return pa.chunked_array([chunk.view(physical) for chunk in column.chunks], physical)


def _groups(plan: Plan, columns: Mapping[str, pa.ChunkedArray], rows: int) -> pa.ChunkedArray | pa.Array:
    """Each row's group. A look-up gives a row one group at most, so no list of values multiplies rows."""
    group = pa.repeat(pa.scalar(0, pa.int64()), rows)
    for key in plan.group_by:
        position = pc.index_in(columns[key.column.name], value_set=_values(key)).cast(pa.int64())
        group = pc.add(pc.multiply(group, len(key.values)), position)
    return group


def _values(key: GroupKey) -> pa.Array:
    return pa.array([scalar(value) for value in key.values], _PHYSICAL_TYPES[key.column.type])
