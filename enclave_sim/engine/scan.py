"""The tables that a plan reads, as engine columns, and their rows unit by unit."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ColumnType, Plan

from enclave_sim.engine.plan_reading import Types, tables_read
from enclave_sim.engine.protocol import EngineError, OpenTable, RowGroups
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
Load: TypeAlias = Callable[[], Iterator[Stored]]
"""Reads some rows when it is called, and gives them in parts. For one call, from any thread."""


def tables_of(plan: Plan, open_table: OpenTable) -> Tables:
    """What the plan reads."""
    return {
        name: TableColumns(types, {column: f"c{position}" for position, column in enumerate(types)})
        for name, types in tables_read(plan, open_table).items()
    }


def loads(tables: Tables, open_table: OpenTable, rows: int) -> Iterator[Load]:
    """What reads the tables' rows, in parts that each have all rows of their units.

    A table that is alone and comes in row groups is read group by group, by whoever calls the load; what else there
    is, is read whole, and cut into parts of about `rows` of the longest table. Raises EngineError where a shard's
    types are not the plan's, as loads do, and where a unit's rows are in two groups.
    """
    opened = {name: open_table(name, [UNIT_COLUMN, *columns.types]) for name, columns in tables.items()}
    if len(opened) == 1:
        for name, groups in opened.items():
            if not isinstance(groups, pa.Table) and len(groups):
                read = _GroupReader(name, groups, tables[name], rows)
                yield from (partial(read, group) for group in range(len(groups)))
                return
    whole = {name: _stored(_whole(each), tables[name]) for name, each in opened.items()}
    for part in _slices(whole, rows):
        yield partial(iter, (part,))


class _GroupReader:
    """Reads row groups, and sees that none shares a unit with the next: of a unit in both the rest would be clipped
    as another one's, and it would count for more than the plan allows."""

    def __init__(self, name: str, groups: RowGroups, columns: TableColumns, rows: int) -> None:
        self._name, self._groups, self._columns, self._rows = name, groups, columns, rows
        self._lock = threading.Lock()
        self._spans: dict[int, tuple[int, int]] = {}

    def __call__(self, group: int) -> Iterator[Stored]:
        """The parts of one row group; may be called by several threads at once, once for each group."""
        stored = _stored(pa.Table.from_batches([self._groups.read(group)]), self._columns)
        if len(self._groups) > 1:
            self._check(group, stored)
        yield from _slices({self._name: stored}, self._rows)

    def _check(self, group: int, stored: StoredRows) -> None:
        if not len(stored.units):
            raise EngineError("a row group has no rows")
        span = stored.units[0].as_py(), stored.units[-1].as_py()
        with self._lock:
            self._spans[group] = span
            before, after = self._spans.get(group - 1), self._spans.get(group + 1)
        if (before and before[1] >= span[0]) or (after and span[1] >= after[0]):
            raise EngineError("row groups share a unit")


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


def _whole(opened: pa.Table | RowGroups) -> pa.Table:
    if isinstance(opened, pa.Table):
        return opened
    return pa.Table.from_batches([opened.read(group) for group in range(len(opened))], opened.schema)


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
