"""What a failed job cost: nothing where no node was asked yet, all of it afterwards; and it says which."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.job_pb2 import Job
from yingbi.api.v1.node_pb2 import Contribution, TaskResult
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.aggregation.vectors import Vectors
from gateway.jobs import records, runner, states
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.ledger import ledger
from tests.gateway.jobs.test_admission import Account, Scene

ADA = Account("ada", "college")


class FullDisk(Runner):
    """The nodes are there and answer; the gateway's disk does not take what they say."""

    async def _all_connected(self, patience: float) -> KeyEpoch:
        return KeyEpoch()

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        self._keep(record.job, 1, "node-1", TaskResult(contribution=Contribution(ciphertexts=[b"1"])))
        raise AssertionError("the disk is not full")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def taken_up(scene: Scene, kind: type[Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway starts and takes up what it finds."""
    monkeypatch.setattr(runner, "RECONNECT_SECONDS", 0.01)

    async def resume() -> None:
        vectors = Vectors(scene.folder / "vectors")
        for job in scene.runner.jobs:
            (scene.folder / "vectors" / job).mkdir()
            (scene.folder / "vectors" / job / "node-1").symlink_to("/dev/full")
        again = kind(scene.database, scene.nodes, Feed(), vectors)
        await again.resume()
        await asyncio.gather(*again._running.values())

    asyncio.run(resume())


def began(scene: Scene) -> Job:
    job = scene.submit(ADA, "n", 0.1)
    asyncio.run(scene.database.run(ledger.spend, job.job))
    asyncio.run(scene.database.run(records.move, job.job, states.RUNNING))
    return job


def ended(scene: Scene, job: Job) -> Job:
    message = asyncio.run(scene.database.run(records.get, job.job)).message
    assert message.state == states.FAILED
    return message


def test_a_queued_job_whose_nodes_do_not_come_back_is_given_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.submit(ADA, "n", 0.1)
    assert scene.spent()
    scene.nodes.away = True
    taken_up(scene, Runner, monkeypatch)
    failure = ended(scene, job).failure
    assert (failure.code, scene.spent()) == ("node_unavailable", {})
    assert "nothing was charged" in failure.message


def test_a_running_job_whose_nodes_do_not_come_back_stays_spent_and_says_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = began(scene)
    spent = scene.spent()
    scene.nodes.away = True
    taken_up(scene, Runner, monkeypatch)
    failure = ended(scene, job).failure
    assert (failure.code, scene.spent()) == ("node_lost", spent)
    assert "node-1" in failure.message
    assert "The budget is spent" in failure.message


def test_a_disk_that_does_not_take_the_vectors_fails_the_job_at_its_price(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes were asked before anything came to keep."""
    job = scene.submit(ADA, "n", 0.1)
    spent = scene.spent()
    monkeypatch.setattr(runner, "_check_same_nodes", lambda record, epoch: None)
    taken_up(scene, FullDisk, monkeypatch)
    failure = ended(scene, job).failure
    assert (failure.code, scene.spent()) == ("storage", spent)
    assert "The budget is spent" in failure.message
    assert not list((scene.folder / "vectors").iterdir())


class Answering(Runner):
    """The nodes are there, and open a total."""

    async def _all_connected(self, patience: float) -> KeyEpoch:
        return KeyEpoch()

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        self._vectors.put(record.job, "node-2", 0, [bytes(8)], 8)
        return Receipt(body=b"released")


class Refusing(Answering):
    """The nodes are there, and one of them refuses what all contributed."""

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        await super()._compute(record, epoch)
        raise Problem(Kind.FAILED, "refused", "No.")


@pytest.mark.parametrize("kind", [Answering, FullDisk])
def test_how_a_job_ended_is_written_once_there_is_room(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: type[Runner]
) -> None:
    """Or it would run for ever: whoever started it has gone, and the gateway looks for none before its next start."""
    refused: list[object] = []
    job, run = scene.submit(ADA, "n", 0.1), scene.database.run

    async def without_room(function: Callable[..., object], *arguments: object) -> object:
        if function in (runner._succeed, runner._fail) and not refused:
            refused.append(function)
            raise Problem(Kind.FAILED, "storage", "The gateway could not write its database.")
        return await run(function, *arguments)

    monkeypatch.setattr(runner, "ROOM_SECONDS", 0.01)
    monkeypatch.setattr(runner, "_check_same_nodes", lambda record, epoch: None)
    monkeypatch.setattr(scene.database, "run", without_room)
    taken_up(scene, kind, monkeypatch)
    monkeypatch.undo()
    state = asyncio.run(scene.database.run(records.get, job.job)).state
    assert (state, len(refused)) == (states.SUCCEEDED if kind is Answering else states.FAILED, 1)


@pytest.mark.parametrize("kind", [Answering, Refusing])
def test_a_disk_that_is_full_of_a_jobs_own_vectors_has_room_for_its_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: type[Runner]
) -> None:
    """Or the one would wait for the other, for ever."""
    job, run = scene.submit(ADA, "n", 0.1), scene.database.run

    async def beside_vectors(function: Callable[..., object], *arguments: object) -> object:
        if function in (runner._succeed, runner._fail) and any((scene.folder / "vectors").iterdir()):
            raise Problem(Kind.FAILED, "storage", "The gateway could not write its database.")
        return await run(function, *arguments)

    monkeypatch.setattr(runner, "_check_same_nodes", lambda record, epoch: None)
    monkeypatch.setattr(scene.database, "run", beside_vectors)
    taken_up(scene, kind, monkeypatch)
    monkeypatch.undo()
    state = asyncio.run(scene.database.run(records.get, job.job)).state
    assert state == (states.SUCCEEDED if kind is Answering else states.FAILED)
