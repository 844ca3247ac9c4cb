"""The enclave's worker: no value in what it says or logs, one task after another, cancellation first."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from yingbi.api.v1.node_pb2 import CancelTask, OpenTask, RecallTask, Task, TaskResult
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.enclave import Enclave
from enclave_sim.enclave_process import Worker
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import Engine, OpenTable, never
from enclave_sim.job_files import JobFiles
from tests.attacks.three_enclaves import Trio

CANARY = "canary-98b2"


class Leaking(DuckDBEngine):
    """An engine whose error quotes a value, with another one as its cause."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See Engine."""
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"cannot read {CANARY} of {plan.dataset}") from error


class Gate(DuckDBEngine):
    """An engine that waits at a gate before it computes."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.entered, self.opened, self._engine = threading.Event(), threading.Event(), engine

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See Engine."""
        self.entered.set()
        assert self.opened.wait(30)
        return self._engine.contribution(plan, open_table, cancelled)


class FullDisk(JobFiles):
    """Files that cannot be written."""

    def save(self, job: str, name: str, data: bytes) -> None:
        raise OSError(28, f"no space left for {CANARY}")


@contextmanager
def working(enclave: Enclave) -> Iterator[tuple[Worker, Callable[[], TaskResult]]]:
    """A worker, and what waits for its next result; ends with its last task."""
    results: queue.Queue[TaskResult] = queue.Queue()
    worker = Worker(enclave, results.put)
    try:
        yield worker, lambda: results.get(timeout=30)
    finally:
        worker._tasks.shutdown()


def _contribute(trio: Trio, job: str, request_id: str = "request-1") -> Task:
    return Task(id=f"task of {job}", job=job, contribute=trio.task(trio.plan(), request_id=request_id))


def test_an_error_that_quotes_a_value_is_told_by_its_type_alone(trio: Trio, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the gateway nor the node's log reads a value; the cause is not told either."""
    caplog.set_level(logging.DEBUG)
    with working(replace(trio.enclaves[0], engine=Leaking())) as (worker, result):
        worker.accept(_contribute(trio, "job-1"))
        answer = result()
    assert answer.failure.code == "computation_failed"
    assert CANARY.encode() not in answer.SerializeToString()
    assert "ValueError" in caplog.text
    assert CANARY not in caplog.text
    assert not any(record.exc_info for record in caplog.records)


def test_a_disk_that_is_full_is_told_as_that(trio: Trio, caplog: pytest.LogCaptureFixture) -> None:
    """And nothing is charged, since the charge was not durable."""
    broken = replace(trio.enclaves[0], files=FullDisk(trio.folder / "elsewhere"))
    with working(broken) as (worker, result):
        worker.accept(_contribute(trio, "job-1"))
        answer = result()
    assert answer.failure.code == "storage"
    assert CANARY not in caplog.text + str(answer)
    assert trio.spent() == [0, 0, 0]


@pytest.mark.parametrize(
    "task",
    [
        Task(id="1", job="job-1"),
        Task(id="1", job="job-1", open=OpenTask()),
        Task(id="1", job="../../etc", cancel=CancelTask()),
        Task(id="1", job="x" * 100_000, cancel=CancelTask()),
    ],
    ids=["no kind", "never started", "a path", "endless"],
)
def test_a_senseless_task_is_answered_with_a_failure(trio: Trio, task: Task) -> None:
    """And the worker goes on; the journal can be read again."""
    with working(trio.enclaves[0]) as (worker, result):
        worker.accept(task)
        assert result().HasField("failure")
        worker.accept(_contribute(trio, "job-2"))
        assert result().HasField("contribution")
    trio.load()


def test_garbage_within_a_task_is_answered_with_a_failure(trio: Trio) -> None:
    """Bytes that are no message, wherever a gateway can put them."""
    garbage = b"\xff" * 30
    honest = trio.contribute("job-1", trio.task(trio.plan()))
    shares = trio.open("job-1", honest)
    tasks = []
    for field in ("plan", "authorization.body", "shards"):
        task = _contribute(trio, "job-2", "request-2")
        if field == "shards":
            task.contribute.shards[0].body = garbage
        elif field == "plan":
            task.contribute.plan = garbage
        else:
            task.contribute.authorization.body = garbage
        tasks.append(task)
    opening = Task(id="open", job="job-1", open=OpenTask(contributions=honest))
    opening.open.contributions[1].signed.body = garbage
    signing = Task(id="sign", job="job-1")
    signing.sign.opened.CopyFrom(trio.opened("job-1", shares))
    signing.sign.opened.randomness[0] = garbage
    with working(trio.enclaves[0]) as (worker, result):
        for task in [*tasks, opening, signing]:
            worker.accept(task)
            answer = result()
            assert (answer.id, answer.job) == (task.id, task.job)
            # Each has its reason: none is an error that nobody foresaw.
            assert answer.HasField("failure")
            assert answer.failure.code != "computation_failed"
    assert trio.spent() == [trio.spent()[1]] * 3


def test_what_was_tried_of_an_enclave_is_in_its_nodes_log(trio: Trio, caplog: pytest.LogCaptureFixture) -> None:
    """Step, job and reason, one line each, whatever a gateway writes into them."""
    bad_plan = _contribute(trio, "job-1")
    bad_plan.contribute.plan = b"no plan"
    forged_line = Task(id="1", job="job-2\nenclave all is well", open=OpenTask())
    lost_part = [Task(id="2", job="job-3", open=OpenTask(), more=True), Task(id="2", job="job-3", cancel=CancelTask())]
    with working(trio.enclaves[0]) as (worker, result):
        for task in (bad_plan, forged_line, *lost_part):
            worker.accept(task)
        assert all(result().HasField("failure") for _ in range(3))
    said = [record.getMessage() for record in caplog.records]
    expected = [("contribute", "job-1", "bad_plan"), ("open", "job-2", "not_started"), ("cancel", "job-3", "lost_part")]
    assert len(said) == 3
    assert all(any(all(word in line for word in words) for line in said) for words in expected)
    assert not any("\n" in line for line in said)


def test_an_enclave_that_was_put_back_does_nothing_any_more(trio: Trio, tmp_path: Path) -> None:
    """It is reminded of what it said; before that, and where that fits, it works."""
    before = trio.copy(tmp_path / "before")
    said = RecallTask(heads=trio.contribute("job-1", trio.task(trio.plan()))[0].heads)
    with working(trio.enclaves[0]) as (worker, result):
        worker.accept(Task(id="recall", recall=said))
        assert result().HasField("recalled")
        worker.accept(_contribute(trio, "job-2", "request-2"))
        assert result().HasField("contribution")
    with working(before.enclaves[0]) as (worker, result):
        for task in (Task(id="recall", recall=said), _contribute(trio, "job-2", "request-2")):
            worker.accept(task)
            assert result().failure.code == "rolled_back"
    assert before.spent() == [0, 0, 0]
    before.close()


def test_a_cancellation_overtakes_a_queued_job(trio: Trio) -> None:
    """The job does not run, is not charged, and stays cancelled."""
    gate = Gate(trio.enclaves[0].engine)
    with working(replace(trio.enclaves[0], engine=gate)) as (worker, result):
        worker.accept(_contribute(trio, "job-1", "request-1"))
        assert gate.entered.wait(30)
        worker.accept(_contribute(trio, "job-2", "request-2"))
        worker.accept(Task(id="cancel", job="job-2", cancel=CancelTask()))
        gate.opened.set()
        first, second, third = result(), result(), result()
    assert first.HasField("contribution")
    assert (second.job, second.failure.code) == ("job-2", "cancelled")
    assert third.HasField("cancelled")
    assert [r.get("job") for r in trio.enclaves[0].journal.records if r["kind"] == "charge"] == ["job-1"]
    trio.load()
    with working(trio.enclaves[0]) as (worker, result):
        worker.accept(_contribute(trio, "job-2", "request-2"))
        assert result().failure.code == "cancelled"


def test_a_cancellation_stops_the_job_that_runs(trio: Trio) -> None:
    """It gives no contribution; its charge stays, since data was unsealed."""
    gate = Gate(trio.enclaves[0].engine)
    with working(replace(trio.enclaves[0], engine=gate)) as (worker, result):
        worker.accept(_contribute(trio, "job-1"))
        assert gate.entered.wait(30)
        worker.accept(Task(id="cancel", job="job-1", cancel=CancelTask()))
        gate.opened.set()
        answer = result()
    assert (answer.job, answer.failure.code) == ("job-1", "cancelled")
    assert trio.records("charge") == [1, 0, 0]
    assert trio.records("contribution") == [0, 0, 0]
