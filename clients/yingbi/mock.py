"""Made-up rows of a dataset's schema, from its declaration alone: nothing here knows any data.

For trying things out: columns are independent of each other, and of the world. The same seed makes the same
rows; a column's values do not depend on which other columns there are.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
)
from yingbi.cells import Cell, to_json, to_python
from yingbi.extras import pandas_extra, typed_frame

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_ROWS = 100
MAX_ROWS = 1_000_000
# How often a value that may be NULL is NULL.
NULL_SHARE = 0.02
# What a column without bounds or values holds.
PLAIN_BOUNDS = (0.0, 100.0)
PLAIN_TEXTS = 20
_FIRST_DAY = datetime.date(2020, 1, 1)
_DAYS = 5 * 365
_DAY_SECONDS = 86_400
# Few enough rows a unit that a small table has several units, where `max_rows_per_unit` is large.
_LEAST_UNITS = 4


@dataclass(frozen=True)
class MockTable:
    """One table's made-up rows, those of a unit one after another; dates as dates, NULL as None."""

    declaration: TableDeclaration
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def header(self) -> list[str]:
        return [column.name for column in self.declaration.columns]

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "columns": self.header,
            "rows": [[to_json(cell) for cell in row] for row in self.rows],
        }

    def to_csv(self) -> str:
        """As `dataset add` reads it; an empty field is NULL, in a string column the empty text."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows([_field(cell) for cell in row] for row in self.rows)
        return text.getvalue()

    def to_pandas(self) -> pd.DataFrame:
        """In types that hold NULL: Int64 and boolean; dates and texts are objects."""
        columns = [(column.name, column.type) for column in self.declaration.columns]
        return typed_frame(pandas_extra(instead="`yingbi mock NAME`"), columns, self.rows)


def mock_tables(declaration: DatasetDeclaration, rows: int = DEFAULT_ROWS, seed: int | None = None) -> list[MockTable]:
    """Up to `rows` rows for each declared table; fewer only where `max_units` admits no more.

    A unit has at least one and at most `max_rows_per_unit` rows in a table, and the same id in all of them.

    Raises:
        Problem: `rows` is not from 1 to `MAX_ROWS`.
    """
    if not 1 <= rows <= MAX_ROWS:
        raise Problem(
            Kind.MALFORMED, "rows", f"Made-up tables have 1 to {MAX_ROWS:,} rows, not {rows:,}.", field="rows"
        )
    source = secrets.randbits(64) if seed is None else seed
    return [_table(declaration, table, rows, source) for table in declaration.tables]


def _table(declaration: DatasetDeclaration, table: TableDeclaration, rows: int, seed: int) -> MockTable:
    units = _units(_random(seed, table.name), rows, table.max_rows_per_unit, declaration.max_units)
    columns = [_column(_random(seed, table.name, column.name), column, units) for column in table.columns]
    return MockTable(table, tuple(zip(*columns, strict=True)))


def _random(seed: int, *names: str) -> random.Random:
    # No privacy rests on it. Texts seed alike in every process and version of Python, by SHA-512.
    return random.Random("\n".join([str(seed), *names]))  # noqa: S311


def _units(draw: random.Random, rows: int, most: int, max_units: int) -> list[int]:
    """For each row the number of its unit, from 1."""
    units: list[int] = []
    usual = min(most, max(1, rows // _LEAST_UNITS))
    for unit in range(1, max_units + 1):
        left = rows - len(units)
        if left <= 0:
            break
        needed = left - (max_units - unit) * most
        units += [unit] * min(left, most, max(needed, draw.randint(1, usual)))
    return units


def _column(draw: random.Random, column: ColumnDeclaration, units: Sequence[int]) -> list[Cell]:
    if column.role == ColumnDeclaration.ROLE_UNIT:
        named = column.type == COLUMN_TYPE_STRING
        return [f"{column.name}-{unit}" if named else unit for unit in units]
    value = _values(draw, column)
    missing = 0.0 if column.required else NULL_SHARE
    cells = [None if draw.random() < missing else value() for _ in units]
    if not column.constant_per_unit:
        return cells
    of_unit: dict[int, Cell] = {}
    return [of_unit.setdefault(unit, cell) for unit, cell in zip(units, cells, strict=True)]


def _values(draw: random.Random, column: ColumnDeclaration) -> Callable[[], Cell]:
    """What draws one value of the column."""
    if column.values:
        declared = [to_python(value) for value in column.values]
        return lambda: draw.choice(declared)
    lower, upper = (column.lower, column.upper) if column.HasField("lower") else PLAIN_BOUNDS
    makers: dict[ColumnType.ValueType, Callable[[], Cell]] = {
        COLUMN_TYPE_BOOL: lambda: draw.random() < 0.5,
        COLUMN_TYPE_INT64: lambda: draw.randint(math.ceil(lower), math.floor(upper)),
        COLUMN_TYPE_FLOAT64: lambda: _real(draw.random(), lower, upper),
        COLUMN_TYPE_STRING: lambda: f"{column.name} {draw.randint(1, PLAIN_TEXTS)}",
        COLUMN_TYPE_DATE: lambda: _FIRST_DAY + datetime.timedelta(days=draw.randrange(_DAYS)),
        COLUMN_TYPE_TIMESTAMP: lambda: _moment(draw.randrange(_DAYS * _DAY_SECONDS)),
    }
    return makers[column.type]


def _real(share: float, lower: float, upper: float) -> float:
    """So far from lower to upper, in about four digits of the range; sums of huge bounds would overflow."""
    value = lower * (1 - share) + upper * share
    half = upper / 2 - lower / 2
    digits = max(0, 3 - math.floor(math.log10(half))) if half > 0 else None
    return min(upper, max(lower, value if digits is None else round(value, digits)))


def _moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.combine(_FIRST_DAY, datetime.time()) + datetime.timedelta(seconds=seconds)


def _field(cell: Cell) -> object:
    if isinstance(cell, bool):
        return str(cell).lower()
    return to_json(cell)
