"""A program that does something else when one person is there: what leaves the enclave has the same length and time.

The program looks for a person, and if it finds them returns another shape, never ends, crashes, floods memory, or
returns what a range ends with. Whoever is there, the contribution has the same layout and length, comes after the same
number of time slots, and the sums behind it differ by what is charged and no more: by what the person's own block adds.
First, what a host sees that has neither the sandbox's way out nor its slots.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pytest
from yingbi.api.evidence import read_claims
from yingbi.api.sealing import seal_program
from yingbi.api.v1.job_pb2 import ProgramOutput, ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan, Program

from enclave_sim import jobs
from enclave_sim.engine.programs import Block, RunBlocks, block_sums
from enclave_sim.engine.protocol import never
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import delta2_squared
from enclave_sim.programs import OpenSandbox
from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError, zygote_process
from enclave_sim.sandbox import sandbox as slots
from enclave_sim.sandbox.blocks import pack_tables
from gateway.planning.programs import plan_program
from tests.attacks.three_enclaves import DELTA, Trio, visits_declaration, visits_of, visits_table

PERSON_AGE = 99
BEHAVIOURS = {
    "another shape": "return [1.0] * 1000",
    "no end": "while True: pass",
    "a crash": "ctypes.string_at(0)",
    "no number": "return [float('nan'), float('inf')]",
    "a long output": "os.write(4, b'x' * 60_000); os._exit(3)",
    "a flood of memory": "held = [bytearray(1 << 20) for _ in range(10_000)]",
    "the ends of the ranges": "return [1e9, -1e9]",
}
"""In the order of the pain that the person's visit has."""

HONEST = (3.0, 4.0)
_CASES = "".join(f"    if found[0] == {number}:\n        {what}\n" for number, what in enumerate(BEHAVIOURS.values()))
PROGRAM = f"""
import ctypes, os
def run(tables):
    visits = tables["visits"]
    found = [pain for age, pain in zip(list(visits["age"]), list(visits["pain"])) if age == {PERSON_AGE}]
    if not found: return {list(HONEST)}
{_CASES}""".encode()

SECONDS, BLOCKS = 1.0, 2
TRIES = 5
"""A machine that stands still for a fifth of a second looks like a leak, but not each time; a leak does."""

HONEST_SUMS = [BLOCKS * round((1 << 16) * 0.3), BLOCKS * round((1 << 16) * 0.6)]
IN_TIME = tuple(range(1, BLOCKS + 1))
OUTPUTS = [ProgramOutput(name="a", lower=0, upper=10), ProgramOutput(name="b", lower=-20, upper=20)]
FEW_MODULES = "import enclave_sim.sandbox.preload as p; p._OF = {}"
IMPORT = "from enclave_sim.sandbox.zygote import start"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        # Enough for this program, and loaded at once.
        patch.setattr(zygote_process, "BOOTSTRAP", zygote_process.BOOTSTRAP.replace(IMPORT, f"{FEW_MODULES}\n{IMPORT}"))
        try:
            started = Sandbox(Limits(seconds=SECONDS, memory_bytes=64 << 20, block_bytes=16 << 20))
        except SandboxUnavailableError as unavailable:
            pytest.skip(str(unavailable))
    yield started
    started.close()


@dataclass(frozen=True)
class Seen:
    """What leaves an enclave for one job, and when.

    Attributes:
        lengths: of the message and of each ciphertext.
        slots: in which slot each block's result came, whole numbers where it came at its end.
    """

    lengths: tuple[int, ...]
    slots: tuple[float, ...]


@dataclass
class Watch:
    """Looks at a sandbox from outside, and into an enclave as no one else can."""

    opened: OpenSandbox
    slots: list[float]
    sums: list[list[int]]


@pytest.fixture(scope="module")
def watch(sandbox: Sandbox) -> Iterator[Watch]:
    watching = Watch(_opens(sandbox), [], [])
    wait, began = slots._sleep_until, [0.0]

    def waiting(moment: float, ended: threading.Event) -> None:
        # Late is as it came; in time is the slot's end, however late this process is woken.
        late = time.monotonic() > moment
        wait(moment, ended)
        slot = (moment - began[0]) / SECONDS
        watching.slots.append(slot + 0.5 if late else round(slot))

    def adding(*given: Any, **named: Any) -> list[int]:
        began[0] = time.monotonic()
        watching.sums.append(block_sums(*given, **named))
        return watching.sums[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "_sleep_until", waiting)
        patch.setattr(jobs, "block_sums", adding)
        yield watching


def _opens(sandbox: Sandbox) -> OpenSandbox:
    def run(code: bytes, blocks: Iterable[Block], width: int) -> Iterator[Sequence[float] | None]:
        yield from sandbox.run(code, (pack_tables(dict(block)) for block in blocks), width)

    @contextmanager
    def opened(program: Program, _: bytes) -> Iterator[RunBlocks]:
        assert program.block_millis == 1000 * SECONDS
        yield run

    return opened


@pytest.fixture(scope="module")
def zone(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory, watch: Watch) -> Iterator[Trio]:
    copied = trio_template.copy(tmp_path_factory.mktemp("presence") / "trio")
    copied.enclaves = [replace(enclave, open_sandbox=watch.opened) for enclave in copied.enclaves]
    yield copied
    copied.close()


def rows(behaviour: str | None) -> pa.Table:
    """Node 1's: twenty people, and a person who makes the program do this, or nobody else."""
    others = visits_of(1)
    if behaviour is None:
        return others
    pain = float(list(BEHAVIOURS).index(behaviour))
    person = visits_table(person=[7777], clinic=["east"], pain=[pain], age=[PERSON_AGE], night=[False])
    return pa.concat_tables([others, person])


def plan_for(zone: Trio, dataset: str) -> Plan:
    asked = ProgramQuery(
        sha256=hashlib.sha256(PROGRAM).digest(), outputs=OUTPUTS, blocks=BLOCKS, block_millis=int(1000 * SECONDS)
    )
    declaration, version = zone.declaration(dataset), zone.version(dataset)
    return plan_program(asked, declaration, dataset_version=version, parties=3, epsilon=1.0, delta=DELTA).plan


def asked(zone: Trio, watch: Watch, behaviour: str | None, number: int = 0) -> tuple[Plan, Seen, list[int]]:
    """One enclave's contribution over these rows, and the sums in it; `number` tells several of them apart."""
    place = 9 if behaviour is None else list(BEHAVIOURS).index(behaviour)
    dataset = f"present-{place}-{number}"
    zone.add(visits_declaration(dataset), [rows(behaviour), visits_of(2), visits_of(3)])
    plan, enclave = plan_for(zone, dataset), zone.enclaves[0]
    task = zone.task(plan, request_id=dataset)
    claims = read_claims(enclave.identity.evidence)
    task.program.CopyFrom(seal_program(PROGRAM, claims, plan_hash(encode(plan))))
    watch.slots.clear()
    contribution = jobs.contribute(enclave, f"job-{dataset}", task, never)
    # Tells how many jobs there were before, not what they were about.
    contribution.ClearField("heads")
    lengths = (contribution.ByteSize(), *map(len, contribution.ciphertexts))
    return plan, Seen(lengths, tuple(watch.slots)), watch.sums[-1]


@pytest.fixture(scope="module")
def absent(zone: Trio, watch: Watch) -> tuple[Seen, list[int]]:
    for number in range(TRIES):
        _, seen, sums = asked(zone, watch, None, number)
        if (seen.slots, sums) == (IN_TIME, HONEST_SUMS):
            break
    return seen, sums


def test_without_the_person_every_block_gives_what_is_honest(absent: tuple[Seen, list[int]]) -> None:
    """Neither a default nor a bound, so that a block that was lost would show in what follows."""
    seen, sums = absent
    assert (seen.slots, sums) == (IN_TIME, HONEST_SUMS)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_what_leaves_tells_no_more_of_the_person_than_was_charged(
    behaviour: str, zone: Trio, watch: Watch, absent: tuple[Seen, list[int]]
) -> None:
    for number in range(TRIES):
        plan, seen, sums = asked(zone, watch, behaviour, number)
        moved = sum((there - gone) ** 2 for there, gone in zip(sums, absent[1], strict=True))
        if seen == absent[0] and moved <= delta2_squared(plan, plan.statistics[0]):
            break
    assert seen == absent[0]
    # The person's own block alone, so that it does something, and within the charge.
    assert 0 < moved <= delta2_squared(plan, plan.statistics[0])


def test_a_host_that_takes_what_comes_sees_all_of_it() -> None:
    """The control: a process of its own, whose output and exit code are the result."""
    # Where a block's process writes its result, these write to their output.
    given = "{'visits': {'age': [int(sys.argv[1])], 'pain': [int(sys.argv[2])]}}"
    source = f"{PROGRAM.decode()}import sys\nos.dup2(1, 4)\nprint(run({given}))"
    bounded = ("another shape", "a crash", "no number", "a long output")
    cases = [("0", 0), *((str(PERSON_AGE), list(BEHAVIOURS).index(name)) for name in bounded)]
    seen = set()
    for age, pain in cases:
        done = subprocess.run(
            [sys.executable, "-c", source, age, str(pain)], capture_output=True, check=False, timeout=60
        )
        seen.add((done.returncode, done.stdout))
    assert len(seen) == len(cases)


def test_without_slots_time_tells_who_is_there(sandbox: Sandbox) -> None:
    """The control: a program that never ends uses all that it has, and another one does not."""

    def taken(behaviour: str | None) -> float:
        began = time.monotonic()
        list(sandbox.run(PROGRAM, [pack_tables({"visits": rows(behaviour)})], len(OUTPUTS), slots=False))
        return time.monotonic() - began

    assert taken("no end") >= sandbox.limits.running_seconds > min(taken(None) for _ in range(TRIES))
