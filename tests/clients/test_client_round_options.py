"""Weights, penalties, scores and objectives of models in rounds: plans, engine, noise and rules, without a zone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from yingbi.answer import check_readable
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    Fit,
    Plan,
)
from yingbi.cells import PlanError
from yingbi.forecasts import predicted_errors
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.in_rounds import rule_of
from yingbi.models.kmeans import KMeans
from yingbi.models.network_specs import NeuralNetwork
from yingbi.models.round_specs import LogisticRegression, ModelInRounds, PoissonRegression
from yingbi.rounds import Released

from tests.clients.trained_in_rounds import (
    GRADES,
    SCORED,
    Floats,
    measured,
    model_of,
    people,
    planned,
    rounds_of,
    score_in,
    trained,
)


def values(model: Any) -> list[float]:
    return [each.value for each in model.coefficients]


def newton(rows: dict[str, Any], response: Floats, weights: Any, alpha: float, *, counts: bool = False) -> Floats:
    """The minimum of the weighed loss with alpha / 2 for each squared slope, of age and mass."""
    design = np.column_stack([np.ones(len(response)), rows["age"], rows["mass"]])
    penalty = alpha * np.diag([0.0, 1.0, 1.0])
    beta = np.array([math.log(response.mean()) if counts else 0.0, 0.0, 0.0])
    for _ in range(60):
        mean = np.exp(design @ beta) if counts else 1 / (1 + np.exp(-design @ beta))
        slope = weights * (mean if counts else mean * (1 - mean))
        gradient = design.T @ (weights * (mean - response)) + penalty @ beta
        beta -= np.linalg.solve(design.T @ (slope[:, None] * design) + penalty, gradient)
    return beta


ROWS = people(8000)
ILL = ROWS["ill"].astype(float)
ONES = np.ones(len(ILL))


# Penalties.


@pytest.mark.parametrize("alpha", [3.0, 10_000.0])
def test_a_penalty_is_scikit_learns_1_over_c_in_the_datas_units(alpha: float) -> None:
    found = values(trained(LogisticRegression("ill ~ age + mass", rounds=10, alpha=alpha), ROWS))
    exact = newton(ROWS, ILL, ONES, alpha)
    assert found == pytest.approx(exact.tolist(), rel=0.12, abs=0.012)
    free = newton(ROWS, ILL, ONES, 0.0)
    assert (abs(found[1]) < 0.8 * abs(free[1])) == (alpha > 1000)


def test_of_counts_the_penalty_is_beside_the_mean() -> None:
    rows = ROWS | {"mass": ROWS["mass"]}
    found = values(trained(PoissonRegression("stays ~ age + mass", rounds=10, alpha=80.0), rows))
    stays = ROWS["stays"].astype(float)
    exact = newton(ROWS, stays, ONES, 80.0 * len(stays), counts=True)
    assert found[1:] == pytest.approx(exact[1:].tolist(), rel=0.15, abs=0.001)
    assert abs(found[1]) < 0.9 * abs(newton(ROWS, stays, ONES, 0.0, counts=True)[1])


def test_a_penalty_makes_noise_less() -> None:
    rows = people(2000)
    errors = []
    for alpha in (0.0, 3000.0):
        model = trained(LogisticRegression("ill ~ age + mass", rounds=8, alpha=alpha), rows, epsilon=1.0)
        errors.append([each.noise_error for each in model.coefficients[1:]])
    assert all(less < more for more, less in zip(*errors, strict=True))


def test_the_estimator_has_the_same_penalty() -> None:
    pytest.importorskip("sklearn")
    model = trained(LogisticRegression("ill ~ age", rounds=6, alpha=4.0), people(500))
    assert model.estimator().get_params()["C"] == 0.25
    assert model.to_json()["alpha"] == 4.0


@pytest.mark.parametrize("alpha", [-1.0, math.inf, math.nan])
def test_a_penalty_below_0_is_refused_before_anything_is_asked(alpha: float) -> None:
    for made in (LogisticRegression, PoissonRegression):
        with pytest.raises(Problem) as caught:
            made("ill ~ age", alpha=alpha)
        assert caught.value.code == "alpha"


# Weights of classes.


@pytest.mark.parametrize("given", ["balanced", {1: 10.0}, {0: 0.1}])
def test_a_class_with_a_weight_counts_as_often(given: Any) -> None:
    found = values(trained(LogisticRegression("ill ~ age + mass", rounds=10, class_weight=given), ROWS))
    share = ILL.mean()
    weights = {0: 1.0, 1: 1.0} | (given if given != "balanced" else {0: 0.5 / (1 - share), 1: 0.5 / share})
    exact = newton(ROWS, ILL, np.where(ILL > 0, weights[1], weights[0]), 0.0)
    assert found[0] == pytest.approx(exact[0], abs=0.35)
    assert found[1:] == pytest.approx(exact[1:].tolist(), abs=0.012)


def test_a_penalty_is_beside_weights_as_they_were_said() -> None:
    """scikit-learn's sum is of weighed losses: ten times the weights are a tenth of the penalty."""
    weights = np.where(ILL > 0, 20.0, 2.0)
    spec = LogisticRegression("ill ~ age + mass", rounds=10, class_weight={1: 20.0, 0: 2.0}, alpha=6000.0)
    exact = newton(ROWS, ILL, weights, 6000.0)
    assert values(trained(spec, ROWS))[1:] == pytest.approx(exact[1:].tolist(), rel=0.12, abs=0.006)


def test_balanced_classes_are_counted_in_round_0_also_of_three() -> None:
    spec = LogisticRegression("grade ~ age + mass", rounds=8, class_weight="balanced")
    model = trained(spec, ROWS)
    counts = [sum(ROWS["grade"] == each) for each in GRADES]
    exact = [len(ROWS["grade"]) / (3 * count) for count in counts]
    assert model.to_json()["class_weights"] == pytest.approx(exact, rel=0.01)
    chances = np.array(model.predict_proba({name: ROWS[name].tolist() for name in ("age", "mass")}))
    own = np.array([chances[ROWS["grade"] == each, place].mean() for place, each in enumerate(GRADES)])
    assert (own > 1 / 3).all()


def test_errors_hold_what_noise_does_to_weighed_models() -> None:
    rows = people(3000)
    spec = LogisticRegression("ill ~ age + mass", rounds=8, class_weight={1: 6.0})
    exact, within = values(trained(spec, rows)), 0
    for seed in range(4):
        model = trained(spec, rows, epsilon=1.0, seed=seed)
        within += sum(
            abs(each.value - value) <= 2.2 * each.noise_error
            for each, value in zip(model.coefficients, exact, strict=True)
        )
    assert within >= 10


def test_a_network_with_balanced_classes_finds_a_rare_one() -> None:
    rows = {name: ROWS[name].tolist() for name in ("age",)}
    share = {}
    for given in (None, "balanced"):
        spec = NeuralNetwork("ill ~ age", hidden=(6,), rounds=20, class_weight=given)
        share[given] = np.mean(trained(spec, ROWS).predict(rows))
    assert share[None] < 0.12
    assert 0.25 < share["balanced"] < 0.75


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (LogisticRegression("ill ~ age", class_weight={2: 5.0}), "not_supported"),
        (LogisticRegression("grade ~ age", class_weight={"worse": 5.0}), "not_supported"),
        (NeuralNetwork("stays ~ age", class_weight="balanced"), "not_supported"),
    ],
)
def test_weights_of_what_is_no_class_are_refused_with_place_and_hint(spec: ModelInRounds, code: str) -> None:
    own = rule_of(spec.training, spec.model).first(spec.rounds)
    with pytest.raises(Problem) as caught:
        planned(spec, own)
    assert (caught.value.code, str(caught.value.position)) == (code, "1:1")
    assert caught.value.hint


@pytest.mark.parametrize("given", [{}, {"a": 0.0}, {"a": -1.0}, {"a": math.nan}, {"a": True}, "even", {None: 1.0}])
def test_weights_that_are_none_are_refused_before_anything_is_asked(given: Any) -> None:
    for made in (LogisticRegression, NeuralNetwork):
        with pytest.raises(Problem) as caught:
            made("ill ~ age", class_weight=given)
        assert caught.value.code == "class_weight"


def test_a_round_with_other_weights_than_follow_is_no_model() -> None:
    spec = LogisticRegression("ill ~ age", rounds=6, class_weight="balanced")
    rounds = rounds_of(spec, people(500))
    own = Plan()
    own.CopyFrom(rounds[3].plan)
    for message in (own.fit.round, own.statistics[0].model_vector):
        message.class_weights[0] *= 0.5
    with pytest.raises(PlanError, match="round 3 does not follow"):
        model_of([*rounds[:3], Released(own, rounds[3].values, rounds[3].deviation)])
    own.fit.round.class_weights[0] = 1.0
    with pytest.raises(PlanError, match="not that of its round"):
        check_readable(own)


# Scores.


@pytest.mark.parametrize("name", SCORED)
def test_a_score_is_what_the_model_says_of_the_rows_it_was_trained_on(name: str) -> None:
    spec, rows = SCORED[name], people(1500)
    rounds = rounds_of(spec, rows)
    assert len(rounds) == spec.rounds + 1
    model = model_of(rounds)
    told = [each.value for each in score_in(model).measures]
    response = spec.formula.partition(" ~")[0]
    assert told == pytest.approx(measured(model, rows, response), rel=0.01, abs=0.004)
    # All else is as without the score.
    assert model.to_json()["rounds"] == spec.rounds


def test_what_a_score_says_is_off_by_its_error() -> None:
    rows, spec = people(1500), SCORED["logistic"]
    within = 0
    for seed in range(5):
        model = trained(spec, rows, epsilon=1.0, seed=seed)
        pairs = zip(score_in(model).measures, measured(model, rows, "ill"), strict=True)
        within += sum(abs(each.value - exact) <= 2 * each.error for each, exact in pairs)
    assert within >= 8


def test_a_preview_tells_how_exact_the_score_would_be() -> None:
    spec = SCORED["logistic"]
    rounds = rounds_of(spec, people(10_000), epsilon=1.0)
    told = {(each.column, each.rows): each.std_error for each in predicted_errors(rounds[0].plan).average_errors}
    own = score_in(model_of(rounds)).measures[0].error
    assert told["(accuracy)", 10_000] == pytest.approx(own, rel=0.3)


def test_a_score_may_be_asked_for_before_the_last_step() -> None:
    """What a training that stops early does; but not before there is a model, and once."""
    spec = LogisticRegression("ill ~ age", rounds=12, score=True)
    rounds = rounds_of(spec, people(800), stop_after=7)
    assert [each.plan.fit.round.number for each in rounds] == [*range(7), 12]
    assert score_in(model_of(rounds)).measures[0].name == "accuracy"
    with pytest.raises(PlanError, match="does not follow"):
        model_of([*rounds, rounds[-1]])
    with pytest.raises(PlanError, match="does not follow"):
        model_of([*rounds[:6], rounds[-1]])


def test_kmeans_has_no_score() -> None:
    with pytest.raises(Problem) as caught:
        KMeans("~ age", score=True)
    assert caught.value.code == "score"


def test_a_plan_whose_score_is_not_what_it_says_is_not_read() -> None:
    plan = rounds_of(SCORED["logistic"], people(300))[-1].plan
    check_readable(plan)
    for limit in (None, 1.0):
        broken = Plan()
        broken.CopyFrom(plan)
        vector = broken.statistics[0].model_vector
        vector.score.limit = limit or 0.0
        if limit is None:
            vector.ClearField("score")
        with pytest.raises(PlanError, match="not that of its round"):
            check_readable(broken)


def test_models_without_options_are_as_they_were() -> None:
    model = trained(LogisticRegression("ill ~ age", rounds=6), people(300))
    assert isinstance(model, GeneralizedModel)
    assert (model.fit.HasField("alpha"), model.fit.HasField("class_weights")) == (False, False)
    assert Fit.Model.Name(model.fit.model) == "MODEL_LOGISTIC_REGRESSION"
