"""From the job of a first stage to what the second may take from it. Pure."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Query
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import ReceiptBody

from enclave_sim.plan.canonical import encode
from gateway.governance.callers import Caller
from gateway.jobs import records, states
from gateway.jobs.kinds import words_of
from gateway.jobs.records import JobRecord
from gateway.planning.stages import FirstStage


def release_of(record: JobRecord, caller: Caller, query: Query, expected: Plan) -> FirstStage:
    """What the job that `query.first_stage` names released.

    Args:
        record: that job.
        expected: the first stage that the query has at present.

    Raises:
        Problem: the job is not the caller's, has not succeeded, or was the first stage of another question.
    """
    if record.developer != caller.name:
        raise records.unknown(record.job)
    if (record.dataset, record.message.sql) != (query.dataset, words_of(query)):
        raise _differs(record, f"Job {record.job} answered another question.")
    if record.state != states.SUCCEEDED:
        raise Problem(
            Kind.UNAVAILABLE,
            "first_stage_not_finished",
            f"Job {record.job}, the first stage, is {states.name_of(record.state)}.",
            field="first_stage",
            hint=f"yingbi result {record.job}",
            details={"job": record.job},
        )
    if record.plan != encode(expected):
        present = Plan.FromString(record.plan)
        changed = present.dataset_version != expected.dataset_version
        what = "The dataset changed since" if changed else "The query has another first stage than"
        raise _differs(record, f"{what} job {record.job}.")
    return FirstStage.of(ReceiptBody.FromString(record.message.receipt.body))


def _differs(record: JobRecord, message: str) -> Problem:
    return Problem(
        Kind.CONFLICT,
        "first_stage_differs",
        message,
        field="first_stage",
        hint="ask again with a fresh request id; what the first stage cost is spent",
        details={"job": record.job},
    )
