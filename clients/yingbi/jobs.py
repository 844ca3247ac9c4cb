"""Jobs and the answers that they end in."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from yingbi import answer as tables
from yingbi import stages
from yingbi.answer import CONFIDENCE, Table
from yingbi.api import credentials, digests, zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.budget import Budget
from yingbi.display import answer_rows, plain_table
from yingbi.extras import pandas_extra
from yingbi.program_source import program_text
from yingbi.receipt import Receipt
from yingbi.transport import Gateway

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[["Job"], None]

FINAL = frozenset({"succeeded", "failed", "refused", "cancelled"})
_KIND_OF_END = {"failed": Kind.FAILED, "cancelled": Kind.FAILED, "refused": Kind.REFUSED}
_RECONNECTS = 5
_RECONNECT_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A job as it was when it was last heard of."""

    message: job_pb2.Job = field(repr=False)
    gateway: Gateway = field(repr=False, compare=False)
    first_stage: Job | None = field(default=None, repr=False, compare=False)
    """The job that selected this one's group keys or clipping bound, where there is one."""

    def __repr__(self) -> str:
        return f"Job({self.id!r}, state={self.state!r})"

    @property
    def id(self) -> str:
        return self.message.job

    @property
    def state(self) -> str:
        """previewed, waiting for approval, queued, running, succeeded, failed, refused or cancelled."""
        return job_pb2.JobState.Name(self.message.state).removeprefix("JOB_STATE_").replace("_", " ").lower()

    @property
    def progress(self) -> str:
        """What is happening, in words; empty when there is nothing to add to the state."""
        return self.message.progress

    @property
    def words(self) -> str:
        """State and progress in one line; where the question has two stages, which of them this is."""
        state = self.state.replace("_", " ")
        more = f" – {self.progress}" if self.progress and self.progress != state else ""
        whose = f" of the {' and the '.join(self.waits_for)}" if self.waits_for else ""
        return f"{self._stage}{state}{whose}{more}"

    @property
    def waits_for(self) -> list[str]:
        """Of a job that waits: the kinds of organisations whose approval it lacks, as "provider"."""
        return [needed.kind for needed in self.message.needed if not needed.person]

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def created(self) -> datetime.datetime | None:
        if not self.message.HasField("created"):
            return None
        return self.message.created.ToDatetime(tzinfo=datetime.UTC)

    def refresh(self) -> Job:
        """The job as it is now."""
        return replace(self, message=self.gateway.get_job(self.id))

    def wait(self, progress: Progress | bool | None = None) -> Job:
        """Follow the job to its end.

        Args:
            progress: called with the job at each change; True prints lines to standard error, None does so
                when that is a terminal.
        """
        report = _reporter(progress)
        report(self)
        job, failures = self, 0
        while not job.is_final:
            try:
                for message in self.gateway.watch_job(job.id, job.message.sequence):
                    failures = 0
                    job = replace(self, message=message)
                    report(job)
                    if job.is_final:
                        return job
            except Problem as problem:
                if problem.kind is not Kind.UNAVAILABLE or failures == _RECONNECTS:
                    raise
            failures += 1
            if failures > _RECONNECTS:
                return job.refresh()._must_be_final()
            time.sleep(_RECONNECT_SECONDS * failures)
        return job

    def answer(self) -> Answer:
        """The answer of a job that succeeded.

        Raises:
            Problem: the job ended otherwise, or has not ended, or is a first stage.
        """
        end = self.end()
        if end is not None:
            raise end
        if stages.is_first_stage(self.receipt.dossier.plan):
            raise self._without_answer()
        if self.receipt.dossier.plan.fit.HasField("round"):
            raise self._only_a_round()
        if self.receipt.dossier.plan.HasField("fit"):
            from yingbi.learning import Model

            return Model(self)
        if self.receipt.dossier.plan.HasField("synthesis"):
            from yingbi.synthesis import MeasuredMarginals

            return MeasuredMarginals(self)
        if self.receipt.dossier.plan.HasField("evaluation"):
            from yingbi.evaluation import ModelQuality

            return ModelQuality(self)
        return Answer(self._with_first_stage())

    @cached_property
    def receipt(self) -> Receipt:
        """The evidence for the release of a job that succeeded. Believe it after `verify`.

        Raises:
            Problem: the gateway withholds it, or BAD_EVIDENCE "receipt_plan".
        """
        if self.state == "succeeded" and (withheld := self.end()) is not None:
            raise withheld
        receipt = Receipt(self.message.receipt, self.gateway.profile.trust)
        if receipt.dossier.body.plan != self.message.plan:
            raise Problem(
                Kind.BAD_EVIDENCE,
                "receipt_plan",
                "The receipt of this job is for another plan.",
                hint="Do not rely on this answer; tell the zone's operator.",
            )
        return receipt

    def end(self) -> Problem | None:
        """Why there is no answer; None when there is one."""
        about = {"job": self.id, "state": self.state}
        failure = self.message.failure
        if self.state == "succeeded" and self.message.HasField("failure"):
            # It is withheld: its agreement is suspended or terminated.
            return Problem(Kind.REFUSED, failure.code, failure.message, hint=failure.hint or None, details=about)
        if self.state == "succeeded":
            return None
        if self.state not in _KIND_OF_END:
            return Problem(
                Kind.UNAVAILABLE,
                "not_finished",
                f"Job {self.id} is {self.state.replace('_', ' ')}.",
                hint=f"yingbi result {self.id}",
                details=about,
            )
        return Problem(
            _KIND_OF_END[self.state],
            failure.code or self.state,
            failure.message or f"Job {self.id} {'failed' if self.state == 'failed' else f'was {self.state}'}.",
            hint=failure.hint or None,
            details=about,
        )

    def cancel(self) -> Job:
        """Stop the job; budget that was spent stays spent."""
        return Job(self.gateway.cancel_job(self.id), self.gateway)

    @property
    def source(self) -> str | None:
        """Of a program: its code, where its developer shows it; it is the one that the plan names.

        None too for a job of a list: `Zone.job` has it.

        Raises:
            Problem: BAD_EVIDENCE "other_source", where the gateway shows another.
        """
        sha256 = Plan.FromString(self.message.plan).program.sha256
        return program_text(self.id, self.message.source, sha256)

    def approve(self) -> Job:
        """Let the job run, as its provider or supervisor: signs the hash and the price of the plan that it shows."""
        token = self.gateway.profile.token
        key = credentials.signing_key(token)
        plan = Plan.FromString(self.message.plan)
        body = job_pb2.Approval(
            job=self.id,
            plan_hash=digests.digest(digests.PLAN, self.message.plan),
            operator_key=key.public_key().public_bytes_raw(),
            rho_units=stages.rho_units(plan),
            delta=plan.delta,
        ).SerializeToString(deterministic=True)
        approval = job_pb2.SignedApproval(body=body, signature=digests.sign(key, digests.APPROVAL, body))
        return Job(self.gateway.approve_job(approval), self.gateway)

    def approve_rounds(self, hours: float = 2.0) -> Job:
        """Let a first round run, and the rounds of that training that follow: see `yingbi.standing.approve_rounds`."""
        from yingbi.standing import approve_rounds

        return approve_rounds(self, hours)

    def refuse(self, reason: str, clause: str = "") -> Job:
        """Refuse the job, by a clause of its agreement or by a rule; the developer reads the reason."""
        return Job(self.gateway.refuse_job(self.id, reason, clause), self.gateway)

    def to_json(self) -> dict[str, object]:
        message, failure = self.message, self.message.failure
        return {
            "job": self.id,
            "state": self.state,
            "dataset": message.dataset,
            "sql": message.sql,
            "created": self.created.isoformat() if self.created else None,
            "request_id": message.request_id,
            "developer": message.developer or None,
            **({"agreement": message.agreement} if message.agreement else {}),
            **({"waits_for": self.waits_for} if self.waits_for else {}),
            "progress": message.progress or None,
            "replayed": message.replayed,
            "failure": {"code": failure.code, "message": failure.message, "hint": failure.hint or None}
            if message.HasField("failure")
            else None,
        }

    @property
    def _stage(self) -> str:
        if self.first_stage is not None:
            return "second of two stages: "
        plan = Plan.FromString(self.message.plan)
        if plan.fit.HasField("round"):
            return f"round {plan.fit.round.number + 1} of {plan.fit.round.rounds}: "
        return "first of two stages: " if stages.is_first_stage(plan) else ""

    def _with_first_stage(self) -> Job:
        """With the job that selected its keys or bound, also where another process asked: by its request id.

        Only a first stage whose receipt verifies and from which this plan follows is believed to be one.
        """
        if self.first_stage is not None or not stages.may_be_second_stage(self.receipt.dossier.plan):
            return self
        message = self._found(self.message.request_id + stages.REQUEST_SUFFIX)
        first = None if message is None else Job(message, self.gateway)
        return replace(self, first_stage=first) if first is not None and first._leads_to(self) else self

    def _leads_to(self, second: Job) -> bool:
        if self.state != "succeeded" or not stages.is_first_stage(self.receipt.dossier.plan):
            return False
        self.receipt.verify()
        dossier = self.receipt.dossier
        try:
            contributions = [part.body for part in dossier.contributions]
            stages.check_follows(second.receipt.dossier.plan, dossier.plan, contributions)
        except Problem:
            return False
        return True

    def _without_answer(self) -> Problem:
        question = self.message.request_id.removesuffix(stages.REQUEST_SUFFIX)
        second = self._found(question)
        hint = f"ask the same question again with --request-id {question}"
        return Problem(
            Kind.REFUSED,
            "first_stage",
            f"Job {self.id} was the first stage of a question: it selected keys or a bound and has no answer.",
            hint=hint if second is None else f"yingbi result {second.job}",
            details={"job": self.id, **({"second_stage": second.job} if second is not None else {})},
        )

    def _only_a_round(self) -> Problem:
        own = self.receipt.dossier.plan.fit.round
        request_id = self.message.request_id.rpartition("/round-")[0]
        return Problem(
            Kind.REFUSED,
            "training_round",
            f"Job {self.id} is round {own.number + 1} of {own.rounds} of a model's training and has no answer alone.",
            hint=f"train again with --request-id {request_id}: rounds that are done cost nothing",
            details={"job": self.id, "request_id": request_id},
        )

    def _found(self, request_id: str) -> job_pb2.Job | None:
        """The job that the same developer asked for under another request id."""
        wanted = (self.message.developer, request_id)
        return next((job for job in self.gateway.list_jobs() if (job.developer, job.request_id) == wanted), None)

    def _must_be_final(self) -> Job:
        if self.is_final:
            return self
        raise Problem(
            Kind.UNAVAILABLE,
            "not_finished",
            f"The gateway stopped reporting on job {self.id}.",
            hint=f"yingbi result {self.id}",
            details={"job": self.id, "state": self.state},
        )


@dataclass(frozen=True)
class Answer:
    """The answer to a query, every number of it recomputed from the receipt's opened integers."""

    job: Job

    @property
    def plan(self) -> Plan:
        return self.receipt.dossier.plan

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.table.columns)

    @property
    def notes(self) -> tuple[str, ...]:
        """What clipping may distort, in words."""
        return tuple(self.job.message.notes)

    @property
    def words(self) -> list[str]:
        """What is to be said beside the table, in sentences; of a model, how good it is."""
        return []

    @property
    def replayed(self) -> bool:
        """Whether this is the stored release of an earlier job, at no cost."""
        return self.job.message.replayed

    @property
    def budget(self) -> Budget:
        return Budget.of(self.job.message.budget)

    @property
    def receipt(self) -> Receipt:
        return self.job.receipt

    @property
    def stages(self) -> tuple[Job, ...]:
        """The jobs that this answer needed before its own."""
        return () if self.job.first_stage is None else (self.job.first_stage,)

    @property
    def rho_units(self) -> int:
        """What was charged, for all stages."""
        return sum(job.receipt.dossier.body.rho_units for job in (*self.stages, self.job))

    @property
    def is_of_batch(self) -> bool:
        """Whether the job is one of a batch's, whose epsilon is not its own."""
        return bool(self.job.message.batch)

    @property
    def price(self) -> str:
        """What was paid, in words."""
        if self.replayed:
            return "replayed: no cost"
        body = self.receipt.dossier.body
        if not self.is_of_batch:
            return f"cost: ε {body.epsilon:g}, δ {body.delta:g}"
        part = f"this plan's part: ρ = {self.rho_units / zcdp.RHO_UNITS:.3g}"
        return f"cost: ε {body.epsilon:g}, δ {body.delta:g} for the whole batch; {part}"

    @cached_property
    def table(self) -> Table:
        return self.receipt.table()

    def to_json(self) -> dict[str, object]:
        table, plan, body = self.table, self.plan, self.receipt.dossier.body
        return {
            "job": self.job.id,
            "state": self.job.state,
            "dataset": plan.dataset,
            "version": plan.dataset_version.hex(),
            "columns": [{"name": column.name, "kind": column.kind} for column in table.columns],
            "rows": [[tables.to_json(cell) for cell in row] for row in table.rows],
            "std_errors": [list(row) for row in table.std_errors],
            "intervals": [[list(cell) if cell else None for cell in row] for row in table.intervals],
            "notes": list(self.notes),
            "confidence": CONFIDENCE,
            "epsilon": body.epsilon,
            "delta": body.delta,
            "rho": self.rho_units / zcdp.RHO_UNITS,
            "budget": self.budget.to_json(),
            "replayed": self.replayed,
            "receipt": self.receipt.to_json(),
            **({"stages": [_stage_json(job) for job in self.stages]} if self.stages else {}),
        }

    def to_records(self) -> tuple[list[str], list[list[tables.Cell]]]:
        """Header and rows with a `<name> ±` column, one standard error, after each that is no key or rank."""
        table = self.table
        measured = [column.is_estimate for column in table.columns]
        header = [
            name
            for column, is_measured in zip(table.columns, measured, strict=True)
            for name in ((column.name, f"{column.name} ±") if is_measured else (column.name,))
        ]
        rows = [
            [
                cell
                for value, error, is_measured in zip(values, errors, measured, strict=True)
                for cell in ((value, error) if is_measured else (value,))
            ]
            for values, errors in zip(table.rows, table.std_errors, strict=True)
        ]
        return header, rows

    def to_pandas(self) -> pd.DataFrame:
        """A frame with a `<name> ±` column, one standard error, after each that is no key or rank."""
        pandas = pandas_extra()
        header, rows = self.to_records()
        exact = {column.name for column in self.table.columns if not column.is_estimate}
        series = [
            pandas.Series([row[index] for row in rows], dtype=None if name in exact else "float64")
            for index, name in enumerate(header)
        ]
        frame: pd.DataFrame = pandas.concat(series, axis="columns")
        frame.columns = pandas.Index(header)
        return frame

    def save_csv(self, path: str | Path) -> None:
        """Write the same columns as `to_pandas`; NULL is an empty field."""
        import csv

        header, rows = self.to_records()
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([tables.to_json(cell) for cell in row] for row in rows)

    def __repr__(self) -> str:
        table = plain_table(
            self.columns, answer_rows(self.table), [column.kind != "key" for column in self.table.columns]
        )
        return f"{table}\n± is one standard error · {self.price} · {self.budget}"


def _stage_json(job: Job) -> dict[str, object]:
    rho = job.receipt.dossier.body.rho_units / zcdp.RHO_UNITS
    return {"job": job.id, "rho": rho, "receipt": job.receipt.to_json()}


def print_progress(job: Job) -> None:
    """One line of what is happening, to standard error."""
    print(f"{job.id}: {job.words}", file=sys.stderr)


def _reporter(progress: Progress | bool | None) -> Progress:
    if callable(progress):
        return progress
    wanted = sys.stderr.isatty() if progress is None else progress
    return print_progress if wanted else lambda _: None
