"""An outside caller hears of a release at points of a time grid only, whatever the nodes took."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Job, SignedAuthorization
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.aggregation.vectors import Vectors
from gateway.jobs import schedule, states
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.jobs.schedule import GROWTH, STEP_SECONDS, next_point

seconds = st.floats(0, 100_000)


@given(seconds)
def test_a_release_waits_for_the_next_point_and_never_longer_than_a_step(elapsed: float) -> None:
    point = next_point(elapsed)
    step = max(STEP_SECONDS, (GROWTH - 1) * elapsed)
    assert elapsed * (1 - 1e-9) - 1e-9 <= point <= elapsed + step * (1 + 1e-6)


@given(seconds)
def test_points_are_multiples_of_50_ms_up_to_a_second_and_powers_of_105_percent_above(elapsed: float) -> None:
    point = next_point(elapsed)
    place = point / STEP_SECONDS if point <= 1 else math.log(point) / math.log(GROWTH)
    assert place == pytest.approx(round(place), abs=1e-6)


@given(seconds, seconds)
def test_who_takes_longer_is_not_released_earlier(one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert next_point(early) <= next_point(late)


@given(st.floats(0.001, 1000))
def test_a_point_is_its_own_next_one(elapsed: float) -> None:
    assert next_point(next_point(elapsed)) == pytest.approx(next_point(elapsed))


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, duration: float) -> None:
        self.now += max(0.0, duration)


class Recorded:
    """A database that keeps when a job succeeded and nothing else."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.succeeded: list[float] = []

    async def run(self, step: Callable[..., Any], *_: object) -> None:
        assert step.__name__ == "_succeed", step
        self.succeeded.append(self._clock())


class Computing(Runner):
    """Its nodes answer after so many seconds."""

    def __init__(self, database: Recorded, clock: Clock, takes: float) -> None:
        vectors = Vectors(Path(tempfile.mkdtemp()) / "vectors")
        super().__init__(database, None, Feed(), vectors)  # type: ignore[arg-type]
        self._clock, self._takes = clock, takes

    async def _all_connected(self, patience: float) -> KeyEpoch:
        return KeyEpoch()

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        await self._clock.sleep(self._takes)
        return Receipt()


def released_after(takes: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """When the job of a computation that takes so long is seen to succeed."""
    clock = Clock()
    monkeypatch.setattr("gateway.jobs.runner.time.monotonic", clock)
    monkeypatch.setattr("gateway.jobs.runner.asyncio.sleep", clock.sleep)
    monkeypatch.setattr(schedule, "deadline", lambda cells: None)
    database, started = Recorded(clock), clock()
    asyncio.run(Computing(database, clock, takes)._run(running(), patience=1))
    (when,) = database.succeeded
    return when - started


def running() -> JobRecord:
    return JobRecord(
        job="job-1",
        developer="ada",
        organisation="university",
        request_digest=b"",
        dataset="clinic",
        plan=b"",
        plan_hash=b"",
        authorization=SignedAuthorization(),
        approval=None,
        registration=RegisterDatasetRequest(),
        state=states.RUNNING,
        message=Job(job="job-1"),
    )


@pytest.mark.parametrize(
    ("takes", "point"), [((0.001, 0.049), 0.05), ((0.301, 0.349), 0.35), ((3.08, 3.22), GROWTH**24)]
)
def test_neighbours_whose_times_differ_within_a_step_are_released_alike(
    takes: tuple[float, float], point: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in takes:
        with monkeypatch.context() as patch:
            assert released_after(each, patch) == pytest.approx(point)
