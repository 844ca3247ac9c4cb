"""What a dataset's metadata says for the catalogue: read, complete where it has to be, and refused by line else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    ZONE_TYPE_REGIONAL,
    Opening,
    RegisterDatasetRequest,
)
from yingbi.catalogue import entry_json, entry_lines

from gateway.governance.catalogue_entry import TEXTS
from gateway.governance.metadata import Metadata, read_metadata
from gateway.governance.registration import check_registration

VISITS = """\
dataset: visits
zone: clinic
title: {en: "Visits"}
grade: 2
source: "register of visits"
privacy_unit: person
max_units: 3000
units_disjoint: true
budget: {epsilon: 10.0, delta: 1.0e-7}
zone_type: regional
forms: [interface, model]
catalogue:
  category: "health"
  scale: "3,000 persons"
  precision: "one visit"
  carrier: "tables"
  scope_of_use: "care research"
  external_sharing: "none"
  cross_border: "none"
  security: "sealed at the providers"
  responsible: "the clinics' data office"
  opening: {body: "health bureau", level: conditional, mode: "through the gateway"}
  lawful_source: {reference: "contract 17 of 2024", document: contract.pdf}
tables:
  visits:
    file: visits.csv
    max_rows_per_unit: 6
    columns:
      person: {type: int64, role: unit}
      note: {type: string, forbidden: true}
"""
DOCUMENT = b"Contract 17"
OPENING = '  opening: {body: "health bureau", level: conditional, mode: "through the gateway"}\n'
SOURCE = '  lawful_source: {reference: "contract 17 of 2024", document: contract.pdf}\n'


def read(folder: Path, text: str = VISITS, *, governed: bool = True) -> Metadata:
    (folder / "visits.csv").touch()
    (folder / "contract.pdf").write_bytes(DOCUMENT)
    (folder / "visits.yaml").write_text(text)
    return read_metadata(folder / "visits.yaml", governed=governed)


def refusal(folder: Path, text: str) -> Problem:
    with pytest.raises(Problem) as caught:
        read(folder, text)
    assert (caught.value.kind, caught.value.code) == (Kind.MALFORMED, "metadata")
    return caught.value


@pytest.mark.requirement("CAT-02", "CAT-03", "CAT-04", "CAT-06")
def test_an_entry_is_read_and_its_document_is_known_by_its_hash_alone(tmp_path: Path) -> None:
    declaration = read(tmp_path).declaration
    assert declaration.zone_type == ZONE_TYPE_REGIONAL
    assert list(declaration.forms) == [SERVICE_FORM_MODEL, SERVICE_FORM_INTERFACE]
    entry = declaration.catalogue
    assert [getattr(entry, name) for name in TEXTS][:3] == ["health", "3,000 persons", "one visit"]
    assert (entry.opening.body, entry.opening.level) == ("health bureau", Opening.LEVEL_CONDITIONAL)
    assert entry.lawful_source.reference == "contract 17 of 2024"
    assert entry.lawful_source.document_sha256 == hashlib.sha256(DOCUMENT).digest()
    assert [column.forbidden for column in declaration.tables[0].columns] == [False, True]


def test_it_is_shown_under_the_keys_that_it_was_written_with(tmp_path: Path) -> None:
    declaration = read(tmp_path).declaration
    shown = entry_json(declaration)
    assert (shown["zone_type"], shown["forms"]) == ("regional", ["model", "interface"])
    catalogue = shown["catalogue"]
    assert isinstance(catalogue, dict)
    assert set(catalogue) == {*TEXTS, "opening", "lawful_source"}
    assert catalogue["opening"]["level"] == "conditional"
    text = "\n".join(entry_lines(declaration))
    assert all(said in text for said in ("regional", "served as model, interface", "contract 17", "health bureau"))


@pytest.mark.parametrize(
    ("left_out", "field", "line"),
    [
        pytest.param("zone_type: regional\n", "zone_type", 1, marks=pytest.mark.requirement("CAT-02")),
        pytest.param("forms: [interface, model]\n", "forms", 1, marks=pytest.mark.requirement("GRD-09")),
        pytest.param(OPENING, "catalogue.opening", 12, marks=pytest.mark.requirement("CAT-04")),
        pytest.param(SOURCE, "catalogue.lawful_source", 12, marks=pytest.mark.requirement("CAT-06")),
        *[
            pytest.param(
                next(each for each in VISITS.splitlines(keepends=True) if each.startswith(f"  {name}:")),
                f"catalogue.{name}",
                12,
                marks=pytest.mark.requirement("CAT-03"),
            )
            for name in TEXTS
        ],
    ],
)
def test_what_is_left_out_is_named_where_approvals_are_needed_and_optional_elsewhere(
    tmp_path: Path, left_out: str, field: str, line: int
) -> None:
    text = VISITS.replace(left_out, "")
    assert text != VISITS
    read(tmp_path, text, governed=False)
    problem = refusal(tmp_path, text)
    assert (problem.field, problem.position) == (field, f"{line}:1")
    assert "--auto-approve" in problem.message


def test_the_gateway_itself_registers_nothing_that_is_incomplete(tmp_path: Path) -> None:
    """Not every client reads a YAML file. What is missing of a complete one are shards."""
    epoch = KeyEpoch(holders=[KeyHolder(node="node-1")])
    for text, code in ((VISITS, "bad_shards"), (VISITS.replace(SOURCE, ""), "metadata")):
        declaration = read(tmp_path, text, governed=False).declaration
        request = RegisterDatasetRequest(declaration=declaration.SerializeToString(deterministic=True))
        with pytest.raises(Problem) as caught:
            check_registration(request, epoch, governed=True)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("zone_type: regional", "zone_type: region", "zone_type", "domain, regional, comprehensive"),
        ("[interface, model]", "[interface, models]", "forms[1]", "data, model, interface"),
        ("[interface, model]", "[model, model]", "forms", "different"),
        ("[interface, model]", "[]", "forms", "one or more"),
        ("level: conditional", "level: open", "catalogue.opening.level", "closed"),
        ("body: ", "bodies: ", "catalogue.opening.bodies", "body, level, mode"),
        ("contract.pdf", "contrakt.pdf", "catalogue.lawful_source.document", "no file"),
        ("contract.pdf", "visits.csv", "catalogue.lawful_source.document", "1 to"),
        ('"contract 17 of 2024"', '" "', "catalogue.lawful_source.reference", "needed"),
        ("category:", "kategory:", "catalogue.kategory", "category"),
        ('"health"', "3", "catalogue.category", "string"),
        ('"health"', '"' + "h" * 1001 + '"', "catalogue.category", "1,000"),
        ("forbidden: true", "forbidden: yes", "tables.visits.columns.note.forbidden", "true or false"),
        ("role: unit", "role: unit, forbidden: true", "tables.visits.columns.person.forbidden", "privacy unit"),
    ],
)
def test_a_mistake_is_named_by_its_field(tmp_path: Path, old: str, new: str, field: str, said: str) -> None:
    assert old in VISITS
    problem = refusal(tmp_path, VISITS.replace(old, new, 1))
    assert problem.field == field
    assert said in problem.message
