"""The section `verification` of a metadata file: what it becomes, and what is said about each mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from yingbi.api.problem import Kind, Problem

from gateway.governance.metadata import read_metadata

KEY = "ab" * 32
SECTION = f"""\
verification:
  fields: {{people: [male, city]}}
  purposes: [insurance-claim]
  issuers: {{registry: "{KEY}"}}
  bands: {{high: 100, low: 0}}
  limits: {{each_subject_a_day: 5, each_developer_a_day: 100}}
  price: 3
"""
METADATA = """\
dataset: members
zone: test
title: {en: "Members"}
grade: 3
source: "made up"
privacy_unit: id
max_units: 100
units_disjoint: true
budget: {epsilon: 10.0, delta: 1e-7}
tables:
  people:
    file: people.csv
    max_rows_per_unit: 1
    columns:
      id: {type: int64, role: unit}
      male: {type: int64}
      city: {type: string}
"""


def read(folder: Path, section: str) -> object:
    (folder / "people.csv").touch()
    path = folder / "members.yaml"
    path.write_text(METADATA + section)
    return read_metadata(path).declaration


def test_the_section_is_read(tmp_path: Path) -> None:
    read(tmp_path, SECTION)
    offered = read_metadata(tmp_path / "members.yaml").declaration.verification
    assert [(one.table, one.column) for one in offered.fields] == [("people", "male"), ("people", "city")]
    assert list(offered.purposes) == ["insurance-claim"]
    assert [(one.name, one.key.hex()) for one in offered.issuers] == [("registry", KEY)]
    assert [(one.name, one.percent) for one in offered.bands] == [("high", 100), ("low", 0)]
    assert (offered.each_subject_a_day, offered.each_developer_a_day, offered.price) == (5, 100, 3)


def test_without_the_section_nothing_can_be_verified(tmp_path: Path) -> None:
    read(tmp_path, "")
    assert not read_metadata(tmp_path / "members.yaml").declaration.HasField("verification")


@pytest.mark.parametrize(
    ("before", "after", "line", "field"),
    [
        ("[male, city]", "[male, cities]", 19, "verification.fields.people"),
        ("[male, city]", "male", 19, "verification.fields.people"),
        ("[insurance-claim]", '["any purpose"]', 20, "verification.purposes"),
        (KEY, "ab", 21, "verification.issuers.registry"),
        (KEY, "x" * 64, 21, "verification.issuers.registry"),
        ("high: 100", "high: 101", 22, "verification.bands.high"),
        ("low: 0", "low: 1", 22, "verification.bands"),
        ("each_subject_a_day: 5", "each_subject_a_day: 0", 23, "verification.limits.each_subject_a_day"),
        ("each_subject_a_day: 5, ", "", 23, "verification.limits.each_subject_a_day"),
        ("price: 3", "price: 0.5", 24, "verification.price"),
        ("price: 3", "prices: 3", 24, "verification.prices"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, before: str, after: str, line: int, field: str) -> None:
    assert before in SECTION
    with pytest.raises(Problem) as refused:
        read(tmp_path, SECTION.replace(before, after))
    problem = refused.value
    assert (problem.kind, problem.code, problem.field) == (Kind.MALFORMED, "metadata", field)
    assert f":{line}:" in f"{problem.message} {problem.position}" or str(problem.position).startswith(f"{line}:")
