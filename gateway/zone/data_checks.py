"""What a provider's files are checked for before a row is sent: then a mistake is told with file and line.

The enclaves check it again, since they trust nobody; but they do not know the files, and cannot say where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnType

from enclave_sim.plan.schema import max_length
from gateway.zone import data_files
from gateway.zone.data_files import place, place_within

_ROW = "_yingbi_row"  # No column is declared with this prefix.


def check_table(table: TableDeclaration, path: Path, unit: str, max_units: int) -> list[str]:
    """Read a table's file once, in batches, and keep none of its rows.

    What is kept for columns that are constant_per_unit is one entry a unit, for at most `max_units` units.

    Returns:
        What the provider should know, and nobody else: how many texts of each column are longer than `max_length`, and
        so will be cut when they are sealed.

    Raises:
        Problem: "data_file" for what is not of the declared type; "unit_missing", "missing_value", "not_constant",
            "too_many_units".
    """
    absent = [_Absent(column.name) for column in table.columns if column.required or column.name == unit]
    constant = _Constant(unit, [column for column in table.columns if column.constant_per_unit], max_units)
    long = [
        _Long(column)
        for column in table.columns
        if column.type == ColumnType.COLUMN_TYPE_STRING and column.name != unit
    ]
    rows = 0
    for batch in data_files.batches(path, table):
        for each in absent:
            each.look(batch.column(each.column), rows, empty_text=each.column == unit)
        for column in long:
            column.look(batch.column(column.name), rows)
        differing = constant.look(batch, rows) if constant.columns else None
        if differing is not None:
            raise _not_constant(path, table, unit, differing)
        rows += batch.num_rows
    for each in absent:
        if each.rows:
            raise _absent(path, table, each, unit)
    return [_cut(path, column) for column in long if column.rows]


def too_many_units(max_units: int) -> Problem:
    """The files have more units than are declared."""
    return Problem(
        Kind.REFUSED,
        "too_many_units",
        f"The files have more than {max_units} units.",
        field="max_units",
        hint="declare a larger max_units: it is a public bound",
    )


def absent_units(units: pa.Array) -> pa.Array:
    """Where a row has no unit: NULL, or the empty string."""
    return _absent_cells(units, empty_text=True)


@dataclass
class _Absent:
    """The rows of a file without a value of a column."""

    column: str
    rows: int = 0
    first: int = 0

    def look(self, values: pa.Array, before: int, empty_text: bool) -> None:
        missing = _absent_cells(values, empty_text)
        count = missing.true_count
        if count and not self.rows:
            self.first = before + pc.index(missing, True).as_py()
        self.rows += count


def _absent_cells(values: pa.Array, empty_text: bool) -> pa.BooleanArray:
    missing = values.is_null(nan_is_null=pa.types.is_floating(values.type))
    if empty_text and pa.types.is_string(values.type):
        missing = pc.or_(missing, pc.fill_null(pc.equal(values, ""), True))
    return missing


def _absent(path: Path, table: TableDeclaration, absent: _Absent, unit: str) -> Problem:
    count = f"{absent.rows:,} rows, of which this is the first, have" if absent.rows > 1 else "1 row has"
    said = f"{place(path, absent.first)}: {count} no {absent.column}"
    field = f"tables.{table.name}.columns.{absent.column}"
    if absent.column == unit:
        said, hint = f"{said}: nobody could be protected as their unit.", "remove the rows, or give them their unit"
        return Problem(Kind.MALFORMED, "unit_missing", said, field=field, hint=hint)
    said, hint = f"{said}, which is declared as required.", "mend the data, or drop required: true"
    return Problem(Kind.REFUSED, "missing_value", said, field=field, hint=hint)


class _Long:
    """The texts of a column that are longer than it has room for."""

    def __init__(self, column: ColumnDeclaration) -> None:
        self.name, self.most = column.name, max_length(column)
        self.rows = self.first = 0

    def look(self, values: pa.Array, before: int) -> None:
        longer = pc.fill_null(pc.greater(pc.binary_length(values), self.most), False)
        count = longer.true_count
        if count and not self.rows:
            self.first = before + pc.index(longer, True).as_py()
        self.rows += count


def _cut(path: Path, column: _Long) -> str:
    count = f"{column.rows:,} rows, of which this is the first, have" if column.rows > 1 else "1 row has"
    return (
        f"{place(path, column.first)}: {count} a longer text in {column.name} than {column.most:,} bytes, its "
        "max_length; what is beyond is cut"
    )


@dataclass(frozen=True)
class _Differing:
    """Two values of a column within one unit."""

    column: ColumnDeclaration
    unit: Any
    row: int
    """The first that differs from one before it, from 0."""


class _Constant:
    """What each unit has in the columns that are declared as constant in it."""

    def __init__(self, unit: str, columns: Sequence[ColumnDeclaration], max_units: int) -> None:
        self.columns = columns
        self._unit, self._max_units = unit, max_units
        self._marks: dict[Any, tuple[Any, ...]] = {}

    def look(self, batch: pa.RecordBatch, before: int) -> _Differing | None:
        """The first two values of one unit, if there are, in this batch or between it and those before."""
        names = [self._unit, *(column.name for column in self.columns)]
        table = pa.table({name: batch.column(name) for name in names})
        # Equal rows of a batch are looked at once.
        distinct = table.append_column(_ROW, pa.array(np.arange(before, before + batch.num_rows)))
        distinct = distinct.group_by(names).aggregate([(_ROW, "min")]).sort_by(f"{_ROW}_min")
        for unit, *values, row in zip(*(distinct[name].to_pylist() for name in (*names, f"{_ROW}_min")), strict=True):
            if unit is None or unit == "":  # is refused by itself
                continue
            marks = tuple(map(_mark, values))
            known = self._marks.setdefault(unit, marks)
            for column, mark, first in zip(self.columns, marks, known, strict=True):
                if mark != first:
                    return _Differing(column, unit, row)
            if len(self._marks) > self._max_units:
                raise too_many_units(self._max_units)
        return None


def _mark(value: Any) -> Any:
    """What tells a value from others: a text's hash, which is short, and other values themselves; NaN is NULL."""
    if isinstance(value, str):
        return hash(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _not_constant(path: Path, table: TableDeclaration, unit: str, differing: _Differing) -> Problem:
    column = differing.column.name
    first = _first_row(path, table, lambda batch: pc.equal(batch.column(unit), differing.unit))
    return Problem(
        Kind.REFUSED,
        "not_constant",
        f"{place(path, differing.row)}: {column} is another than in {place_within(path, first)}, which is of the same "
        f"{unit}; it is declared as constant_per_unit.",
        field=f"tables.{table.name}.columns.{column}",
        hint="mend the data, or drop constant_per_unit: true",
    )


def _first_row(path: Path, table: TableDeclaration, holds: Callable[[pa.RecordBatch], pa.BooleanArray]) -> int:
    """The first row of a file of which this holds; there is one."""
    before = 0
    for batch in data_files.batches(path, table):
        index = pc.index(holds(batch), True).as_py()
        if index >= 0:
            return before + int(index)
        before += batch.num_rows
    raise data_files.changed(path, table)
