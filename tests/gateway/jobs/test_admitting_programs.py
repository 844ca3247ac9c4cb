"""Requests to run programs: charged and kept for the nodes, or refused with nothing spent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.suites import SUITES
from yingbi.api.v1.dataset_pb2 import ProgramEnvironment
from yingbi.api.v1.job_pb2 import Job, ProgramOutput, ProgramQuery, Query, SealedProgram, SubmitQueryRequest
from yingbi.api.v1.node_pb2 import Hello

from enclave_sim.plan.programs import MAX_PROGRAM_BYTES
from gateway.jobs import records, shown, states
from gateway.jobs.nodes import _Node
from gateway.jobs.programs import common_environment
from gateway.storage import programs
from tests.gateway.jobs.test_admission import Account, Scene, signed_request

SEALED = SealedProgram(node="node-1", ciphertext=b"nothing that a gateway can read")
SOURCE = b"def run(tables):\n    return [1]\n"
ASKED = Query(
    dataset="visits",
    epsilon=0.5,
    program=ProgramQuery(sha256=bytes(32), outputs=[ProgramOutput(name="pain", lower=0, upper=10)], blocks=20),
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "gateway").mkdir()
    scene = Scene(tmp_path / "gateway")
    yield scene
    scene.database.close()


@pytest.fixture
def ada() -> Account:
    return Account("ada", "college")


def submit(
    scene: Scene,
    account: Account,
    change: Callable[[SubmitQueryRequest], object] = lambda request: None,
    query: Query = ASKED,
) -> Job:
    async def ask() -> Job:
        plan = (await scene.admission.preview(account.caller, query)).plan
        request = signed_request(account, query, plan, "program")
        request.programs.append(SEALED)
        change(request)
        return await scene.admission.submit(account.caller, request)

    return asyncio.run(ask())


def without_sandbox(scene: Scene) -> None:
    hello = Hello(node="node-1", no_sandbox="This machine has no user namespaces.")
    scene.nodes._nodes["node-1"] = _Node(hello)


def test_a_program_is_charged_and_kept_for_its_node(scene: Scene, ada: Account) -> None:
    job = submit(scene, ada)
    assert job.state == states.QUEUED
    assert job.sql.startswith("PROGRAM 0000")
    assert scene.spent()["dataset visits"] > 0
    assert asyncio.run(scene.database.run(programs.of_job, job.job)) == {"node-1": SEALED}


def test_asked_again_it_is_the_same_job_though_it_is_sealed_anew(scene: Scene, ada: Account) -> None:
    first, spent = submit(scene, ada), scene.spent()
    again = submit(scene, ada, lambda request: setattr(request.programs[0], "ciphertext", b"sealed anew"))
    assert again.job == first.job
    assert scene.spent() == spent
    assert asyncio.run(scene.database.run(programs.of_job, first.job)) == {"node-1": SEALED}


@pytest.mark.parametrize("state", [states.SUCCEEDED, states.FAILED, states.CANCELLED])
def test_a_job_that_ended_leaves_no_sealed_program_and_is_the_same_when_asked_again(
    state: states.State, scene: Scene, ada: Account
) -> None:
    job = submit(scene, ada)
    asyncio.run(scene.database.run(records.move, job.job, states.RUNNING))
    assert asyncio.run(scene.database.run(programs.of_job, job.job))
    asyncio.run(scene.database.run(records.move, job.job, state))
    assert asyncio.run(scene.database.run(programs.of_job, job.job)) == {}
    spent = scene.spent()
    again = submit(scene, ada)
    assert (again.job, again.state) == (job.job, state)
    assert asyncio.run(scene.database.run(programs.of_job, job.job)) == {}
    assert scene.spent() == spent


def test_a_source_that_its_developer_shows_is_in_the_job_also_when_it_ended(scene: Scene, ada: Account) -> None:
    job = submit(scene, ada, lambda request: setattr(request, "source", SOURCE), asked_for(SOURCE))
    assert seen(scene, job).source == SOURCE
    asyncio.run(scene.database.run(records.move, job.job, states.CANCELLED))
    assert seen(scene, job).source == SOURCE


def test_a_source_is_shown_only_where_its_developer_wants_it(scene: Scene, ada: Account) -> None:
    assert seen(scene, submit(scene, ada, query=asked_for(SOURCE))).source == b""


def test_a_source_of_another_program_is_refused_with_nothing_spent(scene: Scene, ada: Account) -> None:
    """An operator would read one and approve another."""
    with pytest.raises(Problem) as refused:
        submit(scene, ada, lambda request: setattr(request, "source", SOURCE + b"#"), asked_for(SOURCE))
    assert (refused.value.code, scene.spent()) == ("program", {})


def seen(scene: Scene, job: Job) -> Job:
    async def look() -> Job:
        return await scene.database.run(shown.describe, await scene.database.run(records.get, job.job))

    return asyncio.run(look())


def asked_for(source: bytes) -> Query:
    query = Query()
    query.CopyFrom(ASKED)
    query.program.sha256 = hashlib.sha256(source).digest()
    return query


def test_one_of_the_largest_size_fits_however_it_is_sealed(scene: Scene, ada: Account) -> None:
    for suite in SUITES.values():
        sealed = suite.seal(bytes(MAX_PROGRAM_BYTES), suite.key(bytes(32)).public, b"")
        submit(scene, ada, lambda request, data=sealed: setattr(request.programs[0], "ciphertext", data))  # type: ignore[misc]


LIES: dict[str, Callable[[SubmitQueryRequest], object]] = {
    "no program": lambda request: request.ClearField("programs"),
    "another node's": lambda request: setattr(request.programs[0], "node", "node-2"),
    "one node's twice": lambda request: request.programs.append(SEALED),
    "one that is too long": lambda request: setattr(request.programs[0], "ciphertext", bytes(300_000)),
    "SQL beside it": lambda request: setattr(request.query, "sql", "SELECT COUNT(*) FROM visits"),
    "a source for a query": lambda request: request.CopyFrom(
        SubmitQueryRequest(query=Query(dataset="visits", epsilon=0.5, sql="SELECT COUNT(*) FROM visits"), source=SOURCE)
    ),
    "a program for a query": lambda request: request.query.ClearField("program"),
}


@pytest.mark.parametrize("what", LIES)
def test_refused_with_nothing_spent(what: str, scene: Scene, ada: Account) -> None:
    with pytest.raises(Problem) as refused:
        submit(scene, ada, LIES[what])
    assert refused.value.code == "program"
    assert scene.spent() == {}


def test_without_a_sandbox_at_a_node_nothing_is_spent_and_queries_go_on(scene: Scene, ada: Account) -> None:
    """Known when the node connects, so that no preview promises what cannot be run."""
    without_sandbox(scene)
    with pytest.raises(Problem) as refused:
        submit(scene, ada)
    assert refused.value.code == "sandbox_unavailable"
    assert "user namespaces" in refused.value.message
    assert scene.spent() == {}
    assert scene.submit(ada, "n", 0.5).state == states.QUEUED


def test_a_sandbox_that_is_gone_since_the_preview_is_noticed(scene: Scene, ada: Account) -> None:
    with pytest.raises(Problem) as refused:
        submit(scene, ada, lambda request: without_sandbox(scene))
    assert refused.value.code == "sandbox_unavailable"
    assert scene.spent() == {}


def test_programs_can_import_what_all_nodes_have() -> None:
    one = ProgramEnvironment(packages=["python 3.11.9", "numpy 2.1.0", "scipy 1.15.0"], modules=["math", "os", "abc"])
    two = ProgramEnvironment(packages=["python 3.11.9", "numpy 2.0.2"], modules=["os", "math"])
    found = common_environment([one, two])
    assert list(found.packages) == ["python 3.11.9", "numpy 2.0.2 or 2.1.0"]
    assert list(found.modules) == ["math", "os"]


def test_where_one_node_runs_no_programs_nothing_can_be_imported(scene: Scene) -> None:
    scene.nodes._nodes["node-1"] = _Node(Hello(node="node-1", programs=ProgramEnvironment(packages=["python 3.11.9"])))
    assert scene.nodes.program_environment() is not None
    scene.nodes._nodes["node-2"] = _Node(Hello(node="node-2", no_sandbox="This machine has no user namespaces."))
    assert scene.nodes.program_environment() is None
