"""What a dataset may declare about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_BOOL, COLUMN_TYPE_INT64, COLUMN_TYPE_STRING

from enclave_sim.plan.schema import DeclarationError, check_declaration, find_column, find_table, max_length, unit_bytes

Change = Callable[[DatasetDeclaration], Any]


def column(declaration: DatasetDeclaration, name: str) -> ColumnDeclaration:
    found = find_column(declaration.tables[0], name)
    assert found is not None
    return found


def test_the_clinic_is_accepted(declaration: DatasetDeclaration) -> None:
    check_declaration(declaration)


def test_names_are_found_in_whatever_case(declaration: DatasetDeclaration) -> None:
    table = find_table(declaration, "VISITS")
    assert table is not None
    assert table.name == "visits"
    assert column(declaration, "Pulse").name == "pulse"
    assert find_table(declaration, "labs") is None
    assert find_column(table, "labs") is None


WRONG: dict[str, tuple[str, Change]] = {
    "an id in upper case": ("dataset", lambda d: setattr(d, "dataset", "Clinic")),
    "an id of 64 characters": ("zone", lambda d: setattr(d, "zone", "z" * 64)),
    "an empty namespace": ("unit_namespace", lambda d: setattr(d, "unit_namespace", "")),
    "no title": ("title", lambda d: d.title.clear()),
    "a title in another language": ("title.fr", lambda d: d.title.update({"fr": "Clinique"})),
    "no source": ("source", lambda d: setattr(d, "source", "")),
    "grade 0": ("grade", lambda d: setattr(d, "grade", 0)),
    "grade 5": ("grade", lambda d: setattr(d, "grade", 5)),
    "no units": ("max_units", lambda d: setattr(d, "max_units", 0)),
    "more than 10^9 units": ("max_units", lambda d: setattr(d, "max_units", 10**9 + 1)),
    "a budget of 0": ("budget.epsilon", lambda d: setattr(d, "budget_epsilon", 0.0)),
    "a delta of NaN": ("budget.delta", lambda d: setattr(d, "budget_delta", float("nan"))),
    "no tables": ("tables", lambda d: d.ClearField("tables")),
    "65 tables": ("tables", lambda d: d.tables.extend([d.tables[0]] * 64)),
    "two tables of one name": ("tables.VISITS", lambda d: d.tables.add(name="VISITS")),
    "a table name with a space": ("tables.my visits", lambda d: setattr(d.tables[0], "name", "my visits")),
    "a reserved table name": ("tables._Yingbi_x", lambda d: setattr(d.tables[0], "name", "_Yingbi_x")),
    "no rows per unit": (
        "tables.visits.max_rows_per_unit",
        lambda d: setattr(d.tables[0], "max_rows_per_unit", 0),
    ),
    "a privacy unit that is no column": ("tables.visits.columns", lambda d: setattr(d, "privacy_unit", "person")),
    "the unit without its role": (
        "tables.visits.columns.id.role",
        lambda d: setattr(column(d, "id"), "role", ColumnDeclaration.ROLE_ATTRIBUTE),
    ),
    "the role on another column": (
        "tables.visits.columns.note.role",
        lambda d: setattr(column(d, "note"), "role", ColumnDeclaration.ROLE_UNIT),
    ),
    "a bool as unit": (
        "tables.visits.columns.id.type",
        lambda d: setattr(column(d, "id"), "type", COLUMN_TYPE_BOOL),
    ),
    "values on the unit": (
        "tables.visits.columns.id.values",
        lambda d: column(d, "id").values.add(int64_value=1),
    ),
    "a unit that is required": (
        "tables.visits.columns.id.required",
        lambda d: setattr(column(d, "id"), "required", True),
    ),
    "a unit that is constant": (
        "tables.visits.columns.id.constant_per_unit",
        lambda d: setattr(column(d, "id"), "constant_per_unit", True),
    ),
    "bounds on the unit": ("tables.visits.columns.id.lower", lambda d: setattr(column(d, "id"), "lower", 1.0)),
    "a length of the unit": (
        "tables.visits.columns.id.max_length",
        lambda d: setattr(column(d, "id"), "max_length", 9),
    ),
    "a length of numbers": (
        "tables.visits.columns.days.max_length",
        lambda d: setattr(column(d, "days"), "max_length", 9),
    ),
    "texts beyond 64 KiB": (
        "tables.visits.columns.note.max_length",
        lambda d: setattr(column(d, "note"), "max_length", 2**16 + 1),
    ),
    "texts without room for a character": (
        "tables.visits.columns.note.max_length",
        lambda d: setattr(column(d, "note"), "max_length", 3),
    ),
    "a length at which a longer text is cut to a value": (
        "tables.visits.columns.ward.max_length",
        lambda d: setattr(column(d, "ward"), "max_length", 8),
    ),
    "a value that leaves no room for another text": (
        "tables.visits.columns.ward.values",
        lambda d: column(d, "ward").values.add(string_value="a" * (2**16 - 3)),
    ),
    "a column without type": ("tables.visits.columns.note.type", lambda d: column(d, "note").ClearField("type")),
    "two columns of one name": (
        "tables.visits.columns.WARD",
        lambda d: d.tables[0].columns.add(name="WARD", type=COLUMN_TYPE_INT64),
    ),
    "a value of another type": (
        "tables.visits.columns.ward.values",
        lambda d: column(d, "ward").values.add(int64_value=1),
    ),
    "a value without kind": ("tables.visits.columns.ward.values", lambda d: column(d, "ward").values.add()),
    "a value twice": (
        "tables.visits.columns.ward.values",
        lambda d: column(d, "ward").values.add(string_value="east"),
    ),
    "values of float64": (
        "tables.visits.columns.pulse.values",
        lambda d: column(d, "pulse").values.add(float64_value=1.0),
    ),
    "bounds of a string": ("tables.visits.columns.note.lower", lambda d: setattr(column(d, "note"), "lower", 1.0)),
    "a lower bound alone": ("tables.visits.columns.days.lower", lambda d: column(d, "days").ClearField("upper")),
    "an upper bound alone": ("tables.visits.columns.days.upper", lambda d: column(d, "days").ClearField("lower")),
    "equal bounds": ("tables.visits.columns.days.lower", lambda d: setattr(column(d, "days"), "lower", 10.0)),
    "a bound that is NaN": (
        "tables.visits.columns.pulse.upper",
        lambda d: setattr(column(d, "pulse"), "upper", float("nan")),
    ),
    "a broken bound of int64": (
        "tables.visits.columns.days.upper",
        lambda d: setattr(column(d, "days"), "upper", 9.5),
    ),
    "a bound of int64 beyond 2^53": (
        "tables.visits.columns.days.upper",
        lambda d: setattr(column(d, "days"), "upper", 2.0**54),
    ),
}


@pytest.mark.parametrize(("path", "change"), WRONG.values(), ids=WRONG.keys())
def test_is_refused(declaration: DatasetDeclaration, path: str, change: Change) -> None:
    change(declaration)
    with pytest.raises(DeclarationError) as caught:
        check_declaration(declaration)
    assert caught.value.field_path == path


def test_the_unit_has_one_type_in_all_tables(declaration: DatasetDeclaration) -> None:
    other = TableDeclaration()
    other.CopyFrom(declaration.tables[0])
    other.name = "labs"
    other.columns[0].type = COLUMN_TYPE_STRING
    declaration.tables.append(other)
    with pytest.raises(DeclarationError, match="one type in all tables"):
        check_declaration(declaration)


def test_texts_have_a_length_where_none_is_declared(declaration: DatasetDeclaration) -> None:
    assert [max_length(column(declaration, name)) for name in ("note", "ward")] == [256, 64]
    column(declaration, "ward").values.add(string_value="a" * 100)
    column(declaration, "note").max_length = 4
    check_declaration(declaration)
    assert [max_length(column(declaration, name)) for name in ("note", "ward")] == [4, 104]


def test_a_unit_may_have_some_text_whatever_is_declared(declaration: DatasetDeclaration) -> None:
    note = column(declaration, "note")
    assert [unit_bytes(note, rows) for rows in (1, 64, 65)] == [2**14, 2**14, 65 * 256]
