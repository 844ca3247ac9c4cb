"""Programs from the developer's side: what is asked, who it is encrypted to, and what a rehearsal tells."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import predicted_errors, table_of
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, NodeState, Zone
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.programs import _check_program, attested_enclaves, read_outputs, read_program, read_tables
from yingbi.rehearsal import rehearse
from yingbi.trust import Trust

PROGRAM = b"def run(tables):\n    return [tables['labs']['value'].mean(), len(tables['labs'])]\n"
DECLARATION = text_format.Parse(
    """
    dataset: "clinic" privacy_unit: "id" max_units: 600
    tables {
      name: "labs" max_rows_per_unit: 3
      columns { name: "id" type: COLUMN_TYPE_STRING role: ROLE_UNIT }
      columns { name: "value" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 10 }
      columns { name: "note" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
    }
    """,
    DatasetDeclaration(),
)
ASKED = ProgramQuery(
    sha256=hashlib.sha256(PROGRAM).digest(),
    outputs=[ProgramOutput(name="mean", lower=0, upper=10), ProgramOutput(name="n", lower=0, upper=100, absent=0)],
)


def plan() -> Plan:
    made = text_format.Parse(
        """
        language_version: 2 dataset: "clinic" epsilon: 1 delta: 1e-7 fraction_bits: 16
        program { blocks: 10 block_millis: 500 tables { table: "labs" columns: "id" columns: "value" } }
        statistics { block_outputs {
          outputs { lower: 0 upper: 10 absent: 5 } outputs { lower: 0 upper: 100 absent: 0 }
        } sigma: 65536 }
        noise { parties: 4 parties_per_unit: 1 } clipping { max_rows: 1 max_groups: 1 }
        outputs { name: "mean" measure { block_mean { output: 0 } } }
        outputs { name: "n" measure { block_mean { output: 1 } } }
        """,
        Plan(),
    )
    made.program.sha256 = ASKED.sha256
    return made


def test_an_answer_is_the_mean_over_all_blocks_with_the_error_of_its_noise() -> None:
    """Ten blocks at each of four providers: a cell of 40 · 2^16 is the upper bound; four shares of noise of 1."""
    table = table_of(plan(), [20 << 16, 40 << 16])
    assert table.rows == ((5.0, 100.0),)
    assert table.std_errors[0] == pytest.approx((10 * 2 / 40, 100 * 2 / 40))
    assert predicted_errors(plan()).std_errors == table.std_errors


@given(
    st.from_regex(r"[a-z_][a-z_0-9]{0,9}", fullmatch=True),
    st.floats(-1e9, 1e9),
    st.floats(1e-3, 1e9),
    st.one_of(st.none(), st.floats(0, 1)),
)
def test_outputs_are_read_as_they_are_written(name: str, lower: float, width: float, share: float | None) -> None:
    upper = lower + width
    absent = None if share is None else min(lower + share * width, upper)
    text = f"{name}: float[{lower!r}, {upper!r}]" + ("" if absent is None else f" = {absent!r}")
    (output,) = read_outputs(text)
    assert (output.name, output.lower, output.upper) == (name, lower, upper)
    assert (output.absent if output.HasField("absent") else None) == absent


def test_outputs_may_be_given_by_name() -> None:
    assert read_outputs({"age": (18, 100)}) == read_outputs(["age: float[18,100]"])


@pytest.mark.parametrize(
    "text",
    ["", "age", "age: int[0,1]", "age: float[1]", "age: float[1,0]", "age: float[0,1] = 2", "age: float[0,1e999]"],
)
def test_what_is_no_output_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        read_outputs(text)
    assert refused.value.code == "program_output"


def test_a_program_is_read_from_its_file_and_its_mistakes_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(PROGRAM)
    assert read_program(path) == PROGRAM == read_program(PROGRAM)
    with pytest.raises(Problem) as refused:
        read_program(b"x = 1\ndef run(:\n")
    assert (refused.value.code, refused.value.position) == ("program", "2:9")
    with pytest.raises(Problem) as refused:
        read_program(tmp_path / "missing.py")
    assert refused.value.code == "file"
    assert [each.table for each in read_tables(["labs"])] == ["labs"]


LIES: dict[str, Callable[[Plan], Any]] = {
    "another program": lambda p: setattr(p.program, "sha256", bytes(32)),
    "other bounds": lambda p: setattr(p.statistics[0].block_outputs.outputs[0], "upper", 11),
    "another default": lambda p: setattr(p.statistics[0].block_outputs.outputs[1], "absent", 1),
    "an output less": lambda p: p.statistics[0].block_outputs.outputs.pop(),
    "outputs interchanged": lambda p: setattr(p.outputs[0].measure.block_mean, "output", 1),
    "a median for a mean": lambda p: p.outputs[0].measure.block_median.SetInParent(),
    "another name": lambda p: setattr(p.outputs[0], "name", "median"),
    "a column more": lambda p: p.outputs.append(p.outputs[0]),
    "other blocks": lambda p: setattr(p.program, "blocks", 1),
    "other tables": lambda p: setattr(p.program.tables[0], "table", "patients"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_plan_for_something_else_is_not_signed(what: str) -> None:
    asked = ProgramQuery()
    asked.CopyFrom(ASKED)
    asked.blocks = 10
    asked.tables.add(table="labs")
    _check_program(plan(), asked)
    changed = plan()
    LIES[what](changed)
    with pytest.raises(Problem) as refused:
        _check_program(changed, asked)
    assert refused.value.code == "plan_differs"


def zone_of(made: Any) -> Zone:
    nodes = [NodeState(name=node.name, connected=True, evidence=node.attest(bytes(32))) for node in made.nodes]
    return Zone(key_epoch=made.key_epoch, nodes=nodes)


def test_a_program_is_sealed_to_the_enclaves_that_hold_the_key() -> None:
    made = scene.scene()
    found = attested_enclaves(zone_of(made), Trust(made.ca.pem, scene.MEASUREMENT.hex()))
    assert [body.node for body in found] == [node.name for node in made.nodes]
    assert all(len(body.encryption_key) == 32 for body in found)


def test_a_gateway_cannot_put_an_enclave_of_its_own_into_anothers_place() -> None:
    """Neither one that the zone's root certified later, nor one of another zone, nor one that runs other code."""
    made = scene.scene()
    trust = Trust(made.ca.pem)
    swapped = zone_of(made)
    swapped.nodes[0].evidence.CopyFrom(made.nodes[1].attest(bytes(32)))
    forged = zone_of(made)
    forged.nodes[0].evidence.CopyFrom(scene.scene().nodes[0].attest(bytes(32)))
    altered = zone_of(made)
    altered.nodes[0].evidence.token = altered.nodes[0].evidence.token[:-64] + bytes(64)
    other_zone = zone_of(scene.scene())
    for lie in (swapped, forged, altered, other_zone):
        with pytest.raises(Problem) as refused:
            attested_enclaves(lie, trust)
        assert refused.value.code == "enclave_evidence"
    with pytest.raises(Problem) as refused:
        attested_enclaves(zone_of(made), Trust(made.ca.pem, "00" * 32))
    assert refused.value.code == "enclave_evidence"


def test_before_a_node_connected_nothing_is_sealed() -> None:
    made = scene.scene()
    zone = zone_of(made)
    zone.nodes[2].ClearField("evidence")
    with pytest.raises(Problem) as refused:
        attested_enclaves(zone, Trust(made.ca.pem))
    assert refused.value.code == "node_unavailable"


def test_a_rehearsal_runs_the_program_on_made_up_blocks() -> None:
    found = rehearse(PROGRAM, plan(), DECLARATION, seed=1)
    assert len(found.outcomes) == 40
    assert all(0 <= mean <= 10 and rows == 15 for mean, rows in found.outcomes)
    # Uniform on [0, 10]: 2.9 for a value, √15 less for a mean of 15, √40 less for one of 40 blocks.
    assert found.sampling_errors[0] == pytest.approx(2.9 / math.sqrt(15 * 40), rel=0.5)
    assert found.sampling_errors[1] == 0
    assert found == rehearse(PROGRAM, plan(), DECLARATION, seed=1)


def test_a_rehearsal_shows_units_as_the_enclave_does() -> None:
    """As numbers from 0, and only the columns of the plan."""
    code = b"""
def run(tables):
    labs = tables["labs"]
    assert list(labs.columns) == ["id", "value"] and labs["id"].min() == 0
    return [5, labs["id"].max()]
"""
    assert all(units >= 1 for _, units in rehearse(code, plan(), DECLARATION, seed=1).outcomes)


@pytest.mark.parametrize(
    ("code", "position"),
    [(b"def run(t):\n    return [1 / 0, 1]\n", "2:1"), (b"def run(t):\n    return [1]\n", None), (b"x = 1\n", None)],
)
def test_a_rehearsal_tells_what_fails(code: bytes, position: str | None) -> None:
    with pytest.raises(Problem) as refused:
        rehearse(code, plan(), DECLARATION)
    assert (refused.value.code, refused.value.position) == ("program_failed", position)
