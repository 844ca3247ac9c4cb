"""Training a model in rounds: `models.round_specs` says what to ask for, `rounds_model` what comes back.

Every round is a question of its own: a plan, a job, a charge and a receipt. What it released decides the next one
(`yingbi.rounds`), here and by whoever checks the receipts. So nothing is lost with a connection, or a node: the rounds
that were charged stay charged, and asking again what they asked, on the same data, gives the same release at no cost.
"""

from __future__ import annotations

import random
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.training import SET_UP_ROUNDS, rho_units_of_round, step_rounds
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan, TrainingRound
from yingbi.cells import PlanError
from yingbi.display import cell_text
from yingbi.generalized_linear import State
from yingbi.jobs import Job, Progress
from yingbi.linear_model import Columns
from yingbi.mock_rows import UnitRows, mock_units, rows_of
from yingbi.models.in_rounds import AnyState, FittedInRounds, RoundKind, round_kind, rule_of, score_of
from yingbi.models.mock_rounds import mock_release
from yingbi.models.round_specs import LogisticRegression, ModelInRounds
from yingbi.models.scores import WithScore
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.rounds import Released, Rule, check_alike
from yingbi.rounds_model import RoundsModel

MOCK_ROWS = 1000
_ATTEMPTS = 5
"""How many failed jobs of one round are left behind under one request id."""


class RoundsPreview(Preview):
    """What all rounds would cost, and how exact the model would be. Nothing was computed on data."""

    @property
    def rounds(self) -> int:
        return self.plan.fit.round.rounds

    @property
    def rho_units(self) -> int:
        """Of all rounds, at most."""
        return sum(self._rho_units_of(number) for number in range(self.rounds))

    @property
    def excess(self) -> str:
        return self.budget.excess_words(self.rho_units, self.rounds)

    @property
    def notes(self) -> tuple[str, ...]:
        share = self._rho_units_of(SET_UP_ROUNDS) / self.rho_units
        what = round_kind(self.plan.fit.model).phases
        own = self.plan.fit.round
        score = f", and {self._rho_units_of(self.rounds - 1) / self.rho_units:.1%} to measure how well it fits"
        said = (
            f"The price is that of all {self.rounds} rounds: {what[0]}, and {step_rounds(own) - SET_UP_ROUNDS} "
            f"{what[1]}, {share:.1%} of it each{score if own.scored else ''}. The budget has to hold all of it."
        )
        return (*super().notes, said)

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {
            "rounds": self.rounds,
            "rho_of_rounds": [self._rho_units_of(number) / zcdp.RHO_UNITS for number in range(self.rounds)],
        }

    def _rho_units_of(self, number: int) -> int:
        bought, own = zcdp.bought(self.plan.epsilon, self.plan.delta)[0], self.plan.fit.round
        return rho_units_of_round(bought, number, own.rounds, scored=own.scored)


@dataclass(frozen=True)
class TrainingInRounds(Query):
    """A model to train in rounds on one dataset, not asked yet. `sql` is empty."""

    spec: ModelInRounds = field(default_factory=lambda: LogisticRegression(""))
    declaration: DatasetDeclaration | None = field(default=None, repr=False, compare=False)

    def preview(self, epsilon: float, delta: float | None = None) -> RoundsPreview:
        """What all rounds would cost, and the noise of coefficients. Costs nothing and touches no data."""
        return RoundsPreview(
            self._preview(self._asked(self._rule.first(self.spec.training.rounds), epsilon, delta)).message
        )

    def run(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
        say: Callable[[str], None] | None = None,
    ) -> RoundsModel:
        """Ask round after round, and come back with the model.

        Args:
            epsilon: the price, of the dataset's budget, for all rounds together.
            delta: by default the dataset's.
            request_id: asking again with the same one goes on where the rounds ended.
            wait: there is no model before the last round, so this is to be True.
            progress: see `Job.wait`.
            say: told a line after each round; by default standard error is, where `progress` says so.

        Raises:
            Problem: as of `Query.run`; after the first round with what was charged.

        Where jobs are approved, the first round waits, and `progress` says for whom. Who approves it with the rounds
        that follow (`yingbi approve JOB --rounds`) is asked once; else each round waits.
        """
        if not wait:
            raise _unwaited()
        told = told_by(progress) if say is None else say
        course = _Course(self, epsilon, delta, uuid.uuid4().hex if request_id is None else request_id)
        own: TrainingRound | None = self._rule.first(self.spec.training.rounds)
        while own is not None:
            state = course.ask(own, progress)
            told(self._kind.said(state))
            own = self._stopped(state) if self.spec.early_stop and _is_lost(state) else self._rule.next(state)
        return RoundsModel(course.jobs[-1], tuple(course.jobs))

    def submit(
        self,
        epsilon: float,
        delta: float | None = None,
        *,
        request_id: str | None = None,
        wait: bool = True,
        progress: Progress | bool | None = None,
    ) -> Job:
        """Not of a model in rounds: what is asked next depends on what was released."""
        raise _unwaited()

    def mock(
        self, epsilon: float, *, rows: int = MOCK_ROWS, seed: int | None = None, frame: Columns | None = None
    ) -> FittedInRounds:
        """The same model of made-up rows, with noise as large as the real one would have: nothing of the zone's data.

        Args: as of `Training.mock`. Raises Problem as that.
        """
        # No privacy rests on it.
        draw = random.Random(seed)  # noqa: S311
        own: TrainingRound | None = self._rule.first(self.spec.training.rounds)
        state: AnyState | None = None
        units: Sequence[UnitRows] | None = None
        while own is not None:
            plan = self._preview(self._asked(own, epsilon, None)).plan
            units = self._mock_rows(plan, rows, seed, frame) if units is None else units
            state = self._rule.after(state, mock_release(plan, units, draw))
            own = self._rule.next(state)
        assert state is not None
        return self._kind.model(state)

    @property
    def _kind(self) -> RoundKind:
        return round_kind(self.spec.model)

    @property
    def _rule(self) -> Rule[Any]:
        return rule_of(self.spec.training, self.spec.model)

    def _stopped(self, state: AnyState) -> TrainingRound | None:
        """What is asked where no more steps are: how well the model fits, if that is to be known and is not yet."""
        rule = self._rule
        return rule.last(state) if isinstance(rule, WithScore) and score_of(state) is None else None

    def _asked(self, own: TrainingRound, epsilon: float, delta: float | None) -> job_pb2.Query:
        message = self._message(epsilon, delta)
        message.train.CopyFrom(self.spec.message(own))
        return message

    def _preview(self, question: job_pb2.Query, first: Job | None = None) -> Preview:
        preview = super()._preview(question, first)
        _check_round(preview, question.train)
        return preview

    def _mock_rows(self, plan: Plan, rows: int, seed: int | None, frame: Columns | None) -> Sequence[UnitRows]:
        if frame is not None:
            return rows_of(frame)
        assert self.declaration is not None
        in_sql = bool(self.spec.rows or self.spec.where)
        return mock_units(self.declaration, plan.fit, rows, seed, in_sql=in_sql)


class _Course:
    """One training as it goes on."""

    def __init__(self, training: TrainingInRounds, epsilon: float, delta: float | None, request_id: str) -> None:
        self._training, self._epsilon, self._delta, self._request_id = training, epsilon, delta, request_id
        self._state: AnyState | None = None
        self.jobs: list[Job] = []

    def ask(self, own: TrainingRound, progress: Progress | bool | None) -> AnyState:
        """The state after one more round; raises Problem."""
        try:
            job = self._finished(own, progress)
            plan = job.receipt.dossier.plan
            released = Released.of(plan, job.receipt.dossier.body.opened)
            self._state = self._training._rule.after(self._state, released)
        except PlanError as error:
            raise not_what_was_asked(f"cannot be read: {error}") from error
        except Problem as problem:
            if not self.jobs:
                raise
            raise self._broken(problem) from problem
        self.jobs.append(job)
        if not self._state.is_told:
            units = cell_text(self._state.units, self._state.units_error)
            raise self._broken(
                Problem(Kind.REFUSED, "too_few_units", f"There are {units} units: too few beside the noise.")
            )
        return self._state

    def _finished(self, own: TrainingRound, progress: Progress | bool | None) -> Job:
        """The round's job, succeeded and verified."""
        question = self._training._asked(own, self._epsilon, self._delta)
        preview = self._training._preview(question)
        if self.jobs:
            # All rounds are asked under one agreement, and about the same rows.
            question.agreement = self.jobs[0].message.agreement
            self._check_unchanged(preview)
        name = f"{self._request_id}/round-{own.number}"
        for attempt in range(_ATTEMPTS):
            job = self._training._sign_and_submit(preview, question, f"{name}/{attempt + 1}" if attempt else name)
            # What an earlier request with this id failed in is tried anew.
            if job.state not in ("failed", "cancelled"):
                break
        job = job.wait(progress)
        end = job.end()
        if end is not None:
            raise end
        if job.message.plan != preview.message.plan:
            raise _changed(self._request_id)
        job.receipt.verify()
        return job

    def _check_unchanged(self, preview: Preview) -> None:
        try:
            check_alike(self.jobs[0].receipt.dossier.plan, preview.plan, len(self.jobs))
        except PlanError as error:
            raise _changed(self._request_id) from error

    def _broken(self, problem: Problem) -> Problem:
        done, rounds = len(self.jobs), self._training.spec.training.rounds
        again = f"rounds that are done cost nothing when they are asked again with --request-id {self._request_id}"
        return Problem(
            problem.kind,
            problem.code,
            f"{problem.message} {done} of {rounds} rounds are done and charged; the others are not.",
            hint=f"{problem.hint}; {again}" if problem.hint else again,
            details={**(problem.details or {}), "rounds": str(done), "request_id": self._request_id},
        )


def _check_round(preview: Preview, asked: job_pb2.TrainQuery) -> None:
    """The plan is this round of this model, and names no variable that the formula does not."""
    fit = preview.plan.fit
    if (fit.model, fit.formula) != (asked.model, asked.formula):
        raise not_what_was_asked("trains another model")
    if not fit.HasField("round") or fit.round != asked.round:
        raise not_what_was_asked("is another round")
    if (fit.alpha, fit.class_weights) != (asked.alpha, asked.class_weights):
        raise not_what_was_asked("has another alpha, or other class weights")
    if fit.components != asked.components:
        raise not_what_was_asked("has another number of clusters")
    if any(factor.variable not in asked.formula for column in fit.columns for factor in column.factors):
        raise not_what_was_asked("is about another variable than the formula's")


def _is_lost(state: AnyState) -> bool:
    """Whether the last gradient is no longer than its noise; not while steps are whole."""
    return (
        isinstance(state, State)
        and state.gradients > 3
        and state.score is None
        and state.gradient <= state.noise_length
    )


def told_by(progress: Progress | bool | None) -> Callable[[str], None]:
    """What lines about rounds are told to: standard error, where `progress` says so."""
    wanted = sys.stderr.isatty() if progress is None else bool(progress)
    return (lambda line: print(line, file=sys.stderr)) if wanted else (lambda _: None)


def _unwaited() -> Problem:
    return Problem(
        Kind.MALFORMED,
        "usage",
        "A model in rounds has to be waited for: what is asked next depends on what was released.",
        field="no-wait",
        hint="leave --no-wait out; interrupted, it goes on when it is asked again with the same request id",
    )


def _changed(request_id: str) -> Problem:
    return Problem(
        Kind.CONFLICT,
        "rounds_differ",
        f"The dataset or the question changed since the first round under the request id {request_id}.",
        hint="train anew with a fresh request id; what the rounds cost is spent",
    )
