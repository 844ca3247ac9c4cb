"""What gateways and clients both know of models that are trained in rounds: how many, and what each of them costs."""

from __future__ import annotations

from yingbi.api.v1.plan_pb2 import Fit, TrainingRound

SET_UP_ROUNDS = 2
"""Rounds before the first gradient: means and squares, then products."""

MIN_ROUNDS = SET_UP_ROUNDS + 4
MAX_ROUNDS = 60
_SET_UP_PERCENT = (5, 10)
_SCORE_PERCENT = 5
_OBJECTIVE_PERCENT = 4
"""Of a step's ρ: the noise of its gradient is 2 % larger for it."""


def rho_units_of_round(rho_units: int, number: int, rounds: int, *, scored: bool = False) -> int:
    """The part of a training's ρ that a round has; gradients have equal parts.

    Args:
        rho_units: the training's, in 1 / `zcdp.RHO_UNITS`.
        number: from 0, below `rounds`.
        scored: whether the last round measures how well the model fits.
    """
    if number < SET_UP_ROUNDS:
        return max(rho_units * _SET_UP_PERCENT[number] // 100, 1)
    score = _SCORE_PERCENT if scored else 0
    if scored and number == rounds - 1:
        return max(rho_units * score // 100, 1)
    return max(rho_units * (100 - sum(_SET_UP_PERCENT) - score) // (100 * (rounds - SET_UP_ROUNDS - scored)), 1)


def rho_units_of_step(rho_units: int, own: TrainingRound) -> int:
    """The part that each gradient of a training has, of which `own` is any round."""
    whole = rho_units_of_round(rho_units, SET_UP_ROUNDS, own.rounds, scored=own.scored)
    return rho_units_of_gradient(whole, own)


def rho_units_of_gradient(rho_units: int, own: TrainingRound) -> int:
    """The part of a step's ρ that its gradient has, `own` being any round of the training."""
    return rho_units - rho_units_of_objective(rho_units) if own.objective else rho_units


def rho_units_of_objective(rho_units: int) -> int:
    """The part of a step's ρ that its objective has, where it measures one."""
    return max(rho_units * _OBJECTIVE_PERCENT // 100, 1)


def step_rounds(own: TrainingRound) -> int:
    """How many rounds a training has, but for the one that measures how well the model fits."""
    return int(own.rounds) - own.scored


def is_score_round(own: TrainingRound) -> bool:
    """Whether this is the round that measures how well the model fits."""
    return own.scored and own.number == own.rounds - 1


def measures_objective(own: TrainingRound, model: Fit.Model.ValueType) -> bool:
    """Whether this is a step that measures how well the parameters fit that it starts from."""
    return own.objective and own.number >= first_step(model) and not is_score_round(own)


def first_step(model: Fit.Model.ValueType) -> int:
    """The first round that takes a step; those before say how numbers are scaled."""
    return SET_UP_ROUNDS if model in (Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION) else 1


def parameters_of_model(model: Fit.Model.ValueType, columns: int, classes: int) -> int:
    """Coefficients of a model with so many columns, the constant's among them: of each class but the first, if any."""
    return columns * max(classes - 1, 1) if model == Fit.MODEL_LOGISTIC_REGRESSION else columns
