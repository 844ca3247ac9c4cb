"""The tables that a plan reads, as engine columns, and their rows unit by unit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ColumnType, Plan

from enclave_sim.engine.plan_reading import Types, tables_read
from enclave_sim.engine.protocol import EngineError, OpenTable
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

PHYSICAL_TYPES: Mapping[ColumnType.ValueType, pa.DataType] = {
    **ARROW_TYPES,
    ColumnType.COLUMN_TYPE_DATE: pa.int32(),
    ColumnType.COLUMN_TYPE_TIMESTAMP: pa.int64(),
}
"""Dates are days and timestamps microseconds, so that every stored value compares and none is special."""


@dataclass(frozen=True)
class TableColumns:
    """What a plan reads of a table: columns' types, and their positional names in the engine: c0, c1, …"""

    types: Types
    names: Mapping[str, str]

    def only(self, columns: Collection[str]) -> TableColumns:
        """Some of them."""
        return TableColumns(
            {name: kind for name, kind in self.types.items() if name in columns},
            {name: own for name, own in self.names.items() if name in columns},
        )


@dataclass(frozen=True)
class StoredRows:
    """Rows of a table: `units`, sorted, and the columns of `rows` under their positional names.

    Strings may be dictionary encoded.
    """

    units: pa.ChunkedArray
    rows: pa.Table

    def slice(self, start: int, stop: int) -> StoredRows:
        """The rows from `start` up to `stop`."""
        length = stop - start
        return StoredRows(self.units.slice(start, length), self.rows.slice(start, length))

    def first_row_of(self, unit: int) -> int:
        """Where the rows of `unit`, or of the next that has any, begin."""
        return _first_row(self.units, unit)


Tables = Mapping[str, TableColumns]
Stored = Mapping[str, StoredRows]
"""Both by the tables' names in the plan."""


def tables_of(plan: Plan, open_table: OpenTable) -> Tables:
    """What the plan reads."""
    return {
        name: TableColumns(types, {column: f"c{position}" for position, column in enumerate(types)})
        for name, types in tables_read(plan, open_table).items()
    }


def parts(tables: Tables, open_table: OpenTable, rows: int) -> Iterator[Stored]:
    """The tables' rows in parts that each have all rows of their units, and about `rows` of the longest table.

    A table that is alone is read as it comes; several are read whole. Raises EngineError where a shard's types
    are not the plan's.
    """
    if len(tables) > 1:
        yield from _slices({name: _stored(_whole(name, tables, open_table), tables[name]) for name in tables}, rows)
        return
    for name, columns in tables.items():
        for table in _together(_of_whole_units(_opened(name, columns, open_table)), rows):
            yield from _slices({name: _stored(table, columns)}, rows)


def _slices(tables: Stored, rows: int) -> Iterator[Stored]:
    longest = max(tables.values(), key=lambda table: len(table.units))
    starts = dict.fromkeys(tables, 0)
    for row in range(rows, len(longest.units) - rows // 2, rows):
        unit = longest.units[row].as_py()
        stops = {name: table.first_row_of(unit) for name, table in tables.items()}
        if stops != starts:
            yield {name: table.slice(starts[name], stops[name]) for name, table in tables.items()}
        starts = stops
    yield {name: table.slice(starts[name], len(table.units)) for name, table in tables.items()}


def _whole(name: str, tables: Tables, open_table: OpenTable) -> pa.Table:
    return pa.concat_tables(_opened(name, tables[name], open_table))


def _opened(name: str, columns: TableColumns, open_table: OpenTable) -> Iterator[pa.Table]:
    opened = open_table(name, [UNIT_COLUMN, *columns.types])
    if isinstance(opened, pa.Table):
        yield opened
        return
    # It may have no batch at all.
    yield opened.schema.empty_table()
    for batch in opened:
        yield pa.Table.from_batches([batch])


def _of_whole_units(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, cut between units."""
    held: pa.Table | None = None
    for table in tables:
        if held is None or not held.num_rows:
            held = table
            continue
        if not table.num_rows:
            continue
        units, following = held[UNIT_COLUMN], table[UNIT_COLUMN][0].as_py()
        if units[-1].as_py() != following:
            yield held
            held = table
            continue
        start = _first_row(units, following)
        yield held.slice(0, start)
        held = pa.concat_tables([held.slice(start), table])
    if held is not None:
        yield held


def _together(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of about so many rows, or more."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) > rows // 2:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _stored(table: pa.Table, columns: TableColumns) -> StoredRows:
    names = columns.names
    physical = {names[name]: _physical(table[name], kind, name) for name, kind in columns.types.items()}
    return StoredRows(table[UNIT_COLUMN], pa.table(physical))


def _physical(column: pa.ChunkedArray, kind: ColumnType.ValueType, name: str) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type) and column.type.value_type == ARROW_TYPES[kind]:
        return column
    if column.type != ARROW_TYPES[kind]:
        raise EngineError(f"the column {name} is stored as {column.type}, which is not the plan's type")
    physical = PHYSICAL_TYPES[kind]
    return pa.chunked_array([chunk.view(physical) for chunk in column.chunks], physical)


def _first_row(units: pa.ChunkedArray, unit: int) -> int:
    return bisect_left(range(len(units)), unit, key=lambda row: units[row].as_py())


def to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """The values, not copied if they need not be; with NaN for NULL among numbers."""
    together = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = together.to_numpy(zero_copy_only=False)
    return values
