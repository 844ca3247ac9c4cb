"""Who is removed from an organisation, and what they asked for: it ends with them, whatever becomes of the call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import credentials
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import AgreementStep
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Job
from yingbi.api.v1.people_pb2 import RemovePersonRequest

from gateway.api.authentication import Authentication
from gateway.api.people import PeopleService
from gateway.governance import agreement_states
from gateway.governance.callers import Role
from gateway.jobs import records, states
from gateway.jobs.agreement_steps import AgreementSteps
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.removals import Removals
from gateway.jobs.stopping import Stopping
from gateway.storage import agreements, people, stops
from tests.gateway.jobs.agreed import PARTIES, document
from tests.gateway.jobs.test_admission import DATASET, Account, Scene

ADA, ANN = Account("ada", "college"), Account("ann", "college")
CORA = Account("cora", "city", Role.COORDINATOR)
TOKEN = "ann-token"


class Call:
    """The context of a call by ann, who administers the college."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {credentials.bearer(TOKEN)}"),)


class Leaving(Scene):
    """A college whose people ask about data of grade 3."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        declaration = DatasetDeclaration()
        declaration.CopyFrom(DATASET.declaration)
        declaration.grade = 3
        self.register(replace(DATASET, declaration=declaration))
        hashes = {"ada": "1" * 64, "ann": credentials.bearer_hash(credentials.bearer(TOKEN))}
        callers = [replace(each.caller, bearer_hash=hashes[each.caller.name]) for each in (ADA, ANN)]
        accounts = asyncio.run(self.database.run(people.seed, callers, 0.0))
        stopping = Stopping(self.database, self.nodes, self.runner, Feed())
        authentication = Authentication(accounts)
        removals = Removals(stopping, partial(authentication.change, self.database))
        self.people = PeopleService(self.database, authentication, removals)

    async def remove(self) -> Any:
        call: Any = Call()
        return await self.people.RemovePerson(RemovePersonRequest(person="ada", reason="left"), call)

    def record(self, job: Job) -> JobRecord:
        return asyncio.run(self.database.run(records.get, job.job))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Leaving]:
    (tmp_path / "gateway").mkdir()
    scene = Leaving(tmp_path / "gateway")
    yield scene
    scene.database.close()


def test_what_a_removed_developer_asked_for_is_cancelled(scene: Leaving) -> None:
    """By an administrator, who asked for none of it."""
    jobs = [scene.submit(ADA, name, 0.1) for name in ("n", "m")]
    asyncio.run(scene.remove())
    assert [scene.record(job).state for job in jobs] == [states.CANCELLED, states.CANCELLED]


@pytest.mark.parametrize("whom", ["ada", "college"])
def test_what_is_asked_while_its_developer_is_removed_is_not_admitted(scene: Leaving, whom: str) -> None:
    """The call was let in before; what it asks for would run for nobody."""
    act = people.remove if whom == "ada" else people.remove_organisation
    by = ANN if whom == "ada" else CORA

    def leave() -> None:
        scene.nodes.meanwhile = lambda: None
        scene.database._thread.submit(scene.database._transact, act, (by.caller, whom, 1.0)).result()

    scene.nodes.meanwhile = leave
    with pytest.raises(Problem) as caught:
        scene.submit(ADA, "n", 0.1)
    assert caught.value.code == ("person_left" if whom == "ada" else "organisation_left")
    assert asyncio.run(scene.database.run(stops.open_of, "ada")) == []


def test_a_step_of_an_agreement_is_not_taken_by_who_is_removed_meanwhile(scene: Leaving) -> None:
    asyncio.run(scene.database.run(agreements.draft, document(), PARTIES, ADA.caller, 1_000.0))

    def leave() -> float:
        scene.database._thread.submit(scene.database._transact, people.remove, (ANN.caller, "ada", 1.0)).result()
        return 1_500.0

    nothing: Any = None
    steps = AgreementSteps(scene.database, nothing, clock=leave)
    with pytest.raises(Problem) as caught:
        asyncio.run(steps.take(ADA.caller, AgreementStep(agreement="falls", action="apply")))
    assert caught.value.code == "person_left"
    assert asyncio.run(scene.database.run(agreements.life, "falls")).state == agreement_states.DRAFT
