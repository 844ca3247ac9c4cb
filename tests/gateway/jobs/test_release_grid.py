"""An outside caller hears of the end of a charged job at points of a time grid only, whatever the nodes took."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Failure, Job, SignedAuthorization
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.aggregation.vectors import Vectors
from gateway.jobs import schedule, states
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.jobs.schedule import GROWTH, STEP_SECONDS, next_point
from gateway.jobs.states import State

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
    """A database that keeps when a job ended, and how."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ended: list[tuple[str, float]] = []
        self.failures: list[Failure] = []

    async def run(self, step: Callable[..., Any], *given: object) -> JobRecord | None:
        if step.__name__ == "_begin":
            return job(states.RUNNING)
        if step.__name__ == "_check_goes_on":
            return None
        self.ended.append((step.__name__, self._clock()))
        self.failures += [each for each in given if isinstance(each, Failure)]
        return None


class Computing(Runner):
    """Its nodes connect at once, or not at all, and answer after so many seconds, or fail after them."""

    def __init__(
        self, database: Recorded, clock: Clock, takes: float, failure: BaseException | None, connects: bool
    ) -> None:
        vectors = Vectors(Path(tempfile.mkdtemp()) / "vectors")
        super().__init__(database, None, Feed(), vectors)  # type: ignore[arg-type]
        self._clock, self._takes, self._failure, self._connects = clock, takes, failure, connects

    async def _all_connected(self, patience: float) -> KeyEpoch:
        if not self._connects:
            await self._clock.sleep(self._takes)
            raise LOST
        return KeyEpoch()

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        await self._clock.sleep(self._takes)
        if self._failure is not None:
            raise self._failure
        return Receipt()


LOST = Problem(Kind.UNAVAILABLE, "node_lost", "Lost while the job ran: node-2.", hint="start the node again")


def ended_after(
    takes: float,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException | None = None,
    connects: bool = True,
    state: State = states.RUNNING,
) -> tuple[float, Recorded]:
    """When the job of a computation that takes so long is seen to end."""
    clock = Clock()
    # The runner's alone: this process has other threads, and the event loop has its own clock.
    monkeypatch.setattr("gateway.jobs.runner.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("gateway.jobs.runner.asyncio.sleep", clock.sleep)
    monkeypatch.setattr(schedule, "deadline", lambda cells: 1e6)
    database, started = Recorded(clock), clock()
    asyncio.run(Computing(database, clock, takes, failure, connects)._run(job(state), patience=1))
    ((_, when),) = database.ended
    return when - started, database


def job(state: State) -> JobRecord:
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
        state=state,
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
            when, database = ended_after(each, patch)
            assert when == pytest.approx(point)
            assert database.ended[0][0] == "_succeed"


FAILURES: dict[str, BaseException] = {
    "computation_failed": Problem(Kind.FAILED, "computation_failed", "node-1: The computation failed."),
    "node_lost": LOST,
    "deadline": TimeoutError(),
    "internal": RuntimeError(),
}


@pytest.mark.parametrize("state", [states.QUEUED, states.RUNNING])
@pytest.mark.parametrize("code", FAILURES)
def test_a_failure_after_the_charge_is_told_when_a_release_would_be(
    code: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queued job is charged before its nodes are asked; one that is taken up again was charged before."""
    released, _ = ended_after(0.307, monkeypatch)
    failed, database = ended_after(0.341, monkeypatch, FAILURES[code], state=state)
    assert [failed, released] == pytest.approx([0.35, 0.35])
    assert [(how, failure.code) for (how, _), failure in zip(database.ended, database.failures, strict=True)] == [
        ("_fail", code)
    ]


def test_who_lost_a_node_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    _, database = ended_after(16.1, monkeypatch, LOST)
    (failure,) = database.failures
    assert (failure.message, failure.hint) == (LOST.message, LOST.hint)


def test_a_failure_before_the_charge_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No node was asked for anything: there is nothing to hide, and the caller may ask again."""
    when, _ = ended_after(0.307, monkeypatch, connects=False, state=states.QUEUED)
    assert when == pytest.approx(0.307)
