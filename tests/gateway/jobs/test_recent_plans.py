"""A plan that is kept is the plan that planning again would make, for the same caller and the same everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Query

from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import plans
from gateway.jobs.plans import RecentPlans
from gateway.planning.stages import FirstStage

ADA = Caller("ada", Role.DEVELOPER, "", "", "college")
QUERY = Query(dataset="visits", sql="SELECT COUNT(*) FROM visits", epsilon=0.5)
DATASET = RegisteredDataset(DatasetDeclaration(dataset="visits", budget_delta=1e-7), b"1", b"")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was planned anew; each plan is another one."""
    made: list[object] = []

    def plan(sql: str, *_: object, **__: object) -> object:
        made.append(sql)
        return object()

    monkeypatch.setattr(plans, "plan_question", plan)
    return made


def test_the_same_question_again_is_not_planned_again(planned: list[object]) -> None:
    recent = RecentPlans()
    first = recent.question(ADA, QUERY, DATASET, 3)
    assert recent.question(ADA, QUERY, DATASET, 3) is first
    assert len(planned) == 1


@pytest.mark.parametrize(
    ("caller", "query", "dataset", "parties", "stage"),
    [
        (replace(ADA, name="eve"), QUERY, DATASET, 3, None),
        (ADA, Query(dataset="visits", sql="SELECT COUNT(*) FROM visits", epsilon=0.6), DATASET, 3, None),
        (ADA, Query(dataset="visits", sql=QUERY.sql, epsilon=0.5, delta=1e-7), DATASET, 3, None),
        (ADA, Query(dataset="visits", sql=QUERY.sql, epsilon=0.5, auto_bounds=True), DATASET, 3, None),
        (ADA, QUERY, replace(DATASET, version=b"2"), 3, None),
        (ADA, QUERY, replace(DATASET, declaration=DatasetDeclaration(dataset="visits", budget_delta=1e-8)), 3, None),
        (ADA, QUERY, DATASET, 2, None),
        (ADA, QUERY, DATASET, 3, FirstStage((("b",),), (3, 4))),
    ],
)
def test_whatever_differs_is_another_question(
    planned: list[object],
    caller: Caller,
    query: Query,
    dataset: RegisteredDataset,
    parties: int,
    stage: FirstStage | None,
) -> None:
    recent = RecentPlans()
    first = recent.question(ADA, QUERY, DATASET, 3)
    assert recent.question(caller, query, dataset, parties, stage) is not first
    assert len(planned) == 2


def test_the_questions_asked_last_are_kept_and_no_more(planned: list[object]) -> None:
    recent = RecentPlans()
    for number in range(plans.KEPT + 1):
        recent.question(ADA, Query(sql=str(number)), DATASET, 3)
        recent.question(ADA, Query(sql="1"), DATASET, 3)
    before = len(planned)
    recent.question(ADA, Query(sql="1"), DATASET, 3)
    recent.question(ADA, Query(sql=str(plans.KEPT)), DATASET, 3)
    assert len(planned) == before
    recent.question(ADA, Query(sql="0"), DATASET, 3)
    assert len(planned) == before + 1
