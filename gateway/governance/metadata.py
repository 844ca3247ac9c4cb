"""A dataset's metadata file: one YAML document that describes one dataset.

The file's form is checked here, with the line of every mistake; what a dataset may declare is decided by
`gateway.governance.declarations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from yingbi.api.problem import nearest
from yingbi.api.v1.dataset_pb2 import (
    ZONE_TYPE_UNSPECIFIED,
    ColumnDeclaration,
    DatasetDeclaration,
    TableDeclaration,
)
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.schema import DeclarationError
from enclave_sim.privacy.gaussian import MAX_PARTIES
from gateway.governance.catalogue_entry import check_complete, entry_reader, read_forms, read_zone_type
from gateway.governance.declarations import check_declared
from gateway.governance.verification_fields import read_verification
from gateway.governance.yaml_fields import check_keys as _check_keys
from gateway.governance.yaml_fields import entry_at as _entry_at
from gateway.governance.yaml_fields import mapping as _mapping
from gateway.governance.yaml_fields import member as _member
from gateway.governance.yaml_fields import optional as _optional
from gateway.governance.yaml_fields import real as _real
from gateway.governance.yaml_fields import shown as _shown
from gateway.governance.yaml_fields import text as _text
from gateway.governance.yaml_fields import truth as _truth
from gateway.governance.yaml_fields import whole as _whole
from gateway.governance.yaml_tree import Entry, read_tree

SUFFIXES = (".csv", ".parquet")

_DATASET_KEYS = (
    "dataset",
    "zone",
    "title",
    "grade",
    "source",
    "privacy_unit",
    "unit_namespace",
    "max_units",
    "units_disjoint",
    "curious_providers",
    "budget",
    "agreements_required",
    "tables",
    "verification",
    "zone_type",
    "forms",
    "catalogue",
)
_TITLE_KEYS = ("en", "zh")
_BUDGET_KEYS = ("epsilon", "delta", "each_organisation")
_EACH_ORGANISATION_KEYS = ("epsilon",)
_TABLE_KEYS = ("file", "max_rows_per_unit", "columns")
_COLUMN_KEYS = ("type", "role", "values", "lower", "upper", "required", "constant_per_unit", "max_length", "forbidden")
_TYPES = {name: column_type for column_type, name in values.TYPE_NAMES.items()}
_MAX_WHOLE = 2**63 - 1
_MAX_LENGTH = 2**32 - 1


@dataclass(frozen=True)
class Metadata:
    """What a metadata file says: the declaration, which is public, and where each table's rows are."""

    declaration: DatasetDeclaration
    files: Mapping[str, Path]
    """Absolute paths by table name, as declared."""


def read_metadata(path: Path, *, governed: bool = False) -> Metadata:
    """Read one metadata file; for a governed zone it says all that the catalogue needs.

    Raises:
        Problem: MALFORMED "metadata" for the file's first mistake, naming file, line and field; or when a
            data file is not there.

    Keeps: GRD-01
    """
    root = read_tree(path)
    folder = path.resolve().parent
    declaration = _dataset(root, folder)
    try:
        check_declared(declaration)
        if governed:
            check_complete(declaration)
    except DeclarationError as error:
        raise _entry_at(root, error.field_path).problem(error.message) from error
    tables = _mapping(_member(root, "tables"))
    return Metadata(declaration, {name: _data_file(_member(table, "file"), folder) for name, table in tables.items()})


def _dataset(root: Entry, folder: Path) -> DatasetDeclaration:
    _check_keys(root, _DATASET_KEYS)
    budget = _member(root, "budget")
    _check_keys(budget, _BUDGET_KEYS)
    dataset = _text(_member(root, "dataset"))
    return DatasetDeclaration(
        dataset=dataset,
        zone=_text(_member(root, "zone")),
        title=_title(_member(root, "title")),
        grade=_whole(_member(root, "grade"), 4),
        source=_text(_member(root, "source")),
        privacy_unit=_text(_member(root, "privacy_unit")),
        unit_namespace=_optional(root, "unit_namespace", _text) or dataset,
        max_units=_whole(_member(root, "max_units"), _MAX_WHOLE),
        units_disjoint=_truth(_member(root, "units_disjoint")),
        curious_providers=_optional(root, "curious_providers", _curious) or 0,
        budget_epsilon=_real(_member(budget, "epsilon")),
        budget_delta=_real(_member(budget, "delta")),
        budget_each_organisation_epsilon=_optional(budget, "each_organisation", _each_organisation),
        agreements_required=_optional(root, "agreements_required", _truth) or False,
        tables=[_table(name, entry) for name, entry in _mapping(_member(root, "tables")).items()],
        verification=_optional(root, "verification", read_verification),
        zone_type=_optional(root, "zone_type", read_zone_type) or ZONE_TYPE_UNSPECIFIED,
        forms=_optional(root, "forms", read_forms),
        catalogue=_optional(root, "catalogue", entry_reader(folder)),
    )


def _curious(entry: Entry) -> int:
    return _whole(entry, MAX_PARTIES - 1)


def _each_organisation(entry: Entry) -> float:
    if isinstance(entry.content, int | float) and not isinstance(entry.content, bool):
        said = f"must be keys with values, not {_shown(entry.content)}"
        raise entry.problem(said, f"Write {{epsilon: {_shown(entry.content)[1:-1]}}}.")
    _check_keys(entry, _EACH_ORGANISATION_KEYS)
    return _real(_member(entry, "epsilon"))


def _title(entry: Entry) -> dict[str, str]:
    _check_keys(entry, _TITLE_KEYS)
    return {language: _text(title) for language, title in _mapping(entry).items()}


def _table(name: str, entry: Entry) -> TableDeclaration:
    _check_keys(entry, _TABLE_KEYS)
    return TableDeclaration(
        name=name,
        max_rows_per_unit=_whole(_member(entry, "max_rows_per_unit"), _MAX_WHOLE),
        columns=[_column(column, part) for column, part in _mapping(_member(entry, "columns")).items()],
    )


def _column(name: str, entry: Entry) -> ColumnDeclaration:
    _check_keys(entry, _COLUMN_KEYS)
    column_type = _type(_member(entry, "type"))
    column = ColumnDeclaration(
        name=name,
        type=column_type,
        role=_optional(entry, "role", _role) or ColumnDeclaration.ROLE_ATTRIBUTE,
        values=_optional(entry, "values", lambda listed: _values(listed, column_type)),
    )
    lower, upper = _optional(entry, "lower", _real), _optional(entry, "upper", _real)
    if lower is not None:
        column.lower = lower
    if upper is not None:
        column.upper = upper
    if _optional(entry, "required", _truth):
        column.required = True
    if _optional(entry, "constant_per_unit", _truth):
        column.constant_per_unit = True
    if _optional(entry, "forbidden", _truth):
        column.forbidden = True
    length = _optional(entry, "max_length", lambda member: _whole(member, _MAX_LENGTH))
    if length is not None:
        column.max_length = length
    return column


def _type(entry: Entry) -> ColumnType.ValueType:
    name = _text(entry)
    if name not in _TYPES:
        near = nearest(name, list(_TYPES))
        hint = f"Did you mean {near}?" if near else None
        raise entry.problem(f"{_shown(name)} is no type; accepted are {', '.join(_TYPES)}", hint)
    return ColumnType.ValueType(_TYPES[name])


def _role(entry: Entry) -> ColumnDeclaration.Role.ValueType:
    if entry.content != "unit":
        raise entry.problem("the only role is unit; leave the key out for other columns")
    return ColumnDeclaration.ROLE_UNIT


def _values(entry: Entry, column_type: ColumnType.ValueType) -> list[Value]:
    if not isinstance(entry.content, list) or not entry.content:
        raise entry.problem("must be a list of one value or more, as [a, b]")
    return [_value(item, column_type) for item in entry.content]


def _value(entry: Entry, column_type: ColumnType.ValueType) -> Value:
    content = entry.content
    if isinstance(content, bool):
        if column_type == COLUMN_TYPE_BOOL:
            return Value(bool_value=content)
    elif isinstance(content, int) and column_type == COLUMN_TYPE_INT64:
        if values.MIN_INT64 <= content <= values.MAX_INT64:
            return Value(int64_value=content)
        raise entry.problem("the number is outside int64")
    elif isinstance(content, str):
        return _text_value(entry, content, column_type)
    name = values.type_name(column_type)
    quoted = column_type in (COLUMN_TYPE_STRING, COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP)
    hint = "Write the value in quotes." if quoted else None
    raise entry.problem(f"{_shown(content)} is no {name}" + (", which is written in quotes" if quoted else ""), hint)


def _text_value(entry: Entry, text: str, column_type: ColumnType.ValueType) -> Value:
    try:
        if column_type == COLUMN_TYPE_STRING:
            return Value(string_value=text)
        if column_type == COLUMN_TYPE_DATE:
            return values.parse_date(text)
        if column_type == COLUMN_TYPE_TIMESTAMP:
            return values.parse_timestamp(text)
    except ValueError as error:
        raise entry.problem(str(error)) from error
    accepted = {COLUMN_TYPE_BOOL: "true or false", COLUMN_TYPE_INT64: "a whole number without quotes"}.get(column_type)
    if accepted is None:
        raise entry.problem("a float64 column cannot have declared values; declare lower and upper instead")
    raise entry.problem(f"{_shown(text)} is no {values.type_name(column_type)}; write {accepted}")


def _data_file(entry: Entry, folder: Path) -> Path:
    name = _text(entry)
    if not name.lower().endswith(SUFFIXES):
        raise entry.problem(f"{_shown(name)} is neither .csv nor .parquet")
    path = folder / name
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise entry.problem(f"there is no file {_shown(name)} in {folder}", "Paths are relative to the YAML file.")
    return path.resolve()
