"""Batches as the gateway admits them: their previews, request ids and digests, and one request for each plan."""

from __future__ import annotations

from itertools import count, takewhile

from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration
from yingbi.api.v1.job_pb2 import BatchPreview, BatchQuery, Query, SubmitBatchRequest, SubmitQueryRequest
from yingbi.api.views import viewed

from enclave_sim.plan.canonical import encode
from gateway.jobs import records
from gateway.jobs.records import JobRecord
from gateway.jobs.states import State
from gateway.planning.batch import Batch
from gateway.planning.notes import clipping_notes


def preview_of(
    batch: Batch, declaration: DatasetDeclaration, *, budget: Budget, state: State, agreement: str = ""
) -> BatchPreview:
    """What the developer is shown; nothing was computed on data."""
    questions = [
        job_pb2.BatchQuestion(
            plan=question.plan,
            view=question.view,
            notes=clipping_notes(viewed(batch.plans[question.plan], question.view), declaration),
        )
        for question in batch.questions
    ]
    plans = [encode(plan) for plan in batch.plans]
    return BatchPreview(plans=plans, questions=questions, budget=budget, state=state, agreement=agreement)


def plan_request_id(request_id: str, plan: int) -> str:
    """The request id of a plan's job, by the batch's and the plan's index."""
    return f"{request_id}/{plan + 1}"


def request_id_of(request: SubmitBatchRequest) -> str:
    """The batch's own request id.

    Raises:
        Problem: MALFORMED "request_id", where the plans' authorizations have not ids made of one.
    """
    ids = [each.authorization.request_id for each in request.plans]
    found = ids[0].removesuffix("/1") if ids else ""
    if not found or ids != [plan_request_id(found, plan) for plan in range(len(ids))]:
        raise Problem(
            Kind.MALFORMED,
            "request_id",
            "The request ids of a batch's plans are the batch's own and /1, /2 and so on.",
            field="request_id",
        )
    return found


def request_digest(batch: BatchQuery) -> bytes:
    """The same for the same batch, so that one request id never stands for two."""
    return digests.digest("batch request", batch.SerializeToString(deterministic=True))


def earlier(connection: Connection, developer: str, request_id: str) -> list[JobRecord]:
    """The jobs that `developer` asked for in a batch of this request id; none where there was none."""
    found = (records.find_request(connection, developer, plan_request_id(request_id, plan)) for plan in count())
    return [record for record in takewhile(lambda record: record is not None, found) if record is not None]


def single_requests(request: SubmitBatchRequest, batch: Batch) -> list[SubmitQueryRequest]:
    """The request that each plan of a batch would be by itself; its SQL is that of all its questions.

    Raises:
        Problem: CONFLICT "plan_changed", where other plans were authorized than the batch has.
    """
    if len(request.plans) != len(batch.plans):
        raise Problem(
            Kind.CONFLICT, "plan_changed", "The dataset changed after the preview.", hint="preview and ask again"
        )
    asked = request.batch
    return [
        SubmitQueryRequest(
            query=Query(
                dataset=asked.dataset,
                sql=";\n".join(asked.sql[index].strip().rstrip(";") for index in batch.asked_of(plan)),
                epsilon=asked.epsilon,
                agreement=asked.agreement,
            ),
            authorization=authorized.authorization,
            signature=authorized.signature,
        )
        for plan, authorized in enumerate(request.plans)
    ]
