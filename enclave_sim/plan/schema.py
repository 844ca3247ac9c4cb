"""What a dataset may declare about itself, wherever the declaration came from.

The gateway applies these rules to a YAML file, an enclave to the message that it is sent. Paths in errors
are those of the YAML file: `tables.labs.columns.value.lower`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TypeVar

from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, COLUMN_TYPE_STRING

from enclave_sim.plan import values

MAX_TABLES = 64
MAX_COLUMNS = 1000
MAX_VALUES = 100_000
MAX_UNITS = 10**9
MAX_ROWS_PER_UNIT = 2**20
MAX_EXACT_INTEGER = 2**53
DEFAULT_LENGTH, LISTED_LENGTH = 256, 64
"""UTF-8 bytes of a text where nothing is declared; the second where the column's values are."""
MAX_LENGTH = 2**16
"""UTF-8 bytes of a text."""
LONGEST_CHARACTER = 4
"""UTF-8 bytes."""
LEAST_UNIT_BYTES = 2**14
"""UTF-8 bytes that a unit's texts in one column may have together, whatever is declared."""
RESERVED_PREFIX = "_yingbi"
LANGUAGES = ("en", "zh")

_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_UNIT_TYPES = (COLUMN_TYPE_INT64, COLUMN_TYPE_STRING)
_Declared = TypeVar("_Declared", TableDeclaration, ColumnDeclaration)


class DeclarationError(ValueError):
    """A declaration breaks a rule. `field_path` as in the YAML file; the message says what is accepted."""

    def __init__(self, field_path: str, message: str) -> None:
        super().__init__(f"{field_path}: {message}")
        self.field_path = field_path
        self.message = message


def find_table(declaration: DatasetDeclaration, name: str) -> TableDeclaration | None:
    """The table of this name, in whatever case."""
    return _find(declaration.tables, name)


def find_column(table: TableDeclaration, name: str) -> ColumnDeclaration | None:
    """The column of this name, in whatever case."""
    return _find(table.columns, name)


def is_unit(column: ColumnDeclaration) -> bool:
    """Whether this is the privacy unit's column."""
    return column.role == ColumnDeclaration.ROLE_UNIT


def has_bounds(column: ColumnDeclaration) -> bool:
    """Whether the column may be summed."""
    return column.HasField("lower") and column.HasField("upper")


def check_curious(declaration: DatasetDeclaration, providers: int) -> None:
    """Refuse more curious providers than leave one whose noise they do not know; raises DeclarationError."""
    _require(
        declaration.curious_providers < providers,
        "curious_providers",
        f"must be below the number of provider nodes, {providers}: at least one noise share stays unknown",
    )


def max_length(column: ColumnDeclaration) -> int:
    """UTF-8 bytes that a text of the column has at most, once it is sealed."""
    if column.HasField("max_length"):
        return column.max_length
    return max(LISTED_LENGTH if column.values else DEFAULT_LENGTH, _least_length(column))


def unit_bytes(column: ColumnDeclaration, rows: int) -> int:
    """UTF-8 bytes that a unit's texts in the column have together at most, `rows` being those that it may have."""
    return max(LEAST_UNIT_BYTES, rows * max_length(column))


def check_declaration(declaration: DatasetDeclaration) -> None:
    """Refuse a declaration that breaks a rule.

    Raises:
        DeclarationError: the first one broken.
    """
    _check_names(declaration)
    _check_terms(declaration)
    _require(1 <= len(declaration.tables) <= MAX_TABLES, "tables", f"there must be 1 to {MAX_TABLES} tables")
    _check_unique(declaration.tables, "tables")
    for table in declaration.tables:
        _check_table(table, declaration.privacy_unit, f"tables.{table.name}")
    _check_one_unit_type(declaration)


def _check_names(declaration: DatasetDeclaration) -> None:
    for field, name in (
        ("dataset", declaration.dataset),
        ("zone", declaration.zone),
        ("unit_namespace", declaration.unit_namespace),
    ):
        _require(
            _ID.fullmatch(name) is not None,
            field,
            f"{_quoted(name)} is no id; it must match [a-z][a-z0-9_-]* and have at most 63 characters",
        )
    _check_identifier(declaration.privacy_unit, "privacy_unit")
    _require(len(declaration.title) > 0, "title", "a title in en or zh is needed")
    for language, title in declaration.title.items():
        _require(language in LANGUAGES, f"title.{language}", "a title is in en or zh")
        _require(1 <= len(title) <= 200, f"title.{language}", "a title has 1 to 200 characters")
    _require(1 <= len(declaration.source) <= 10_000, "source", "must have 1 to 10,000 characters")


def _check_terms(declaration: DatasetDeclaration) -> None:
    _require(1 <= declaration.grade <= 4, "grade", f"must be 1, 2, 3 or 4, not {declaration.grade}")
    _require(
        1 <= declaration.max_units <= MAX_UNITS,
        "max_units",
        f"must be from 1 to {MAX_UNITS:,}, not {declaration.max_units}",
    )
    try:
        zcdp.check_parameters(declaration.budget_epsilon, declaration.budget_delta)
    except zcdp.BadPrivacyParameter as error:
        raise DeclarationError(f"budget.{error.field}", str(error)) from error


def _check_table(table: TableDeclaration, privacy_unit: str, path: str) -> None:
    _check_identifier(table.name, path)
    _require(
        1 <= table.max_rows_per_unit <= MAX_ROWS_PER_UNIT,
        f"{path}.max_rows_per_unit",
        f"must be from 1 to {MAX_ROWS_PER_UNIT:,}, not {table.max_rows_per_unit}",
    )
    _require(
        1 <= len(table.columns) <= MAX_COLUMNS,
        f"{path}.columns",
        f"there must be 1 to {MAX_COLUMNS} columns",
    )
    _check_unique(table.columns, f"{path}.columns")
    _require(
        any(column.name == privacy_unit for column in table.columns),
        f"{path}.columns",
        f"the privacy unit {privacy_unit} must be a column of every table",
    )
    for column in table.columns:
        _check_column(column, privacy_unit, f"{path}.columns.{column.name}")


def _check_column(column: ColumnDeclaration, privacy_unit: str, path: str) -> None:
    _check_identifier(column.name, path)
    _require(
        column.type in values.TYPE_NAMES,
        f"{path}.type",
        "must be one of " + ", ".join(values.TYPE_NAMES.values()),
    )
    if column.name == privacy_unit:
        _require(is_unit(column), f"{path}.role", "the privacy unit must have the role unit")
        _check_unit(column, path)
        return
    _require(
        column.role == ColumnDeclaration.ROLE_ATTRIBUTE,
        f"{path}.role",
        f"only the privacy unit {privacy_unit} has the role unit",
    )
    _check_values(column, f"{path}.values")
    _check_bounds(column, path)
    _check_length(column, path)


def _check_unit(column: ColumnDeclaration, path: str) -> None:
    _require(column.type in _UNIT_TYPES, f"{path}.type", "a privacy unit must be int64 or string")
    _require(not column.values, f"{path}.values", "a privacy unit has no declared values")
    _require(not column.HasField("lower"), f"{path}.lower", "a privacy unit has no bounds")
    _require(not column.HasField("upper"), f"{path}.upper", "a privacy unit has no bounds")
    _require(not column.required, f"{path}.required", "a privacy unit is never missing")
    _require(not column.HasField("max_length"), f"{path}.max_length", "a privacy unit is never cut")
    _require(not column.constant_per_unit, f"{path}.constant_per_unit", "a privacy unit is always one value")


def _check_values(column: ColumnDeclaration, path: str) -> None:
    if not column.values:
        return
    name = values.type_name(column.type)
    _require(column.type != COLUMN_TYPE_FLOAT64, path, "a float64 column cannot have declared values")
    _require(len(column.values) <= MAX_VALUES, path, f"at most {MAX_VALUES:,} values may be declared")
    seen: set[values.PythonValue] = set()
    for value in column.values:
        right = values.is_valid(value) and values.type_of(value) == column.type
        _require(right, path, f"every value must be a {name}")
        key = values.to_python(value)
        _require(key not in seen, path, f"{_quoted(key)} is listed twice")
        seen.add(key)


def _check_bounds(column: ColumnDeclaration, path: str) -> None:
    if column.HasField("lower"):
        _check_bound(column, f"{path}.lower", column.lower)
        _require(column.HasField("upper"), f"{path}.lower", "lower and upper come together, or not at all")
    if column.HasField("upper"):
        _check_bound(column, f"{path}.upper", column.upper)
        _require(column.HasField("lower"), f"{path}.upper", "lower and upper come together, or not at all")
    if has_bounds(column):
        _require(column.lower < column.upper, f"{path}.lower", "must be below upper")


def _check_bound(column: ColumnDeclaration, path: str, bound: float) -> None:
    _require(
        column.type in values.NUMERIC,
        path,
        f"only int64 and float64 columns have bounds, not {values.type_name(column.type)}",
    )
    _require(math.isfinite(bound), path, "must be a finite number")
    if column.type == COLUMN_TYPE_INT64:
        _require(
            bound.is_integer() and abs(bound) <= MAX_EXACT_INTEGER,
            path,
            f"the bounds of an int64 column are whole numbers within ±2^53, not {bound!r}",
        )


def _check_length(column: ColumnDeclaration, path: str) -> None:
    """A text that is cut must not become a declared value: cut at a character, it is up to 3 bytes below the limit."""
    if column.type != COLUMN_TYPE_STRING:
        _require(not column.HasField("max_length"), f"{path}.max_length", "only string columns have a max_length")
        return
    least = _least_length(column)
    _require(least <= MAX_LENGTH, f"{path}.values", f"a value has at most {MAX_LENGTH - LONGEST_CHARACTER:,} bytes")
    if column.HasField("max_length"):
        _require(
            least <= column.max_length <= MAX_LENGTH,
            f"{path}.max_length",
            f"must be from {least:,} to {MAX_LENGTH:,} bytes, not {column.max_length:,}"
            + ("; 4 more than the longest of its values" if column.values else ""),
        )


def _least_length(column: ColumnDeclaration) -> int:
    """What `max_length` may be at least."""
    longest = max((len(value.string_value.encode()) for value in column.values), default=0)
    return longest + LONGEST_CHARACTER


def _check_one_unit_type(declaration: DatasetDeclaration) -> None:
    types = [(table.name, column.type) for table in declaration.tables for column in table.columns if is_unit(column)]
    for table, column_type in types:
        _require(
            column_type == types[0][1],
            f"tables.{table}.columns.{declaration.privacy_unit}.type",
            f"the privacy unit must have one type in all tables, {values.type_name(types[0][1])} as in {types[0][0]}",
        )


def _check_identifier(name: str, path: str) -> None:
    _require(
        IDENTIFIER.fullmatch(name) is not None,
        path,
        f"{_quoted(name)} is no name; it must match [A-Za-z_][A-Za-z0-9_]* and have at most 63 characters",
    )
    _require(
        not name.lower().startswith(RESERVED_PREFIX),
        path,
        f"names that start with {RESERVED_PREFIX} are reserved",
    )


def _check_unique(declared: Iterable[_Declared], path: str) -> None:
    seen: set[str] = set()
    for item in declared:
        key = item.name.lower()
        _require(key not in seen, f"{path}.{item.name}", "the name is taken (case does not count)")
        seen.add(key)


def _find(declared: Iterable[_Declared], name: str) -> _Declared | None:
    wanted = name.lower()
    return next((item for item in declared if item.name.lower() == wanted), None)


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise DeclarationError(path, message)
