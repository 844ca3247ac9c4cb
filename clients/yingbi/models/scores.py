"""How well a model in rounds fits the rows it was trained on, in its last round and before each step. Pure.

**What is measured.** Of classes: how often the most likely one is right, and the mean of -log(chance of the row's
class), which counts as 4 where it is more (with many classes twice the logarithm of their number). Of numbers: the mean
squared error, in which an error beyond three deviations of the response counts as that. Units count once, without
weights.

**Errors.** A cell is a sum c of numbers within 1/2 of 0, with noise s; the number n of units has noise s_n, from round
0. The mean is 1/2 + c / n, and its error sqrt(s² + (c / n)² s_n²) / n: of noise alone. That of sampling is not in it,
since it is of those rows; and on these rows a model is better than on others.

**The objective** of a step is the same of the parameters that it starts from. The step's plan says how many units round
0 found, so that the step's own receipt is enough to tell it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from yingbi.api import zcdp
from yingbi.api.training import (
    is_score_round,
    measures_objective,
    rho_units_of_objective,
    rho_units_of_round,
    step_rounds,
)
from yingbi.api.v1.plan_pb2 import Fit, Plan, TrainingRound
from yingbi.cells import Layout, PlanError
from yingbi.display import cell_text
from yingbi.rounds import Released, Rule

LARGEST_LOSS = 4.0
DEVIATIONS = 3.0
"""Of the response, that an error counts as at most."""


@dataclass(frozen=True)
class Measure:
    """One number, with the error of its noise."""

    name: str
    value: float
    error: float


@dataclass(frozen=True)
class Score:
    """What the last round released, or a step."""

    measures: tuple[Measure, ...]
    """Of classes accuracy and log_loss, of numbers squared_error in the response's units; the last is what counts."""
    limit: float
    """What a row's loss, or a row's error, counts as at most."""

    @property
    def loss(self) -> Measure:
        """What the best model has least of."""
        return self.measures[-1]

    @property
    def words(self) -> str:
        """In one line."""
        told = ", ".join(f"{_name(each)} {cell_text(each.value, each.error)}" for each in self.measures)
        return f"on the rows it was trained on: {told}"

    @property
    def objective_words(self) -> str:
        """The same of a step."""
        *others, loss = self.measures
        told = "".join(f", {_name(each)} {cell_text(each.value, each.error)}" for each in others)
        return f"objective {cell_text(loss.value, loss.error)} ({_name(loss)}){told}"

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {"on": "the rows it was trained on", "limit": self.limit}
        for each in self.measures:
            found |= {each.name: each.value, f"{each.name}_noise_error": each.error}
        return found


class ScoredState(Protocol):
    """What the state of a model has that can be scored."""

    @property
    def fit(self) -> Fit: ...
    @property
    def units(self) -> float: ...
    @property
    def units_error(self) -> float: ...
    @property
    def score(self) -> Score | None: ...
    @property
    def objectives(self) -> tuple[Score, ...]:
        """Of each step."""
        ...

    @property
    def response_spread(self) -> float:
        """The deviation of the response as the model sees it."""
        ...


S = TypeVar("S", bound=ScoredState)


class StepRule(Rule[S], Protocol[S]):
    """The steps of a model that can be scored."""

    def final(self, state: S) -> TrainingRound:
        """What a round says of the model as it is now."""
        ...


class WithObjective(Generic[S]):
    """A `StepRule`: steps, each of which measures how well the parameters fit that it starts from."""

    def __init__(self, steps: StepRule[S]) -> None:
        self._steps = steps

    def first(self, rounds: int) -> TrainingRound:
        return _with_objective(self._steps.first(rounds))

    def after(self, state: S | None, released: Released) -> S:
        after, objective = self._steps.after(state, released), objective_of(released)
        if objective is None:
            return after
        # Every state is a frozen dataclass.
        found: Any = replace(after, objectives=(*after.objectives, objective))  # type: ignore[type-var]
        return found  # type: ignore[no-any-return]

    def next(self, state: S) -> TrainingRound | None:
        found = self._steps.next(state)
        if found is not None and measures_objective(_with_objective(found), state.fit.model):
            found.score_limit = limit_of(state)
            found.units, found.units_error = max(state.units, state.units_error), state.units_error
        return found

    def final(self, state: S) -> TrainingRound:
        return _with_objective(self._steps.final(state))


class WithScore(Generic[S]):
    """A `Rule`: steps, and a last round that measures how well they fit."""

    def __init__(self, steps: StepRule[S]) -> None:
        self._steps = steps

    def first(self, rounds: int) -> TrainingRound:
        return _scored(self._steps.first(rounds))

    def after(self, state: S | None, released: Released) -> S:
        if state is not None and is_score_round(released.plan.fit.round):
            # Every state is a frozen dataclass.
            units = max(state.units, state.units_error), state.units_error
            score = _score(released.plan.fit, released.values, released.deviation, units)
            found: Any = replace(state, score=score)  # type: ignore[type-var]
            return found  # type: ignore[no-any-return]
        return self._steps.after(state, released)

    def next(self, state: S) -> TrainingRound | None:
        if state.score is not None:
            return None
        found = self._steps.next(state)
        return self.last(state) if found is None else _scored(found)

    def last(self, state: S) -> TrainingRound:
        """The round that measures the model as it is now, however many steps were left."""
        found, rounds = _scored(self._steps.final(state)), state.fit.round.rounds
        found.number, found.rounds, found.score_limit = rounds - 1, rounds, limit_of(state)
        return found


def limit_of(state: ScoredState) -> float:
    """What a row's loss counts as at most; or its error, in what the model sees."""
    return largest_loss(state.fit) if state.fit.classes else DEVIATIONS * state.response_spread


def largest_loss(fit: Fit) -> float:
    """What -log(chance) counts as at most."""
    return max(LARGEST_LOSS, 2 * math.log(len(fit.classes)))


def objective_of(released: Released) -> Score | None:
    """What a step says of the parameters that it starts from; None of other rounds.

    Raises:
        PlanError: it is not finite.
    """
    fit = released.plan.fit
    if not measures_objective(fit.round, fit.model):
        return None
    units = fit.round.units, fit.round.units_error
    try:
        return _score(fit, released.score_values, released.score_deviation, units)
    except (OverflowError, ZeroDivisionError) as error:
        raise PlanError("the round gives an objective that is not finite") from error


def score_error(plan: Plan, units: int) -> float:
    """What noise adds to the share of units that the model is right about, or to a loss over its limit, at most.

    Args:
        plan: of the first round, which has the noise of the number of units.
    """
    own = plan.fit.round
    bought = zcdp.bought(plan.epsilon, plan.delta)[0]
    return _error(plan, units, rho_units_of_round(bought, own.rounds - 1, own.rounds, scored=True))


def objective_error(plan: Plan, units: int) -> float:
    """The same of the objective of each step after the first ones."""
    own = plan.fit.round
    bought = zcdp.bought(plan.epsilon, plan.delta)[0]
    whole = rho_units_of_round(bought, step_rounds(own) - 1, own.rounds, scored=own.scored)
    return _error(plan, units, rho_units_of_objective(whole))


def _error(plan: Plan, units: int, rho_units: int) -> float:
    cells = 2 if plan.fit.classes else 1
    shares = math.sqrt(plan.noise.parties / max(plan.noise.parties - plan.noise.curious, 1))
    norm = plan.noise.parties_per_unit * math.sqrt(cells) / 2
    cell = norm * shares / math.sqrt(2 * rho_units / zcdp.RHO_UNITS)
    # Sums are half the number of units at most.
    return math.hypot(cell, Layout.of(plan).deviation(0) / 2) / units


def _scored(own: TrainingRound) -> TrainingRound:
    own.scored = True
    return own


def _with_objective(own: TrainingRound) -> TrainingRound:
    own.objective = True
    return own


def _score(fit: Fit, values: Sequence[float], deviation: float, counted: tuple[float, float]) -> Score:
    """From sums over units: `counted` says how many these are, and the deviation of that."""
    (units, error), limit = counted, fit.round.score_limit
    means = [0.5 + value / units for value in values]
    errors = [math.hypot(deviation, value / units * error) / units for value in values]
    told = [(min(max(mean, 0.0), 1.0), own) for mean, own in zip(means, errors, strict=True)]
    if not fit.classes:
        ((mean, own),) = told
        reach = limit * _response_unit(fit)
        return Score((Measure("squared_error", reach**2 * mean, reach**2 * own),), reach)
    (right, right_error), (lost, lost_error) = told
    accuracy, loss = Measure("accuracy", right, right_error), Measure("log_loss", limit * lost, limit * lost_error)
    return Score((accuracy, loss), limit)


def _response_unit(fit: Fit) -> float:
    """What 1 of the response, which is a number, is in the data, as the model sees it."""
    match fit.model:
        case Fit.MODEL_NEURAL_NETWORK:
            return fit.columns[-1].half_range / fit.round.network.scales[-1]
        case Fit.MODEL_EXPLAINABLE_BOOSTING:
            return fit.columns[-1].half_range / fit.round.binned_gradient.scale
        case _:
            # Counts are counted as they are.
            return 1.0


def _name(measure: Measure) -> str:
    return measure.name.replace("_", " ")
