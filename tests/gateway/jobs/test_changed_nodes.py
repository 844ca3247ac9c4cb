"""A dataset that was added with other nodes is refused before it costs anything; a job caught by that ends in order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from yingbi.api.evidence import roster_digest
from yingbi.api.problem import Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import (
    DatasetDeclaration,
    RegisterDatasetRequest,
    ShardRegistration,
    SignedShardRegistration,
)
from yingbi.api.v1.job_pb2 import BatchQuery, Job

from gateway.aggregation.vectors import Vectors
from gateway.governance.callers import Role
from gateway.jobs import records, runner, states
from gateway.jobs.feed import Feed
from gateway.jobs.runner import Runner
from gateway.ledger import ledger
from tests.gateway.jobs.test_admission import DATASET, Account, Scene

ADA = Account("ada", "college")


def epoch(*names: str) -> KeyEpoch:
    return KeyEpoch(holders=[KeyHolder(node=name, signing_key=name.encode()) for name in names])


THEN, NOW = epoch("node-1"), epoch("node-1", "node-2")


def sealed_with(nodes: KeyEpoch) -> bytes:
    body = ShardRegistration(node="node-1", roster=roster_digest(nodes)).SerializeToString()
    return RegisterDatasetRequest(shards=[SignedShardRegistration(body=body)]).SerializeToString()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    scene.nodes.epoch = THEN
    scene.register(replace(DATASET, registration=sealed_with(THEN)))
    return scene


def refusal(scene: Scene, ask: object) -> str:
    before = scene.spent()
    with pytest.raises(Problem) as refused:
        ask()  # type: ignore[operator]
    assert scene.spent() == before
    return refused.value.code


def test_nothing_is_asked_of_it_before_it_is_added_again(scene: Scene) -> None:
    """Not even an answer that is there already: its plan was for other nodes."""
    scene.submit(ADA, "before", 0.1)
    scene.nodes.epoch = NOW
    batch = BatchQuery(dataset="visits", sql=["SELECT COUNT(*) FROM visits"], epsilon=0.1)
    assert refusal(scene, lambda: scene.preview(ADA, "SELECT COUNT(*) FROM visits", 0.1)) == "needs_adding_again"
    assert refusal(scene, lambda: scene.submit(ADA, "after", 0.1)) == "needs_adding_again"
    asking = lambda: asyncio.run(scene.admission.preview_batch(ADA.caller, batch))  # noqa: E731
    assert refusal(scene, asking) == "needs_adding_again"
    before = scene.spent()
    scene.register(replace(DATASET, version=b"2" * 32, registration=sealed_with(NOW)))
    assert scene.spent() == before
    assert scene.submit(ADA, "after", 0.1).state == states.QUEUED
    assert scene.spent() != before


def test_an_approval_that_comes_too_late_charges_nothing(scene: Scene) -> None:
    graded = DatasetDeclaration()
    graded.CopyFrom(DATASET.declaration)
    graded.grade = 3
    scene.register(replace(DATASET, declaration=graded, registration=sealed_with(THEN)))
    waiting = scene.submit(ADA, "n", 0.1)
    scene.nodes.epoch = NOW
    operator = Account("op", "hospital", Role.PROVIDER)
    assert refusal(scene, lambda: scene.approve(operator, waiting)) == "needs_adding_again"


def resumed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway starts again and takes up what it finds."""
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", 0.01)

    async def resume() -> None:
        again = Runner(scene.database, scene.nodes, Feed(), Vectors(scene.folder / "vectors"))
        await again.resume()
        await asyncio.gather(*again._running.values())

    asyncio.run(resume())


def ended(scene: Scene, job: Job) -> Job:
    message = asyncio.run(scene.database.run(records.get, job.job)).message
    assert message.state == states.FAILED
    return message


def test_a_queued_job_that_a_change_of_nodes_catches_is_given_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.submit(ADA, "n", 0.1)
    assert scene.spent()
    scene.nodes.epoch = NOW
    resumed(scene, monkeypatch)
    assert (ended(scene, job).failure.code, scene.spent()) == ("other_epoch", {})
    assert "Nothing was charged" in ended(scene, job).failure.message


def test_a_running_job_stays_spent_and_says_why(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.submit(ADA, "n", 0.1)
    asyncio.run(scene.database.run(ledger.spend, job.job))
    asyncio.run(scene.database.run(records.move, job.job, states.RUNNING))
    spent = scene.spent()
    scene.nodes.epoch = NOW
    resumed(scene, monkeypatch)
    assert (ended(scene, job).failure.code, scene.spent()) == ("other_epoch", spent)
    assert "stays spent" in ended(scene, job).failure.message
