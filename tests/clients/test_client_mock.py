"""Made-up rows: the declared schema, deterministic, and made without asking for any data."""

from __future__ import annotations

import csv
import datetime
import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pandas as pd
import pytest
from client_gateway import serving  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, Dataset, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
    Value,
)
from yingbi.cli.main import main
from yingbi.mock import MAX_ROWS, MockTable, mock_tables

EXTREMES = [(0.0, 10.0), (-5.5, -5.25), (0.0, 5e-324), (-1.7e308, 1.7e308), (1e9, 1e9 + 1), (-1e-300, 1e300)]


def unit(type_: ColumnType.ValueType = COLUMN_TYPE_INT64) -> ColumnDeclaration:
    return ColumnDeclaration(name="person", type=type_, role=ColumnDeclaration.ROLE_UNIT)


def declared(*columns: ColumnDeclaration, most: int = 6, max_units: int = 3000, tables: int = 1) -> DatasetDeclaration:
    """Tables t0, t1, ... alike, of one privacy unit."""
    return DatasetDeclaration(
        dataset="visits",
        privacy_unit="person",
        max_units=max_units,
        tables=[
            TableDeclaration(name=f"t{number}", max_rows_per_unit=most, columns=columns) for number in range(tables)
        ],
    )


def column(name: str, type_: ColumnType.ValueType, **facts: Any) -> ColumnDeclaration:
    return ColumnDeclaration(name=name, type=type_, role=ColumnDeclaration.ROLE_ATTRIBUTE, **facts)


ALL_TYPES = (
    unit(),
    column("clinic", COLUMN_TYPE_STRING, values=[Value(string_value=name) for name in ("north", "so,uth")]),
    column("opened", COLUMN_TYPE_DATE, values=[Value(date_days=day) for day in (0, 20_000)]),
    column("pain", COLUMN_TYPE_FLOAT64, lower=0, upper=10),
    column("age", COLUMN_TYPE_INT64, lower=-3, upper=3),
    column("seen", COLUMN_TYPE_BOOL),
    column("weight", COLUMN_TYPE_FLOAT64),
    column("visits", COLUMN_TYPE_INT64),
    column("note", COLUMN_TYPE_STRING),
    column("day", COLUMN_TYPE_DATE),
    column("at", COLUMN_TYPE_TIMESTAMP),
)


def values_of(table: MockTable, name: str) -> list[Any]:
    """The column without its NULLs, of which there are few."""
    index = table.header.index(name)
    column = [row[index] for row in table.rows]
    found = [value for value in column if value is not None]
    assert 0.9 * len(column) < len(found)
    return found


@pytest.fixture(scope="module")
def everything() -> MockTable:
    (table,) = mock_tables(declared(*ALL_TYPES), rows=2000, seed=1)
    return table


def test_declared_values_are_all_drawn_about_as_often(everything: MockTable) -> None:
    counts = Counter(values_of(everything, "clinic"))
    assert set(counts) == {"north", "so,uth"}
    assert min(counts.values()) > 850
    assert set(values_of(everything, "opened")) == {datetime.date(1970, 1, 1), datetime.date(2024, 10, 4)}


def test_whole_numbers_are_drawn_from_both_bounds_and_between(everything: MockTable) -> None:
    assert set(values_of(everything, "age")) == set(range(-3, 4))
    assert all(type(value) is int for value in values_of(everything, "age"))


def test_real_numbers_fill_their_bounds(everything: MockTable) -> None:
    pain = values_of(everything, "pain")
    assert 0 <= min(pain) < 0.1
    assert 9.9 < max(pain) <= 10


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("weight", float),
        ("visits", int),
        ("note", str),
        ("seen", bool),
        ("day", datetime.date),
        ("at", datetime.datetime),
    ],
)
def test_a_column_that_declares_nothing_has_plausible_values_of_its_type(
    everything: MockTable, name: str, type_: type
) -> None:
    found = values_of(everything, name)
    assert {type(value) for value in found} == {type_}
    assert len(set(found)) > 1


def test_a_required_column_has_every_value() -> None:
    columns = (unit(), column("x", COLUMN_TYPE_INT64, required=True), column("y", COLUMN_TYPE_INT64))
    (table,) = mock_tables(declared(*columns), rows=500, seed=1)
    assert None not in values_of(table, "x")
    assert any(row[2] is None for row in table.rows)


def test_a_column_that_is_constant_for_each_unit_is_so() -> None:
    columns = (unit(), column("x", COLUMN_TYPE_INT64, constant_per_unit=True), column("y", COLUMN_TYPE_INT64))
    (table,) = mock_tables(declared(*columns), rows=500, seed=1)
    units = {row[0] for row in table.rows}
    assert len({row[:2] for row in table.rows}) == len(units) < len({(row[0], row[2]) for row in table.rows})


def test_some_values_are_null_but_no_unit_is(everything: MockTable) -> None:
    assert all(any(row[index] is None for row in everything.rows) for index in range(1, len(ALL_TYPES)))
    assert all(row[0] is not None for row in everything.rows)


@pytest.mark.parametrize("bounds", EXTREMES)
def test_no_real_number_is_outside_its_bounds(bounds: tuple[float, float]) -> None:
    lower, upper = bounds
    real = column("x", COLUMN_TYPE_FLOAT64, lower=lower, upper=upper)
    (table,) = mock_tables(declared(unit(), real), rows=200, seed=2)
    assert all(lower <= value <= upper for value in values_of(table, "x"))


@given(rows=st.integers(1, 300), most=st.integers(1, 2**20), max_units=st.integers(1, 400), seed=st.integers(0, 2**64))
def test_units_have_as_many_rows_as_they_may_and_all_rows_asked_for_come_where_they_fit(
    rows: int, most: int, max_units: int, seed: int
) -> None:
    (table,) = mock_tables(declared(unit(), most=most, max_units=max_units), rows, seed)
    per_unit = Counter(row[0] for row in table.rows)
    assert len(table.rows) == min(rows, most * max_units)
    assert max(per_unit.values()) <= most
    assert list(per_unit) == list(range(1, len(per_unit) + 1))
    assert len(per_unit) <= max_units


def test_a_unit_has_the_same_id_in_every_table() -> None:
    """So that the tables can be joined."""
    first, second = mock_tables(declared(unit(COLUMN_TYPE_STRING), tables=2), rows=100, seed=3)
    people = [list(dict.fromkeys(row[0] for row in table.rows)) for table in (first, second)]
    shared = min(map(len, people))
    assert people[0][:shared] == people[1][:shared]
    assert people[0][:2] == ["person-1", "person-2"]
    assert first.rows != second.rows


def test_the_same_seed_makes_the_same_rows_in_every_process(everything: MockTable) -> None:
    """And no seed makes others every time."""
    assert mock_tables(declared(*ALL_TYPES), 2000, seed=1) == [everything]
    assert mock_tables(declared(*ALL_TYPES), 2000, seed=2) != [everything]
    assert mock_tables(declared(*ALL_TYPES)) != mock_tables(declared(*ALL_TYPES))
    program = (
        "import sys; from yingbi.mock import mock_tables;"
        "from yingbi.api.v1.dataset_pb2 import DatasetDeclaration;"
        "sys.stdout.write(mock_tables(DatasetDeclaration.FromString(sys.stdin.buffer.read()), 2000, 1)[0].to_csv())"
    )
    given_ = declared(*ALL_TYPES).SerializeToString()
    other = subprocess.run([sys.executable, "-c", program], input=given_, capture_output=True, check=True)
    assert other.stdout.decode() == everything.to_csv()


@pytest.mark.parametrize("rows", [0, -1, MAX_ROWS + 1])
def test_a_table_has_at_least_one_row_and_not_too_many(rows: int) -> None:
    with pytest.raises(Problem, match="1 to 1,000,000 rows"):
        mock_tables(declared(unit()), rows)


def test_a_frame_has_the_declared_types(everything: MockTable) -> None:
    frame = everything.to_pandas()
    assert list(frame.columns) == [each.name for each in ALL_TYPES]
    assert {name: str(type_) for name, type_ in frame.dtypes.items() if str(type_) not in ("object", "str")} == {
        "person": "Int64",
        "pain": "float64",
        "age": "Int64",
        "seen": "boolean",
        "weight": "float64",
        "visits": "Int64",
        "at": "datetime64[us]",
    }
    assert frame["pain"].isna().sum() == sum(row[3] is None for row in everything.rows)


def test_one_table_is_a_frame_and_several_are_frames_by_name() -> None:
    """Made from what the client has: this dataset has no gateway at all."""
    from yingbi.datasets import Dataset as Seen

    frames = Seen(Dataset(declaration=declared(*ALL_TYPES, tables=2)), None).mock(rows=7, seed=1)  # type: ignore[arg-type]
    assert isinstance(frames, dict)
    assert {name: len(frame) for name, frame in frames.items()} == {"t0": 7, "t1": 7}
    frame = Seen(Dataset(declaration=declared(*ALL_TYPES)), None).mock(rows=7, seed=1)  # type: ignore[arg-type]
    assert isinstance(frame, pd.DataFrame)
    pd.testing.assert_frame_equal(frame, frames["t0"])


def test_csv_says_what_a_dataset_would_be_added_from(everything: MockTable) -> None:
    rows = list(csv.reader(io.StringIO(everything.to_csv())))
    assert rows[0] == everything.header
    assert len(rows) == 2001
    by_name = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert {row["clinic"] for row in by_name} == {"north", "so,uth", ""}
    assert {row["seen"] for row in by_name} == {"true", "false", ""}
    assert "1970-01-01" in {row["opened"] for row in by_name}


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made_up = scene.scene()
    with serving(made_up) as (_, address):
        scene.write_profiles(tmp_path, made_up, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield


MOCK = ["mock", "clinic", "--rows", "5", "--seed", "1"]


@pytest.mark.usefixtures("zone")
def test_the_command_prints_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(MOCK) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id,sex,age"
    assert len(lines) == 6
    assert main(MOCK) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.usefixtures("zone")
def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MOCK, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (table,) = document["tables"]
    assert (document["dataset"], table["name"], table["columns"]) == ("clinic", "patients", ["id", "sex", "age"])
    assert len(table["rows"]) == 5


@pytest.mark.usefixtures("zone")
def test_the_command_writes_a_file_for_each_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MOCK, "--out", str(tmp_path / "made" / "up"), "--json"]) == 0
    written = tmp_path / "made" / "up" / "patients.csv"
    assert json.loads(capsys.readouterr().out) == {"dataset": "clinic", "files": [str(written)]}
    assert main(MOCK) == 0
    assert written.read_text() == capsys.readouterr().out


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("more", "code"),
    [(["--rows", "0"], "rows"), (["--rows", "many"], "usage"), (["--table", "patient"], "unknown_table")],
)
def test_what_cannot_be_made_up_is_malformed(more: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mock", "clinic", *more, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == code


@pytest.mark.usefixtures("zone")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main([*MOCK, "--out", str(tmp_path / "file"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "file"


def test_csv_needs_no_pandas() -> None:
    """The base install has none."""
    program = (
        "import sys; sys.modules['pandas'] = None\n"
        "from yingbi.mock import mock_tables\n"
        "from yingbi.api.v1.dataset_pb2 import DatasetDeclaration\n"
        "table, = mock_tables(DatasetDeclaration.FromString(sys.stdin.buffer.read()), 3, 1)\n"
        "assert table.to_csv().count('\\n') == 4\n"
        "try: table.to_pandas()\n"
        "except Exception as error: print(error.code)\n"
    )
    given_ = declared(*ALL_TYPES).SerializeToString()
    done = subprocess.run([sys.executable, "-c", program], input=given_, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "pandas_missing"
