"""Rules for what a plan says of a model: post-processing of opened cells; no privacy depends on it."""

from __future__ import annotations

import math
from collections.abc import Callable

from yingbi.api.training import MAX_ROUNDS, measures_objective
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan

from enclave_sim.plan.errors import require
from enclave_sim.plan.models.nearest_centre import MAX_CENTRES
from enclave_sim.plan.values import is_valid

MAX_FIT_COLUMNS = 64
MAX_FIT_CLASSES = 100
MAX_FACTORS = 16
MAX_TEXT = 10_000
NO_MOMENT = -1
ROUND_MODELS = (
    Fit.MODEL_LOGISTIC_REGRESSION,
    Fit.MODEL_POISSON_REGRESSION,
    Fit.MODEL_K_MEANS,
    Fit.MODEL_NEURAL_NETWORK,
    Fit.MODEL_EXPLAINABLE_BOOSTING,
)
MAX_ROUND_NUMBERS = MAX_FIT_COLUMNS**2
"""Of a round's transform, the largest part of it."""

_PAIRS: tuple[Callable[[int], int], str] = (
    lambda columns: (columns + 1) * (columns + 2) // 2,
    "must be one for each pair of columns",
)
_MOMENTS = {
    Fit.MODEL_LINEAR_REGRESSION: _PAIRS,
    Fit.MODEL_PRINCIPAL_COMPONENTS: _PAIRS,
    Fit.MODEL_GAUSSIAN_NAIVE_BAYES: (lambda columns: 1 + 2 * columns, "must be 1, and two for each column"),
}
"""Of how many columns how many moments, and what is said where there are others."""


def check_fit(plan: Plan) -> None:
    """Refuse a model that names outputs which are not there, or whose numbers or sizes are out of range.

    Args:
        plan: its outputs are checked.

    Raises:
        PlanError: with the path of the part at fault.
    """
    fit = plan.fit
    require(fit.model in (*_MOMENTS, *ROUND_MODELS), "fit.model", "is not known")
    require(1 <= len(fit.formula) <= MAX_TEXT, "fit.formula", f"must have 1 to {MAX_TEXT:,} characters")
    require(1 <= len(fit.columns) <= MAX_FIT_COLUMNS, "fit.columns", f"there must be 1 to {MAX_FIT_COLUMNS}")
    for index, column in enumerate(fit.columns):
        _check_column(column, f"fit.columns[{index}]")
    if fit.model == Fit.MODEL_GAUSSIAN_NAIVE_BAYES:
        _check_classes(plan)
    else:
        require(not plan.group_by, "fit", "goes without groups")
        require(not fit.response, "fit.response", "goes with classes alone")
    least, most = _components(fit)
    require(least <= fit.components <= most, "fit.components", f"must be from {least} to {most}")
    can_be = fit.model == Fit.MODEL_PRINCIPAL_COMPONENTS
    require(can_be or not fit.standardized, "fit.standardized", "goes with principal components alone")
    if fit.model in ROUND_MODELS:
        _check_round(plan)
        return
    own = fit.HasField("round") or fit.HasField("class_weights") or bool(fit.classes)
    require(not own, "fit.round", "goes with a model in rounds alone")
    many, what = _MOMENTS[fit.model]
    require(len(fit.moments) == many(len(fit.columns)), "fit.moments", what)
    known = all(NO_MOMENT <= index < len(plan.outputs) for index in fit.moments)
    require(known, "fit.moments", "have what is no index of outputs")
    require(fit.moments[0] != NO_MOMENT, "fit.moments", "must have the number of units")
    require(math.isfinite(fit.alpha) and fit.alpha >= 0, "fit.alpha", "must be 0 or above")


def _components(fit: Fit) -> tuple[int, int]:
    """Components or centres: from how many to how many."""
    match fit.model:
        case Fit.MODEL_PRINCIPAL_COMPONENTS:
            return 1, len(fit.columns)
        case Fit.MODEL_K_MEANS:
            return 1, MAX_CENTRES
    return 0, 0


def _check_classes(plan: Plan) -> None:
    require(len(plan.group_by) == 1 and not plan.grouping_sets, "fit", "of classes has one key, and no totals over it")
    key = plan.group_by[0]
    in_range = 2 <= len(key.values) <= MAX_FIT_CLASSES and not key.rest
    require(in_range, "group_by[0].values", f"must be 2 to {MAX_FIT_CLASSES} classes")
    require(1 <= len(plan.fit.response) <= MAX_TEXT, "fit.response", f"must have 1 to {MAX_TEXT:,} characters")


def _check_round(plan: Plan) -> None:
    fit = plan.fit
    # Each is a release of its own, with its own sensitivity and price, whatever it measures.
    vectors = [each.HasField("model_vector") for each in plan.statistics]
    expected = 1 + measures_objective(fit.round, fit.model)
    require(vectors == [True] * expected, "fit.round", f"goes with {expected} of model_vector, and no other statistic")
    require(fit.intercept and not fit.moments, "fit", "is no model in rounds")
    require(math.isfinite(fit.alpha) and fit.alpha >= 0, "fit.alpha", "must be 0 or above")
    given = fit.class_weights.weights
    sound = len(given) <= MAX_FIT_COLUMNS and all(is_valid(each.value) and 0 < each.weight < math.inf for each in given)
    require(sound, "fit.class_weights", "must be of values, and above 0")
    require(fit.round.number < fit.round.rounds <= MAX_ROUNDS, "fit.round", f"must be one of at most {MAX_ROUNDS}")
    own = fit.round
    numbers = (own.centres, own.scales, own.transform, own.parameters)
    require(all(len(each) <= MAX_ROUND_NUMBERS for each in numbers), "fit.round", "has too many numbers")
    sound = all(math.isfinite(each) for part in numbers for each in part) and math.isfinite(own.max_residual)
    sound = sound and all(map(math.isfinite, (own.max_gradient, own.score_limit, own.units, own.units_error)))
    sound = sound and len(own.class_weights) <= MAX_FIT_COLUMNS and all(map(math.isfinite, own.class_weights))
    require(sound, "fit.round", "must have finite numbers")
    require(len(fit.classes) <= MAX_FIT_COLUMNS and all(map(is_valid, fit.classes)), "fit.classes", "must be values")


def _check_column(column: FitColumn, path: str) -> None:
    require(1 <= len(column.name) <= MAX_TEXT, f"{path}.name", f"must have 1 to {MAX_TEXT:,} characters")
    require(1 <= len(column.factors) <= MAX_FACTORS, f"{path}.factors", f"there must be 1 to {MAX_FACTORS}")
    for index, factor in enumerate(column.factors):
        own = f"{path}.factors[{index}]"
        require(1 <= len(factor.variable) <= MAX_TEXT, f"{own}.variable", f"must have 1 to {MAX_TEXT:,} characters")
        require(not factor.HasField("level") or is_valid(factor.level), f"{own}.level", "must be a finite value")
    numbers = (column.centre, column.half_range, column.lower, column.upper)
    require(all(map(math.isfinite, numbers)), path, "must have finite numbers")
    require(all(map(is_valid, column.levels)), f"{path}.levels", "must be values")
    require(column.half_range > 0, f"{path}.half_range", "must be above 0")
    require(-1 <= column.lower < column.upper <= 1, f"{path}.lower", "must be below upper, both within -1 and 1")
