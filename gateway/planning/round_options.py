"""What a model in rounds may be asked beside its formula: an L2 penalty, weights of classes, and a score.

**The penalty** is no part of any plan's measurement: the SDK adds its derivative to the released gradient, which is
post-processing and free. It stands in the plan so that whoever has the receipts computes the same model.

**Weights of classes** are at most 1 in a plan (the SDK divides them by the largest), and multiply a row's residual
before the row's vector is made, a unit's mean taken and cut to its norm. So the sensitivity is that of a plan without
weights: the norm that vectors are cut to, whatever the weights are; and as |w r x| <= |r x|, no bound is too short for
a vector that was not too long before. Balanced weights need to know how frequent classes are. Of two that is the
response's mean, which round 0 measures anyhow; of more, round 0 has an indicator of every class but the first, and its
square. A row is in one of them at most: so the squared norm grows by 2.

**A score** is a round like others: each row makes one or two numbers within 1/2 of 0, so that a unit's mean is no
longer than the root of a half.

**An objective** is the same of the parameters that a step starts from, in the step's own plan: a second statistic, with
its own norm, σ and price. zCDP adds both prices, so the proof is that of two vectors, and a step costs what it did: the
score has 4 % of it, and the gradient the rest, with 2 % more noise. One vector of both, with the same norm, would have
the same noise in either; but a row that is cut would then weigh less by how badly the model fits it, which the weights
of a regression avoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.class_weights import UnknownClass, declared_weights
from yingbi.api.model_vectors import predicts_classes, scored
from yingbi.api.problem import Kind, Problem
from yingbi.api.training import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    is_score_round,
    measures_objective,
    rho_units_of_gradient,
    rho_units_of_objective,
    step_rounds,
)
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Conditional, Expression, Fit, ModelVector, Value

from enclave_sim.plan.validation import FRACTION_BITS
from gateway.planning.float_expressions import float_literal
from gateway.planning.model_columns import equals
from gateway.planning.model_formulas import ModelFormula, refused

_WITH_ALPHA = (Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION)
_WITH_WEIGHTS = (Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_NEURAL_NETWORK)
_WEIGHED = ("generalized_linear", "network")


def check_number(asked: TrainQuery) -> None:
    """Refuse (MALFORMED "round") a round that no training has."""
    own = asked.round
    if step_rounds(own) < MIN_ROUNDS or own.rounds > MAX_ROUNDS or own.number >= own.rounds:
        message = f"A model is trained in {MIN_ROUNDS} to {MAX_ROUNDS} rounds, not {own.rounds}."
        raise Problem(Kind.MALFORMED, "round", message, field="round", hint="leave rounds out")
    if own.scored and asked.model == Fit.MODEL_K_MEANS:
        message = "KMeans has no score: its rounds say how far rows are from their centres."
        raise Problem(Kind.REFUSED, "not_supported", message, field="score", hint="leave score out")
    if own.objective and asked.model == Fit.MODEL_K_MEANS:
        message = "KMeans has no objective of its own: its steps say how far rows are from their centres."
        raise Problem(Kind.REFUSED, "not_supported", message, field="round", hint="leave objective out")
    has_objective = measures_objective(own, asked.model)
    fits = (own.score_limit > 0) == (is_score_round(own) or has_objective)
    fits = fits and (own.units > 0) == (own.units_error > 0) == has_objective
    if not fits or not all(map(math.isfinite, (own.score_limit, own.units, own.units_error))):
        raise does_not_fit(asked)


def does_not_fit(asked: TrainQuery) -> Problem:
    """The problem with what is said of earlier rounds."""
    message = f"What is said of the rounds before does not fit round {asked.round.number + 1} of this model."
    return Problem(Kind.MALFORMED, "round", message, field="round", hint="train by the SDK or the command line")


def check_penalty(asked: TrainQuery) -> None:
    """Refuse an alpha that the model does not have, or below 0."""
    if not asked.HasField("alpha"):
        return
    if asked.model not in _WITH_ALPHA:
        message = "Of the models in rounds, LogisticRegression and PoissonRegression have an alpha."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out")
    if not 0 <= asked.alpha < math.inf:
        message = f"alpha is a number from 0, not {asked.alpha:g}."
        raise Problem(Kind.MALFORMED, "alpha", message, field="alpha", hint="leave it out for no penalty")


def check_class_weights(asked: TrainQuery, formula: ModelFormula, classes: Sequence[Value]) -> None:
    """Refuse weights of a model without classes, of values that are none, and weights that are no weights."""
    if not asked.HasField("class_weights"):
        if asked.round.class_weights:
            raise does_not_fit(asked)
        return
    if asked.model not in _WITH_WEIGHTS:
        message = "LogisticRegression and NeuralNetwork have class weights."
        raise Problem(Kind.MALFORMED, "class_weight", message, field="class_weight", hint="leave class_weight out")
    given = asked.class_weights
    if not classes:
        text = formula.response.text
        message = f"{text} is a number, and class weights are of classes."
        raise refused(formula.text, formula.response.start, message, "leave class_weight out, or predict a class")
    if given.balanced == bool(given.weights) or not all(0 < each.weight < math.inf for each in given.weights):
        message = 'Class weights are "balanced", or a number above 0 for each of some classes.'
        hint = "{'yes': 5} counts yes 5 times"
        raise Problem(Kind.MALFORMED, "class_weight", message, field="class_weight", hint=hint)
    try:
        declared_weights(classes, given)
    except UnknownClass as error:
        names = ", ".join(_name(each) for each in classes)
        message = f"{error.value} is no value of {formula.response.text}."
        raise refused(formula.text, formula.response.start, message, f"its classes are {names}") from error


def class_indicators(asked: TrainQuery, response: Expression, classes: Sequence[Value]) -> list[Expression]:
    """Whether a row is of each class but the first, 1 or 0, where round 0 is to count them."""
    if not asked.HasField("class_weights") or len(classes) <= 2:
        return []
    return [_indicator(response, float(place)) for place in range(1, len(classes))]


def indicator_squares(indicators: Sequence[Expression]) -> list[float]:
    """Mean squares for `moments`: of all indicators of a row one is 1 at most."""
    return [1.0, *(0.0 for _ in indicators[1:])] if indicators else []


def with_options(asked: TrainQuery, vector: ModelVector, classes: Sequence[Value]) -> ModelVector:
    """The step's vector with its class weights; or, in a score's round, the score in its place.

    Raises:
        Problem: MALFORMED "round", where weights do not fit the classes.
    """
    own = asked.round
    if is_score_round(own):
        return scored(vector, own.score_limit, FRACTION_BITS)
    is_weighed = asked.HasField("class_weights") and vector.WhichOneof("kind") in _WEIGHED and predicts_classes(vector)
    if len(own.class_weights) != (len(classes) if is_weighed else 0) or not all(0 < w <= 1 for w in own.class_weights):
        raise does_not_fit(asked)
    vector.class_weights.extend(own.class_weights)
    return vector


def round_vectors(asked: TrainQuery, vector: ModelVector, classes: Sequence[Value]) -> list[ModelVector]:
    """What a round measures: its vector with its options and, of a step with an objective, the score beside it.

    Raises:
        Problem: as `with_options`.
    """
    own, found = asked.round, with_options(asked, vector, classes)
    if not measures_objective(own, asked.model):
        return [found]
    return [found, scored(found, own.score_limit, FRACTION_BITS)]


def round_shares(asked: TrainQuery, rho_units: int) -> list[int]:
    """What each of `round_vectors` has of the round's ρ."""
    if not measures_objective(asked.round, asked.model):
        return [rho_units]
    return [rho_units_of_gradient(rho_units, asked.round), rho_units_of_objective(rho_units)]


def option_words(asked: TrainQuery) -> list[str]:
    """Class weights as a job's words have them."""
    if not asked.HasField("class_weights"):
        return []
    if asked.class_weights.balanced:
        return ["balanced classes"]
    return [f"class weights {', '.join(f'{_name(e.value)} {e.weight:.17g}' for e in asked.class_weights.weights)}"]


def _indicator(response: Expression, place: float) -> Expression:
    branch = Conditional.Branch(condition=equals(response, Value(float64_value=place)), result=float_literal(1.0))
    return Expression(conditional=Conditional(branches=[branch], otherwise=float_literal(0.0)))


def _name(value: Value) -> str:
    return str(getattr(value, value.WhichOneof("kind") or "", "NULL"))
