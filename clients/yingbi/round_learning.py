"""Models that are trained in rounds: what to ask for, asking round after round, and what comes back.

Every round is a question of its own: a plan, a job, a charge and a receipt. What it released decides the next one
(`yingbi.rounds`), here and by whoever checks the receipts. So nothing is lost with a connection, or a node: the rounds
that were charged stay charged, and asking again what they asked, on the same data, gives the same release at no cost.
"""

from __future__ import annotations

import math
import random
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yingbi.answer import Table
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.training import MAX_ROUNDS, MIN_ROUNDS, SET_UP_ROUNDS, rho_units_of_round, step_rounds
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound
from yingbi.cells import Layout, PlanError
from yingbi.display import cell_text
from yingbi.generalized_linear import State
from yingbi.jobs import Answer, Job, Progress
from yingbi.linear_model import Columns
from yingbi.mock import mock_tables
from yingbi.mock_rows import UnitRows, joined, no_mock, rows_of
from yingbi.models.balance import ClassWeight, class_weights_message
from yingbi.models.in_rounds import (
    AnyState,
    FittedInRounds,
    RoundKind,
    objectives_of,
    round_kind,
    rule_of,
    score_of,
)
from yingbi.models.kinds import able
from yingbi.models.scores import Score, WithScore
from yingbi.query import Preview, Query, not_what_was_asked
from yingbi.rounds import Released, Rule, check_alike
from yingbi.training_receipt import TrainingReceipt

if TYPE_CHECKING:
    from yingbi.deployments import Deployment

DEFAULT_ROUNDS = 12
MOCK_ROWS = 1000
_ATTEMPTS = 5
"""How many failed jobs of one round are left behind under one request id."""


@dataclass(frozen=True)
class ModelInRounds:
    """What is common to models that are trained in rounds."""

    formula: str
    rows: str = ""
    where: str = ""
    rounds: int = DEFAULT_ROUNDS
    early_stop: bool = False
    score: bool = field(default=False, kw_only=True)
    """Measure in one more round, for 5 % of the price, how well the model fits the rows it was trained on."""

    def __post_init__(self) -> None:
        if self.score and self.rounds == MAX_ROUNDS:
            message = f"With a score there are {MAX_ROUNDS - 1} rounds at most before it."
            raise Problem(Kind.MALFORMED, "rounds", message, field="rounds", hint=f"{type(self).rounds} by default")
        if not MIN_ROUNDS <= self.rounds <= MAX_ROUNDS:
            message = f"A model is trained in {MIN_ROUNDS} to {MAX_ROUNDS} rounds, not {self.rounds}."
            raise Problem(Kind.MALFORMED, "rounds", message, field="rounds", hint=f"{type(self).rounds} by default")

    @property
    def model(self) -> Fit.Model.ValueType:
        """As plans name it."""
        raise NotImplementedError

    @property
    def training(self) -> TrainingRound:
        """What is said of every round: how many there are, and that steps tell how well the model fits."""
        return TrainingRound(rounds=self.rounds + self.score, scored=self.score, objective=True)

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        """What is asked in one round."""
        return job_pb2.TrainQuery(model=self.model, formula=self.formula, rows=self.rows, where=self.where, round=own)


@dataclass(frozen=True)
class LogisticRegression(ModelInRounds):
    """The odds of a class: `response ~ regressors`, as docs/learning.md says.

    Args:
        formula: "died ~ age + male"; the response a bool, a number with two values, or a category with declared ones.
            Of more than two values, the odds of each but the first against the first.
        rows, where: as of `LinearRegression`.
        rounds: how many jobs; each but the first two takes a step.
        early_stop: ask no further round where a gradient is no longer than its noise. Rounds that are not asked are
            not charged; asked, they would make the noise of the model less.
        alpha: of half the sum of squared coefficients but the constant, beside the sum of all persons' losses:
            scikit-learn's 1 / C. It costs nothing.
        class_weight: {"yes": 5} has rows of this class count five times; "balanced" every class as much.
        score: measure in a last round how well the model fits.
    """

    alpha: float = field(default=0.0, kw_only=True)
    class_weight: ClassWeight = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)
        class_weights_message(self.class_weight)

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_LOGISTIC_REGRESSION

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        return weighed(penalised(super().message(own), self.alpha), self.class_weight)


@dataclass(frozen=True)
class PoissonRegression(ModelInRounds):
    """The logarithm of a mean count: `response ~ regressors`; the response a number from 0 with a declared bound.

    Args: as of `LogisticRegression`; but `alpha` is beside the mean of all persons' losses, as scikit-learn's
        PoissonRegressor has it.
    """

    alpha: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alpha(self.alpha)

    @property
    def model(self) -> Fit.Model.ValueType:
        return Fit.MODEL_POISSON_REGRESSION

    def message(self, own: TrainingRound) -> job_pb2.TrainQuery:
        return penalised(super().message(own), self.alpha)


def check_alpha(alpha: float) -> None:
    """Refuse (MALFORMED "alpha") a penalty that is no number from 0."""
    if not 0 <= alpha < math.inf:
        message = f"alpha is a number from 0, not {alpha:g}."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out for no penalty")


def penalised(message: job_pb2.TrainQuery, alpha: float) -> job_pb2.TrainQuery:
    """The same with a penalty."""
    if alpha:
        message.alpha = alpha
    return message


def weighed(message: job_pb2.TrainQuery, given: ClassWeight) -> job_pb2.TrainQuery:
    """The same with weights of classes."""
    weights = class_weights_message(given)
    if weights is not None:
        message.class_weights.CopyFrom(weights)
    return message


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
            state = self._rule.after(state, _mock_release(plan, units, draw))
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
        if self.spec.rows or self.spec.where:
            raise no_mock("rows and where are SQL")
        variables = dict.fromkeys(factor.variable for each in plan.fit.columns for factor in each.factors)
        return joined(mock_tables(self.declaration, rows, seed), list(variables), self.declaration.privacy_unit)


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


@dataclass(frozen=True)
class RoundsModel(Answer):
    """A model that was trained in rounds. Its table has the coefficients, recomputed from all rounds' receipts.

    ± is the standard error of noise and sampling together. `job` is the last round's.
    """

    jobs: tuple[Job, ...] = ()

    @property
    def receipt(self) -> TrainingReceipt:
        """Of all rounds."""
        return self._receipt

    @cached_property
    def _receipt(self) -> TrainingReceipt:
        return TrainingReceipt.of([job.receipt.message for job in self.jobs], self.job.gateway.profile.trust)

    @cached_property
    def fitted(self) -> FittedInRounds:
        """The model by itself."""
        return self.receipt.model

    @property
    def score(self) -> Score | None:
        """How well it fits the rows it was trained on, where `score=True` had that measured."""
        return score_of(self.fitted.state)

    def deploy(self, name: str, **terms: Any) -> Deployment:
        """Keep the model in the zone, for others to use and not to see; see `yingbi.deployments.deploy`."""
        from yingbi.deployments import deploy

        return deploy(self.job.gateway, self.receipt, name, **terms)

    @cached_property
    def table(self) -> Table:
        return self.receipt.table()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        return self.fitted.fingerprint

    @property
    def replayed(self) -> bool:
        """Whether every round is the stored release of an earlier job, at no cost."""
        return all(job.message.replayed for job in self.jobs)

    @property
    def rho_units(self) -> int:
        """What all rounds cost, those among them that were asked before at the time."""
        return self.receipt.rho_units

    @property
    def price(self) -> str:
        if self.replayed:
            return "replayed: no cost"
        body, done = self.receipt.dossier.body, f"{len(self.jobs)} of {self.plan.fit.round.rounds} rounds"
        again = sum(job.message.replayed for job in self.jobs)
        free = f", {again} of them replayed at no cost" if again else ""
        return f"cost: ε {body.epsilon:g}, δ {body.delta:g} at most, in {done}{free}; ρ = {self._rho:.3g}"

    def predict(self, rows: Columns) -> list[Any]:
        """Classes, counts, or the nearest centres, for rows of one's own."""
        return list(able(self.fitted, "predict")(rows))

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The chances of classes; see `GeneralizedModel.predict_proba`."""
        return list(able(self.fitted, "predict_proba")(rows))

    def transform(self, rows: Columns) -> list[list[float]]:
        """Of k-means: the distances of rows of one's own to all centres."""
        return list(able(self.fitted, "transform")(rows))

    def estimator(self) -> Any:
        """A fitted scikit-learn estimator, on columns as `fitted.frame_of` makes them."""
        return self.fitted.estimator()

    def to_onnx(self, path: str | Path) -> None:
        """Write the model as ONNX; see `models.onnx_export.write_onnx`."""
        from yingbi.models.onnx_export import write_onnx

        write_onnx(self.fitted, path)

    @cached_property
    def card(self) -> dict[str, object]:
        """What whoever uses the model should know of it."""
        body, plan = self.receipt.dossier.body, self.plan
        return {
            **self.fitted.to_json(),
            "score": None if self.score is None else self.score.to_json(),
            "objectives": [each.to_json() for each in objectives_of(self.fitted.state)],
            "trained_as": self.job.message.sql,
            "dataset": plan.dataset,
            "dataset_version": plan.dataset_version.hex(),
            "agreement": self.job.message.agreement or None,
            "jobs": [job.id for job in self.jobs],
            "epsilon": body.epsilon,
            "delta": body.delta,
            "rho": self._rho,
            "mechanism": body.mechanism,
            "notes": list(self.notes),
        }

    @property
    def words(self) -> list[str]:
        """How good it is, in some sentences."""
        state = self.fitted.state
        units = f"{cell_text(state.units, state.units_error)} units"
        lines = [f"{units}; {round_kind(state.fit.model).said(state)}"]
        left = state.fit.round.rounds - len(self.jobs)
        if left:
            lines.append(f"stopped early: {left} rounds were not asked, and are not charged")
        return [*lines, f"fingerprint {self.fingerprint}"]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"model": self.card}

    def __repr__(self) -> str:
        return "\n".join([super().__repr__(), *self.words])

    @property
    def _rho(self) -> float:
        return self.rho_units / zcdp.RHO_UNITS


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


def _mock_release(plan: Plan, units: Sequence[UnitRows], draw: random.Random) -> Released:
    """What a round would release of made-up rows."""
    empty = Released.of(plan, [0] * Layout.of(plan).length)
    totals = [_mock_total(each, units) for each in _of_one_vector(plan)]
    deviations = (empty.deviation, empty.score_deviation)
    noised = [
        tuple(each + draw.gauss(0, deviation) for each in total)
        for total, deviation in zip(totals, deviations, strict=False)
    ]
    scores = noised[1] if len(noised) > 1 else ()
    return Released(plan, noised[0], empty.deviation, scores, empty.score_deviation)


def _of_one_vector(plan: Plan) -> list[Plan]:
    """A round's plan; of a step with an objective two: its own vector's, and its score's as the last round has it."""
    found = []
    for place, statistic in enumerate(plan.statistics):
        own = Plan()
        own.CopyFrom(plan)
        del own.statistics[:]
        own.statistics.append(statistic)
        if place:
            own.fit.round.scored, own.fit.round.number = True, own.fit.round.rounds - 1
        found.append(own)
    return found


def _mock_total(plan: Plan, units: Sequence[UnitRows]) -> list[float]:
    """Of a plan with one vector, without noise."""
    kind, vector = round_kind(plan.fit.model), plan.statistics[0].model_vector
    bound = vector.max_norm / 2.0**plan.fraction_bits
    total: list[float] | None = None
    for unit in units:
        rows = [row for row in kind.rows(plan.fit, unit.columns) if all(map(math.isfinite, row))]
        vectors = [kind.row_vector(plan, row) for row in rows]
        if not vectors:
            continue
        mean = [math.fsum(parts) / len(vectors) for parts in zip(*vectors, strict=True)]
        factor = min(1.0, bound / (math.hypot(*mean) or 1.0))
        total = [0.0] * len(mean) if total is None else total
        total = [before + factor * part for before, part in zip(total, mean, strict=True)]
    if total is None:
        raise no_mock("no row has all variables")
    return total
