"""A question to a dataset: what it would cost, and asking it."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi import stages
from yingbi.answer import PlanError, check_readable, to_json
from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.budget import Budget
from yingbi.display import average_sentences, forecast_rows, plain_table
from yingbi.forecasts import Forecast, predicted_errors
from yingbi.jobs import Answer, Job, Progress
from yingbi.lookups import with_lines
from yingbi.transport import Gateway

AUTHORIZATION_SECONDS = 7 * 24 * 3600
_MOMENT_SECONDS = 3.0
_POLL_SECONDS = 0.2

Bounds = Literal["declared", "auto"]


@dataclass(frozen=True)
class Preview:
    """What a question would cost and how exact its answer would be. Nothing was computed on data."""

    message: job_pb2.Preview = field(repr=False)

    @cached_property
    def plan(self) -> Plan:
        try:
            return Plan.FromString(self.message.plan)
        except DecodeError as error:
            raise not_what_was_asked("is no plan") from error

    @cached_property
    def outlook(self) -> Plan | None:
        """Where `plan` is a first stage: like the plan of the second, with NULL for each key not known yet."""
        if not stages.is_first_stage(self.plan):
            return None
        try:
            return Plan.FromString(self.message.outlook)
        except DecodeError as error:
            raise not_what_was_asked("has no second stage") from error

    @property
    def is_first_stage(self) -> bool:
        """Whether keys or a bound are selected privately before the question itself is asked."""
        return self.outlook is not None

    @property
    def plan_hash(self) -> bytes:
        """What the developer signs, operators approve and enclaves check."""
        return digests.digest(digests.PLAN, self.message.plan)

    @property
    def rho_units(self) -> int:
        """Of all stages to come."""
        return stages.rho_units(*self._plans)

    @cached_property
    def forecast(self) -> Forecast:
        try:
            return predicted_errors(self._plans[-1])
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error

    @property
    def keys_are_known(self) -> bool:
        """Whether the values of all keys that make rows are declared, and not selected in a first stage."""
        if self.outlook is None:
            return True
        keys, sets = self.outlook.group_by, self.outlook.grouping_sets
        making_rows = {index for each in sets for index in each.keys} if sets else range(len(keys))
        return not any(keys[index].expression in self.plan.key_selection.keys for index in making_rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What clipping may distort, in words."""
        return tuple(self.message.notes)

    @property
    def _plans(self) -> tuple[Plan, ...]:
        return (self.plan,) if self.outlook is None else (self.plan, self.outlook)

    @property
    def needs_approval(self) -> bool:
        return self.message.state == job_pb2.JOB_STATE_WAITING_FOR_APPROVAL

    @property
    def budget(self) -> Budget:
        return Budget.of(self.message.budget)

    @property
    def excess(self) -> str:
        """That the price is more than is left, in words; empty where it is not."""
        return self.budget.excess_words(self.rho_units, len(self._plans))

    def to_json(self) -> dict[str, object]:
        plan = self.plan
        return {
            "dataset": plan.dataset,
            "version": plan.dataset_version.hex(),
            "plan_hash": self.plan_hash.hex(),
            **forecast_json(self.forecast, self.keys_are_known),
            "notes": list(self.notes),
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "rho": self.rho_units / zcdp.RHO_UNITS,
            "exceeds_budget": bool(self.excess),
            "budget": self.budget.to_json(),
        }

    def __repr__(self) -> str:
        columns = self.forecast.columns
        table = plain_table(
            [column.name for column in columns],
            forecast_rows(self.forecast),
            [column.kind != "key" for column in columns],
        )
        price = f"would cost ε = {self.plan.epsilon:g}, δ = {self.plan.delta:g} · {self.budget}"
        excess = [self.excess] if self.excess else []
        return "\n".join([table, *average_sentences(self.forecast), price, *excess])


def forecast_json(forecast: Forecast, keys_are_known: bool = True) -> dict[str, object]:
    """The part of a preview that speaks of errors.

    Each of `groups` has the cells of the key columns, in their order; without known keys nobody knows the groups.
    """
    shown = [key for key in forecast.keys if key is not None]
    groups = [[to_json(group[key]) for key in shown] for group in forecast.groups]
    return {
        "columns": [{"name": column.name, "kind": column.kind} for column in forecast.columns],
        "groups": groups if keys_are_known else None,
        "std_errors": [list(row) for row in forecast.std_errors],
        "average_errors": [
            {"column": entry.column, "rows": entry.rows, "std_error": entry.std_error}
            for entry in forecast.average_errors
        ],
    }


@dataclass(frozen=True)
class Query:
    """A question in SQL to one dataset, not asked yet."""

    dataset: str
    sql: str
    gateway: Gateway = field(repr=False, compare=False)
    bounds: Bounds = "declared"
    """Whether clipping bounds are taken from the metadata, or found privately in a first stage ("auto")."""
    lookups: tuple[job_pb2.LookUpTable, ...] = field(default=(), repr=False, hash=False)
    """Public tables that the SQL may join with; see `lookups.look_up_tables`."""
    lookup_files: Mapping[str, Path] = field(default_factory=dict, repr=False, compare=False)
    """Where those of CSV files come from, by name: for messages."""
    agreement: str = ""
    """The agreement to ask under; empty: none, or the only one where the dataset requires one."""
    purpose: str = ""
    """What the answer is for, to be signed: the agreement's purpose, word for word; empty: the same, unsaid."""

    def __post_init__(self) -> None:
        if self.bounds not in ("declared", "auto"):
            raise Problem(
                Kind.MALFORMED,
                "bounds",
                f"Bounds are declared or auto, not {self.bounds!r}.",
                field="bounds",
                hint="auto finds the clipping bound privately, for a twentieth of the price",
            )

    def preview(self, epsilon: float, delta: float | None = None) -> Preview:
        """Plan the question and predict its errors. Costs nothing and touches no data."""
        return self._preview(self._message(epsilon, delta))

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> Answer:
        """Ask, and wait for the answer.

        Args:
            epsilon: the price, of the dataset's budget, for all stages together.
            delta: by default the dataset's.
            request_id: asking again with the same one gives the same job and is charged once.
            wait: if False, raise Problem "not_finished" or "first_stage_running" unless the answer is there at
                once; `submit` gives the job instead.
            progress: see `Job.wait`.
        """
        job = self.submit(epsilon, delta, request_id=request_id, wait=wait, progress=progress)
        return (job.wait(progress) if wait else job).answer()

    def submit(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> Job:
        """Ask, and come back with the job.

        The authorization binds the hash of the very plan that was checked here, so a gateway can run that
        plan or none. Where the dataset changed since the preview, one more round is made.

        A question whose keys or bounds are not known asks twice: its first stage runs to its end here, its
        receipt is verified, and the job that comes back is the second stage's.

        Args:
            wait: if False, raise Problem "first_stage_running" where a first stage takes more than a moment;
                asking again with the same request id goes on from there.
            progress: of the first stage; see `Job.wait`.
        """
        request_id = uuid.uuid4().hex if request_id is None else request_id
        question = self._message(epsilon, delta)
        preview = self._preview(question)
        if not preview.is_first_stage:
            return self._submit(preview, question, request_id)
        first = self._submit(preview, question, request_id + stages.REQUEST_SUFFIX)
        first = _finished(first.wait(progress) if wait else _soon(first), preview, request_id)
        question.first_stage = first.id
        # Both stages are asked under one agreement.
        question.agreement = preview.message.agreement
        second = self._preview(question, first)
        return replace(self._submit(second, question, request_id, first), first_stage=first)

    def _preview(self, question: job_pb2.Query, first: Job | None = None) -> Preview:
        delta = question.delta if question.HasField("delta") else None
        check_parameters(question.epsilon, delta)
        try:
            preview = Preview(self.gateway.preview_query(question))
        except Problem as problem:
            raise with_lines(problem, self.lookup_files) from None
        check_agreement(question.agreement, preview.message.agreement)
        _check_plan(preview, self.dataset, question.epsilon, delta)
        if preview.plan.HasField("fit") and not question.HasField("train"):
            raise not_what_was_asked("trains a model")
        if preview.plan.HasField("synthesis") and not question.HasField("synthesize"):
            raise not_what_was_asked("is for made-up rows")
        if preview.plan.HasField("evaluation") and not question.HasField("evaluate"):
            raise not_what_was_asked("evaluates a model")
        if first is not None:
            _check_second_stage(preview, first)
        return preview

    def _submit(self, preview: Preview, question: job_pb2.Query, request_id: str, first: Job | None = None) -> Job:
        try:
            return self._sign_and_submit(preview, question, request_id)
        except Problem as problem:
            if problem.code != "plan_changed":
                raise
            again = self._preview(question, first)
            if again.is_first_stage != preview.is_first_stage:
                raise
        return self._sign_and_submit(again, question, request_id)

    def _sign_and_submit(self, preview: Preview, question: job_pb2.Query, request_id: str) -> Job:
        authorization, signature = authorize(
            self.gateway.profile.token,
            preview.message.plan,
            request_id,
            preview.message.agreement,
            purpose=self.purpose,
        )
        request = job_pb2.SubmitQueryRequest(
            query=question,
            authorization=authorization,
            signature=signature,
            programs=self._programs(preview),
            source=self._source(),
        )
        return Job(self.gateway.submit_query(request), self.gateway)

    def _programs(self, preview: Preview) -> Sequence[job_pb2.SealedProgram]:
        """What goes with a request to run a program; nothing with SQL."""
        return ()

    def _source(self) -> bytes:
        """Of a program that is to be shown to whoever may see the job."""
        return b""

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.Query:
        auto = self.bounds == "auto"
        return job_pb2.Query(
            dataset=self.dataset,
            sql=self.sql,
            epsilon=epsilon,
            delta=delta,
            auto_bounds=auto,
            lookups=self.lookups,
            agreement=self.agreement,
        )


def authorization_of(key: bytes, plan: bytes, request_id: str, agreement: str) -> job_pb2.Authorization:
    """What whoever has the 32-byte public `key` signs to have exactly this plan run once, at its price, for a week."""
    message = Plan.FromString(plan)
    return job_pb2.Authorization(
        plan_hash=digests.digest(digests.PLAN, plan),
        rho_units=stages.rho_units(message),
        delta=message.delta,
        request_id=request_id,
        expires=Timestamp(seconds=int(time.time()) + AUTHORIZATION_SECONDS),
        developer_key=key,
        agreement=agreement,
    )


def authorize(
    token: str,
    plan: bytes,
    request_id: str,
    agreement: str = "",
    *,
    batch: str = "",
    batch_digest: bytes = b"",
    purpose: str = "",
) -> tuple[job_pb2.Authorization, bytes]:
    """A developer's authorization of exactly this plan at its price, under this agreement, and its signature.

    A plan of a batch has the batch's own request id and the digest of its plans, or one set of them could be mixed
    with another that was signed for the same batch.
    """
    key = credentials.signing_key(token)
    authorization = authorization_of(key.public_key().public_bytes_raw(), plan, request_id, agreement)
    authorization.batch, authorization.batch_digest, authorization.purpose = batch, batch_digest, purpose
    body = authorization.SerializeToString(deterministic=True)
    return authorization, digests.sign(key, digests.AUTHORIZATION, body)


def _soon(job: Job) -> Job:
    """The job as it is after a moment; at once where somebody has to decide."""
    end = time.monotonic() + _MOMENT_SECONDS
    while not job.is_final and job.state != "waiting for approval" and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        job = job.refresh()
    return job


def _finished(first: Job, preview: Preview, request_id: str) -> Job:
    """The job of a first stage that has released what the preview says, with evidence for it."""
    if not first.is_final:
        raise Problem(
            Kind.UNAVAILABLE,
            "first_stage_running",
            f"Job {first.id}, which selects keys or bounds for the question, is {first.state}.",
            hint=f"ask again later with --request-id {request_id}",
            details={"job": first.id, "state": first.state, "request_id": request_id},
        )
    end = first.end()
    if end is not None:
        raise end
    if first.message.plan != preview.message.plan:
        raise Problem(
            Kind.CONFLICT,
            "first_stage_differs",
            f"The dataset or the question changed since job {first.id}, the first stage under this request id.",
            hint="ask again with a fresh request id; what the first stage cost is spent",
            details={"job": first.id},
        )
    first.receipt.verify()
    return first


def _check_second_stage(preview: Preview, first: Job) -> None:
    """The second stage groups by what the first one's enclaves signed, and both together cost what was offered."""
    dossier, second = first.receipt.dossier, preview.plan
    stages.check_follows(second, dossier.plan, [part.body for part in dossier.contributions])
    check_price(second.epsilon, second.delta, dossier.plan, second)


def check_parameters(epsilon: float, delta: float | None) -> None:
    """Refuse (MALFORMED "epsilon" or "delta") what no request may carry."""
    # One that is only too large is understood: the gateway refuses it, and says what the budget is.
    checked = min(float(epsilon), zcdp.MAX_EPSILON) if math.isfinite(epsilon) else float(epsilon)
    try:
        zcdp.check_parameters(checked, 0.5 if delta is None else float(delta))
    except zcdp.BadPrivacyParameter as error:
        message = str(error)
        raise Problem(
            Kind.MALFORMED, error.field, message[:1].upper() + message[1:] + ".", field=error.field
        ) from error


def check_agreement(named: str, found: str) -> None:
    """Refuse a preview under another agreement than the one that was named; where none was, the gateway says which."""
    if named and found != named:
        raise not_what_was_asked(f"is under {found or 'no agreement'}, not under {named}")


def _check_plan(preview: Preview, dataset: str, epsilon: float, delta: float | None) -> None:
    """A gateway plans; whoever pays checks that it is what they asked for, at the price they named."""
    plan = preview.plan
    if plan.dataset != dataset:
        raise not_what_was_asked(f"names the dataset {plan.dataset!r}, not {dataset!r}")
    if plan.epsilon != epsilon:
        raise not_what_was_asked(f"costs ε = {plan.epsilon:g}, not {epsilon:g}")
    if delta is not None and plan.delta != delta:
        raise not_what_was_asked(f"has δ = {plan.delta:g}, not {delta:g}")
    plans = (plan,) if preview.outlook is None else (plan, preview.outlook)
    for each in plans[1:]:
        if (each.dataset, each.epsilon, each.delta) != (plan.dataset, plan.epsilon, plan.delta):
            raise not_what_was_asked("has a second stage that is another question")
        if stages.is_first_stage(each):
            raise not_what_was_asked("has no second stage")
    check_price(epsilon, plan.delta, *plans)
    for each in plans:
        try:
            check_readable(each)
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error


def check_price(epsilon: float, delta: float, *plans: Plan) -> None:
    """Refuse plans that together cost more than was offered."""
    try:
        implied = stages.implied_epsilon(delta, *plans)
    except ValueError as error:
        raise not_what_was_asked(f"has δ = {delta}") from error
    if not zcdp.covers(epsilon, implied):
        raise not_what_was_asked(f"charges ε = {implied:g}, not {epsilon:g}")


def not_what_was_asked(what: str) -> Problem:
    """The problem with a plan that the gateway made of something else; `what` goes on after "the plan"."""
    return Problem(
        Kind.BAD_EVIDENCE,
        "plan_differs",
        f"The plan that the gateway sent {what}. Nothing was asked.",
        hint="Tell the zone's operator.",
    )
