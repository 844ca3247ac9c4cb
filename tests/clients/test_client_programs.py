"""Programs from the developer's side: what is asked, who it is encrypted to, and what a rehearsal tells."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import table_of
from yingbi.api import evidence_error as codes
from yingbi.api import suites
from yingbi.api.eat import Claims, Statement
from yingbi.api.problem import Kind, Problem
from yingbi.api.sealing import program_info
from yingbi.api.v1.attestation_pb2 import Evidence, GetEvidenceResponse
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.attest import attest_for_sealing
from yingbi.forecasts import predicted_errors
from yingbi.programs import _check_program, read_outputs, read_program, read_tables, sealed_programs
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


class Asked:
    """A gateway that has the enclaves' evidence made over the nonce, or shows something else."""

    def __init__(self, made: Any, changed: Callable[[bytes], dict[int, Evidence]] = lambda nonce: {}) -> None:
        self.made, self.changed = made, changed

    def get_evidence(self, node: str, nonce: bytes) -> GetEvidenceResponse:
        now = int(time.time())
        shown = dict(enumerate(each.attest(nonce, issued=now, expires=now + 60) for each in self.made.nodes))
        shown.update(self.changed(nonce))
        return GetEvidenceResponse(evidence=shown.values(), key_epoch=self.made.key_epoch)


def enclaves_of(gateway: Asked, trust: Trust) -> list[Claims]:
    return attest_for_sealing(gateway, trust)  # type: ignore[arg-type]


def refusal(gateway: Asked, trust: Trust) -> str:
    with pytest.raises(Problem) as refused:
        enclaves_of(gateway, trust)
    assert refused.value.kind is Kind.BAD_EVIDENCE
    return refused.value.code


def test_a_program_is_sealed_to_the_enclaves_that_hold_the_key() -> None:
    made = scene.scene()
    found = enclaves_of(Asked(made), Trust(made.ca.pem, scene.MEASUREMENT.hex(), allow_simulation=True))
    assert [body.node for body in found] == [node.name for node in made.nodes]
    plan_hash = bytes(32)
    for sealed in sealed_programs(PROGRAM, found, plan_hash):
        assert PROGRAM not in sealed.ciphertext
        assert suites.DEFAULT.key(bytes(32)).open(sealed.ciphertext, program_info(plan_hash)) == PROGRAM


def test_a_gateway_cannot_put_an_enclave_of_its_own_into_anothers_place() -> None:
    """Neither one that the zone's root certified later, nor one of another zone, nor one that runs other code."""
    made, other = scene.scene(), scene.scene()
    trust = Trust(made.ca.pem)
    now = int(time.time())
    times = {"issued": now, "expires": now + 60}

    def altered(nonce: bytes) -> dict[int, Evidence]:
        return {0: Evidence(token=made.nodes[0].attest(nonce, **times).token[:-64] + bytes(64))}

    lies: dict[str, Callable[[bytes], dict[int, Evidence]]] = {
        codes.KEYS: lambda nonce: {0: made.nodes[1].attest(nonce, **times)},
        codes.CHAIN: lambda nonce: {0: other.nodes[0].attest(nonce, **times)},
        codes.SIGNATURE: altered,
        codes.REPLAYED: lambda nonce: {0: made.nodes[0].attest(bytes(32), **times)},
        codes.STALE: lambda nonce: {0: made.nodes[0].attest(nonce)},
    }
    assert {code: refusal(Asked(made, lie), trust) for code, lie in lies.items()} == {code: code for code in lies}
    assert refusal(Asked(other), trust) == codes.CHAIN
    other_code = Asked(made, lambda nonce: {0: made.nodes[0].attest(nonce, measurement=bytes(32), **times)})
    assert refusal(other_code, trust) == codes.KEYS
    assert refusal(Asked(made), Trust(made.ca.pem, "00" * 32, allow_simulation=True)) == codes.MEASUREMENT


def test_whoever_has_reference_values_says_whether_simulation_will_do() -> None:
    """Where the CA alone is known, nothing is compared with a value that is not there."""
    made = scene.scene()
    assert refusal(Asked(made), Trust(made.ca.pem, scene.MEASUREMENT.hex())) == codes.SIMULATED
    assert len(enclaves_of(Asked(made), Trust(made.ca.pem))) == 3


def test_a_program_is_not_sealed_under_a_suite_of_yesterday_unless_the_profile_lists_it() -> None:
    made = scene.scene()
    old = suites.CLASSICAL

    def downgraded(nonce: bytes) -> dict[int, Evidence]:
        now = int(time.time())
        statement = Statement(nonce, made.nodes[0].public, old.key(bytes(32)).public, scene.POLICY, old.name)
        return {0: made.nodes[0].attest(nonce, issued=now, expires=now + 60, statement=statement)}

    trust = Trust(made.ca.pem)
    assert refusal(Asked(made, downgraded), trust) == codes.DOWNGRADED
    found = enclaves_of(Asked(made, downgraded), replace(trust, suites=frozenset(suites.SUITES)))
    (sealed, *_) = sealed_programs(PROGRAM, found, bytes(32))
    assert old.key(bytes(32)).open(sealed.ciphertext, program_info(bytes(32))) == PROGRAM


@pytest.mark.parametrize("key", [bytes(1216), b"\xff" * 1216, bytes(32)])
def test_a_key_that_is_none_is_refused_by_its_name(key: bytes) -> None:
    """Genuine evidence of an enclave that wants to be sent what everybody can read."""
    made = scene.scene()
    claims = enclaves_of(Asked(made), Trust(made.ca.pem))[0]
    bad = replace(claims, statement=replace(claims.statement, encryption_key=key))
    with pytest.raises(Problem) as refused:
        sealed_programs(PROGRAM, [bad], bytes(32))
    assert (refused.value.kind, refused.value.code) == (Kind.BAD_EVIDENCE, codes.KEYS)


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
    [
        (b"def run(t):\n    return [1 / 0, 1]\n", "2:1"),
        (b"def run(t):\n    return [1, t['labs']['vlaue'].mean()]\n", "2:1"),  # raised within pandas
        (b"import sys\n\ndef run(t):\n    sys.exit(3)\n", "4:1"),
        (b"raise SystemExit(3)\n", "1:1"),
        (b"def run(t):\n    return [1]\n", None),
        (b"x = 1\n", None),
    ],
)
def test_a_rehearsal_tells_what_fails(code: bytes, position: str | None) -> None:
    with pytest.raises(Problem) as refused:
        rehearse(code, plan(), DECLARATION)
    assert (refused.value.code, refused.value.position) == ("program_failed", position)


@pytest.mark.parametrize("bounds", [(18,), 18, ("a", "b"), None, (1, 2, 3)])
def test_bounds_by_name_that_are_none_are_refused(bounds: Any) -> None:
    with pytest.raises(Problem, match="no bounds of 'age'") as refused:
        read_outputs({"age": bounds})
    assert refused.value.code == "program_output"


@pytest.mark.parametrize(
    ("returned", "said"),
    [(b"7", "int 7"), (b"'ab'", "str 'ab'"), (b"None", "NoneType None"), (b"t['labs']", "DataFrame")],
)
def test_a_rehearsal_says_what_was_returned_in_place_of_a_list_of_numbers(returned: bytes, said: str) -> None:
    with pytest.raises(Problem) as refused:
        rehearse(b"def run(t):\n    return " + returned + b"\n", plan(), DECLARATION)
    assert refused.value.message == f"The program returned {said}, which is no list of numbers."
    assert refused.value.hint == "return a list of 2: one number for each output, in their order"


def test_a_rehearsal_says_which_blocks_would_count_as_the_default() -> None:
    """Else a program whose every block is the default looks like one without any variance."""
    absent = rehearse(b"def run(t):\n    return [float('nan'), 1]\n", plan(), DECLARATION)
    assert (absent.defaults, absent.slow) == (40, 0)
    assert any("for 40 of these blocks the program returned NaN" in line for line in absent.lines())

    quick = plan()
    quick.program.block_millis = 1
    waiting = b"import time\ndef run(t):\n    time.sleep(0.002)\n    return [1, 1]\n"
    late = rehearse(waiting, quick, DECLARATION)
    assert (late.defaults, late.slow) == (0, 40)
    assert any("declare more --seconds" in line for line in late.lines())
    assert late.to_json()["slow"] == 40
