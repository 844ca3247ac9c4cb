"""Under an agreement that keeps a model's parameters in the zone nothing is trained, since that would release them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.job_pb2 import Query, SubmitQueryRequest, TrainQuery
from yingbi.api.v1.plan_pb2 import Fit

from gateway.governance.agreement_documents import read_agreement
from tests.gateway.jobs.test_admission import Account
from tests.gateway.jobs.test_admission_agreements import Agreed, _signed, terms

TRAIN = Query(
    dataset="visits", epsilon=0.2, train=TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="pain ~ I(pain * pain)")
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Agreed]:
    scene = Agreed(tmp_path)
    yield scene
    scene.database.close()


def agreed(name: str, may_leave: bool | None) -> Agreement:
    agreement = terms(name)
    if may_leave is not None:
        agreement.parameters_may_leave = may_leave
    return agreement


def under(name: str) -> Query:
    query = Query()
    query.CopyFrom(TRAIN)
    query.agreement = name
    return query


def test_training_is_refused_before_it_costs_and_questions_go_on(scene: Agreed) -> None:
    ada = Account("ada", "college")
    scene.agree(agreed("stays", may_leave=False))
    with pytest.raises(Problem) as refused:
        asyncio.run(scene.admission.preview(ada.caller, under("stays")))
    assert (refused.value.code, refused.value.field) == ("parameters_stay", "agreement")
    assert scene.ask(ada).agreement == "stays"


@pytest.mark.parametrize("may_leave", [True, None])
def test_a_preview_under_another_agreement_is_no_way_around(scene: Agreed, may_leave: bool | None) -> None:
    ada = Account("ada", "college")
    scene.agree(agreed("leaves", may_leave), agreed("stays", may_leave=False))
    preview = asyncio.run(scene.admission.preview(ada.caller, under("leaves")))
    authorization, signature = _signed(ada, preview.plan, "model", "stays")
    request = SubmitQueryRequest(query=under("stays"), authorization=authorization, signature=signature)
    with pytest.raises(Problem) as refused:
        asyncio.run(scene.admission.submit(ada.caller, request))
    assert (refused.value.code, scene.spent(), scene.runner.jobs) == ("parameters_stay", {}, [])


@pytest.mark.parametrize(("line", "expected"), [("", None), ("parameters_may_leave: false\n", False)])
def test_the_document_says_whether_parameters_may_leave(line: str, expected: bool | None) -> None:
    document = (
        "agreement: a\ndataset: d\norganisation: o\npurpose: p\nstarts: 2026-01-01\nexpires: 2027-01-01\n"
        f"budget: {{epsilon: 1, delta: 1e-7}}\n{line}"
    )
    found = read_agreement("a.yaml", document.encode())
    assert (found.parameters_may_leave if found.HasField("parameters_may_leave") else None) is expected
