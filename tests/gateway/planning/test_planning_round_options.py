"""Class weights, a penalty and a score in the plans of rounds, or a reason why not, and where."""

from __future__ import annotations

import math

import pytest
from yingbi.api import zcdp
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import ClassWeight, ClassWeights, Fit, TrainingRound, Value

from enclave_sim.plan.sensitivity import delta2_squared, total_rho_units
from enclave_sim.plan.validation import check_plan
from gateway.planning.query import Question
from gateway.planning.training import plan_training, training_notes, words_of

from .conftest import VERSION
from .reference_clinic import clinic

LOGISTIC, POISSON = Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION
ROUNDS = 9
THREE = "(CASE WHEN pain < 2 THEN 'a' WHEN pain < 5 THEN 'b' ELSE 'c' END) ~ stay"
BALANCED = ClassWeights(balanced=True)


def asked(number: int, formula: str = "urgent ~ pain", model: Fit.Model.ValueType = LOGISTIC) -> TrainQuery:
    """A round of a training with a score, the last one's limit among it; of two columns, and one set of parameters."""
    own = TrainingRound(number=number, rounds=ROUNDS, scored=True)
    if number == 1:
        own.centres[:], own.scales[:] = [0.1], [0.5]
    if number > 1:
        own.transform[:], own.parameters[:], own.max_residual = [1, 0, 0, 1], [0, 0], 0.5
    if number == ROUNDS - 1:
        own.score_limit = 4.0
    return TrainQuery(model=model, formula=formula, round=own)


def weighed(query: TrainQuery, given: ClassWeights, *weights: float) -> TrainQuery:
    query.class_weights.CopyFrom(given)
    query.round.class_weights[:] = weights
    return query


def penalised(query: TrainQuery, alpha: float) -> TrainQuery:
    query.alpha = alpha
    return query


def weights(value: Value, weight: float = 2.0) -> ClassWeights:
    return ClassWeights(weights=[ClassWeight(value=value, weight=weight)])


def question(query: TrainQuery) -> Question:
    return plan_training(query, clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)


def test_a_training_with_a_score_costs_what_epsilon_buys() -> None:
    questions = [question(asked(number)) for number in range(ROUNDS)]
    costs = [total_rho_units(each.plan) for each in questions]
    whole = zcdp.bought(1.0, 1e-7)[0]
    assert 0.999 * whole <= sum(costs) <= whole
    assert costs[-1] == pytest.approx(0.05 * whole, rel=1e-3)
    for number, each in enumerate(questions):
        assert each.rho_units >= sum(costs[number:])
        assert each.plans == ROUNDS - number


@pytest.mark.parametrize(
    ("query", "cells"),
    [(asked(ROUNDS - 1), 2), (asked(ROUNDS - 1, "stay ~ pain", POISSON), 1)],
)
def test_a_scores_norm_is_that_of_numbers_within_a_half(query: TrainQuery, cells: int) -> None:
    plan = question(query).plan
    check_plan(plan, clinic(), dataset_version=VERSION)
    vector = plan.statistics[0].model_vector
    assert vector.score.limit == 4.0
    assert delta2_squared(plan, plan.statistics[0]) == math.ceil(math.sqrt(cells) / 2 * 2**16) ** 2
    assert training_notes(plan, clinic())


def test_weights_change_nothing_of_the_sensitivity_or_the_price() -> None:
    plain, own = question(asked(4)).plan, question(weighed(asked(4), BALANCED, 1.0, 0.25)).plan
    check_plan(own, clinic(), dataset_version=VERSION)
    assert list(own.statistics[0].model_vector.class_weights) == [1.0, 0.25]
    assert delta2_squared(own, own.statistics[0]) == delta2_squared(plain, plain.statistics[0])
    assert total_rho_units(own) == total_rho_units(plain)
    assert any("smaller weight" in note for note in training_notes(own, clinic()))


def test_round_0_counts_classes_where_the_response_does_not_say_how_many_there_are() -> None:
    """One of the indicators is 1 at most, and so is its square: the squared norm is longer by 2."""
    two = [question(each).plan.statistics[0].model_vector for each in (asked(0), weighed(asked(0), BALANCED))]
    assert two[0] == two[1]
    three = [
        question(each).plan.statistics[0].model_vector for each in (asked(0, THREE), weighed(asked(0, THREE), BALANCED))
    ]
    assert len(three[1].terms) == len(three[0].terms) + 2
    lengths = [(each.max_norm / 2**16) ** 2 for each in three]
    assert lengths[1] - lengths[0] == pytest.approx(2, abs=1e-3)
    network = weighed(asked(0, THREE, Fit.MODEL_NEURAL_NETWORK), BALANCED)
    network.round.network.hidden[:] = [3]
    assert len(question(network).plan.statistics[0].model_vector.terms) == len(three[1].terms)


def with_objective(query: TrainQuery) -> TrainQuery:
    query.round.objective = True
    if 1 < query.round.number < ROUNDS - 1:
        query.round.score_limit, query.round.units, query.round.units_error = 4.0, 200.0, 3.0
    return query


def test_objectives_are_paid_from_the_price_of_their_steps() -> None:
    """A twenty-fifth of each: so that the noise of a gradient is 2 % larger, and the training costs what it did."""
    plain, told = ([question(each(asked(n))).plan for n in range(ROUNDS)] for each in (lambda q: q, with_objective))
    for number, (one, other) in enumerate(zip(plain, told, strict=True)):
        check_plan(other, clinic(), dataset_version=VERSION)
        assert total_rho_units(other) == pytest.approx(total_rho_units(one), rel=1e-3)
        assert len(other.statistics) == 1 + (1 < number < ROUNDS - 1)
    gradient, score = told[4].statistics
    assert score.rho_units == pytest.approx(0.04 * total_rho_units(told[4]), rel=1e-3)
    assert 1.0 < gradient.sigma / plain[4].statistics[0].sigma < 1.03
    assert gradient.model_vector == plain[4].statistics[0].model_vector
    assert delta2_squared(told[4], score) == math.ceil(math.sqrt(0.5) * 2**16) ** 2
    whole = zcdp.bought(1.0, 1e-7)[0]
    assert 0.999 * whole <= sum(map(total_rho_units, told)) <= whole
    assert any("Each step also tells" in note for note in training_notes(told[0], clinic()))


def test_an_objective_is_without_weights() -> None:
    _, score = question(with_objective(weighed(asked(4), BALANCED, 1.0, 0.25))).plan.statistics
    assert not score.model_vector.class_weights


def test_a_value_may_be_said_as_text() -> None:
    for value in (Value(bool_value=True), Value(string_value="true")):
        assert question(weighed(asked(4), weights(value), 0.5, 1.0)).plan.fit.class_weights == weights(value)


def test_a_job_says_its_options() -> None:
    said = words_of(weighed(penalised(asked(4), 2.0), weights(Value(bool_value=True), 3.0), 1, 1))
    assert said == "TRAIN LogisticRegression urgent ~ pain WITH alpha = 2, class weights True 3 (round 5 of 9)"


def _of_clusters(*, scored: bool = True) -> TrainQuery:
    query = asked(0, "~ pain", Fit.MODEL_K_MEANS)
    query.round.scored = scored
    query.components = 2
    return query


def _with_units(number: int, units: float) -> TrainQuery:
    query = with_objective(asked(number))
    query.round.units = units
    return query


def _with_limit(number: int, limit: float) -> TrainQuery:
    query = asked(number)
    query.round.score_limit = limit
    return query


def _of_a_network() -> TrainQuery:
    query = penalised(asked(0, model=Fit.MODEL_NEURAL_NETWORK), 1.0)
    query.round.network.hidden[:] = [3]
    return query


REFUSED: dict[str, tuple[TrainQuery, str, str]] = {
    "a penalty below 0": (penalised(asked(0), -1), "alpha", ""),
    "a penalty that is none": (penalised(asked(0), math.nan), "alpha", ""),
    "a penalty of a network": (_of_a_network(), "alpha", ""),
    "a weight of no class": (weighed(asked(0), weights(Value(string_value="maybe"))), "not_supported", "1:1"),
    "a weight of 0": (weighed(asked(0), weights(Value(bool_value=True), 0)), "class_weight", ""),
    "no weights": (weighed(asked(0), ClassWeights()), "class_weight", ""),
    "weights of counts": (weighed(asked(0, "stay ~ pain", POISSON), BALANCED), "class_weight", ""),
    "weights of bins": (
        weighed(asked(0, model=Fit.MODEL_EXPLAINABLE_BOOSTING), BALANCED), "class_weight", "",
    ),
    "weights of a line": (
        weighed(TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="pain ~ stay"), BALANCED), "class_weight", "",
    ),
    "a step without weights": (weighed(asked(4), BALANCED), "round", ""),
    "a step with weights above 1": (weighed(asked(4), BALANCED, 1, 2), "round", ""),
    "weights that nobody asked for": (_with_weights := asked(4), "round", ""),
    "a score of clusters": (_of_clusters(), "not_supported", ""),
    "an objective of clusters": (with_objective(_of_clusters(scored=False)), "not_supported", ""),
    "an objective of nobody": (_with_units(4, 0.0), "round", ""),
    "an objective of no number": (_with_units(4, math.nan), "round", ""),
    "units before the first step": (_with_units(1, 5.0), "round", ""),
    "a limit before the last round": (_with_limit(4, 1.0), "round", ""),
    "a score without a limit": (_with_limit(ROUNDS - 1, 0.0), "round", ""),
    "a limit without end": (_with_limit(ROUNDS - 1, math.inf), "round", ""),
}  # fmt: skip
_with_weights.round.class_weights[:] = [1, 1]


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused_with_a_hint(name: str) -> None:
    query, code, place = REFUSED[name]
    with pytest.raises(Problem) as caught:
        question(query)
    assert (caught.value.code, caught.value.position or "") == (code, place), caught.value.to_json()
    assert caught.value.hint
