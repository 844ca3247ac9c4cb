"""From a developer's request to a job: preview and admit. Nothing here touches data."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import Budget
from yingbi.api.v1.job_pb2 import (
    BatchJobs,
    BatchPreview,
    BatchQuery,
    Job,
    Preview,
    Query,
    SignedAuthorization,
    SubmitBatchRequest,
    SubmitQueryRequest,
)

from enclave_sim.plan.canonical import encode
from gateway.governance import agreements as agreement_rules
from gateway.governance import grades
from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset, check_roster
from gateway.jobs import batches, records, shown, standing, states
from gateway.jobs.approval import charged
from gateway.jobs.first_stages import release_of
from gateway.jobs.kinds import check_one_kind, kind_of, words_of
from gateway.jobs.nodes import Nodes
from gateway.jobs.plans import Planned, RecentPlans, notes_of
from gateway.jobs.programs import check_sealed, needs_sandbox
from gateway.jobs.records import JobRecord, NewJob
from gateway.jobs.runner import Runner
from gateway.jobs.service_forms import check_form
from gateway.ledger import ledger, limits
from gateway.planning.batch import Batch, plan_batch
from gateway.planning.query import Question
from gateway.planning.readable import readable
from gateway.storage import agreements, catalogue, people, stops
from gateway.storage.database import Database


@dataclass(frozen=True)
class _Known:
    """What the database has for a query, read in one transaction."""

    dataset: RegisteredDataset
    budget: Budget
    # The job that the query names as its first stage.
    first_stage: JobRecord | None
    # What the query is asked under.
    agreement: Agreement | None


@dataclass(frozen=True)
class _Asked:
    """A request, and what its admission depends on beside the database."""

    caller: Caller
    request: SubmitQueryRequest
    digest: bytes
    auto_approve: bool
    governed: bool
    # What agreements' terms are compared with: seconds since 1970.
    now: float
    # Why nothing can be computed at present.
    outage: Problem | None

    @property
    def sought(self) -> Query:
        """What is looked up for it. Where the query names no agreement, the one that was signed is meant."""
        query = self.request.query
        return Query(
            dataset=query.dataset,
            first_stage=query.first_stage,
            agreement=query.agreement or self.request.authorization.agreement,
        )


@dataclass(frozen=True)
class _Decided:
    """What became of a request: its job, as it is shown, and as the runner starts it where that is due."""

    job: Job
    start: JobRecord | None = None
    # What the caller is told instead of the job, which is recorded for all that.
    refusal: Problem | None = None


@dataclass(frozen=True)
class _PlannedBatch:
    dataset: RegisteredDataset
    budget: Budget
    batch: Batch
    agreement: Agreement | None

    @property
    def parts(self) -> list[Planned]:
        """Each plan as if it were asked for by itself."""
        return [Planned(self.dataset, Question(plan)) for plan in self.batch.plans]


class Admission:
    """Decides about requests; hands admitted jobs to the runner."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        runner: Runner,
        *,
        auto_approve: bool,
        governed: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` tells what agreements' terms are compared with: seconds since 1970.

        `governed`: whatever is asked is asked under an agreement.
        """
        self._clock = clock
        self._governed = governed
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._auto_approve = auto_approve
        self._plans = RecentPlans()

    async def preview(self, caller: Caller, query: Query) -> Preview:
        """The plan of a query, its cost, and what is left; raises Problem."""
        check_one_kind(query)
        known = await self._database.run(_known, caller, query, self._clock(), self._governed)
        _check_may_train(query, known)
        planned = self._plan(caller, query, known)
        _check_columns(planned, known.agreement)
        if needs_sandbox(query):
            self._nodes.check_programs()
        _check_price(planned, known.budget)
        declaration, outlook = planned.dataset.declaration, planned.question.outlook
        waits = grades.needs_approval(declaration.grade, auto_approve=self._auto_approve)
        return Preview(
            plan=planned.plan_bytes,
            budget=known.budget,
            notes=[*planned.notes, *(notes_of(outlook, declaration) if outlook else [])],
            state=states.WAITING if waits else states.PREVIEWED,
            outlook=b"" if outlook is None else encode(outlook),
            agreement=_id_of(known.agreement),
        )

    async def submit(self, caller: Caller, request: SubmitQueryRequest) -> Job:
        """Admit a query, or answer it from an earlier release; raises Problem.

        The same request id with the same request is the same job.
        """
        # A caller who goes away leaves no job that is charged and not started.
        return await asyncio.shield(self._submit(caller, request))

    async def preview_batch(self, caller: Caller, asked: BatchQuery) -> BatchPreview:
        """The plans of questions that are planned together, their cost, and what is left; raises Problem."""
        planned = await self._plan_batch(caller, asked, asked.agreement)
        waits = grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve)
        return batches.preview_of(
            planned.batch,
            planned.dataset.declaration,
            budget=planned.budget,
            state=states.WAITING if waits else states.PREVIEWED,
            agreement=_id_of(planned.agreement),
        )

    async def submit_batch(self, caller: Caller, request: SubmitBatchRequest) -> BatchJobs:
        """Admit a batch: a job for each of its plans, all charged in one transaction, or none; raises Problem.

        The same request ids with the same batch are the same jobs.
        """
        digest, request_id = batches.request_digest(request.batch), batches.request_id_of(request)
        earlier = await self._database.run(batches.earlier, caller.name, request_id)
        if earlier:
            return await self._earlier(earlier, digest)
        signed = request.batch.agreement or request.plans[0].authorization.agreement
        planned = await self._plan_batch(caller, request.batch, signed)
        news = _new_jobs(caller, request, planned, digest)
        waits = grades.needs_approval(planned.dataset.declaration.grade, auto_approve=self._auto_approve)
        if not await self._database.run(_all_released, news):
            self._nodes.check_connected()
        try:
            # A caller who goes away leaves no job that is charged and not started.
            admitted = await asyncio.shield(self._start_all(caller, news, planned, waits))
        except IntegrityError as error:
            # A twin, or single requests with such ids, were recorded: this one was rolled back with its charges.
            earlier = await self._database.run(batches.earlier, caller.name, request_id)
            if not earlier:
                raise _request_id_reused(f"The ids {request_id}/1, {request_id}/2 ... of the batch's plans") from error
            return await self._earlier(earlier, digest)
        return BatchJobs(jobs=await self._database.run(_describe_all, admitted))

    async def _submit(self, caller: Caller, request: SubmitQueryRequest) -> Job:
        if needs_sandbox(request.query) or request.programs or request.source:
            check_sealed(request, self._epoch())
        query = request.query
        check_one_kind(query)
        asked = _Asked(
            caller,
            request,
            _request_digest(query),
            self._auto_approve,
            self._governed,
            self._clock(),
            self._outage(query),
        )
        decided = await self._database.run(_decide, asked, self._previewed(caller, query))
        while isinstance(decided, _Known):
            # Planning takes longer than a transaction should; meanwhile the dataset may have changed again.
            decided = await self._database.run(_decide, asked, self._plan(caller, query, decided))
        if decided.start is not None:
            self._runner.start(decided.start)
        if decided.refusal is not None:
            raise decided.refusal
        return decided.job

    async def _earlier(self, earlier: list[JobRecord], digest: bytes) -> BatchJobs:
        for record in earlier:
            _check_same_request(record, digest)
        return BatchJobs(jobs=await self._database.run(_describe_all, earlier))

    def _previewed(self, caller: Caller, query: Query) -> Planned | None:
        """The query's plan, if it was just previewed. A second stage's follows from a release: that is read first."""
        if self._nodes.epoch is None or query.first_stage:
            return None
        return self._plans.kept(caller, query, len(self._nodes.epoch.holders))

    def _plan(self, caller: Caller, query: Query, known: _Known) -> Planned:
        dataset, budget = known.dataset, known.budget
        parties = self._parties(dataset)
        grades.check_grade(dataset.declaration.grade, parties, auto_approve=self._auto_approve)
        if zcdp.MAX_EPSILON < query.epsilon < math.inf:
            # No declared budget is as large.
            raise limits.exceeded(budget, budget.limit_rho_units + 1)
        planned = self._plans.question(caller, query, dataset, parties)
        if known.first_stage:
            found = release_of(known.first_stage, caller, query, expected=planned.plan)
            planned = self._plans.question(caller, query, dataset, parties, found)
        return planned

    async def _plan_batch(self, caller: Caller, asked: BatchQuery, agreement: str) -> _PlannedBatch:
        query = Query(dataset=asked.dataset, agreement=agreement)
        known = await self._database.run(_known, caller, query, self._clock(), self._governed)
        dataset, budget = known.dataset, known.budget
        parties = self._parties(dataset)
        grades.check_grade(dataset.declaration.grade, parties, auto_approve=self._auto_approve)
        if zcdp.MAX_EPSILON < asked.epsilon < math.inf:
            # No declared budget is as large.
            raise limits.exceeded(budget, budget.limit_rho_units + 1)
        # Many questions at once would hold up everybody else's.
        batch = await asyncio.to_thread(_batch, asked, dataset, parties)
        if batch.rho_units > limits.whole(budget):
            raise limits.exceeded(budget, batch.rho_units)
        for plan in batch.plans:
            agreement_rules.check_columns(known.agreement, plan, dataset.declaration)
        return _PlannedBatch(dataset, budget, batch, known.agreement)

    async def _start_all(
        self, caller: Caller, news: list[NewJob], planned: _PlannedBatch, waits: bool
    ) -> list[JobRecord]:
        admitted = await self._database.run(_admit_all, caller, news, planned, waits, self._clock())
        for record in admitted:
            if record.state == states.QUEUED:
                self._runner.start(record)
        return admitted

    def _parties(self, dataset: RegisteredDataset) -> int:
        """How many nodes hold the key; raises Problem where the dataset was added with others."""
        epoch = self._epoch()
        check_roster(dataset.declaration.dataset, dataset.registration, epoch)
        return len(epoch.holders)

    def _epoch(self) -> KeyEpoch:
        return self._nodes.epoch or self._nodes.check_connected()

    def _outage(self, query: Query) -> Problem | None:
        try:
            self._nodes.check_connected()
            if needs_sandbox(query):
                self._nodes.check_programs()
        except Problem as problem:
            return problem
        return None


def _batch(asked: BatchQuery, dataset: RegisteredDataset, parties: int) -> Batch:
    check_form("query", dataset.declaration)
    with readable(dataset.declaration) as declaration:
        return plan_batch(
            asked.sql,
            declaration,
            dataset_version=dataset.version,
            parties=parties,
            epsilon=asked.epsilon,
            delta=asked.delta if asked.HasField("delta") else declaration.budget_delta,
            lookups=asked.lookups,
        )


def _new_jobs(caller: Caller, request: SubmitBatchRequest, planned: _PlannedBatch, digest: bytes) -> list[NewJob]:
    requests = batches.single_requests(request, planned.batch)
    pairs = list(zip(requests, planned.parts, strict=True))
    for single, part in pairs:
        _check_authorization(caller, single, part, planned.agreement)
    return [_new_job(caller, single, part, planned.agreement, digest) for single, part in pairs]


def _all_released(connection: Connection, news: list[NewJob]) -> bool:
    return all(records.release(connection, new.plan_hash) for new in news)


def _admit_all(
    connection: Connection, caller: Caller, news: list[NewJob], planned: _PlannedBatch, waits: bool, now: float
) -> list[JobRecord]:
    """Charge and queue all jobs of a batch, but for those released before; or raise, and nothing is recorded."""
    people.check_has_not_left(connection, caller)
    declaration, agreement = planned.dataset.declaration, planned.agreement
    # It was planned in another transaction.
    agreements.check_still_in_force(connection, _id_of(agreement), now)
    stops.check_not_stopped(
        connection, dataset=declaration.dataset, organisation=news[0].organisation, agreement=_id_of(agreement)
    )
    before = ledger.budget(connection, declaration, news[0].organisation, agreement)
    admitted: list[JobRecord] = []
    price, uses, fits = 0, 0, True
    for new, part in zip(news, planned.parts, strict=True):
        if records.answers_at_once(connection, new, waits=waits):
            admitted.append(records.create(connection, new, states.SUCCEEDED, replayed=True))
            continue
        price, uses = price + part.charge.rho_units, uses + 1
        if not waits:
            catalogue.check_present(connection, planned.dataset)
            fits &= ledger.reserve(connection, new.job, declaration, new.organisation, part.charge, agreement, now=now)
            ledger.use_of_day(connection, agreement, now)
        admitted.append(records.create(connection, new, states.WAITING if waits else states.QUEUED))
    if not fits or (waits and uses > 0 and not limits.holds(before, price, uses)):
        raise limits.exceeded(before, price, uses)
    return admitted


def _describe_all(connection: Connection, found: list[JobRecord]) -> list[Job]:
    return [shown.describe(connection, record) for record in found]


def _check_may_train(query: Query, known: _Known) -> None:
    if query.HasField("train"):
        agreement_rules.check_may_train(known.agreement)


def _check_columns(planned: Planned, agreement: Agreement | None) -> None:
    agreement_rules.check_columns(agreement, planned.plan, planned.dataset.declaration)


def _check_price(planned: Planned, budget: Budget) -> None:
    """What the budget could not pay when nothing was spent is refused and not recorded."""
    if planned.question.rho_units > limits.whole(budget):
        raise limits.exceeded(budget, planned.question.rho_units)


def _check_all_fit(planned: Planned, budget: Budget) -> None:
    """A first stage, or a round of a model, is of no use to who cannot pay for what comes after it."""
    price, plans = planned.question.rho_units, planned.question.plans
    if plans > 1 and not limits.holds(budget, price, uses=plans):
        raise limits.exceeded(budget, price, uses=plans)


def _known(connection: Connection, caller: Caller, query: Query, now: float, governed: bool) -> _Known:
    dataset = catalogue.find(connection, query.dataset)
    declaration, organisation = dataset.declaration, caller.spends_as
    agreement = agreements.chosen(
        connection, declaration, organisation, query.agreement, now, job=kind_of(query), governed=governed
    )
    stops.check_not_stopped(
        connection, dataset=declaration.dataset, organisation=organisation or "", agreement=_id_of(agreement)
    )
    budget = ledger.budget(connection, declaration, organisation, agreement)
    return _Known(dataset, budget, _first_stage(connection, query.first_stage), agreement)


def _first_stage(connection: Connection, job: str) -> JobRecord | None:
    """The job whose release a second stage follows from; raises Problem where that release is not handed out."""
    if not job:
        return None
    record = records.get(connection, job)
    if reason := agreements.withheld(connection, record.agreement):
        raise reason
    return record


def _decide(connection: Connection, asked: _Asked, planned: Planned | None) -> _Decided | _Known:
    """Find the job of an earlier request with this id, or record a new one: looked up and charged in one transaction.

    So of a request that is sent twice at once, the later one finds the job of the other. Where `planned` is none, or
    for another version of the dataset, nothing is recorded; what is returned is what planning needs. What is planned
    says nothing of agreements: which one is charged is chosen here, whatever the plan was previewed under.
    """
    request = asked.request
    earlier = records.find_request(connection, asked.caller.name, request.authorization.request_id)
    if earlier is not None:
        _check_same_request(earlier, asked.digest)
        return _Decided(shown.describe(connection, earlier))
    people.check_has_not_left(connection, asked.caller)
    known = _known(connection, asked.caller, asked.sought, asked.now, asked.governed)
    _check_may_train(request.query, known)
    if planned is None or planned.dataset != known.dataset:
        return known
    _check_price(planned, known.budget)
    _check_columns(planned, known.agreement)
    _check_authorization(asked.caller, request, planned, known.agreement)
    return _record(connection, asked, planned, known)


def _record(connection: Connection, asked: _Asked, planned: Planned, known: _Known) -> _Decided:
    """Record the job: replayed, waiting, queued and charged, or refused."""
    before, agreement = known.budget, known.agreement
    new = _new_job(asked.caller, asked.request, planned, agreement, asked.digest)
    declaration = planned.dataset.declaration
    waits = grades.needs_approval(declaration.grade, auto_approve=asked.auto_approve)
    if records.answers_at_once(connection, new, waits=waits):
        replayed = records.create(connection, new, states.SUCCEEDED, replayed=True)
        return _Decided(shown.with_budget(replayed, before, planned.notes))
    if asked.outage is not None:
        raise asked.outage
    _check_all_fit(planned, before)
    if waits:
        record = records.create(connection, new, states.WAITING)
        if standing.is_complete(connection, record, asked.now):
            return _by_standing_approval(connection, charged(connection, record, asked.now), planned)
        waiting = shown.with_needed(record, declaration.grade, [])
        return _Decided(shown.with_budget(waiting, before, planned.notes))
    if not ledger.reserve(connection, new.job, declaration, new.organisation, planned.charge, agreement, now=asked.now):
        refusal = limits.exceeded(before, planned.charge.rho_units)
        refused = records.create(connection, new, states.REFUSED, failure=records.failure_of(refusal))
        return _Decided(shown.with_budget(refused, before, planned.notes), refusal=refusal)
    ledger.use_of_day(connection, agreement, asked.now)
    queued = records.create(connection, new, states.QUEUED)
    budget = ledger.budget(connection, declaration, new.organisation, agreement)
    return _Decided(shown.with_budget(queued, budget, planned.notes), start=queued)


def _by_standing_approval(connection: Connection, record: JobRecord, planned: Planned) -> _Decided:
    agreement = agreements.find(connection, record.agreement)
    budget = ledger.budget(connection, planned.dataset.declaration, record.organisation, agreement)
    job = shown.with_budget(record, budget, planned.notes)
    return _Decided(job, start=record if record.state == states.QUEUED else None)


def _request_digest(query: Query) -> bytes:
    return digests.digest("request", query.SerializeToString(deterministic=True))


def _check_authorization(
    caller: Caller, request: SubmitQueryRequest, planned: Planned, agreement: Agreement | None
) -> None:
    authorization = request.authorization
    if authorization.plan_hash != planned.plan_hash:
        raise catalogue.changed()
    body = authorization.SerializeToString(deterministic=True)
    signed = digests.is_signed(caller.key, digests.AUTHORIZATION, body, request.signature)
    if not signed or authorization.developer_key != caller.key:
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The request is not signed with this caller's key.")
    if authorization.agreement != _id_of(agreement):
        raise Problem(
            Kind.CONFLICT,
            "agreement_differs",
            f"The request is signed for {authorization.agreement or 'no agreement'}, and would be under"
            f" {_id_of(agreement) or 'none'}.",
            field="agreement",
            hint="preview and ask again",
        )
    agreement_rules.check_purpose(agreement, authorization.purpose)
    if not 1 <= len(authorization.request_id) <= 200:
        raise Problem(Kind.MALFORMED, "request_id", "A request id has 1 to 200 characters.", field="request_id")


def _new_job(
    caller: Caller, request: SubmitQueryRequest, planned: Planned, agreement: Agreement | None, digest: bytes
) -> NewJob:
    signed = SignedAuthorization(
        body=request.authorization.SerializeToString(deterministic=True), signature=request.signature
    )
    caller.certify(signed)
    return NewJob(
        job=f"job-{secrets.token_hex(6)}",
        developer=caller.name,
        organisation=caller.organisation,
        request_id=request.authorization.request_id,
        request_digest=digest,
        dataset=planned.dataset.declaration.dataset,
        sql=words_of(request.query),
        plan=planned.plan_bytes,
        plan_hash=planned.plan_hash,
        authorization=signed,
        registration=planned.dataset.registration,
        agreement=_id_of(agreement),
        programs=tuple(request.programs),
        source=request.source,
    )


def _id_of(agreement: Agreement | None) -> str:
    return "" if agreement is None else agreement.agreement


def _check_same_request(record: JobRecord, digest: bytes) -> None:
    if record.request_digest != digest:
        raise _request_id_reused(f"The request id (job {record.job})")


def _request_id_reused(what: str) -> Problem:
    return Problem(
        Kind.CONFLICT,
        "request_id_reused",
        f"{what} was used for another request.",
        field="request_id",
        hint="use a fresh request id for a new request",
    )
