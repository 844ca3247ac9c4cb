"""A round of a model is charged for itself, and asked only where the budget holds all that come after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import Job, Query, TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, TrainingRound

from gateway.jobs import states
from tests.gateway.jobs.test_admission import Account, Scene, rho, signed_request

ROUNDS = 8


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "gateway").mkdir()
    scene = Scene(tmp_path / "gateway")
    yield scene
    scene.database.close()


@pytest.fixture
def ada() -> Account:
    return Account("ada", "college")


def ask(scene: Scene, account: Account, epsilon: float, name: str = "first") -> Job:
    """Round 0 of a model."""
    own = TrainingRound(number=0, rounds=ROUNDS)
    train = TrainQuery(model=Fit.MODEL_LOGISTIC_REGRESSION, formula="(pain > 5) ~ pain", round=own)
    query = Query(dataset="visits", epsilon=epsilon, train=train)
    plan = asyncio.run(scene.admission.preview(account.caller, query)).plan
    return asyncio.run(scene.admission.submit(account.caller, signed_request(account, query, plan, name)))


def test_a_round_is_charged_its_own_share(scene: Scene, ada: Account) -> None:
    job = ask(scene, ada, 0.9)
    assert job.state == states.QUEUED
    (spent,) = set(scene.spent().values())
    assert 0.04 * rho(0.9) < spent <= 0.05 * rho(0.9)
    assert job.sql.endswith("(round 1 of 8)")


def test_a_first_round_is_not_asked_where_the_others_could_not_be_paid(scene: Scene, ada: Account) -> None:
    """Of an organisation that has 1: after 0.9 the first round alone would fit."""
    scene.submit(ada, "n", 0.9)
    before = scene.spent()
    with pytest.raises(Problem) as refusal:
        ask(scene, ada, 0.9)
    assert (refusal.value.code, refusal.value.details["limit"]) == ("budget_exceeded", "organisation")
    assert scene.spent() == before
    assert len(scene.runner.jobs) == 1


def test_a_whole_training_that_no_budget_could_ever_pay_is_refused_in_the_preview(scene: Scene, ada: Account) -> None:
    with pytest.raises(Problem) as refusal:
        ask(scene, ada, 2.0)
    assert refusal.value.code == "budget_exceeded"
