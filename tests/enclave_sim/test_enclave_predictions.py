"""Predictions among the other tasks of an enclave's process."""

from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.node_pb2 import Task

from tests.attacks.deployed_models import INTERCEPT, Served, answer_of
from tests.attacks.three_enclaves import Trio
from tests.enclave_sim.test_enclave_worker import Gate, _contribute, working


@pytest.fixture
def served(trio: Trio) -> Served:
    """The trio's developer, who is known to the enclave, calls too."""
    return Served(trio.enclaves[0], trio.developer, trio.operator, {"clinic": trio.developer})


def test_a_prediction_does_not_wait_for_a_job(trio: Trio, served: Served) -> None:
    gate = Gate(trio.enclaves[0].engine)
    task = served.task([(0, 0, 0)])
    with working(replace(trio.enclaves[0], engine=gate)) as (worker, result):
        worker.accept(_contribute(trio, "job-1"))
        assert gate.entered.wait(30)
        worker.accept(Task(id="check", check_deployment=task.deployment))
        worker.accept(Task(id="predict", predict=task))
        checked, answered = result(), result()
        assert checked.HasField("deployment_checked")
        assert answer_of(task, answered.prediction) == [INTERCEPT]
        worker.accept(Task(id="withdraw", withdraw=served.withdrawal(trio.operator)))
        assert result().HasField("withdrawn")
        worker.accept(Task(id="again", predict=served.task([(0, 0, 0)])))
        assert result().failure.code == "deployment_withdrawn"
        gate.opened.set()
        assert result().HasField("contribution")


def test_an_enclave_that_was_put_back_predicts_nothing(trio: Trio, served: Served) -> None:
    with working(trio.enclaves[0]) as (worker, result):
        worker._rolled_back = Problem(Kind.REFUSED, "rolled_back", "put back")
        worker.accept(Task(id="predict", predict=served.task([(0, 0, 0)])))
        assert result().failure.code == "rolled_back"


def test_what_cannot_be_written_down_is_not_answered(
    trio: Trio, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The record is durable before the answer leaves, so a full disk answers nobody."""
    caplog.set_level(logging.DEBUG)

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left")

    with working(trio.enclaves[0]) as (worker, result):
        monkeypatch.setattr(os, "fsync", full)
        worker.accept(Task(id="predict", predict=served.task([(1.25, 0, 0)])))
        answer = result()
        assert answer.failure.code == "storage"
        assert not answer.HasField("prediction")
        monkeypatch.undo()
        worker.accept(Task(id="later", predict=served.task([(0, 0, 0)])))
        assert result().HasField("prediction")
    assert "1.25" not in caplog.text
