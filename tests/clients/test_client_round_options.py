"""Weights, penalties, scores and objectives of models in rounds: plans, engine, noise and rules, without a zone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from yingbi.answer import check_readable, predicted_errors
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Fit,
    Plan,
    TrainingRound,
    Value,
)
from yingbi.cells import PlanError
from yingbi.display import cell_text
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.in_rounds import round_kind, rule_of, score_of
from yingbi.models.kmeans import KMeans
from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
from yingbi.models.scores import Score, objective_of
from yingbi.round_learning import LogisticRegression, ModelInRounds, PoissonRegression
from yingbi.rounds import Released, followed

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.plan.validation import check_plan
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

NOISELESS = 10_000.0
GRADES = ["none", "mild", "bad"]
Floats = NDArray[np.float64]


def declared() -> DatasetDeclaration:
    column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
    columns = [
        column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT),
        column(name="age", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=0, upper=100),
        column(name="mass", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=10, upper=60),
        column(name="ill", type=COLUMN_TYPE_INT64, role=attribute, lower=0, upper=1),
        column(name="stays", type=COLUMN_TYPE_INT64, role=attribute, lower=0, upper=30),
        column(
            name="grade",
            type=COLUMN_TYPE_STRING,
            role=attribute,
            values=[Value(string_value=each) for each in GRADES],
        ),
    ]
    table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
    return DatasetDeclaration(
        dataset="people", privacy_unit="id", max_units=100_000, units_disjoint=True, tables=[table]
    )


def people(count: int, seed: int = 1) -> dict[str, Any]:
    """Few are ill, not quite as a logistic model has it; few are bad."""
    draw = np.random.default_rng(seed)
    age, mass = np.clip(draw.normal(50, 12, count), 0, 100), np.clip(draw.normal(28, 5, count), 10, 60)
    ill = (draw.random(count) < 1 / (1 + np.exp(-(-4 + 0.06 * (age - 50) + 0.002 * (age - 50) ** 2)))).astype(np.int64)
    stays = np.minimum(draw.poisson(np.exp(0.3 + 0.02 * (age - 50))), 30)
    scores = np.column_stack([0 * age, -1 + 0.05 * (age - 50), -2.5 + 0.1 * (mass - 28)])
    grade = np.array(GRADES)[(scores + draw.gumbel(size=scores.shape)).argmax(axis=1)]
    return {"age": age, "mass": mass, "ill": ill, "stays": stays, "grade": grade}


def planned(spec: ModelInRounds, own: TrainingRound, epsilon: float = NOISELESS) -> Plan:
    return plan_training(
        spec.message(own), declared(), dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=1e-6
    ).plan


def rounds_of(
    spec: ModelInRounds, rows: dict[str, Any], epsilon: float = NOISELESS, seed: int = 0, stop_after: int = 99
) -> list[Released]:
    """What all rounds release; with few steps where the score is asked for early."""
    count = len(rows["age"])
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(count)), **{name: pa.array(each) for name, each in rows.items()}})
    draw, rule = np.random.default_rng(seed), rule_of(spec.training, spec.model)
    released: list[Released] = []
    state: Any = None
    own: TrainingRound | None = rule.first(spec.training.rounds)
    while own is not None:
        plan = planned(spec, own, epsilon)
        check_readable(plan)
        check_plan(plan, declared(), dataset_version=bytes(32))
        exact = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
        sigmas = [each.sigma for each in plan.statistics for _ in range(cells_of(plan, each))]
        noise = draw.normal(0, math.sqrt(3) * np.array(sigmas))
        opened = [cell + round(each) for cell, each in zip(exact, noise.tolist(), strict=True)]
        released.append(Released.of(plan, opened))
        state = rule.after(state, released[-1])
        own = rule.last(state) if len(released) == stop_after else rule.next(state)  # type: ignore[attr-defined]
    return released


def model_of(released: Sequence[Released]) -> Any:
    """The same as whoever has the receipts makes it."""
    fit = released[0].plan.fit
    return round_kind(fit.model).model(followed(rule_of(fit.round, fit.model), released).state)


def trained(spec: ModelInRounds, rows: dict[str, Any], epsilon: float = NOISELESS, seed: int = 0) -> Any:
    return model_of(rounds_of(spec, rows, epsilon, seed))


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


SCORED = {
    "logistic": LogisticRegression("ill ~ age + mass", rounds=8, score=True),
    "multinomial": LogisticRegression("grade ~ age + mass", rounds=8, score=True),
    "poisson": PoissonRegression("stays ~ age", rounds=8, score=True),
    "network": NeuralNetwork("ill ~ age + mass", hidden=(4,), rounds=12, score=True),
    "network of three": NeuralNetwork("grade ~ age + mass", hidden=(4,), rounds=12, score=True),
    "network of numbers": NeuralNetwork("mass ~ age", hidden=(4,), rounds=12, score=True),
    "boosting": ExplainableBoosting("ill ~ age + mass", rounds=8, score=True),
    "boosting of numbers": ExplainableBoosting("mass ~ age", rounds=8, score=True),
}


def measured(model: Any, rows: dict[str, Any], response: str) -> tuple[float, ...]:
    """The score of a model by what it says of the rows."""
    asked = {name: rows[name].tolist() for name in model.variables}
    limit = _score(model).limit
    if not model.classes:
        errors = np.minimum(np.abs(np.array(model.predict(asked)) - rows[response]), limit)
        return (float((errors**2).mean()),)
    chances = np.array(model.predict_proba(asked))
    places = np.array([model.classes.index(each) for each in rows[response].tolist()])
    losses = np.minimum(-np.log(chances[np.arange(len(places)), places]), limit)
    return float((chances.argmax(axis=1) == places).mean()), float(losses.mean())


def _score(model: Any) -> Score:
    found = score_of(model.state)
    assert found is not None
    return found


@pytest.mark.parametrize("name", SCORED)
def test_a_score_is_what_the_model_says_of_the_rows_it_was_trained_on(name: str) -> None:
    spec, rows = SCORED[name], people(1500)
    rounds = rounds_of(spec, rows)
    assert len(rounds) == spec.rounds + 1
    model = model_of(rounds)
    told = [each.value for each in _score(model).measures]
    response = spec.formula.partition(" ~")[0]
    assert told == pytest.approx(measured(model, rows, response), rel=0.01, abs=0.004)
    # All else is as without the score.
    assert model.to_json()["rounds"] == spec.rounds


def test_what_a_score_says_is_off_by_its_error() -> None:
    rows, spec = people(1500), SCORED["logistic"]
    within = 0
    for seed in range(5):
        model = trained(spec, rows, epsilon=1.0, seed=seed)
        pairs = zip(_score(model).measures, measured(model, rows, "ill"), strict=True)
        within += sum(abs(each.value - exact) <= 2 * each.error for each, exact in pairs)
    assert within >= 8


def test_a_preview_tells_how_exact_the_score_would_be() -> None:
    spec = SCORED["logistic"]
    rounds = rounds_of(spec, people(10_000), epsilon=1.0)
    told = {(each.column, each.rows): each.std_error for each in predicted_errors(rounds[0].plan).average_errors}
    own = _score(model_of(rounds)).measures[0].error
    assert told["(accuracy)", 10_000] == pytest.approx(own, rel=0.3)


def test_a_score_may_be_asked_for_before_the_last_step() -> None:
    """What a training that stops early does; but not before there is a model, and once."""
    spec = LogisticRegression("ill ~ age", rounds=12, score=True)
    rounds = rounds_of(spec, people(800), stop_after=7)
    assert [each.plan.fit.round.number for each in rounds] == [*range(7), 12]
    assert _score(model_of(rounds)).measures[0].name == "accuracy"
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


# Objectives.


STEPPED = {name: replace(each, score=False) for name, each in SCORED.items()}


@pytest.mark.parametrize("name", ["logistic", "multinomial", "poisson", "network", "network of numbers"])
def test_the_objective_of_a_step_is_what_the_model_before_it_says_of_the_rows(name: str) -> None:
    spec, rows, at = STEPPED[name], people(1500), 4
    rounds = rounds_of(spec, rows)
    before, objective = model_of(rounds[:at]), objective_of(rounds[at])
    assert objective is not None
    limited = replace(before, state=replace(before.state, score=objective))
    response = spec.formula.partition(" ~")[0]
    told = [each.value for each in objective.measures]
    assert told == pytest.approx(measured(limited, rows, response), rel=0.01, abs=0.004)


@pytest.mark.parametrize("name", ["boosting", "boosting of numbers"])
def test_bins_begin_with_what_a_constant_says_and_come_to_the_score(name: str) -> None:
    """Their model is an average of steps, so that the last objective is near to the score and not the same."""
    rows = people(1500)
    model = trained(SCORED[name], rows)
    losses = [each.loss.value for each in model.state.objectives]
    share = rows["ill"].mean()
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert losses[0] == pytest.approx(entropy if name == "boosting" else rows["mass"].var(), rel=0.1)
    assert losses[-1] == pytest.approx(_score(model).loss.value, rel=0.1)
    assert losses[-1] <= losses[0] * 1.001


@pytest.mark.parametrize("name", STEPPED)
@pytest.mark.parametrize("rows_each", [1, 2])
def test_both_engines_add_up_the_same_objective(name: str, rows_each: int) -> None:
    spec, rows = STEPPED[name], people(60)
    plan = rounds_of(spec, rows)[3].plan
    columns = {key: pa.array(each) for key, each in rows.items()}
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(60) // rows_each), **columns})
    cells = cells_of(plan, plan.statistics[1])
    one, other = (
        np.array(engine.contribution(plan, lambda _, names: table.select(list(names))))[-cells:]
        for engine in (DuckDBEngine(), ReferenceEngine())
    )
    # Of powers the last digit is the processor's.
    assert abs(one - other).max() <= 2
    assert abs(one).max() > 0


def test_what_objectives_say_is_off_by_their_error() -> None:
    rows, spec, within, count = people(1500), STEPPED["logistic"], 0, 0
    for seed in range(4):
        rounds = rounds_of(spec, rows, epsilon=1.0, seed=seed)
        for at in range(3, len(rounds)):
            before, objective = model_of(rounds[:at]), objective_of(rounds[at])
            assert objective is not None
            limited = replace(before, state=replace(before.state, score=objective))
            pairs = zip(objective.measures, measured(limited, rows, "ill"), strict=True)
            # Near to 0 and 1 shares are cut to what they can be, which is no further away.
            found = [abs(each.value - exact) <= 2 * each.error for each, exact in pairs]
            within, count = within + sum(found), count + len(found)
    assert within >= 0.85 * count


def test_a_preview_tells_how_exact_objectives_would_be() -> None:
    rounds = rounds_of(STEPPED["logistic"], people(10_000), epsilon=1.0)
    told = {(each.column, each.rows): each.std_error for each in predicted_errors(rounds[0].plan).average_errors}
    assert told["(objective of each step)", 10_000] == pytest.approx(
        model_of(rounds).state.objectives[-1].loss.error, rel=0.3
    )


def _without_score(plan: Plan) -> None:
    del plan.statistics[1]


def _cut_shorter(plan: Plan) -> None:
    plan.statistics[1].model_vector.max_norm -= 1


def _of_other_parameters(plan: Plan) -> None:
    plan.statistics[1].model_vector.generalized_linear.parameters[0] += 1


def _of_another_limit(plan: Plan) -> None:
    plan.fit.round.score_limit = 5.0


def _of_nobody(plan: Plan) -> None:
    plan.fit.round.units = 0.0


@pytest.mark.parametrize("change", [_without_score, _cut_shorter, _of_other_parameters, _of_another_limit, _of_nobody])
def test_a_step_whose_score_is_not_its_models_is_not_read(change: Callable[[Plan], None]) -> None:
    plan = Plan()
    plan.CopyFrom(rounds_of(STEPPED["logistic"], people(300))[4].plan)
    check_readable(plan)
    change(plan)
    with pytest.raises(PlanError, match="its round"):
        check_readable(plan)


def test_a_step_that_counts_other_units_than_round_0_does_not_follow() -> None:
    """So that no receipt tells an objective of other people than there are."""
    rounds = rounds_of(STEPPED["logistic"], people(500))
    plan = Plan()
    plan.CopyFrom(rounds[4].plan)
    plan.fit.round.units *= 2
    check_readable(plan)
    with pytest.raises(PlanError, match="round 4 does not follow"):
        model_of([*rounds[:4], replace(rounds[4], plan=plan)])


def test_trainings_without_objectives_are_read_as_ever_and_not_mixed_with_others() -> None:
    spec = STEPPED["logistic"]
    with_them, without = (rounds_of(each, people(500)) for each in (spec, _Silent("ill ~ age + mass", rounds=8)))
    assert model_of(without).state.objectives == ()
    assert len(model_of(with_them).state.objectives) == 6
    with pytest.raises(PlanError, match="round 4 does not follow"):
        model_of([*with_them[:4], without[4]])


class _Silent(LogisticRegression):
    """As trainings were before steps had objectives."""

    @property
    def training(self) -> TrainingRound:
        return TrainingRound(rounds=self.rounds)


def test_the_steps_of_kmeans_tell_inertia_with_its_error() -> None:
    spec, rows = KMeans("~ age + mass", rounds=6, clusters=3), people(1500)
    exact = model_of(rounds_of(spec, rows)).state.inertia
    model = model_of(rounds_of(spec, rows, epsilon=4.0))
    assert abs(model.state.inertia - exact) <= 3 * model.state.inertia_error + 0.1 * exact
    assert f"objective {cell_text(model.state.inertia, model.state.inertia_error)}" in round_kind(spec.model).said(
        model.state
    )


def test_models_without_options_are_as_they_were() -> None:
    model = trained(LogisticRegression("ill ~ age", rounds=6), people(300))
    assert isinstance(model, GeneralizedModel)
    assert (model.fit.HasField("alpha"), model.fit.HasField("class_weights")) == (False, False)
    assert Fit.Model.Name(model.fit.model) == "MODEL_LOGISTIC_REGRESSION"
