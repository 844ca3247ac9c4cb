"""Which program one that waits is compared with: on a real database, nothing computed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from yingbi.api.v1.job_pb2 import ApprovedProgram, Job, SealedProgram, SubmitQueryRequest

from gateway.governance.callers import Role
from gateway.jobs import records, states
from tests.gateway.jobs.test_admission import Account, signed_request
from tests.gateway.jobs.test_admitting_programs import asked_for
from tests.gateway.jobs.test_deciding import ADA, BEN, PROVIDER, SUPERVISOR, Deciding

FIRST, SECOND, THIRD = (b"def run(tables):\n    return [%d]\n" % number for number in (1, 2, 3))
COLLEAGUE = Account("cora", "college", Role.DEVELOPER)


class Programs(Deciding):
    """Data of grade 4, which two organisations decide about; programs of developers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0

    def ask_program(self, who: Account, source: bytes, *, shows: bool = True, epsilon: float = 0.01) -> Job:
        """A job that waits."""
        query, self.asked = asked_for(source), self.asked + 1
        query.epsilon = epsilon

        async def ask() -> Job:
            plan = (await self.admission.preview(who.caller, query)).plan
            request: SubmitQueryRequest = signed_request(who, query, plan, f"program-{self.asked}")
            request.programs.extend(SealedProgram(node=node, ciphertext=b"sealed") for node in ("node-1", "node-2"))
            request.source = source if shows else b""
            return await self.admission.submit(who.caller, request)

        return asyncio.run(ask())

    def let_run(self, job: Job) -> Job:
        self.say_yes(PROVIDER, job)
        return self.say_yes(SUPERVISOR, job)

    def compared(self, job: Job) -> ApprovedProgram | None:
        decision = self.decision(PROVIDER, job)
        return decision.approved_program if decision.HasField("approved_program") else None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Programs]:
    (tmp_path / "gateway").mkdir()
    scene = Programs(tmp_path / "gateway")
    yield scene
    scene.database.close()


@pytest.mark.requirement("APP-04")
def test_a_program_is_compared_with_the_last_that_was_approved_for_its_organisation(scene: Programs) -> None:
    scene.let_run(scene.ask_program(ADA, FIRST))
    last = scene.let_run(scene.ask_program(COLLEAGUE, SECOND))
    found = scene.compared(scene.ask_program(ADA, THIRD))
    assert found is not None
    assert (found.job, found.source) == (last.job, SECOND)
    assert found.approved.seconds > 0


def test_the_same_code_is_what_it_is_compared_with_wherever_it_was_approved_before(scene: Programs) -> None:
    same = scene.let_run(scene.ask_program(ADA, FIRST, shows=False))
    scene.let_run(scene.ask_program(ADA, SECOND))
    found = scene.compared(scene.ask_program(COLLEAGUE, FIRST))
    assert found is not None
    assert (found.job, found.source) == (same.job, b""), "what its developer does not show stays with the enclaves"


def test_what_was_refused_or_has_one_yes_of_two_was_not_approved(scene: Programs) -> None:
    refused, half = scene.ask_program(ADA, FIRST), scene.ask_program(ADA, SECOND)
    scene.say_yes(PROVIDER, refused)
    scene.refuse(SUPERVISOR, refused)
    scene.say_yes(PROVIDER, half)
    cancelled = scene.ask_program(COLLEAGUE, THIRD)
    scene.say_yes(SUPERVISOR, cancelled)
    asyncio.run(scene.database.run(records.move, cancelled.job, states.CANCELLED))
    assert scene.compared(scene.ask_program(COLLEAGUE, FIRST)) is None


def test_what_the_budget_did_not_hold_did_not_run_though_all_said_yes(scene: Programs) -> None:
    ran, beyond = (scene.ask_program(ADA, source, epsilon=0.7) for source in (FIRST, SECOND))
    assert [scene.let_run(job).state for job in (ran, beyond)] == [states.QUEUED, states.REFUSED]
    found = scene.compared(scene.ask_program(ADA, THIRD))
    assert found is not None
    assert found.job == ran.job


def test_one_that_was_stopped_while_it_ran_had_been_approved(scene: Programs) -> None:
    stopped = scene.let_run(scene.ask_program(ADA, FIRST))
    asyncio.run(scene.database.run(records.move, stopped.job, states.CANCELLED))
    found = scene.compared(scene.ask_program(ADA, SECOND))
    assert found is not None
    assert found.job == stopped.job


def test_nothing_of_another_organisation_s_program_is_told_and_a_query_is_no_program(scene: Programs) -> None:
    scene.let_run(scene.ask_program(ADA, FIRST))
    scene.let_run(scene.submit(BEN, "n", 0.1))
    assert scene.compared(scene.ask_program(BEN, SECOND)) is None
    assert scene.compared(scene.submit(ADA, "n", 0.1)) is None
