"""Public tables beside a question: what is sent for rows, frames and CSV files, and what is refused before."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import numpy as np
import pandas as pd
import pytest
from client_gateway import FakeGateway, serving  # type: ignore[import-not-found]
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import to_python
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import ColumnType
from yingbi.cli.main import main
from yingbi.lookups import MAX_BYTES, Rows, files_of, look_up_tables, with_lines
from yingbi.zone import connect

DAY = datetime.date(2024, 2, 29)
MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 0, 5)


def sent(rows: Rows) -> tuple[dict[str, str], list[list[Any]]]:
    """The columns with their types, and the rows, of a table that is sent; NULL as None."""
    (table,) = look_up_tables({"region": rows})
    assert table.name == "region"
    types = {column.name: ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower() for column in table.columns}
    cells = [[to_python(value) if value.WhichOneof("kind") else None for value in row.values] for row in table.rows]
    return types, cells


def refused(rows: Any, name: str = "region") -> Problem:
    with pytest.raises(Problem) as caught:
        look_up_tables({name: rows})
    assert caught.value.field == "lookups"
    return caught.value


def test_rows_are_sent_with_the_types_of_their_values() -> None:
    assert sent(
        [
            {"code": "A", "n": 1, "x": 1, "ok": True, "day": DAY, "at": MOMENT},
            {"code": None, "x": 0.5, "more": "m"},
        ]
    ) == (
        {"code": "string", "n": "int64", "x": "float64", "ok": "bool", "day": "date", "at": "timestamp"}
        | {"more": "string"},
        [["A", 1, 1.0, True, DAY, MOMENT, None], [None, None, 0.5, None, None, None, "m"]],
    )


def test_a_frame_is_sent_as_its_rows_are() -> None:
    frame = pd.DataFrame(
        {
            "code": ["A", None],
            "n": pd.array([1, None], dtype="Int64"),
            "i": np.array([2**62, -1]),
            "x": [math.nan, 0.5],
            "ok": np.array([True, False]),
            "at": [pd.Timestamp(MOMENT), pd.NaT],
            "day": [DAY, None],
        }
    )
    assert sent(frame) == (
        {"code": "string", "n": "int64", "i": "int64", "x": "float64", "ok": "bool", "at": "timestamp", "day": "date"},
        [["A", 1, 2**62, None, True, MOMENT, DAY], [None, None, -1, 0.5, False, None, None]],
    )


def write(folder: Path, text: str) -> Path:
    path = folder / "region.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_file_is_read_by_column(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffcode,n,x,ok,day,name\n01067,1,1,true,2024-02-29,"a, b"\n10115,,2.5,FALSE,,\n\n')
    expected = (
        {"code": "string", "n": "int64", "x": "float64", "ok": "bool", "day": "date", "name": "string"},
        [["01067", 1, 1.0, True, DAY, "a, b"], ["10115", None, 2.5, False, None, None]],
    )
    assert sent(path) == sent(str(path)) == expected


FIELDS = [
    (["1", "-2", "0"], "int64"),
    (["1", "02"], "string"),
    (["+1"], "string"),
    (["-0"], "float64"),
    (["9223372036854775807"], "int64"),
    (["9223372036854775808"], "float64"),
    (["1.50", "2e3"], "float64"),
    (["1e999"], "string"),
    (["01.5"], "string"),
    (["nan"], "string"),
    (["٣"], "string"),
    (["True", "false"], "bool"),
    (["true", "1"], "string"),
    (["2024-02-29"], "date"),
    (["2023-02-29"], "string"),
    (["2024-2-9"], "string"),
]


@pytest.mark.parametrize(("fields", "kind"), FIELDS)
def test_a_column_of_a_csv_file_is_a_number_only_if_it_reads_back_alike(
    tmp_path: Path, fields: list[str], kind: str
) -> None:
    types, rows = sent(write(tmp_path, "code\n" + "\n".join(fields) + "\n"))
    assert types == {"code": kind}
    if kind == "string":
        assert [row[0] for row in rows] == fields


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_whole_numbers_of_a_csv_file_stay_exact(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    path = write(tmp_path_factory.mktemp("csv"), "n\n" + "\n".join(map(str, numbers)))
    assert sent(path) == ({"n": "int64"}, [[number] for number in numbers])


BAD: dict[str, tuple[Any, str]] = {
    "no rows": ([], "has no rows"),
    "an empty frame": (pd.DataFrame({"a": []}), "has no rows"),
    "columns for rows": ({"code": ["A"]}, "Row 1 of the look-up region is no dictionary"),
    "names that are no texts": ([{1: "a"}], "Row 1 of the look-up region is no dictionary"),
    "two types": ([{"a": 1}, {"a": "x"}], "region.a has values of several types: int and str"),
    "a number beyond 64 bits": ([{"a": 1}, {"a": 2**63}], "row 2 of region.a cannot be sent"),
    "infinity": ([{"a": math.inf}], "row 1 of region.a cannot be sent"),
    "a moment with a time zone": ([{"a": MOMENT.replace(tzinfo=datetime.UTC)}], "row 1 of region.a cannot be sent"),
    "a list": ([{"a": ["x"]}], "row 1 of region.a cannot be sent"),
    "half a character": ([{"a": "\ud800"}], "row 1 of region.a cannot be sent"),
    "half a character in a name": ([{"\ud800": 1}], "not Unicode"),
    "too much": ([{"a": "x" * 1000}] * (MAX_BYTES // 1000), "1,048,576 are allowed"),
}


@pytest.mark.parametrize(("rows", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_no_public_table_is_refused(rows: Any, said: str) -> None:
    problem = refused(rows)
    assert problem.code == "lookup"
    assert said in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("a,b\n", "lookup", "region.csv has no rows"),
        ("", "lookup", "region.csv is empty"),
        ("\n\n", "lookup", "region.csv is empty"),
        ("a,A\n1,2\n", "lookup", "does not name every column differently"),
        ("a,\n1,2\n", "lookup", "does not name every column differently"),
        ("a,b\n1,2\n3\n", "lookup", "region.csv:3 has 1 field, and the first line 2."),
        ('a,b\n"1\n2",2\n\n3,4,5\n', "lookup", "region.csv:5 has 3 fields, and the first line 2."),
        ('a\nb\n"x\n', "file", "region.csv:3 cannot be read as the look-up region"),
    ],
)
def test_a_csv_file_that_is_no_table_is_refused(tmp_path: Path, text: str, code: str, said: str) -> None:
    problem = refused(write(tmp_path, text))
    assert (problem.code, said in problem.message) == (code, True)
    assert problem.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = refused(tmp_path / "none.csv")
    assert (missing.code, missing.message) == (
        "file",
        f"There is no file {tmp_path / 'none.csv'} for the look-up region.",
    )
    assert str(Path.cwd()) in (missing.hint or "")
    assert str(tmp_path) in refused(tmp_path).message
    (tmp_path / "latin.csv").write_bytes("a\nUlm\nK\xf6ln\n".encode("latin-1"))
    latin = refused(tmp_path / "latin.csv")
    assert (latin.code, latin.message.startswith(f"{tmp_path / 'latin.csv'}:3 is not UTF-8")) == ("file", True)
    assert "UTF-8" in (latin.hint or "")


def test_a_key_that_is_there_twice_is_told_with_the_lines_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'code,name\nA,"north\nwest"\n\nB,south\nA,east\n')
    said = Problem(Kind.MALFORMED, "repeated_key", "Twice.", details={"look_up": "region", "rows": "1,3"})
    found = with_lines(said, files_of({"region": path, "other": [{"a": 1}]}))
    assert found.message == f"Twice. In {path} these are the lines 2 and 6."
    assert (found.code, found.details) == (said.code, said.details)
    # Of rows that were given in Python there is no file, and other problems stay as they are.
    assert with_lines(said, files_of({"region": [{"code": "A"}]})) is said
    assert with_lines(Problem(Kind.MALFORMED, "sql_syntax", "No."), {"region": path}).message == "No."


def test_lines_are_told_by_the_question_itself(
    heard: list[job_pb2.Query], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "code,name\nA,north\nA,east\n")

    def preview(*_: object) -> None:
        raise Problem(Kind.MALFORMED, "repeated_key", "Twice.", details={"look_up": "region", "rows": "1,2"})

    monkeypatch.setattr("yingbi.transport.Gateway.preview_query", preview)
    with connect() as zone, pytest.raises(Problem, match=r"these are the lines 2 and 3\."):
        zone.dataset("clinic").sql("SELECT 1", lookups={"region": path}).preview(1.0)


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[job_pb2.Query]]:
    """The questions that arrive at a gateway, previewed or asked."""
    heard: list[job_pb2.Query] = []
    answered = {name: getattr(FakeGateway, name) for name in ("PreviewQuery", "SubmitQuery")}
    for name, answer in answered.items():

        def listening(gateway: Any, request: Any, context: Any, answer: Any = answer) -> Any:
            heard.append(request.query)
            return answer(gateway, request, context)

        monkeypatch.setattr(FakeGateway, name, listening)
    zone = scene.scene()
    with serving(zone) as (_, address):
        scene.write_profiles(tmp_path, zone, address)
        monkeypatch.setenv("YINGBI_ZONE", str(tmp_path))
        yield heard


def test_a_question_is_sent_with_its_public_tables(heard: list[job_pb2.Query]) -> None:
    with connect() as zone:
        rows = [{"code": "A", "name": "north"}]
        zone.dataset("clinic").sql("SELECT 1", lookups={"region": rows}).run(1.0)
        zone.dataset("clinic").sql("SELECT 1").preview(1.0)
    expected = list(look_up_tables({"region": rows}))
    assert [list(query.lookups) for query in heard] == [expected, expected, []]


def test_the_command_line_reads_public_tables(
    heard: list[job_pb2.Query], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ask = write(tmp_path, "code,name\nA,north\n"), ["sql", "clinic", "SELECT 1", "--epsilon", "1", "--preview"]
    assert main([*ask, "--lookup", f"region={path}", "--lookup", f"other={path}"]) == 0
    (query,) = heard
    assert list(query.lookups) == list(look_up_tables({"region": path, "other": path}))
    capsys.readouterr()
    for option in ("region", "=x.csv", "region="):
        assert main([*ask, "--lookup", option, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["code"] == "usage"
    assert main([*ask, "--lookup", f"region={path}", "--lookup", f"region={path}", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["hint"] == "--lookup region=region.csv"
    assert main([*ask, "--lookup", "region=none.csv", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "file"
    assert len(heard) == 1
