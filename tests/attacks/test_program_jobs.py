"""Programs as jobs of enclaves: sealed, pinned by their hash, charged before a row is read, in the total like a query.

The sandbox is a stand-in that runs our own functions; its walls are tested in `tests/attacks/programs`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
from yingbi.api.evidence import read_claims
from yingbi.api.problem import Problem
from yingbi.api.sealing import seal_program
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery, SealedProgram
from yingbi.api.v1.node_pb2 import ContributeTask, Contribution
from yingbi.api.v1.plan_pb2 import Plan, Program
from yingbi.api.v1.receipt_pb2 import ReceiptBody

from enclave_sim import jobs
from enclave_sim.engine.programs import Block, RunBlocks
from enclave_sim.engine.protocol import never
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.programs import OpenSandbox, unavailable
from gateway.planning.programs import plan_program
from tests.attacks.three_enclaves import DELTA, Trio, refusal

CODE = b"def run(tables):\n    return [tables['visits']['pain'].mean()]\n"
BLOCKS = 5
Outcome = Sequence[float] | None


def sandbox(function: Callable[[bytes, Block], Outcome]) -> OpenSandbox:
    """Runs a function of ours in the place of the program."""

    def run(program: bytes, blocks: Iterable[Block], width: int) -> Iterator[Outcome]:
        return (function(program, block) for block in blocks)

    @contextmanager
    def opened(program: Program, code: bytes) -> Iterator[RunBlocks]:
        yield run

    return opened


def mean_pain(program: bytes, block: Block) -> Outcome:
    """What CODE says."""
    assert program == CODE
    mean = pc.mean(block["visits"]["pain"]).as_py()
    return None if mean is None else (mean,)


@contextmanager
def nowhere(program: Program, code: bytes) -> Iterator[RunBlocks]:
    """A machine without a sandbox."""
    raise unavailable("no user namespaces")
    yield


def program_plan(trio: Trio, code: bytes = CODE, *, epsilon: float = 20.0) -> Plan:
    asked = ProgramQuery(
        sha256=hashlib.sha256(code).digest(),
        outputs=[ProgramOutput(name="pain", lower=0, upper=10)],
        blocks=BLOCKS,
    )
    version = trio.version()
    planned = plan_program(asked, trio.declaration(), dataset_version=version, parties=3, epsilon=epsilon, delta=DELTA)
    return planned.plan


def sealed_for(trio: Trio, index: int, plan: Plan, code: bytes = CODE) -> SealedProgram:
    """As a developer seals it: to the key in the enclave's evidence."""
    body = read_claims(trio.enclaves[index].identity.evidence)
    return seal_program(code, body, plan_hash(encode(plan)))


def tasks(trio: Trio, plan: Plan, code: bytes = CODE, request_id: str = "request-1") -> list[ContributeTask]:
    """The task of each enclave."""
    common = trio.task(plan, request_id=request_id)
    found = []
    for index in range(3):
        task = ContributeTask()
        task.CopyFrom(common)
        task.program.CopyFrom(sealed_for(trio, index, plan, code))
        found.append(task)
    return found


@pytest.fixture
def ready(trio: Trio) -> Trio:
    """Three enclaves with a place to run programs."""
    trio.enclaves = [replace(enclave, open_sandbox=sandbox(mean_pain)) for enclave in trio.enclaves]
    return trio


def contribute(trio: Trio, job: str, given: Sequence[ContributeTask]) -> list[Contribution]:
    return [jobs.contribute(enclave, job, task, never) for enclave, task in zip(trio.enclaves, given, strict=True)]


def finished(trio: Trio, job: str, given: Sequence[ContributeTask]) -> ReceiptBody:
    signatures = trio.sign(job, trio.open(job, contribute(trio, job, given)))
    assert len({one.receipt_body for one in signatures}) == 1
    return ReceiptBody.FromString(signatures[0].receipt_body)


def test_three_enclaves_sign_one_receipt_with_the_noised_mean(ready: Trio) -> None:
    plan = program_plan(ready)
    body = finished(ready, "job-1", tasks(ready, plan))
    assert body.rho_units == total_rho_units(plan)
    # Every visit's pain is from 0 to 9, and blocks of people have means around 4.5; a block with nobody counts as 5.
    mean = 10 * body.opened[0] / 2**16 / (3 * BLOCKS)
    noise = 10 * math.sqrt(3) * plan.statistics[0].sigma / 2**16 / (3 * BLOCKS)
    assert noise < 0.5
    assert abs(mean - 4.5) < 1.5 + 8 * noise


def test_a_contribution_asked_for_again_is_the_same_bytes_and_one_charge(ready: Trio) -> None:
    given = tasks(ready, program_plan(ready))
    first = contribute(ready, "job-1", given)
    assert contribute(ready, "job-1", given) == first
    assert ready.records("charge") == [1, 1, 1]


def lies(trio: Trio) -> dict[str, tuple[str, SealedProgram]]:
    plan = program_plan(trio)
    own = sealed_for(trio, 0, plan)
    altered = SealedProgram(node=own.node, ciphertext=own.ciphertext[:-1] + bytes([own.ciphertext[-1] ^ 1]))
    own_claims = read_claims(trio.enclaves[0].identity.evidence)
    stranger = replace(own_claims.statement, encryption_key=DEFAULT.key(bytes(32)).public)
    swapped = replace(own_claims, statement=stranger)
    long = b"#" * 300_000
    return {
        "another program": ("other_program", sealed_for(trio, 0, plan, CODE + b"#")),
        "another node's": ("bad_program", sealed_for(trio, 1, plan)),
        "another plan's": ("bad_program", sealed_for(trio, 0, program_plan(trio, epsilon=1.0))),
        "one altered": ("bad_program", altered),
        "one to a key of the gateway's": ("bad_program", seal_program(CODE, swapped, plan_hash(encode(plan)))),
        "one too long": ("bad_program", sealed_for(trio, 0, program_plan(trio, long), long)),
        "one in the clear": ("bad_program", SealedProgram(node="node-1", ciphertext=CODE)),
        "none": ("bad_program", SealedProgram()),
    }


def test_whatever_the_gateway_sends_only_the_developers_program_runs(ready: Trio) -> None:
    """Refused before anything is charged, and before a sandbox sees a byte."""
    plan = program_plan(ready)
    for what, (code, sealed) in lies(ready).items():
        task = ready.task(plan)
        task.program.CopyFrom(sealed)
        assert refusal(jobs.contribute, ready.enclaves[0], "job-1", task, never) == code, what
    assert ready.spent() == [0, 0, 0]


def test_the_gateway_carries_nothing_that_it_can_read(ready: Trio) -> None:
    for task in tasks(ready, program_plan(ready)):
        assert b"tables" not in task.SerializeToString()
        assert b"pain" not in task.program.SerializeToString()


def test_without_a_sandbox_programs_are_refused_at_no_cost_and_queries_go_on(ready: Trio) -> None:
    ready.enclaves[0] = replace(ready.enclaves[0], open_sandbox=nowhere)
    task = tasks(ready, program_plan(ready))[0]
    assert refusal(jobs.contribute, ready.enclaves[0], "job-1", task, never) == "sandbox_unavailable"
    assert ready.spent() == [0, 0, 0]
    ready.run("job-2", ready.task(ready.plan(), request_id="request-2"))


def test_the_charge_is_on_disk_before_a_row_is_read(ready: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it stays when the machine dies within the program."""
    plan, seen = program_plan(ready), []
    price = total_rho_units(plan)

    def reading(folder: Path, table: str, columns: Sequence[str], wrapping_key: bytes) -> None:
        seen.append(ready.spent()[0])
        raise RuntimeError("power failure")

    monkeypatch.setattr(jobs, "stream_table", reading)
    task = tasks(ready, plan)[0]
    with pytest.raises(RuntimeError):
        jobs.contribute(ready.enclaves[0], "job-1", task, never)
    assert seen == [price]
    ready.load()
    assert ready.spent() == [price, 0, 0]


def test_programs_that_return_nothing_cost_what_others_do_and_do_not_fail(ready: Trio) -> None:
    """Nothing in the data, and nothing in the program, makes a job fail after its charge."""
    plan = program_plan(ready)
    ready.enclaves = [replace(one, open_sandbox=sandbox(lambda program, block: None)) for one in ready.enclaves]
    body = finished(ready, "job-1", tasks(ready, plan))
    exact = 3 * BLOCKS << 15
    assert abs(body.opened[0] - exact) <= 8 * math.sqrt(3) * plan.statistics[0].sigma
    assert ready.spent() == [total_rho_units(plan)] * 3


def test_a_cancelled_program_is_stopped_between_two_blocks(ready: Trio) -> None:
    runs: list[int] = []

    def counting(program: bytes, block: Block) -> Outcome:
        runs.append(1)
        return None

    enclave = replace(ready.enclaves[0], open_sandbox=sandbox(counting))
    task = tasks(ready, program_plan(ready))[0]
    with pytest.raises(Problem) as problem:
        jobs.contribute(enclave, "job-1", task, lambda: len(runs) >= 2)
    assert problem.value.code == "cancelled"
    assert len(runs) == 2
