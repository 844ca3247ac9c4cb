"""Nothing is sent to a node before all of a dataset's files were checked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import TableDeclaration

from gateway.governance.metadata import Metadata, read_metadata
from gateway.zone import ingest, processes
from gateway.zone.folder import ZoneFolder

METADATA = """
dataset: visits
zone: clinic
title: {en: Visits}
grade: 2
source: a register
privacy_unit: person
max_units: 10
units_disjoint: true
budget: {epsilon: 1, delta: 1e-7}
tables:
  care:
    file: care.csv
    max_rows_per_unit: 3
    columns: {person: {type: string, role: unit}}
  labs:
    file: labs.csv
    max_rows_per_unit: 3
    columns: {person: {type: string, role: unit}, cost: {type: float64, required: true}}
"""


class Sent(Exception):
    """A node was spoken to."""


def described(folder: Path, labs: str) -> Path:
    (folder / "care.csv").write_text("person\np1\n")
    (folder / "labs.csv").write_text(labs)
    (folder / "visits.yaml").write_text(METADATA)
    return folder / "visits.yaml"


def test_no_node_is_spoken_to_before_the_last_file_was_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise Sent

    monkeypatch.setattr(processes, "status", lambda _: SimpleNamespace(gateway="up"))
    monkeypatch.setattr(ingest._NodeStream, "open", opened)
    folder, said = cast(ZoneFolder, SimpleNamespace(is_governed=False, node_names=["node-1"])), list[str]()
    with pytest.raises(Problem) as caught:
        ingest._add_dataset(folder, described(tmp_path, "person,cost\np1,\n"), said.append)
    assert (caught.value.code, said) == ("missing_value", ["checking"])
    with pytest.raises(Sent):
        ingest._add_dataset(folder, described(tmp_path, "person,cost\np1,1\n"), said.append)


class Node:
    """Takes the rows of a table."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def begin_table(self, schema: pa.Schema) -> None:
        self.schema = schema

    def send(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.column(0).to_pylist()

    def end_table(self) -> None:
        pass


def test_a_row_that_lost_its_unit_after_the_check_is_not_sent(tmp_path: Path) -> None:
    metadata: Metadata = read_metadata(described(tmp_path, "person,cost\np1,1\n"))
    nodes: list[Any] = [Node(), Node()]
    table: TableDeclaration = metadata.declaration.tables[1]
    ingest._send_table(table, metadata, nodes, set())
    assert sorted(row for node in nodes for row in node.rows) == ["p1"]
    (tmp_path / "labs.csv").write_text('person,cost\np1,1\n"",2\n')
    again: list[Any] = [Node(), Node()]
    with pytest.raises(Problem, match=r"labs\.csv changed while it was read"):
        ingest._send_table(table, metadata, again, set())
    assert [node.rows for node in again] == [[], []]
