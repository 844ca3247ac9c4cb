"""What can be said of a model in rounds before anything is spent: the noise of its coefficients. Pure."""

from __future__ import annotations

import math

from yingbi.api import zcdp
from yingbi.api.training import SET_UP_ROUNDS, rho_units_of_step, step_rounds
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan
from yingbi.cells import PlanError
from yingbi.generalized_linear import CLASS_RESIDUAL, COUNT_DEVIATIONS, FULL_STEPS, coefficient_names
from yingbi.models.balance import balance_of


def expected_errors(plan: Plan, units: int) -> list[tuple[str, float]]:
    """Of each coefficient its name and the error of noise alone, as if nothing depended on anything.

    Regressors are taken to be independent, each spread evenly over what it can be; classes to be equally frequent; and
    counts to be an eighth of what they can be. So balanced weights are taken to be 1: where a class is rare, errors are
    larger; a penalty makes them less.

    Raises:
        PlanError: the plan's price means nothing.
    """
    fit, rounds = plan.fit, step_rounds(plan.fit.round)
    try:
        whole = zcdp.bought(plan.epsilon, plan.delta)[0]
    except zcdp.BadPrivacyParameter as error:
        raise PlanError("the plan's price means nothing") from error
    rho = rho_units_of_step(whole, fit.round) / zcdp.RHO_UNITS
    residual, curvature = _of_response(fit)
    length = math.sqrt(len(fit.columns)) * residual * plan.noise.parties_per_unit
    # Noise is for those whose share nobody knows; all add theirs.
    shares = math.sqrt(plan.noise.parties / max(plan.noise.parties - plan.noise.curious, 1))
    averaged = rounds - SET_UP_ROUNDS - FULL_STEPS + 1
    own = length * shares / math.sqrt(2 * rho) / (units * curvature * math.sqrt(averaged))
    spreads = [_spread(column) for column in fit.columns[:-1]]
    constant = math.sqrt(1 + math.fsum((mean / spread) ** 2 for mean, spread in spreads))
    errors = [own * constant, *(own / spread for _, spread in spreads)]
    sets = max(len(fit.classes) - 1, 1)
    return list(zip(coefficient_names(fit), errors * sets, strict=True))


def _of_response(fit: Fit) -> tuple[float, float]:
    """What residuals are bounded by, and how much a gradient changes with the predictor."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        mean = fit.columns[-1].half_range / 8
        return COUNT_DEVIATIONS * math.sqrt(mean), mean
    share = 1 / len(fit.classes) if fit.classes else 0.5
    mean = balance_of(fit, [share] * len(fit.classes), 0.0).mean
    return CLASS_RESIDUAL, share * (1 - share) * mean


def _spread(column: FitColumn) -> tuple[float, float]:
    """The mean and the deviation of a column in the data's units."""
    middle = column.centre + column.half_range * (column.lower + column.upper) / 2
    return middle, column.half_range * (column.upper - column.lower) / math.sqrt(12)
