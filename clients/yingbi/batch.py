"""Several questions to one dataset, planned together: what they would cost, and asking them.

The gateway makes one plan of all questions about the same rows and groups, so what two of them need is measured once.
Each question's answer is read off the opened cells of its plan by a *view*: columns, grouping sets and presentation
in the place of the plan's own.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from google.protobuf.message import DecodeError

from yingbi import answer as tables
from yingbi import stages
from yingbi.answer import PlanError, Table, check_readable
from yingbi.api import digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.views import viewed
from yingbi.budget import Budget
from yingbi.display import answer_rows, average_sentences, forecast_rows, plain_table
from yingbi.forecasts import Forecast, predicted_errors
from yingbi.jobs import Answer, Job, Progress
from yingbi.lookups import with_lines
from yingbi.query import (
    Query,
    authorize,
    check_agreement,
    check_parameters,
    check_price,
    forecast_json,
    not_what_was_asked,
)
from yingbi.transport import Gateway


@dataclass(frozen=True)
class BatchPreview:
    """What questions would cost together and how exact their answers would be. Nothing was computed on data."""

    queries: tuple[Query, ...]
    message: job_pb2.BatchPreview = field(repr=False)

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        """What is measured, each plan for one or more of the questions."""
        try:
            return tuple(Plan.FromString(plan) for plan in self.message.plans)
        except DecodeError as error:
            raise not_what_was_asked("is no plan") from error

    @cached_property
    def views(self) -> tuple[Plan, ...]:
        """What each question sees of its plan."""
        return tuple(viewed(self.plans[question.plan], question.view) for question in self.message.questions)

    @cached_property
    def forecasts(self) -> tuple[Forecast, ...]:
        """The errors to come, question by question."""
        try:
            return tuple(predicted_errors(view) for view in self.views)
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error

    @property
    def notes(self) -> tuple[tuple[str, ...], ...]:
        """What clipping may distort, in words, question by question."""
        return tuple(tuple(question.notes) for question in self.message.questions)

    @property
    def rho_units(self) -> int:
        """Of all plans together."""
        return stages.rho_units(*self.plans)

    @property
    def needs_approval(self) -> bool:
        return self.message.state == job_pb2.JOB_STATE_WAITING_FOR_APPROVAL

    @property
    def budget(self) -> Budget:
        return Budget.of(self.message.budget)

    @property
    def excess(self) -> str:
        """That the price is more than is left, in words; empty where it is not."""
        return self.budget.excess_words(self.rho_units, len(self.plans))

    def questions_of(self, plan: int) -> list[int]:
        """Which questions a plan is for, by their places in the batch."""
        return [place for place, question in enumerate(self.message.questions) if question.plan == plan]

    def to_json(self) -> dict[str, object]:
        plan = self.plans[0]
        return {
            "dataset": plan.dataset,
            "version": plan.dataset_version.hex(),
            "questions": [
                {"sql": query.sql, "plan": question.plan, **forecast_json(forecast), "notes": list(question.notes)}
                for query, question, forecast in zip(self.queries, self.message.questions, self.forecasts, strict=True)
            ],
            "plans": [
                {"plan_hash": digests.digest(digests.PLAN, data).hex(), "rho": stages.rho_units(each) / zcdp.RHO_UNITS}
                for data, each in zip(self.message.plans, self.plans, strict=True)
            ],
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "rho": self.rho_units / zcdp.RHO_UNITS,
            "exceeds_budget": bool(self.excess),
            "budget": self.budget.to_json(),
        }

    def __repr__(self) -> str:
        parts = []
        for query, forecast in zip(self.queries, self.forecasts, strict=True):
            header = [column.name for column in forecast.columns]
            right = [column.kind != "key" for column in forecast.columns]
            parts += [query.sql, plain_table(header, forecast_rows(forecast), right), *average_sentences(forecast), ""]
        plan = self.plans[0]
        price = f"would cost ε = {plan.epsilon:g}, δ = {plan.delta:g} for all together · {self.budget}"
        return "\n".join([*parts, price, *([self.excess] if self.excess else [])])


@dataclass(frozen=True)
class BatchAnswer(Answer):
    """The answer to one question of a batch, computed from the cells of a job that others may share."""

    query: Query
    view: Plan = field(repr=False)
    """The job's plan as this question sees it."""
    view_notes: tuple[str, ...] = field(repr=False)

    @property
    def is_of_batch(self) -> bool:
        return True

    @cached_property
    def table(self) -> Table:
        return self.receipt.table(self.view)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.view_notes

    def __repr__(self) -> str:
        columns = self.table.columns
        table = plain_table(self.columns, answer_rows(self.table), [column.kind != "key" for column in columns])
        return f"{table}\n± is one standard error · {self.price} · {self.budget}"


@dataclass(frozen=True)
class BatchJobs:
    """The jobs of a batch, one for each plan, as they were when they were last heard of."""

    jobs: tuple[Job, ...]
    preview: BatchPreview = field(repr=False)

    def wait(self, progress: Progress | bool | None = None) -> BatchJobs:
        """Follow all jobs to their ends; see `Job.wait`. They run side by side, whichever is followed."""
        return replace(self, jobs=tuple(job.wait(progress) for job in self.jobs))

    def cancel(self) -> BatchJobs:
        """Stop every job that has not ended; budget that was spent stays spent."""
        return replace(self, jobs=tuple(_cancelled(job) for job in self.jobs))

    def answers(self) -> list[Answer]:
        """The answers, in the order of the questions, from receipts that are verified here.

        Raises:
            Problem: as `answer`, for the first job that has none.
        """
        for plan in range(len(self.jobs)):
            self._verify(plan)
        return [self._answer(place) for place in range(len(self.preview.queries))]

    def answer(self, place: int) -> Answer:
        """The answer to one question, by its place from 0, whatever became of the others.

        Raises:
            Problem: its job ended without an answer, or has not ended; `details` name the job and its questions,
                counted from 1. BAD_EVIDENCE for a receipt that does not verify.
        """
        self._verify(self.preview.message.questions[place].plan)
        return self._answer(place)

    def _verify(self, plan: int) -> None:
        end = self.jobs[plan].end()
        if end is not None:
            asked = ", ".join(str(place + 1) for place in self.preview.questions_of(plan))
            raise replace(end, details={**end.details, "questions": asked})
        self.jobs[plan].receipt.verify()

    def _answer(self, place: int) -> Answer:
        preview, question = self.preview, self.preview.message.questions[place]
        notes = tuple(question.notes)
        return BatchAnswer(self.jobs[question.plan], preview.queries[place], preview.views[place], notes)


@dataclass(frozen=True)
class Batch:
    """Questions to one dataset, not asked yet. Epsilon is for all of them together; each has an equal part of it.

    Every question is at least as exact as alone at its part, and more exact where it shares what is measured.
    """

    queries: tuple[Query, ...]
    gateway: Gateway = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.queries:
            raise _unfit("A batch has no question.", "name some: zone.batch([dataset.sql(...), ...])")
        if len({query.dataset for query in self.queries}) > 1:
            raise _unfit("The questions of a batch are about several datasets.", "make one batch for each dataset")
        if len({query.agreement for query in self.queries}) > 1:
            raise _unfit("The questions of a batch are under several agreements.", "make one batch for each agreement")
        if len({query.purpose for query in self.queries}) > 1:
            raise _unfit("The questions of a batch are for several purposes.", "make one batch for each purpose")
        if any(query.bounds != "declared" for query in self.queries):
            raise _unfit("Questions of a batch have no first stage, which bounds='auto' needs.", "ask it by itself")
        if len({table.name.lower() for table in self.lookups}) < len(self.lookups):
            raise _unfit(
                "Two questions of the batch bring different look-up tables of one name.",
                "bring one table for all of them, or give them different names",
            )

    @property
    def lookups(self) -> tuple[job_pb2.LookUpTable, ...]:
        """The public tables that the questions bring, each once. Every question may join with all of them."""
        found: list[job_pb2.LookUpTable] = []
        for query in self.queries:
            found += [table for table in query.lookups if table not in found]
        return tuple(found)

    def preview(self, epsilon: float, delta: float | None = None) -> BatchPreview:
        """Plan the questions and predict their errors. Costs nothing and touches no data."""
        asked = self._message(epsilon, delta)
        check_parameters(epsilon, delta)
        try:
            preview = BatchPreview(self.queries, self.gateway.preview_batch(asked))
        except Problem as problem:
            files = {name: path for query in self.queries for name, path in query.lookup_files.items()}
            raise with_lines(problem, files) from None
        _check(preview, asked)
        return preview

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        progress: Progress | bool | None = None,
    ) -> list[Answer]:
        """Ask all questions, and wait for the answers. Interrupted, what is not done is cancelled.

        Args:
            epsilon: the price, of the dataset's budget, of all questions together.
            delta: by default the dataset's.
            request_id: asking again with the same one gives the same jobs and is charged once.
            progress: see `Job.wait`.
        """
        asked = self.submit(epsilon, delta, request_id=request_id)
        try:
            return asked.wait(progress).answers()
        except KeyboardInterrupt:
            asked.cancel()
            raise

    def submit(self, epsilon: float, delta: float | None = None, *, request_id: str | None = None) -> BatchJobs:
        """Ask, and come back with the jobs: all are admitted and charged, or none is.

        Every authorization binds the hash of a plan that was checked here; see `Query.submit`.
        """
        request_id = uuid.uuid4().hex if request_id is None else request_id
        preview = self.preview(epsilon, delta)
        try:
            return self._submit(preview, self._message(epsilon, delta), request_id)
        except Problem as problem:
            if problem.code != "plan_changed":
                raise
        return self._submit(self.preview(epsilon, delta), self._message(epsilon, delta), request_id)

    def _submit(self, preview: BatchPreview, asked: job_pb2.BatchQuery, request_id: str) -> BatchJobs:
        token = self.gateway.profile.token
        hashes = [digests.digest(digests.PLAN, plan) for plan in preview.message.plans]
        set_of_plans = digests.digest_all(digests.BATCH, hashes)
        signed = [
            authorize(
                token,
                plan,
                f"{request_id}/{number}",
                preview.message.agreement,
                batch=request_id,
                batch_digest=set_of_plans,
                purpose=self.queries[0].purpose,
            )
            for number, plan in enumerate(preview.message.plans, 1)
        ]
        plans = [job_pb2.AuthorizedPlan(authorization=body, signature=signature) for body, signature in signed]
        found = self.gateway.submit_batch(job_pb2.SubmitBatchRequest(batch=asked, plans=plans))
        if [job.plan for job in found.jobs] != list(preview.message.plans):
            raise Problem(
                Kind.CONFLICT,
                "batch_differs",
                "The dataset changed since the batch was asked under this request id.",
                hint="ask again with a fresh request id; `yingbi jobs` lists the jobs that were asked",
                details={"jobs": ", ".join(job.job for job in found.jobs)},
            )
        return BatchJobs(tuple(Job(job, self.gateway) for job in found.jobs), preview)

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.BatchQuery:
        sql = [query.sql for query in self.queries]
        first = self.queries[0]
        return job_pb2.BatchQuery(
            dataset=first.dataset,
            sql=sql,
            epsilon=epsilon,
            delta=delta,
            lookups=self.lookups,
            agreement=first.agreement,
        )


def answers_json(answers: list[Answer]) -> dict[str, object]:
    """The answers of a batch as one document, each job's receipt in it once."""
    first, jobs = answers[0], {answer.job.id: answer for answer in answers}
    body = first.receipt.dossier.body
    return {
        "dataset": first.plan.dataset,
        "version": first.plan.dataset_version.hex(),
        "answers": [_answer_json(answer) for answer in answers],
        "confidence": tables.CONFIDENCE,
        "jobs": [
            {
                "job": name,
                "rho": answer.rho_units / zcdp.RHO_UNITS,
                "replayed": answer.replayed,
                "receipt": answer.receipt.to_json(),
            }
            for name, answer in jobs.items()
        ],
        "epsilon": body.epsilon,
        "delta": body.delta,
        "rho": sum(answer.rho_units for answer in jobs.values()) / zcdp.RHO_UNITS,
        "budget": answers[-1].budget.to_json(),
    }


def _answer_json(answer: Answer) -> dict[str, object]:
    whole = answer.to_json()
    return {name: whole[name] for name in ("job", "columns", "rows", "std_errors", "intervals", "notes")}


def _cancelled(job: Job) -> Job:
    if job.is_final:
        return job
    with suppress(Problem):  # it may have ended in the meantime
        return job.cancel()
    return job.refresh()


def _check(preview: BatchPreview, asked: job_pb2.BatchQuery) -> None:
    """A gateway plans; whoever pays checks that all of it is theirs, at the price they named for all of it."""
    check_agreement(asked.agreement, preview.message.agreement)
    plans, questions = preview.plans, preview.message.questions
    if len(questions) != len(asked.sql):
        raise not_what_was_asked(f"is for {len(questions)} questions, not {len(asked.sql)}")
    if {question.plan for question in questions} != set(range(len(plans))):
        raise not_what_was_asked("is for no question, or is missing")
    delta = asked.delta if asked.HasField("delta") else plans[0].delta
    for plan in plans:
        if (plan.dataset, plan.epsilon, plan.delta) != (asked.dataset, asked.epsilon, delta):
            raise not_what_was_asked("is about another dataset, or at another price")
        if plan.dataset_version != plans[0].dataset_version:
            raise not_what_was_asked("is about another version of the dataset than the rest of the batch")
        if stages.is_first_stage(plan):
            raise not_what_was_asked("is a first stage")
    check_price(asked.epsilon, delta, *plans)
    for plan in (*plans, *preview.views):
        try:
            check_readable(plan)
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error


def _unfit(message: str, hint: str) -> Problem:
    return Problem(Kind.MALFORMED, "batch", message, field="sql", hint=hint)
