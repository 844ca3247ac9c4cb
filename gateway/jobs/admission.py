"""From a developer's request to a job: preview, admit, approve, refuse. Nothing here touches data."""

from __future__ import annotations

import asyncio
import math
import secrets
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration
from yingbi.api.v1.job_pb2 import (
    Approval,
    BatchJobs,
    BatchPreview,
    BatchQuery,
    Failure,
    Job,
    Preview,
    Query,
    SignedApproval,
    SignedAuthorization,
    SubmitBatchRequest,
    SubmitQueryRequest,
)
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import charge_of, is_first_stage
from enclave_sim.privacy.accounting import Charge
from gateway.governance import grades
from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import batches, records, states
from gateway.jobs.feed import Feed
from gateway.jobs.first_stages import release_of
from gateway.jobs.nodes import Nodes
from gateway.jobs.plans import RecentPlans
from gateway.jobs.records import JobRecord, NewJob
from gateway.jobs.runner import Runner
from gateway.ledger import ledger, limits
from gateway.planning.batch import Batch, plan_batch
from gateway.planning.notes import clipping_notes
from gateway.planning.query import Question
from gateway.planning.stages import stage_notes
from gateway.storage import catalogue
from gateway.storage.database import Database


@dataclass(frozen=True)
class _Known:
    """What the database has for a query, read in one transaction."""

    dataset: RegisteredDataset
    budget: Budget
    # The job that the query names as its first stage.
    first_stage: JobRecord | None


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

    @cached_property
    def plan_hash(self) -> bytes:
        return plan_hash(self.plan_bytes)

    @cached_property
    def charge(self) -> Charge:
        return charge_of(self.plan)

    @property
    def notes(self) -> list[str]:
        return _notes(self.plan, self.dataset.declaration)


@dataclass(frozen=True)
class _PlannedBatch:
    dataset: RegisteredDataset
    budget: Budget
    batch: Batch

    @property
    def parts(self) -> list[_Planned]:
        """Each plan as if it were asked for by itself."""
        return [_Planned(self.dataset, self.budget, Question(plan)) for plan in self.batch.plans]


class Admission:
    """Decides about requests; hands admitted jobs to the runner."""

    def __init__(self, database: Database, nodes: Nodes, runner: Runner, feed: Feed, *, auto_approve: bool) -> None:
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._feed = feed
        self._auto_approve = auto_approve
        self._plans = RecentPlans()

    async def preview(self, caller: Caller, query: Query) -> Preview:
        """The plan of a query, its cost, and what is left; raises Problem."""
        planned = self._plan(caller, query, await self._database.run(_known, caller, query.dataset, query.first_stage))
        declaration, outlook = planned.dataset.declaration, planned.question.outlook
        waits = grades.needs_approval(declaration.grade, auto_approve=self._auto_approve)
        return Preview(
            plan=planned.plan_bytes,
            budget=planned.budget,
            notes=[*planned.notes, *(_notes(outlook, declaration) if outlook else [])],
            state=states.WAITING if waits else states.PREVIEWED,
            outlook=b"" if outlook is None else encode(outlook),
        )

    async def submit(self, caller: Caller, request: SubmitQueryRequest) -> Job:
        """Admit a query, or answer it from an earlier release; raises Problem.

        The same request id with the same request is the same job.
        """
        digest = _request_digest(request.query)
        found = await self._database.run(_look_up, caller, request)
        if isinstance(found, JobRecord):
            return await self._earlier(found, digest)
        known, is_released = found
        planned = self._plan(caller, request.query, known)
        _check_authorization(caller, request, planned)
        new = _new_job(caller, request, planned, digest)
        try:
            record, budget = await self._decide(new, planned, is_released=is_released)
        except IntegrityError:
            # Its twin was recorded meanwhile. This one's transaction, with its charge, was rolled back.
            earlier = await self._database.run(records.find_request, caller.name, new.request_id)
            if earlier is None:
                raise
            return await self._earlier(earlier, digest)
        if record.state == states.REFUSED:
            raise limits.exceeded(budget, planned.charge.rho_units)
        if record.state == states.QUEUED:
            self._runner.start(record)
        return _described(record, budget, planned.notes)

    async def preview_batch(self, caller: Caller, asked: BatchQuery) -> BatchPreview:
        """The plans of questions that are planned together, their cost, and what is left; raises Problem."""
        planned = await self._plan_batch(caller, asked)
        waits = grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve)
        return batches.preview_of(
            planned.batch,
            planned.dataset.declaration,
            budget=planned.budget,
            state=states.WAITING if waits else states.PREVIEWED,
        )

    async def submit_batch(self, caller: Caller, request: SubmitBatchRequest) -> BatchJobs:
        """Admit a batch: a job for each of its plans, all charged in one transaction, or none; raises Problem.

        The same request ids with the same batch are the same jobs.
        """
        digest, request_id = batches.request_digest(request.batch), batches.request_id_of(request)
        earlier = await self._database.run(batches.earlier, caller.name, request_id)
        if earlier:
            return BatchJobs(jobs=[await self._earlier(record, digest) for record in earlier])
        planned = await self._plan_batch(caller, request.batch)
        news = _new_jobs(caller, request, planned, digest)
        waits = grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve)
        if not await self._database.run(_all_released, news):
            self._nodes.check_connected()
        try:
            # A caller who goes away leaves no job that is charged and not started.
            admitted = await asyncio.shield(self._start_all(news, planned, waits))
        except IntegrityError as error:
            # A twin, or single requests with such ids, were recorded: this one was rolled back with its charges.
            earlier = await self._database.run(batches.earlier, caller.name, request_id)
            if not earlier:
                raise _request_id_reused(f"The ids {request_id}/1, {request_id}/2 ... of the batch's plans") from error
            return BatchJobs(jobs=[await self._earlier(record, digest) for record in earlier])
        return BatchJobs(jobs=[await self.describe(record) for record in admitted])

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
            declaration = catalogue.find(connection, record.dataset).declaration
            budget = ledger.budget(connection, declaration, record.organisation)
            return _described(record, budget, _notes(Plan.FromString(record.plan), declaration))

        return await self._database.run(describe)

    async def _decide(self, new: NewJob, planned: _Planned, *, is_released: bool) -> tuple[JobRecord, Budget]:
        """Replayed, waiting, queued and charged, or refused: the job as it was recorded, and the budget after it."""
        if is_released:
            return await self._database.run(_record, new, planned, states.SUCCEEDED)
        self._nodes.check_connected()
        _check_both_stages_fit(planned)
        if grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve):
            return await self._database.run(_record, new, planned, states.WAITING)
        return await self._database.run(_admit, new, planned)

    async def _earlier(self, record: JobRecord, digest: bytes) -> Job:
        if record.request_digest != digest:
            raise _request_id_reused(f"The request id (job {record.job})")
        return await self.describe(record)

    def _plan(self, caller: Caller, query: Query, known: _Known) -> _Planned:
        dataset, budget = known.dataset, known.budget
        grades.check_grade(dataset.declaration.grade)
        parties = len(self._epoch().holders)
        if zcdp.MAX_EPSILON < query.epsilon < math.inf:
            # No declared budget is as large.
            raise limits.exceeded(budget, budget.limit_rho_units + 1)
        question = self._plans.question(caller, query, dataset, parties)
        if known.first_stage:
            found = release_of(known.first_stage, caller, query, expected=question.plan)
            question = self._plans.question(caller, query, dataset, parties, found)
        if question.rho_units > limits.whole(budget):
            raise limits.exceeded(budget, question.rho_units)
        return _Planned(dataset, budget, question)

    async def _plan_batch(self, caller: Caller, asked: BatchQuery) -> _PlannedBatch:
        known = await self._database.run(_known, caller, asked.dataset)
        dataset, budget = known.dataset, known.budget
        grades.check_grade(dataset.declaration.grade)
        parties = len(self._epoch().holders)
        if zcdp.MAX_EPSILON < asked.epsilon < math.inf:
            # No declared budget is as large.
            raise limits.exceeded(budget, budget.limit_rho_units + 1)
        # Many questions at once would hold up everybody else's.
        batch = await asyncio.to_thread(_batch, asked, dataset, parties)
        if batch.rho_units > limits.whole(budget):
            raise limits.exceeded(budget, batch.rho_units)
        return _PlannedBatch(dataset, budget, batch)

    async def _start_all(self, news: list[NewJob], planned: _PlannedBatch, waits: bool) -> list[JobRecord]:
        admitted = await self._database.run(_admit_all, news, planned, waits)
        for record in admitted:
            if record.state == states.QUEUED:
                self._runner.start(record)
        return admitted

    def _epoch(self) -> KeyEpoch:
        return self._nodes.epoch or self._nodes.check_connected()


def _batch(asked: BatchQuery, dataset: RegisteredDataset, parties: int) -> Batch:
    return plan_batch(
        asked.sql,
        dataset.declaration,
        dataset_version=dataset.version,
        parties=parties,
        epsilon=asked.epsilon,
        delta=asked.delta if asked.HasField("delta") else dataset.declaration.budget_delta,
        lookups=asked.lookups,
    )


def _new_jobs(caller: Caller, request: SubmitBatchRequest, planned: _PlannedBatch, digest: bytes) -> list[NewJob]:
    requests = batches.single_requests(request, planned.batch)
    pairs = list(zip(requests, planned.parts, strict=True))
    for single, part in pairs:
        _check_authorization(caller, single, part)
    return [_new_job(caller, single, part, digest) for single, part in pairs]


def _all_released(connection: Connection, news: list[NewJob]) -> bool:
    return all(records.release(connection, new.plan_hash) for new in news)


def _admit_all(connection: Connection, news: list[NewJob], planned: _PlannedBatch, waits: bool) -> list[JobRecord]:
    """Charge and queue all jobs of a batch, but for those released before; or raise, and nothing is recorded."""
    before = ledger.budget(connection, planned.dataset.declaration, news[0].organisation)
    admitted: list[JobRecord] = []
    price = 0
    for new, part in zip(news, planned.parts, strict=True):
        if records.release(connection, new.plan_hash):
            admitted.append(_record(connection, new, part, states.SUCCEEDED)[0])
            continue
        price += part.charge.rho_units
        record, _ = _record(connection, new, part, states.WAITING) if waits else _admit(connection, new, part)
        admitted.append(record)
    if any(record.state == states.REFUSED for record in admitted) or (waits and price > limits.left(before)):
        raise limits.exceeded(before, price)
    return admitted


def _notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    return stage_notes(plan) if is_first_stage(plan) else clipping_notes(plan, declaration)


def _check_both_stages_fit(planned: _Planned) -> None:
    """A first stage is of no use to who cannot pay for the second."""
    price = planned.question.rho_units
    if planned.question.outlook is not None and price > limits.left(planned.budget):
        raise limits.exceeded(planned.budget, price)


def _known(connection: Connection, caller: Caller, name: str, first_stage: str = "") -> _Known:
    dataset = catalogue.find(connection, name)
    budget = ledger.budget(connection, dataset.declaration, caller.spends_as)
    return _Known(dataset, budget, records.get(connection, first_stage) if first_stage else None)


def _look_up(connection: Connection, caller: Caller, request: SubmitQueryRequest) -> JobRecord | tuple[_Known, bool]:
    """The job of an earlier request with this id; otherwise what planning needs, and whether there is a release."""
    authorization = request.authorization
    earlier = records.find_request(connection, caller.name, authorization.request_id)
    if earlier is not None:
        return earlier
    is_released = records.release(connection, authorization.plan_hash) is not None
    return _known(connection, caller, request.query.dataset, request.query.first_stage), is_released


def _record(connection: Connection, new: NewJob, planned: _Planned, state: states.State) -> tuple[JobRecord, Budget]:
    """Record a job that is charged nothing now: it waits for approval, or is answered from an earlier release."""
    record = records.create(connection, new, state, replayed=state == states.SUCCEEDED)
    return record, ledger.budget(connection, planned.dataset.declaration, new.organisation)


def _admit(connection: Connection, new: NewJob, planned: _Planned) -> tuple[JobRecord, Budget]:
    """Charge and queue the job, or record why not: one transaction."""
    catalogue.check_present(connection, planned.dataset)
    declaration = planned.dataset.declaration
    reserved = ledger.reserve(connection, new.job, declaration, new.organisation, planned.charge)
    budget = ledger.budget(connection, declaration, new.organisation)
    if reserved:
        return records.create(connection, new, states.QUEUED), budget
    failure = _failure(limits.exceeded(budget, planned.charge.rho_units))
    return records.create(connection, new, states.REFUSED, failure=failure), budget


def _approve(connection: Connection, record: JobRecord, signed: SignedApproval) -> JobRecord:
    """Charge and queue a waiting job, or refuse it and say why: one transaction."""
    records.set_approval(connection, record.job, signed)
    declaration = catalogue.find(connection, record.dataset).declaration
    charge = charge_of(Plan.FromString(record.plan))
    if ledger.reserve(connection, record.job, declaration, record.organisation, charge):
        return records.move(connection, record.job, states.QUEUED)
    budget = ledger.budget(connection, declaration, record.organisation)
    failure = _failure(limits.exceeded(budget, charge.rho_units))
    return records.move(connection, record.job, states.REFUSED, failure)


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
        raise catalogue.changed()
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
        organisation=caller.organisation,
        request_id=request.authorization.request_id,
        request_digest=digest,
        dataset=planned.dataset.declaration.dataset,
        sql=request.query.sql,
        plan=planned.plan_bytes,
        plan_hash=planned.plan_hash,
        authorization=SignedAuthorization(body=body, signature=request.signature),
        registration=planned.dataset.registration,
    )


def _described(record: JobRecord, budget: Budget, notes: list[str]) -> Job:
    record.message.budget.CopyFrom(budget)
    record.message.notes[:] = notes
    return record.message


def _request_id_reused(what: str) -> Problem:
    return Problem(
        Kind.CONFLICT,
        "request_id_reused",
        f"{what} was used for another request.",
        field="request_id",
        hint="use a fresh request id for a new request",
    )


def _failure(problem: Problem) -> Failure:
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")
