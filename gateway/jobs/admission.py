"""From a developer's request to a job: preview, admit, approve, refuse. Nothing here touches data."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration
from yingbi.api.v1.job_pb2 import (
    Approval,
    Failure,
    Job,
    Preview,
    Query,
    SignedApproval,
    SignedAuthorization,
    SubmitQueryRequest,
)
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import charge_of, is_first_stage, total_rho_units
from gateway.governance import grades
from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import records, states
from gateway.jobs.feed import Feed
from gateway.jobs.first_stages import release_of
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord, NewJob
from gateway.jobs.runner import Runner
from gateway.ledger import ledger
from gateway.planning.notes import clipping_notes
from gateway.planning.query import Question, plan_question
from gateway.planning.stages import FirstStage, stage_notes
from gateway.storage import catalogue
from gateway.storage.database import Database


@dataclass(frozen=True)
class _Planned:
    dataset: RegisteredDataset
    budget: Budget
    question: Question

    @property
    def plan(self) -> Plan:
        return self.question.plan

    @cached_property
    def plan_bytes(self) -> bytes:
        return encode(self.plan)

    @property
    def plan_hash(self) -> bytes:
        return plan_hash(self.plan_bytes)


class Admission:
    """Decides about requests; hands admitted jobs to the runner."""

    def __init__(self, database: Database, nodes: Nodes, runner: Runner, feed: Feed, *, auto_approve: bool) -> None:
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._feed = feed
        self._auto_approve = auto_approve

    async def preview(self, caller: Caller, query: Query) -> Preview:
        """The plan of a query, its cost, and what is left; raises Problem."""
        planned = await self._plan(caller, query)
        declaration, outlook = planned.dataset.declaration, planned.question.outlook
        waits = grades.needs_approval(declaration.grade, auto_approve=self._auto_approve)
        return Preview(
            plan=planned.plan_bytes,
            budget=planned.budget,
            notes=[*_notes(planned.plan, declaration), *(_notes(outlook, declaration) if outlook else [])],
            state=states.WAITING if waits else states.PREVIEWED,
            outlook=b"" if outlook is None else encode(outlook),
        )

    async def submit(self, caller: Caller, request: SubmitQueryRequest) -> Job:
        """Admit a query, or answer it from an earlier release; raises Problem.

        The same request id with the same request is the same job.
        """
        query = request.query
        digest = _request_digest(query)
        earlier = await self._database.run(records.find_request, caller.name, request.authorization.request_id)
        if earlier is not None:
            return await self._earlier(earlier, digest)
        planned = await self._plan(caller, query)
        _check_authorization(caller, request, planned)
        new = _new_job(caller, request, planned, digest)
        if await self._database.run(records.release, new.plan_hash):
            replayed = await self._database.run(_replay, new)
            return await self.describe(replayed)
        self._nodes.check_connected()
        _check_both_stages_fit(planned)
        if grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve):
            return await self.describe(await self._database.run(records.create, new, states.WAITING))
        return await self._start(new, planned)

    async def approve(self, caller: Caller, signed: SignedApproval) -> Job:
        """Let a waiting job run: reserves its budget now. Raises Problem."""
        approval = Approval.FromString(signed.body)
        record = await self._database.run(records.get, approval.job)
        _check_approval(caller, signed, approval, record)
        if await self._database.run(records.release, record.plan_hash):
            record = await self._database.run(_approve_replayed, record)
        else:
            self._nodes.check_connected()
            record = await self._database.run(_approve, record, signed)
            if record.state == states.QUEUED:
                self._runner.start(record)
        self._feed.changed(record.job)
        return await self.describe(record)

    async def refuse(self, caller: Caller, job: str, reason: str) -> Job:
        """Refuse a waiting job; a reason is owed. Raises Problem."""
        if not reason.strip():
            raise Problem(Kind.MALFORMED, "reason", "A refusal carries its reason.", field="reason")
        failure = Failure(code="refused", message=f"{caller.name} refused the job: {reason.strip()}")
        record = await self._database.run(_refuse, job, failure)
        self._feed.changed(job)
        return await self.describe(record)

    async def describe(self, record: JobRecord) -> Job:
        """The job as its developer sees it."""

        def describe(connection: Connection) -> Job:
            dataset = catalogue.find(connection, record.dataset)
            record.message.budget.CopyFrom(ledger.budget(connection, dataset.declaration))
            record.message.notes[:] = _notes(Plan.FromString(record.plan), dataset.declaration)
            return record.message

        return await self._database.run(describe)

    async def _earlier(self, record: JobRecord, digest: bytes) -> Job:
        if record.request_digest != digest:
            raise Problem(
                Kind.CONFLICT,
                "request_id_reused",
                f"The request id was used for another request, job {record.job}.",
                field="request_id",
                hint="use a fresh request id for a new request",
            )
        return await self.describe(record)

    async def _plan(self, caller: Caller, query: Query) -> _Planned:
        dataset, budget = await self._database.run(_dataset, query.dataset)
        grades.check_grade(dataset.declaration.grade)
        parties = len(self._epoch().holders)
        if zcdp.MAX_EPSILON < query.epsilon < math.inf:
            # No declared budget is as large.
            raise ledger.exceeded(budget, budget.limit_rho_units + 1)
        question = _question(query, dataset, parties)
        if query.first_stage:
            record = await self._database.run(records.get, query.first_stage)
            found = release_of(record, caller, query, expected=question.plan)
            question = _question(query, dataset, parties, found)
        if question.rho_units > budget.limit_rho_units:
            raise ledger.exceeded(budget, question.rho_units)
        return _Planned(dataset, budget, question)

    def _epoch(self) -> KeyEpoch:
        return self._nodes.epoch or self._nodes.check_connected()

    async def _start(self, new: NewJob, planned: _Planned) -> Job:
        record = await self._database.run(_admit, new)
        if record.state == states.REFUSED:
            budget = (await self.describe(record)).budget
            raise ledger.exceeded(budget, total_rho_units(planned.plan))
        self._runner.start(record)
        return await self.describe(record)


def _question(
    query: Query, dataset: RegisteredDataset, parties: int, first_stage: FirstStage | None = None
) -> Question:
    return plan_question(
        query.sql,
        dataset.declaration,
        dataset_version=dataset.version,
        parties=parties,
        epsilon=query.epsilon,
        delta=query.delta if query.HasField("delta") else dataset.declaration.budget_delta,
        auto_bounds=query.auto_bounds,
        first_stage=first_stage,
        lookups=query.lookups,
    )


def _notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    return stage_notes(plan) if is_first_stage(plan) else clipping_notes(plan, declaration)


def _check_both_stages_fit(planned: _Planned) -> None:
    """A first stage is of no use to who cannot pay for the second."""
    budget, price = planned.budget, planned.question.rho_units
    if planned.question.outlook is not None and budget.spent_rho_units + price > budget.limit_rho_units:
        raise ledger.exceeded(budget, price)


def _dataset(connection: Connection, name: str) -> tuple[RegisteredDataset, Budget]:
    dataset = catalogue.find(connection, name)
    return dataset, ledger.budget(connection, dataset.declaration)


def _admit(connection: Connection, new: NewJob) -> JobRecord:
    """Charge and queue the job, or record why not: one transaction."""
    record = records.create(connection, new, states.PREVIEWED)
    return _reserve_or_refuse(connection, record)


def _reserve_or_refuse(connection: Connection, record: JobRecord) -> JobRecord:
    charge = charge_of(Plan.FromString(record.plan))
    if ledger.reserve(connection, record.job, record.dataset, charge):
        return records.move(connection, record.job, states.QUEUED)
    declaration = catalogue.find(connection, record.dataset).declaration
    problem = ledger.exceeded(ledger.budget(connection, declaration), charge.rho_units)
    return records.move(connection, record.job, states.REFUSED, _failure(problem))


def _replay(connection: Connection, new: NewJob) -> JobRecord:
    return records.create(connection, new, states.SUCCEEDED, replayed=True)


def _approve(connection: Connection, record: JobRecord, signed: SignedApproval) -> JobRecord:
    records.set_approval(connection, record.job, signed)
    return _reserve_or_refuse(connection, record)


def _approve_replayed(connection: Connection, record: JobRecord) -> JobRecord:
    records.set_replayed(connection, record.job)
    return records.move(connection, record.job, states.SUCCEEDED)


def _refuse(connection: Connection, job: str, failure: Failure) -> JobRecord:
    return records.move(connection, job, states.REFUSED, failure)


def _request_digest(query: Query) -> bytes:
    return digests.digest("request", query.SerializeToString(deterministic=True))


def _check_authorization(caller: Caller, request: SubmitQueryRequest, planned: _Planned) -> None:
    authorization = request.authorization
    if authorization.plan_hash != planned.plan_hash:
        raise Problem(
            Kind.CONFLICT, "plan_changed", "The dataset changed after the preview.", hint="preview and ask again"
        )
    body = authorization.SerializeToString(deterministic=True)
    signed = digests.is_signed(caller.key, digests.AUTHORIZATION, body, request.signature)
    if not signed or authorization.developer_key != caller.key:
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The request is not signed with this caller's key.")
    if not 1 <= len(authorization.request_id) <= 200:
        raise Problem(Kind.MALFORMED, "request_id", "A request id has 1 to 200 characters.", field="request_id")


def _check_approval(caller: Caller, signed: SignedApproval, approval: Approval, record: JobRecord) -> None:
    if record.state != states.WAITING:
        states.check_transition(record.job, record.state, states.QUEUED)
    if approval.plan_hash != record.plan_hash:
        raise Problem(Kind.CONFLICT, "other_plan", f"Job {record.job} has another plan than the one approved.")
    if approval.operator_key != caller.key or not digests.is_signed(
        caller.key, digests.APPROVAL, signed.body, signed.signature
    ):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The approval is not signed with this caller's key.")


def _new_job(caller: Caller, request: SubmitQueryRequest, planned: _Planned, digest: bytes) -> NewJob:
    body = request.authorization.SerializeToString(deterministic=True)
    return NewJob(
        job=f"job-{secrets.token_hex(6)}",
        developer=caller.name,
        request_id=request.authorization.request_id,
        request_digest=digest,
        dataset=planned.dataset.declaration.dataset,
        sql=request.query.sql,
        plan=planned.plan_bytes,
        plan_hash=planned.plan_hash,
        authorization=SignedAuthorization(body=body, signature=request.signature),
        registration=planned.dataset.registration,
    )


def _failure(problem: Problem) -> Failure:
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")
