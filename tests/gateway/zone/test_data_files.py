"""Mistakes in a provider's files are told with file, line and column before a row is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, TableDeclaration

from gateway.zone.data_checks import check_table
from gateway.zone.data_files import batches, place

TABLE = TableDeclaration(
    name="care",
    max_rows_per_unit=9,
    columns=[
        ColumnDeclaration(name="person", type=plan_pb2.COLUMN_TYPE_STRING, role=ColumnDeclaration.ROLE_UNIT),
        ColumnDeclaration(name="cost", type=plan_pb2.COLUMN_TYPE_FLOAT64, required=True),
        ColumnDeclaration(name="age", type=plan_pb2.COLUMN_TYPE_INT64, constant_per_unit=True),
        ColumnDeclaration(name="day", type=plan_pb2.COLUMN_TYPE_DATE),
        ColumnDeclaration(name="sex", type=plan_pb2.COLUMN_TYPE_STRING, constant_per_unit=True),
    ],
)
COLUMNS = ["person", "cost", "age", "day", "sex"]
HEADER = "note,Person,cost,age,day,sex\n"
# The note of the first row has a line end in it, and an empty line follows: lines are not rows.
FIRST = '"a\nb",p1,1.5,40,2024-01-31,f\n\n'


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "care.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path, max_units: int = 10) -> Problem:
    with pytest.raises(Problem) as caught:
        check_table(TABLE, path, "person", max_units)
    return caught.value


def test_rows_that_are_as_declared_are_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + FIRST + "x,p1,2,40,,f\nx,p2,-0.5,,2024-02-29,\n")
    check_table(TABLE, path, "person", 2)
    assert sum(batch.num_rows for batch in batches(path, TABLE)) == 3


@pytest.mark.parametrize(
    ("row", "column", "said", "hint"),
    [
        ("x,p2,abc,40,,f", "cost", "'abc' in the column cost is no float64.", "12.5"),
        ("x,p2,1.5,4.5,,f", "age", "'4.5' in the column age is no int64.", "digits"),
        ("x,p2,1.5,40,31.01.2024,f", "day", "'31.01.2024' in the column day is no date.", "2024-01-31"),
        (f"x,p2,{'9' * 99}x,40,,f", "cost", f"'{'9' * 57}...' in the column cost is no float64.", "12.5"),
        ('x,p2,"a\nb",40,,f', "cost", r"'a\nb' in the column cost is no float64.", "12.5"),
    ],
)
def test_a_value_of_another_type_is_told_with_line_and_column(
    tmp_path: Path, row: str, column: str, said: str, hint: str
) -> None:
    problem = refused(write(tmp_path, f"{HEADER}{FIRST}x,p1,1,40,,f\n{row}\nsecret,p3,1,1,,f\n"))
    assert (problem.code, problem.kind, problem.field) == ("data_file", Kind.MALFORMED, f"tables.care.columns.{column}")
    assert problem.message == f"care.csv:6: {said}"
    assert hint in (problem.hint or "")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (HEADER.encode() + b"x,p1,1,1,,f\nx,p2,1,1,,\xff\n", "care.csv:3: the text in the column sex is not", "UTF-8"),
        (
            HEADER + FIRST + "x,p1,1,40,,f\nsecret,p2\n",
            "care.csv:6: the line has 2 fields, and the first line 6.",
            "quot",
        ),
        (HEADER.encode() + b"x,p1,1,1,,f\nx,p2,\xff,1,,f\n", "care.csv:3: '\ufffd' in the column cost is no", "12.5"),
        ("größe,person\n".encode("latin-1"), "care.csv: its first line is not UTF-8.", "UTF-8"),
        (HEADER.encode("utf-16"), "care.csv is UTF-16, not UTF-8.", "UTF-8"),
        ("", "care.csv is empty.", "names of the columns"),
        ("\n\n", "care.csv cannot be read", "anew"),
    ],
)
def test_what_is_no_table_is_told_with_its_line(tmp_path: Path, text: str | bytes, message: str, hint: str) -> None:
    problem = refused(write(tmp_path, text))
    assert problem.code == "data_file"
    assert problem.message.startswith(message)
    assert hint in (problem.hint or "")


def test_no_row_is_quoted_where_arrow_quotes_one(tmp_path: Path) -> None:
    assert "secret" not in refused(write(tmp_path, HEADER + "secret,p1\n")).message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["x,p2,,40,,f"], "care.csv:5: 1 row has no cost, which is declared as required."),
        (["x,p2,1,,,f", "x,p3,NaN,,,f", "x,p4,,,,f"], "care.csv:6: 2 rows, of which this is the first, have no cost, "),
    ],
)
def test_a_required_value_that_is_missing_is_told_with_its_line(
    tmp_path: Path, rows: Sequence[str], message: str
) -> None:
    problem = refused(write(tmp_path, HEADER + FIRST + "\n".join(rows)))
    assert (problem.code, problem.kind, problem.field) == (
        "missing_value",
        Kind.REFUSED,
        "tables.care.columns.cost",
    )
    assert problem.message.startswith(message)
    assert "required" in (problem.hint or "")


def test_a_row_without_unit_is_told_with_its_line(tmp_path: Path) -> None:
    problem = refused(write(tmp_path, HEADER + FIRST + "x,,1,40,,f\n"))
    assert (problem.code, problem.field) == ("unit_missing", "tables.care.columns.person")
    assert problem.message == "care.csv:5: 1 row has no person: nobody could be protected as their unit."
    several = refused(write(tmp_path, HEADER + FIRST + "x,,1,40,,f\nx,,1,41,,m\n"))
    assert several.message.startswith("care.csv:5: 2 rows, of which this is the first, have no person: ")


@pytest.mark.parametrize(
    ("row", "column"), [("x,p1,2,41,,f", "age"), ("x,p1,2,,,f", "age"), ("x,p1,2,40,,m", "sex"), ("x,p1,2,40,,", "sex")]
)
def test_two_values_of_what_is_constant_in_a_unit_are_told_with_both_lines(
    tmp_path: Path, row: str, column: str
) -> None:
    problem = refused(write(tmp_path, f"{HEADER}x,p2,1,50,,m\n{FIRST}x,p1,3,40,,f\n{row}\n"))
    assert (problem.code, problem.field) == ("not_constant", f"tables.care.columns.{column}")
    assert problem.message.startswith(f"care.csv:7: {column} is another than in line 3, which is of the same person")
    assert "constant_per_unit" in (problem.hint or "")


def test_two_values_are_found_in_batches_far_apart(tmp_path: Path) -> None:
    between = "".join(f"{'x' * 100},q{number},1,1,,m\n" for number in range(30_000))
    path = write(tmp_path, f"{HEADER}x,p1,1,40,,f\n{between}x,p1,1,41,,f\n")
    assert len(list(batches(path, TABLE))) > 1
    assert refused(path, 30_001).message.startswith("care.csv:30003: age is another than in line 2, ")
    assert refused(path, 100).code == "too_many_units"


def test_rows_of_parquet_are_numbered(tmp_path: Path) -> None:
    def problem(**columns: Any) -> Problem:
        usual = {"person": ["p1"] * 5, "cost": [1.0] * 5, "age": [4] * 5, "day": [None] * 5, "sex": ["f"] * 5}
        pq.write_table(pa.table(usual | columns), tmp_path / "care.parquet", row_group_size=2)
        return refused(tmp_path / "care.parquet")

    assert problem(cost=["1", "2", "3", "x", "y"]).message == (
        "care.parquet, row 4: 'x' in the column cost is no float64."
    )
    assert problem(age=[4.0, 4.0, 4.0, 4.0, 4.5]).message.startswith("care.parquet, row 5: '4.5' in the column age")
    assert problem(cost=[1.0, 1.0, None, float("nan"), 1.0]).message.startswith("care.parquet, row 3: 2 rows, of which")
    assert problem(age=[4, 4, 4, 5, 4]).message.startswith("care.parquet, row 4: age is another than in row 1, which")
    assert "is list" in problem(cost=[[1.0]] * 5).message


def test_a_missing_column_is_compared_with_those_that_nothing_else_is_read_from(tmp_path: Path) -> None:
    hint = refused(write(tmp_path, "person,costs,age,day,sex\n")).hint
    assert hint == "did you mean costs?"
    hint = refused(write(tmp_path, "person,age,day,sex,zzz\n")).hint
    assert hint == "it has person, age, day, sex, zzz"
    renamed = TableDeclaration()
    renamed.CopyFrom(TABLE)
    renamed.columns.add(name="sexe", type=plan_pb2.COLUMN_TYPE_STRING)
    with pytest.raises(Problem) as caught:
        check_table(renamed, write(tmp_path, "person,cost,age,day,sex\n"), "person", 10)
    assert caught.value.hint == "it has person, cost, age, day, sex"


@given(notes=st.lists(st.text(st.sampled_from('a",\n é'), max_size=4), min_size=1, max_size=8))
def test_the_place_of_a_row_is_the_line_that_it_begins_in(
    tmp_path_factory: pytest.TempPathFactory, notes: list[str]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "care.csv"
    text, lines = HEADER, []
    for note in notes:
        lines.append(text.count("\n") + 1)
        text += '"{}",p1,1.5,40,2024-01-31,f\n'.format(note.replace('"', '""'))
    path.write_text(text, encoding="utf-8", newline="")
    assert [place(path, row) for row in range(len(notes))] == [f"care.csv:{line}" for line in lines]
    assert sum(batch.num_rows for batch in batches(path, TABLE)) == len(notes)


def test_texts_that_will_be_cut_are_counted_and_told(tmp_path: Path) -> None:
    """To who brings the rows, and with the place of the first: nothing of them is shown."""
    long = "é" * 129
    path = write(tmp_path, HEADER + FIRST + f"x,p2,1,30,,m\nx,p3,1,30,,{long}\nx,p4,1,30,,{long}\n")
    (said,) = check_table(TABLE, path, "person", 10)
    assert said == (
        f"{path.name}:6: 2 rows, of which this is the first, have a longer text in sex than 256 bytes, its max_length; "
        "what is beyond is cut"
    )
