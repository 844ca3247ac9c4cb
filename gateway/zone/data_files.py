"""A provider's CSV and Parquet files as batches of the declared columns; mistakes are told with file, line and column.

Files are streamed. Only where something is wrong is a file read a second time, to find the line.
"""

from __future__ import annotations

import codecs
import csv
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, TableDeclaration

from enclave_sim.plan.values import type_name

ARROW_TYPES = {
    plan_pb2.COLUMN_TYPE_BOOL: pa.bool_(),
    plan_pb2.COLUMN_TYPE_INT64: pa.int64(),
    plan_pb2.COLUMN_TYPE_FLOAT64: pa.float64(),
    plan_pb2.COLUMN_TYPE_STRING: pa.string(),
    plan_pb2.COLUMN_TYPE_DATE: pa.date32(),
    plan_pb2.COLUMN_TYPE_TIMESTAMP: pa.timestamp("us"),
}

_HINTS = {
    plan_pb2.COLUMN_TYPE_BOOL: "write true or false",
    plan_pb2.COLUMN_TYPE_INT64: "write digits alone, as 12 and not 12.0; numbers with a point are float64",
    plan_pb2.COLUMN_TYPE_FLOAT64: "write 12.5, without a unit or commas, and leave the field empty if it is not known",
    plan_pb2.COLUMN_TYPE_STRING: "save the file as UTF-8",
    plan_pb2.COLUMN_TYPE_DATE: "dates are written 2024-01-31",
    plan_pb2.COLUMN_TYPE_TIMESTAMP: "time stamps are written 2024-01-31 12:00:00, without a time zone",
}
_PARSING = pa.csv.ParseOptions(newlines_in_values=True)
# What Arrow says of a CSV file that it cannot read, in the versions that are admitted; of other texts only the file
# is told, since they may quote whole rows.
_BAD_VALUE = re.compile(
    r"In CSV column #(\d+): .*?CSV conversion error to [^:]*: (?:invalid value '(.*)'|invalid UTF8 data)", re.DOTALL
)
_BAD_ROW = re.compile(r"CSV parse error: .*?Expected (\d+) columns, got (\d+)")
_SHOWN = 60


def arrow_schema(table: TableDeclaration) -> pa.Schema:
    """The declared columns, in their order, as rows are sent."""
    return pa.schema([(column.name, ARROW_TYPES[column.type]) for column in table.columns])


def batches(path: Path, table: TableDeclaration) -> Iterator[pa.RecordBatch]:
    """The declared columns of a file, with the declared types and names, in the order of its rows.

    Raises:
        Problem: MALFORMED "data_file", naming the file, and its line and column where there is one.
    """
    schema, before = arrow_schema(table), 0
    try:
        names, read = _csv(path, table) if _is_csv(path) else _parquet(path, table)
        for batch in read:
            columns = [
                _cast(batch.column(batch.schema.get_field_index(names[column.name])), column, table, path, before)
                for column in table.columns
            ]
            yield pa.record_batch(columns, schema=schema)
            before += batch.num_rows
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise (_csv_problem(path, table, error) if _is_csv(path) else _unreadable(path, table, error)) from error


def place(path: Path, row: int) -> str:
    """Where a row, counted from 0, is, to begin a message with: visits.csv:12, or visits.parquet, row 11."""
    return _at(path, _line(path, row)) if _is_csv(path) else f"{path.name}, row {row + 1:,}"


def place_within(path: Path, row: int) -> str:
    """The same without the file: line 12, or row 11."""
    return f"line {_line(path, row)}" if _is_csv(path) else f"row {row + 1:,}"


def changed(path: Path, table: TableDeclaration) -> Problem:
    """A file was read twice, and differed."""
    return _file_problem(f"{path.name} changed while it was read.", table.name, "add the dataset again")


def _line(path: Path, row: int) -> int | None:
    return next((line for number, (line, _) in enumerate(_records(path), -1) if number == row), None)


def _problem(path: Path, table: TableDeclaration, column: str, where: str, message: str, hint: str) -> Problem:
    """A problem with what a file has at a place."""
    return Problem(
        Kind.MALFORMED, "data_file", f"{where}: {message}", field=f"tables.{table.name}.columns.{column}", hint=hint
    )


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _csv(path: Path, table: TableDeclaration) -> tuple[Mapping[str, str], Iterator[pa.RecordBatch]]:
    _check_not_utf16(path, table)
    with pa.csv.open_csv(path, parse_options=_PARSING) as header:
        try:
            present = header.schema.names
        except UnicodeDecodeError as error:
            hint = _HINTS[plan_pb2.COLUMN_TYPE_STRING]
            raise _file_problem(f"{path.name}: its first line is not UTF-8.", table.name, hint) from error
    names = _file_columns(present, table, path)
    types = {names[column.name]: ARROW_TYPES[column.type] for column in table.columns}
    options = pa.csv.ConvertOptions(column_types=types, include_columns=list(types))
    return names, iter(pa.csv.open_csv(path, parse_options=_PARSING, convert_options=options))


def _check_not_utf16(path: Path, table: TableDeclaration) -> None:
    """Spreadsheets write it as "Unicode text"; Arrow takes its zero bytes for characters."""
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            hint = _HINTS[plan_pb2.COLUMN_TYPE_STRING]
            raise _file_problem(f"{path.name} is UTF-16, not UTF-8.", table.name, hint)


def _parquet(path: Path, table: TableDeclaration) -> tuple[Mapping[str, str], Iterator[pa.RecordBatch]]:
    file = pq.ParquetFile(path)
    names = _file_columns(file.schema_arrow.names, table, path)
    return names, file.iter_batches(columns=[names[column.name] for column in table.columns])


def _file_columns(present: list[str], table: TableDeclaration, path: Path) -> Mapping[str, str]:
    """The file's name of each declared column; names match case-insensitively."""
    by_lower = {name.lower(): name for name in present}
    declared = {column.name.lower() for column in table.columns}
    for column in table.columns:
        if [name.lower() for name in present].count(column.name.lower()) > 1:
            said = f"{path.name} has several columns {column.name}, apart from upper and lower case."
            raise _file_problem(said, f"{table.name}.columns.{column.name}", "rename all but one")
        if column.name.lower() not in by_lower:
            near = nearest(column.name, [name for name in present if name.lower() not in declared])
            hint = f"did you mean {near}?" if near else f"it has {', '.join(present)}"
            said = f"{path.name} has no column {column.name}."
            raise _file_problem(said, f"{table.name}.columns.{column.name}", hint)
    return {column.name: by_lower[column.name.lower()] for column in table.columns}


def _cast(values: pa.Array, column: ColumnDeclaration, table: TableDeclaration, path: Path, before: int) -> pa.Array:
    def converted(part: pa.Array) -> pa.Array:
        # Microseconds are what is kept of a time stamp; finer ones are cut off.
        cut = column.type == plan_pb2.COLUMN_TYPE_TIMESTAMP
        return pc.cast(part, ARROW_TYPES[column.type], safe=not cut)

    try:
        return converted(values)
    except pa.ArrowNotImplementedError as error:
        said = f"the column {column.name} is {values.type}, which is not read as {type_name(column.type)}."
        hint = "declare another type, or write the column anew"
        raise _problem(path, table, column.name, path.name, said, hint) from error
    except pa.ArrowInvalid as error:
        row = _first_refused(values, converted)
        raise _bad_value(path, table, column, place(path, before + row), str(values[row].as_py())) from error


def _first_refused(values: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int:
    """The first row that cannot be converted, by halves; there is one."""
    good, length = 0, len(values)
    while length > 1:
        half = length // 2
        try:
            convert(values.slice(good, half))
        except pa.ArrowInvalid:
            length = half
        else:
            good, length = good + half, length - half
    return good


def _bad_value(path: Path, table: TableDeclaration, column: ColumnDeclaration, where: str, value: str) -> Problem:
    shown = repr(value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "...")
    said = f"{shown} in the column {column.name} is no {type_name(column.type)}."
    return _problem(path, table, column.name, where, said, _HINTS[column.type])


def _csv_problem(path: Path, table: TableDeclaration, error: Exception) -> Problem:
    """What Arrow found wrong with a CSV file, with the line."""
    text, records = str(error), _records(path)
    if found := _BAD_VALUE.search(text):
        index, value = int(found[1]), found[2]
        _, header = next(records)
        column = next(column for column in table.columns if column.name.lower() == header[index].lower())
        bad = (line for line, fields in records if len(fields) > index and _is_meant(fields[index], value))
        where = _at(path, next(bad, None))
        if value is not None:
            return _bad_value(path, table, column, where, value)
        said = f"the text in the column {column.name} is not UTF-8."
        return _problem(path, table, column.name, where, said, _HINTS[plan_pb2.COLUMN_TYPE_STRING])
    if found := _BAD_ROW.search(text):
        width, other = int(found[1]), int(found[2])
        line = next((line for line, fields in records if len(fields) == other), None)
        said = f"the line has {other} field{'s' * (other != 1)}, and the first line {width}."
        return _file_problem(f"{_at(path, line)}: {said}", table.name, "put fields with commas in them in quotes")
    if text.startswith("Empty CSV file"):
        hint = "its first line is the names of the columns, separated by commas"
        return _file_problem(f"{path.name} is empty.", table.name, hint)
    return _unreadable(path, table, error)


def _is_meant(field: str, value: str | None) -> bool:
    """Whether this is the field that Arrow complains about: the value, or, without one, bytes that are not UTF-8."""
    if value is None:
        return any("\udc80" <= character <= "\udcff" for character in field)
    shown = field.encode(errors="surrogateescape").decode(errors="replace")  # as in Arrow's message
    return shown.strip() == value.strip()


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV file, each with the line that it begins in, from 1: the first is the header."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader, before = csv.reader(file), 0
        for fields in reader:
            if fields:
                yield before + 1, fields
            before = reader.line_num


def _at(path: Path, line: int | None) -> str:
    return path.name if line is None else f"{path.name}:{line}"


def _unreadable(path: Path, table: TableDeclaration, error: Exception) -> Problem:
    reason = (
        error.strerror
        if isinstance(error, OSError) and error.strerror
        else f"it is no whole {path.suffix[1:].lower()} file"
    )
    hint = "write it anew, and see that it is whole"
    return _file_problem(f"{path.name} cannot be read: {reason}.", table.name, hint)


def _file_problem(message: str, where: str, hint: str) -> Problem:
    return Problem(Kind.MALFORMED, "data_file", message, field=f"tables.{where}", hint=hint)
