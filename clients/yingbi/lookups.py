"""Public tables that a question may join with: from Python's rows, a pandas frame or a CSV file to what is sent.

They are sent beside the SQL, in the clear: gateway, enclaves and everyone who has the receipt can read them.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import ColumnType, Value

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = "pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path"
"""A frame, rows as dictionaries, or the path of a CSV file with a first line of names."""

MAX_BYTES = 2**20
"""All tables of a question together. A gateway accepts no more."""

_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_EPOCH_DAY, _EPOCH = datetime.date(1970, 1, 1), datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TRUTHS = {"true": True, "false": False}


def look_up_tables(lookups: Mapping[str, Rows]) -> tuple[LookUpTable, ...]:
    """The tables by their names in the SQL.

    None, NaN and an empty field of a CSV file are NULL. A column of a CSV file is bool, int64, date or float64 if
    all its fields can be read so and written back alike, else string: 01067 stays a text.

    Raises:
        Problem: "lookup" for what is no such table, naming table, row and column; "file" for a file that cannot be
            read.
    """
    tables = tuple(_table(name, rows) for name, rows in lookups.items())
    size = sum(table.ByteSize() for table in tables)
    if size > MAX_BYTES:
        raise _problem(
            f"The look-ups have {size:,} bytes together; {MAX_BYTES:,} are allowed.",
            "Leave out rows and columns that the query does not use.",
        )
    return tables


def _table(name: str, rows: Rows) -> LookUpTable:
    if isinstance(rows, str | Path):
        names, records = _read(name, Path(rows))
    else:
        names, records = _records(name, rows)
    if not all(_is_text(each) for each in (name, *names)):
        raise _problem(f"A name in the look-up {name!r} is not Unicode text.", "Rename it.")
    columns = [_column(f"{name}.{column}", [record.get(column) for record in records]) for column in names]
    return LookUpTable(
        name=name,
        columns=[LookUpTable.Column(name=column, type=kind) for column, (kind, _) in zip(names, columns, strict=True)],
        rows=[LookUpTable.Row(values=cells) for cells in zip(*(cells for _, cells in columns), strict=True)],
    )


def _records(name: str, rows: pd.DataFrame | Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Mapping[str, Any]]]:
    # Only frames have it; an import of pandas would cost whoever has none.
    to_dict = getattr(rows, "to_dict", None)
    records: list[Any] = list(rows) if to_dict is None else to_dict("records")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, Mapping) or not all(isinstance(column, str) for column in record):
            raise _problem(
                f"Row {number} of the look-up {name} is no dictionary of values by column name.",
                "Give a list of dictionaries, a pandas DataFrame, or the path of a CSV file.",
            )
    names = list(dict.fromkeys(column for record in records for column in record))
    if not names:
        raise _problem(f"The look-up {name} has no rows.", "Give at least one row.")
    return names, records


def with_lines(problem: Problem, files: Mapping[str, Path]) -> Problem:
    """A gateway's problem with rows of look-ups; of one that is a CSV file with the lines that these rows begin in."""
    path = files.get(problem.details.get("look_up", ""))
    rows = [int(row) for row in problem.details.get("rows", "").split(",") if row.isdecimal()]
    if path is None or not rows:
        return problem
    try:
        lines = [line for line, _ in _lines(problem.details["look_up"], path)][1:]
    except Problem:  # The file went meanwhile.
        return problem
    if not all(1 <= row <= len(lines) for row in rows):
        return problem
    numbers = " and ".join(str(lines[row - 1]) for row in rows)
    return dataclasses.replace(problem, message=f"{problem.message} In {path} these are the lines {numbers}.")


def files_of(lookups: Mapping[str, Rows]) -> Mapping[str, Path]:
    """The CSV files among the look-ups, by name."""
    return {name: Path(rows) for name, rows in lookups.items() if isinstance(rows, str | Path)}


def _lines(name: str, path: Path) -> list[tuple[int, list[str]]]:
    """The fields of a CSV file's rows, each with the line that it begins in, from 1; empty lines are left out."""
    text, found, before = _text(name, path), list[tuple[int, list[str]]](), 0
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for fields in reader:
            if fields:
                found.append((before + 1, fields))
            before = reader.line_num
    except csv.Error as error:
        said = f"{path}:{before + 1} cannot be read as the look-up {name}: {error}."
        raise _unreadable(said, 'Close quotes; write a quote within quotes twice, as "".') from error
    return found


def _text(name: str, path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        said = f"There is no file {path} for the look-up {name}."
        raise _unreadable(said, f"Check the path; it is relative to {Path.cwd()}.") from error
    except OSError as error:
        said = f"{path} cannot be read as the look-up {name}: {error.strerror}."
        raise _unreadable(said, "Give the path of a CSV file.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        said = f"{path}:{line} is not UTF-8, so it cannot be read as the look-up {name}."
        raise _unreadable(said, "Save it as UTF-8; spreadsheets call it CSV UTF-8.") from error


def _unreadable(message: str, hint: str) -> Problem:
    return Problem(Kind.MALFORMED, "file", message, field="lookups", hint=hint)


def _read(name: str, path: Path) -> tuple[list[str], list[Mapping[str, Any]]]:
    lines = _lines(name, path)
    if len(lines) < 2:
        raise _problem(
            f"{path} {'has no rows' if lines else 'is empty'}: it cannot be the look-up {name}.",
            "Write the names of the columns into the first line, rows below.",
        )
    (_, names), *rest = lines
    rows = [row for _, row in rest]
    if len({column.lower() for column in names}) < len(names) or not all(names):
        raise _problem(f"The first line of {path} does not name every column differently.", "Give each a name.")
    for line, row in rest:
        if len(row) != len(names):
            raise _problem(
                f"{path}:{line} has {len(row)} field{'s' * (len(row) != 1)}, and the first line {len(names)}.",
                "Quote fields with commas in them.",
            )
    kinds = [_reader([row[index] for row in rows if row[index]]) for index in range(len(names))]
    return names, [
        {column: read(field) if field else None for column, read, field in zip(names, kinds, row, strict=True)}
        for row in rows
    ]


def _reader(fields: Sequence[str]) -> Callable[[str], Any]:
    """How the fields of a column of a CSV file are read."""
    for read in (_truth, _whole, _day, _decimal):
        if fields and all(read(field) is not None for field in fields):
            return read
    return str


def _truth(field: str) -> bool | None:
    return _TRUTHS.get(field.lower())


def _whole(field: str) -> int | None:
    number = int(field) if _WHOLE.fullmatch(field) else None
    return number if number is not None and _MIN_INT64 <= number <= _MAX_INT64 else None


def _decimal(field: str) -> float | None:
    number = float(field) if _DECIMAL.fullmatch(field) else math.inf
    return number if math.isfinite(number) else None


def _day(field: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(field) if _DATE.fullmatch(field) else None
    except ValueError:
        return None


def _column(where: str, cells: Sequence[Any]) -> tuple[ColumnType.ValueType, list[Value]]:
    """The type of a column and its values."""
    plain = [_plain(where, number, cell) for number, cell in enumerate(cells, start=1)]
    kinds = {type(cell) for cell in plain if cell is not None}
    if kinds == {int, float}:
        plain = [float(cell) if isinstance(cell, int) else cell for cell in plain]
        kinds = {float}
    if len(kinds) > 1:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise _problem(f"The column {where} has values of several types: {names}.", "Give all of them one type.")
    found = [Value() if cell is None else _value(cell) for cell in plain]
    return _TYPES[kinds.pop() if kinds else str], found


def _plain(where: str, number: int, cell: Any) -> bool | int | float | str | datetime.date | None:
    """A cell as one of Python's own values."""
    item = getattr(cell, "item", None)
    if callable(item):  # a number of numpy's
        cell = item()
    if _is_missing(cell):
        return None
    if isinstance(cell, datetime.datetime) and cell.tzinfo is None:
        # Not a subclass of it, as pandas has them.
        return datetime.datetime(*cell.timetuple()[:6], cell.microsecond)
    if isinstance(cell, bool | int | float | str | datetime.date) and _can_be_sent(cell):
        return cell
    raise _problem(
        f"The value in row {number} of {where} cannot be sent: {str(cell)[:40]!r} ({type(cell).__name__}).",
        "Give truth values, whole numbers of 64 bits, finite numbers, strings, dates, datetimes without a time zone.",
    )


def _is_missing(cell: Any) -> bool:
    """None, NaN, and what pandas has for a missing value, which is not equal to itself or says so by its name."""
    return cell is None or type(cell).__name__ == "NAType" or bool(cell != cell)  # noqa: PLR0124


def _can_be_sent(cell: bool | int | float | str | datetime.date) -> bool:
    match cell:
        case str():
            return _is_text(cell)
        case int():
            return _MIN_INT64 <= cell <= _MAX_INT64
        case float():
            return math.isfinite(cell)
        case _:
            return not isinstance(cell, datetime.datetime)


def _is_text(text: str) -> bool:
    """Whether it is Unicode: half of a surrogate pair is not."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


_TYPES: Mapping[type, ColumnType.ValueType] = {
    bool: plan_pb2.COLUMN_TYPE_BOOL,
    int: plan_pb2.COLUMN_TYPE_INT64,
    float: plan_pb2.COLUMN_TYPE_FLOAT64,
    str: plan_pb2.COLUMN_TYPE_STRING,
    datetime.date: plan_pb2.COLUMN_TYPE_DATE,
    datetime.datetime: plan_pb2.COLUMN_TYPE_TIMESTAMP,
}


def _value(cell: bool | int | float | str | datetime.date) -> Value:
    match cell:
        case bool():
            return Value(bool_value=cell)
        case int():
            return Value(int64_value=cell)
        case float():
            return Value(float64_value=cell)
        case str():
            return Value(string_value=cell)
        case datetime.datetime():
            return Value(timestamp_micros=(cell - _EPOCH) // _MICROSECOND)
        case datetime.date():
            return Value(date_days=(cell - _EPOCH_DAY).days)


def _problem(message: str, hint: str) -> Problem:
    return Problem(Kind.MALFORMED, "lookup", message, field="lookups", hint=hint)
