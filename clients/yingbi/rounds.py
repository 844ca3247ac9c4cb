"""Models that are trained in rounds: what an update rule is, and what follows from all rounds together. Pure.

A rule says what the next round is, from what the rounds before released and from nothing else. So whoever has the
receipts of all rounds works out every one of them again (`followed`), and with them the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from yingbi.api.class_weights import counted_classes
from yingbi.api.model_vectors import scored, step_width
from yingbi.api.training import MAX_ROUNDS, MIN_ROUNDS, SET_UP_ROUNDS, is_score_round, measures_objective
from yingbi.api.v1.plan_pb2 import BinnedGradient, Fit, GeneralizedLinear, Plan, TrainingRound
from yingbi.cells import Layout, PlanError

MAX_COLUMNS = 64
MAX_FACTORS = 16
MAX_CLUSTERS = 1000
MAX_LAYERS = 2
MAX_HIDDEN = 512

_NUMBERS = ("max_residual", "max_gradient", "score_limit", "units", "units_error")
_LISTS = ("centres", "scales", "transform", "parameters", "class_weights")

NEAR_STEPS = 2
"""Of whole numbers that stand for parameters: how far machines' roundings may be apart."""

S = TypeVar("S")


class Rule(Protocol[S]):
    """How a model is made of what rounds release; `S` is what is known after some of them."""

    def first(self, rounds: int) -> TrainingRound:
        """Round 0."""
        ...

    def after(self, state: S | None, released: Released) -> S:
        """What is known after one more round; `state` is None after the first. Raises PlanError."""
        ...

    def next(self, state: S) -> TrainingRound | None:
        """The next round; None after the last one."""
        ...


@dataclass(frozen=True)
class Released:
    """What a round released."""

    plan: Plan
    values: tuple[float, ...]
    """Of the vector's coordinates, sums over units."""
    deviation: float
    """Of the normal noise in each of them."""
    score_values: tuple[float, ...] = ()
    """Of a step with an objective: the score's cells, sums over units of numbers within 1/2 of 0."""
    score_deviation: float = 0.0
    """Of the noise in each of these."""

    @classmethod
    def of(cls, plan: Plan, opened: Sequence[int]) -> Released:
        """Raises PlanError, where the plan is no round's or the vector does not fit it."""
        check_round(plan)
        layout = Layout.of(plan)
        if len(opened) != layout.length:
            raise PlanError(f"the opened vector has {len(opened)} cells; the plan has {layout.length}")
        values, own = tuple(cell * layout.step for cell in opened), layout.length_of(0)
        others = layout.deviation(1) if len(plan.statistics) > 1 else 0.0
        return cls(plan, values[:own], layout.deviation(0), values[own:], others)


@dataclass(frozen=True)
class Followed(Generic[S]):
    """All rounds so far."""

    state: S
    rounds: int


def followed(rule: Rule[S], rounds: Sequence[Released]) -> Followed[S]:
    """What rounds come to, each of which is found to be what follows from those before.

    Raises:
        PlanError: there is none, or one does not follow, or is of another model.
    """
    if not rounds:
        raise PlanError("there are no rounds")
    state: S | None = None
    for number, each in enumerate(rounds):
        fit = each.plan.fit
        check_alike(rounds[0].plan, each.plan, number)
        expected = rule.first(fit.round.rounds) if state is None else _after(rule, state, fit.round)
        if expected is None or not is_round(fit.round, expected):
            raise PlanError(f"round {number} does not follow from the rounds before it")
        state = rule.after(state, each)
    assert state is not None
    return Followed(state, len(rounds))


def _after(rule: Rule[S], state: S, found: TrainingRound) -> TrainingRound | None:
    """The next round; or, where the one found measures how well the model fits, that: steps may be left out."""
    last = getattr(rule, "last", None)
    following = rule.next(state)
    return last(state) if last is not None and following is not None and is_score_round(found) else following


def is_round(found: TrainingRound, expected: TrainingRound) -> bool:
    """Whether two rounds are the same, but for the last digits, which machines round differently."""
    said = ("number", "rounds", "scored", "objective")
    if any(getattr(found, name) != getattr(expected, name) for name in said):
        return False
    if not _is_alike(found, expected):
        return False
    pairs = [([getattr(found, name)], [getattr(expected, name)]) for name in _NUMBERS]
    pairs += [(getattr(found, name), getattr(expected, name)) for name in _LISTS]
    return all(
        len(some) == len(others)
        and all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(some, others, strict=True))
        for some, others in pairs
    )


def _is_alike(found: TrainingRound, expected: TrainingRound) -> bool:
    """Whether networks, and bins with scores, are the same but for a step of their whole numbers."""
    steps: list[tuple[Sequence[int], Sequence[int]]] = [
        (found.network.parameters, expected.network.parameters),
        ([found.binned_gradient.intercept], [expected.binned_gradient.intercept]),
    ]
    one, other = found.binned_gradient, expected.binned_gradient
    if len(one.features) != len(other.features):
        return False
    steps += [(a.scores, b.scores) for a, b in zip(one.features, other.features, strict=True)]
    numbers: list[tuple[Sequence[float], Sequence[float]]] = [
        (found.network.scales, expected.network.scales),
        (found.network.shifts, expected.network.shifts),
        ([one.scale, one.shift], [other.scale, other.shift]),
    ]
    numbers += [(a.edges, b.edges) for a, b in zip(one.features, other.features, strict=True)]
    said = (found.network.family, found.network.classes, list(found.network.hidden), one.family)
    return (
        said == (expected.network.family, expected.network.classes, list(expected.network.hidden), other.family)
        and all(len(a) == len(b) for a, b in [*steps, *numbers])
        and all(abs(x - y) <= NEAR_STEPS for a, b in steps for x, y in zip(a, b, strict=True))
        and all(math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9) for a, b in numbers for x, y in zip(a, b, strict=True))
    )


def check_round(plan: Plan) -> None:
    """Refuse a plan that is no round of a model that this version knows, or whose vector is not what its round says.

    Raises:
        PlanError: with what is wrong.
    """
    fit, own = plan.fit, plan.fit.round
    if fit.model not in _VECTOR_CHECKS or not fit.HasField("round"):
        raise PlanError("the plan's model is one that this version does not know")
    least = 1 if fit.model == Fit.MODEL_K_MEANS else 2
    if not least <= len(fit.columns) <= MAX_COLUMNS or plan.group_by or plan.grouping_sets or not fit.intercept:
        raise PlanError("the plan's model has no columns, too many, or groups")
    has_objective = measures_objective(own, fit.model)
    kinds = [each.WhichOneof("kind") for each in plan.statistics]
    if kinds != ["model_vector"] * (1 + has_objective) or plan.outputs:
        raise PlanError("the plan's model is not made of its round's vectors")
    if not MIN_ROUNDS <= own.rounds <= MAX_ROUNDS or own.number >= own.rounds:
        raise PlanError("the plan is no round of its model")
    numbers = [number for each in fit.columns for number in (each.centre, each.half_range, each.lower, each.upper)]
    sound = all(map(math.isfinite, numbers)) and all(each.half_range > 0 for each in fit.columns)
    if not sound or not all(1 <= len(each.factors) <= MAX_FACTORS for each in fit.columns):
        raise PlanError("the plan's model has numbers out of range")
    _VECTOR_CHECKS[fit.model](plan)
    _check_options(plan)


def _check_options(plan: Plan) -> None:
    """Whether a penalty, weights of classes, a score and an objective are those that the round says."""
    fit, own, vector = plan.fit, plan.fit.round, plan.statistics[0].model_vector
    is_score, has_objective = is_score_round(own), measures_objective(own, fit.model)
    fits = (is_score, own.score_limit if is_score else 0.0) == (vector.HasField("score"), vector.score.limit)
    fits = fits and (is_score or has_objective) == (own.score_limit > 0)
    fits = fits and has_objective == (own.units > 0) == (own.units_error > 0)
    if has_objective:
        fits = fits and all(map(math.isfinite, (own.score_limit, own.units, own.units_error)))
        fits = fits and plan.statistics[1].model_vector == scored(vector, own.score_limit, plan.fraction_bits)
    fits = fits and not ((own.scored or own.objective) and fit.model == Fit.MODEL_K_MEANS)
    fits = fits and list(own.class_weights) == list(vector.class_weights)
    fits = fits and not (is_score and own.class_weights)
    fits = fits and len(own.class_weights) in (0, len(fit.classes)) and 0 <= fit.alpha < math.inf
    fits = fits and (fit.model in _PENALISED or not fit.HasField("alpha"))
    if not fits or (fit.HasField("class_weights") and (fit.model not in _WEIGHED or not fit.classes)):
        raise PlanError("the plan's vector is not that of its round")


def _check_gradient(plan: Plan) -> None:
    fit, own, vector = plan.fit, plan.fit.round, plan.statistics[0].model_vector
    regressors = len(fit.columns) - 1
    kind = vector.WhichOneof("kind")
    if own.number < SET_UP_ROUNDS:
        products = own.number == 1
        expected = regressors + (not products and len(fit.classes) <= 2)
        expected += 0 if products else counted_classes(fit)
        fits = kind == "second_moments" and vector.second_moments.products == products
        if not fits or len(vector.terms) != expected:
            raise PlanError("the plan's vector is not that of its round")
        return
    model = vector.generalized_linear
    said = (list(own.parameters), list(own.transform), own.max_residual)
    measured = (list(model.parameters), list(model.transform), model.max_residual)
    fits = kind == "generalized_linear" and model.family == family_of(fit) and said == measured
    if not fits or len(vector.terms) != regressors + 1:
        raise PlanError("the plan's vector is not that of its round")


def _check_clusters(plan: Plan) -> None:
    fit, own, vector = plan.fit, plan.fit.round, plan.statistics[0].model_vector
    kind, count = vector.WhichOneof("kind"), len(fit.columns)
    fits = 1 <= fit.components <= MAX_CLUSTERS and len(vector.terms) == count
    if own.number == 0:
        fits = fits and kind == "second_moments" and not vector.second_moments.products
    else:
        nearest = vector.nearest_centre
        said, measured = (list(own.parameters), own.max_residual), (list(nearest.centres), nearest.max_distance)
        fits = fits and kind == "nearest_centre" and len(nearest.centres) == fit.components * count
        fits = fits and said == measured and nearest.max_distance > 0
    if not fits:
        raise PlanError("the plan's vector is not that of its round")


def _check_network(plan: Plan) -> None:
    fit, own, vector = plan.fit, plan.fit.round, plan.statistics[0].model_vector
    regressors = len(fit.columns) - 1
    if own.number == 0:
        fits = vector.HasField("second_moments") and not vector.second_moments.products
        fits = fits and len(vector.terms) == regressors + (len(fit.classes) <= 2) + counted_classes(fit)
        hidden = own.network.hidden
        fits = fits and 1 <= len(hidden) <= MAX_LAYERS and all(1 <= each <= MAX_HIDDEN for each in hidden)
    else:
        fits = vector.HasField("network") and vector.network == own.network and len(vector.terms) == regressors + 1
        fits = fits and step_width(vector) == len(own.network.parameters)
    if not fits:
        raise PlanError("the plan's vector is not that of its round")


def _check_bins(plan: Plan) -> None:
    fit, own, model = plan.fit, plan.fit.round, plan.statistics[0].model_vector.binned_gradient
    if own.number == 0:
        # The response is counted too.
        fits = model.family == BinnedGradient.FAMILY_COUNT and len(model.features) == len(fit.columns)
    else:
        fits = model == own.binned_gradient and len(model.features) == len(fit.columns) - 1
    if not fits or any(len(each.scores) != len(each.edges) + 1 for each in model.features):
        raise PlanError("the plan's vector is not that of its round")


_PENALISED = (Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION)
_WEIGHED = (Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_NEURAL_NETWORK)

_VECTOR_CHECKS: Mapping[Fit.Model.ValueType, Callable[[Plan], None]] = {
    Fit.MODEL_LOGISTIC_REGRESSION: _check_gradient,
    Fit.MODEL_POISSON_REGRESSION: _check_gradient,
    Fit.MODEL_K_MEANS: _check_clusters,
    Fit.MODEL_NEURAL_NETWORK: _check_network,
    Fit.MODEL_EXPLAINABLE_BOOSTING: _check_bins,
}
"""Of each model that is trained in rounds: whether a round's vector is what the round says."""


def family_of(fit: Fit) -> GeneralizedLinear.Family.ValueType:
    """The family of a model's gradients."""
    if fit.model == Fit.MODEL_POISSON_REGRESSION:
        return GeneralizedLinear.FAMILY_POISSON_LOG
    more = len(fit.classes) > 2
    return GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT if more else GeneralizedLinear.FAMILY_BERNOULLI_LOGIT


def check_alike(first: Plan, other: Plan, number: int) -> None:
    """Refuse (PlanError) a round about other rows, at another price or of another model than the first."""
    same = ("dataset", "dataset_version", "relation", "noise", "clipping", "epsilon", "delta", "fraction_bits")
    if any(getattr(first, name) != getattr(other, name) for name in same):
        raise PlanError(f"round {number} is about other rows, or at another price, than the first")
    one, two = Fit(), Fit()
    one.CopyFrom(first.fit)
    two.CopyFrom(other.fit)
    one.ClearField("round")
    two.ClearField("round")
    if one != two:
        raise PlanError(f"round {number} is of another model than the first")
