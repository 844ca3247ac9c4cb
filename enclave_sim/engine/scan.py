"""The tables that a plan reads, as engine columns, and their rows unit by unit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ColumnType, GroupKey, Plan

from enclave_sim.engine.plan_reading import Types, scalar, tables_read, value_type
from enclave_sim.engine.protocol import EngineError, OpenTable, Scalar
from enclave_sim.engine.scratch import Scratch
from enclave_sim.privacy.clipping import Integers
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

PHYSICAL_TYPES: Mapping[ColumnType.ValueType, pa.DataType] = {
    **ARROW_TYPES,
    ColumnType.COLUMN_TYPE_DATE: pa.int32(),
    ColumnType.COLUMN_TYPE_TIMESTAMP: pa.int64(),
}
"""Dates are days and timestamps microseconds, so that every stored value compares and none is special."""

_LONGEST_LOOK_UP = 1 << 16
_scratch = Scratch()


@dataclass(frozen=True)
class TableColumns:
    """What a plan reads of a table: the types of columns, and their positional names in the engine."""

    types: Types

    @property
    def names(self) -> dict[str, str]:
        """c0, c1, … by the columns' names in the plan."""
        return {column: f"c{position}" for position, column in enumerate(self.types)}


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
        return bisect_left(range(len(self.units)), unit, key=lambda row: self.units[row].as_py())


Tables = Mapping[str, TableColumns]
Stored = Mapping[str, StoredRows]
"""Both by the tables' names in the plan."""


def tables_of(plan: Plan, open_table: OpenTable) -> Tables:
    """What the plan reads."""
    return {name: TableColumns(types) for name, types in tables_read(plan, open_table).items()}


def parts(tables: Tables, open_table: OpenTable, rows: int) -> Iterator[Stored]:
    """The tables' rows in parts that each have all rows of their units, and about `rows` of the longest table.

    A table that is alone is read as it comes; several are read whole. Raises EngineError where a shard's types
    are not the plan's.
    """
    if len(tables) > 1:
        yield from _slices({name: _stored(_whole(name, tables, open_table), tables[name]) for name in tables}, rows)
        return
    for name, columns in tables.items():
        for table in _of_whole_units(_opened(name, columns, open_table)):
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
        start = bisect_left(range(len(units)), following, key=lambda row, units=units: units[row].as_py())
        yield held.slice(0, start)
        held = pa.concat_tables([held.slice(start), table])
    if held is not None:
        yield held


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


def to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """The values, not copied if they need not be; with NaN for NULL among numbers."""
    together = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values: NDArray[Any] = together.to_numpy(zero_copy_only=False)
    return values


class GroupNumbers:
    """Finds the rows' groups. A look-up gives a row one group at most, so no list of values multiplies rows."""

    def __init__(self, plan: Plan) -> None:
        self._values = [_values(key) for key in plan.group_by]

    def of(self, keys: Sequence[pa.ChunkedArray], rows: int) -> Integers:
        """The group of each row, -1 for none, in memory that the next call uses again; `keys` are the values of the plan's keys in each row."""
        if not keys:
            return np.zeros(rows, np.int64)
        groups = _places(keys[0], self._values[0], "groups")
        for column, values in zip(keys[1:], self._values[1:], strict=True):
            place = _places(column, values, "places")
            missing = (place < 0) | (groups < 0)
            groups *= len(values)
            groups += place
            groups[missing] = -1
        return groups


def _values(key: GroupKey) -> pa.Array:
    constants = [_unsigned_zero(scalar(value)) for value in key.values]
    return pa.array(constants, PHYSICAL_TYPES[value_type(key.expression)])


def _unsigned_zero(constant: Scalar) -> Scalar:
    """Arrow tells -0.0 from 0.0."""
    return constant + 0.0 if isinstance(constant, float) else constant


def _places(column: pa.ChunkedArray, values: pa.Array, name: str) -> Integers:
    """Where each value of `column` is among `values` first; -1 for NULL and where it is not.

    It may be in the scratch memory that `name` begins the name of.
    """
    if pa.types.is_dictionary(column.type):
        chunks = [_coded_places(chunk, values, f"{name}.{number}") for number, chunk in enumerate(column.chunks)]
        return chunks[0] if len(chunks) == 1 else np.concatenate([np.zeros(0, np.int64), *chunks])
    if pa.types.is_integer(column.type):
        lowest, highest = pc.min_max(values).values()
        if lowest.is_valid and highest.as_py() - lowest.as_py() < _LONGEST_LOOK_UP and not column.null_count:
            return _near_places(column, values, lowest.as_py(), highest.as_py())
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)
    return _or_none(pc.index_in(column, value_set=values, skip_nulls=True))


def _coded_places(chunk: pa.DictionaryArray, values: pa.Array, name: str) -> Integers:
    places = _or_none(pc.index_in(chunk.dictionary, value_set=values, skip_nulls=True))
    codes = pc.fill_null(chunk.indices, len(places)) if chunk.null_count else chunk.indices
    result: Integers = _scratch.array(name, len(codes), np.int64)
    # No code is out of range, so nothing is clipped; but only so numpy writes to `out` without a copy.
    return np.append(places, -1).take(codes.to_numpy(), out=result, mode="clip")


def _near_places(column: pa.ChunkedArray, values: pa.Array, lowest: int, highest: int) -> Integers:
    """By a table of all numbers from `lowest` to `highest`; its last place is for what is not between."""
    table = np.full(highest - lowest + 2, -1, np.int64)
    table[:-1] = _or_none(pc.index_in(pa.array(range(lowest, highest + 1), values.type), value_set=values))
    # Numbers below the lowest wrap to the largest ones.
    distances = to_numpy(column).astype(np.int64).view(np.uint64) - np.uint64(lowest % 2**64)
    return table.take(np.minimum(distances, highest - lowest + 1).view(np.int64))


def _or_none(places: pa.Array | pa.ChunkedArray) -> Integers:
    found: NDArray[np.int32] = pc.fill_null(places, -1).to_numpy()
    return found.astype(np.int64)
