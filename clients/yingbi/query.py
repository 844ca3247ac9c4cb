"""A question to a dataset: what it would cost, and asking it."""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from functools import cached_property

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.answer import Forecast, PlanError, predicted_errors, to_json
from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.budget import Budget
from yingbi.display import average_sentences, forecast_rows, plain_table
from yingbi.jobs import Answer, Job, Progress
from yingbi.transport import Gateway

AUTHORIZATION_SECONDS = 7 * 24 * 3600
_EPSILON_SLACK = 1e-9


@dataclass(frozen=True)
class Preview:
    """What a question would cost and how exact its answer would be. Nothing was computed on data."""

    message: job_pb2.Preview = field(repr=False)

    @cached_property
    def plan(self) -> Plan:
        try:
            return Plan.FromString(self.message.plan)
        except DecodeError as error:
            raise _not_what_was_asked("is no plan") from error

    @property
    def plan_hash(self) -> bytes:
        """What the developer signs, operators approve and enclaves check."""
        return digests.digest(digests.PLAN, self.message.plan)

    @property
    def rho_units(self) -> int:
        return sum(statistic.rho_units for statistic in self.plan.statistics)

    @cached_property
    def forecast(self) -> Forecast:
        try:
            return predicted_errors(self.plan)
        except PlanError as error:
            raise _not_what_was_asked(f"cannot be read: {error}") from error

    @property
    def notes(self) -> tuple[str, ...]:
        """What clipping may distort, in words."""
        return tuple(self.message.notes)

    @property
    def needs_approval(self) -> bool:
        return self.message.state == job_pb2.JOB_STATE_WAITING_FOR_APPROVAL

    @property
    def budget(self) -> Budget:
        return Budget.of(self.message.budget)

    def to_json(self) -> dict[str, object]:
        plan, forecast = self.plan, self.forecast
        return {
            "dataset": plan.dataset,
            "version": plan.dataset_version.hex(),
            "plan_hash": self.plan_hash.hex(),
            "columns": [{"name": column.name, "kind": column.kind} for column in forecast.columns],
            "groups": [[to_json(cell) for cell in group] for group in forecast.groups],
            "std_errors": [list(row) for row in forecast.std_errors],
            "average_errors": [
                {"column": entry.column, "rows": entry.rows, "std_error": entry.std_error}
                for entry in forecast.average_errors
            ],
            "notes": list(self.notes),
            "epsilon": plan.epsilon,
            "delta": plan.delta,
            "rho": self.rho_units / zcdp.RHO_UNITS,
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
        return "\n".join([table, *average_sentences(self.forecast), price])


@dataclass(frozen=True)
class Query:
    """A question in SQL to one dataset, not asked yet."""

    dataset: str
    sql: str
    gateway: Gateway = field(repr=False, compare=False)

    def preview(self, epsilon: float, delta: float | None = None) -> Preview:
        """Plan the question and predict its errors. Costs nothing and touches no data."""
        _check_parameters(epsilon, delta)
        preview = Preview(self.gateway.preview_query(self._message(epsilon, delta)))
        _check_plan(preview, self.dataset, epsilon, delta)
        return preview

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
            epsilon: the price, of the dataset's budget.
            delta: by default the dataset's.
            request_id: asking again with the same one gives the same job and is charged once.
            wait: if False, raise Problem "not_finished" unless the answer is there at once; `submit`
                gives the job instead.
            progress: see `Job.wait`.
        """
        job = self.submit(epsilon, delta, request_id=request_id)
        return (job.wait(progress) if wait else job).answer()

    def submit(self, epsilon: float, delta: float | None = None, *, request_id: str | None = None) -> Job:
        """Ask, and come back with the job.

        The authorization binds the hash of the very plan that was checked here, so a gateway can run that
        plan or none. Where the dataset changed since the preview, one more round is made.
        """
        request_id = uuid.uuid4().hex if request_id is None else request_id
        preview = self.preview(epsilon, delta)
        try:
            return self._submit(preview, epsilon, delta, request_id)
        except Problem as problem:
            if problem.code != "plan_changed":
                raise
        return self._submit(self.preview(epsilon, delta), epsilon, delta, request_id)

    def _submit(self, preview: Preview, epsilon: float, delta: float | None, request_id: str) -> Job:
        token = self.gateway.profile.token
        key = credentials.signing_key(token)
        authorization = job_pb2.Authorization(
            plan_hash=preview.plan_hash,
            rho_units=preview.rho_units,
            delta=preview.plan.delta,
            request_id=request_id,
            expires=Timestamp(seconds=int(time.time()) + AUTHORIZATION_SECONDS),
            developer_key=key.public_key().public_bytes_raw(),
        )
        body = authorization.SerializeToString(deterministic=True)
        return Job(
            self.gateway.submit_query(
                job_pb2.SubmitQueryRequest(
                    query=self._message(epsilon, delta),
                    authorization=authorization,
                    signature=digests.sign(key, digests.AUTHORIZATION, body),
                )
            ),
            self.gateway,
        )

    def _message(self, epsilon: float, delta: float | None) -> job_pb2.Query:
        return job_pb2.Query(dataset=self.dataset, sql=self.sql, epsilon=epsilon, delta=delta)


def _check_parameters(epsilon: float, delta: float | None) -> None:
    # One that is only too large is understood: the gateway refuses it, and says what the budget is.
    checked = min(float(epsilon), zcdp.MAX_EPSILON) if math.isfinite(epsilon) else float(epsilon)
    try:
        zcdp.check_parameters(checked, 0.5 if delta is None else float(delta))
    except zcdp.BadPrivacyParameter as error:
        message = str(error)
        raise Problem(
            Kind.MALFORMED, error.field, message[:1].upper() + message[1:] + ".", field=error.field
        ) from error


def _check_plan(preview: Preview, dataset: str, epsilon: float, delta: float | None) -> None:
    """A gateway plans; whoever pays checks that it is what they asked for, at the price they named."""
    plan = preview.plan
    if plan.dataset != dataset:
        raise _not_what_was_asked(f"names the dataset {plan.dataset!r}, not {dataset!r}")
    if plan.epsilon != epsilon:
        raise _not_what_was_asked(f"costs ε = {plan.epsilon:g}, not {epsilon:g}")
    if delta is not None and plan.delta != delta:
        raise _not_what_was_asked(f"has δ = {plan.delta:g}, not {delta:g}")
    try:
        implied = zcdp.epsilon_of(preview.rho_units, plan.delta)
    except ValueError as error:
        raise _not_what_was_asked(f"has δ = {plan.delta}") from error
    if not implied <= epsilon * (1 + _EPSILON_SLACK):
        raise _not_what_was_asked(f"charges ε = {implied:g}, not {epsilon:g}")


def _not_what_was_asked(what: str) -> Problem:
    return Problem(
        Kind.BAD_EVIDENCE,
        "plan_differs",
        f"The plan that the gateway sent {what}. Nothing was asked.",
        hint="Tell the zone's operator.",
    )
