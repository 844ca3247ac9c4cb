"""What a second stage may take from the job of a first one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Job, Query, SignedAuthorization
from yingbi.api.v1.plan_pb2 import Expression, KeySelection, KeyValues, Plan, Value
from yingbi.api.v1.receipt_pb2 import ContributionBody, Manifest, Receipt, ReceiptBody, SignedContribution

from enclave_sim.plan.canonical import encode
from gateway.governance.callers import Caller, Role
from gateway.jobs import states
from gateway.jobs.first_stages import release_of
from gateway.jobs.records import JobRecord
from gateway.planning.stages import FirstStage

CALLER = Caller("ada", Role.DEVELOPER, "", "", "clinic")
SQL = "SELECT note, COUNT(*) FROM visits GROUP BY note"
QUERY = Query(dataset="clinic", sql=SQL, epsilon=1, first_stage="job-1")
STAGE = Plan(
    dataset="clinic", dataset_version=b"1", key_selection=KeySelection(keys=[Expression()], sigma=7), epsilon=1
)


def record() -> JobRecord:
    body = ContributionBody(selected_keys=[KeyValues(values=[Value(string_value="b")])]).SerializeToString()
    release = ReceiptBody(
        manifest=Manifest(contributions=[SignedContribution(body=body)]), plan=encode(STAGE), opened=[3, 4]
    )
    return JobRecord(
        job="job-1",
        developer="ada",
        organisation="clinic",
        request_digest=b"",
        dataset="clinic",
        plan=encode(STAGE),
        plan_hash=b"",
        authorization=SignedAuthorization(),
        approval=None,
        registration=RegisterDatasetRequest(),
        state=states.SUCCEEDED,
        message=Job(job="job-1", sql=SQL, receipt=Receipt(body=release.SerializeToString())),
    )


def refused(found: JobRecord, caller: Caller = CALLER, query: Query = QUERY, expected: Plan = STAGE) -> Problem:
    with pytest.raises(Problem) as caught:
        release_of(found, caller, query, expected)
    return caught.value


def test_the_keys_and_the_norms_are_those_of_its_receipt() -> None:
    assert release_of(record(), CALLER, QUERY, STAGE) == FirstStage((("b",),), (3, 4))


def test_another_developers_job_is_not_known() -> None:
    assert refused(record(), caller=replace(CALLER, name="eve")).code == "unknown_job"


@pytest.mark.parametrize("query", [Query(dataset="clinic", sql="SELECT 1"), Query(dataset="ward", sql=SQL)])
def test_another_question_is_none(query: Query) -> None:
    assert refused(record(), query=query).code == "first_stage_differs"


@pytest.mark.parametrize("state", [states.WAITING, states.RUNNING, states.FAILED, states.CANCELLED])
def test_a_job_without_an_answer_is_none(state: states.State) -> None:
    problem = refused(replace(record(), state=state))
    assert problem.code == "first_stage_not_finished"
    assert states.name_of(state) in problem.message


def test_a_stage_on_another_version_is_none() -> None:
    expected = Plan()
    expected.CopyFrom(STAGE)
    expected.dataset_version = b"2"
    problem = refused(record(), expected=expected)
    assert problem.code == "first_stage_differs"
    assert "dataset changed" in problem.message


def test_a_stage_at_another_price_is_none() -> None:
    expected = Plan()
    expected.CopyFrom(STAGE)
    expected.key_selection.sigma = 8
    problem = refused(record(), expected=expected)
    assert problem.code == "first_stage_differs"
    assert "another first stage" in problem.message
