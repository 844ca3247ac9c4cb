"""Small networks and additive models, from the gateway's plans through the engine and noise: without a zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from yingbi.answer import check_readable
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Plan,
    TrainingRound,
    Value,
)
from yingbi.cells import PlanError
from yingbi.forecasts import predicted_errors
from yingbi.models.boosting import BoostedModel
from yingbi.models.boosting_rule import BoostingRule, BoostingState, shapes_of
from yingbi.models.in_rounds import round_kind
from yingbi.models.network_rule import NetworkState
from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
from yingbi.models.networks import NetworkModel
from yingbi.models.round_specs import ModelInRounds
from yingbi.rounds import Released, Rule, followed

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

NOISELESS = 10_000.0
WARDS = ["north", "south", "east"]
Floats = NDArray[np.float64]


def declared() -> DatasetDeclaration:
    column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
    wards = [Value(string_value=each) for each in WARDS]
    columns = [
        column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT),
        column(name="age", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=0, upper=100),
        column(name="dose", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=-4, upper=4),
        column(name="ward", type=COLUMN_TYPE_STRING, role=attribute, values=wards),
        column(name="well", type=COLUMN_TYPE_INT64, role=attribute, lower=0, upper=1),
        column(name="pulse", type=COLUMN_TYPE_FLOAT64, role=attribute, lower=40, upper=200),
    ]
    table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
    return DatasetDeclaration(
        dataset="people", privacy_unit="id", max_units=100_000, units_disjoint=True, tables=[table]
    )


def people(count: int, seed: int = 1) -> dict[str, Any]:
    """Who is well is decided by a product, which no line sees; the pulse by a step, a curve and the ward."""
    draw = np.random.default_rng(seed)
    age, dose = draw.uniform(20, 80, count), draw.normal(0, 1, count)
    ward = draw.integers(0, 3, count)
    well = (np.clip((age - 50) / 15, -1.5, 1.5) * dose + 0.3 * draw.normal(size=count) > 0).astype(np.int64)
    pulse = 90 + 20.0 * (age > 50) + 8 * dose**2 + np.array([0.0, 10.0, -10.0])[ward] + draw.normal(0, 3, count)
    wards = np.array(WARDS)[ward]
    return {"age": age, "dose": np.clip(dose, -4, 4), "ward": wards, "well": well, "pulse": np.clip(pulse, 40, 200)}


def planned(spec: ModelInRounds, own: TrainingRound, epsilon: float) -> Plan:
    return plan_training(
        spec.message(own), declared(), dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=1e-6
    ).plan


def rounds_of(spec: ModelInRounds, rows: dict[str, Any], epsilon: float = NOISELESS, seed: int = 0) -> list[Released]:
    """What all rounds release."""
    count = len(rows["age"])
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(count)), **{name: pa.array(each) for name, each in rows.items()}})
    draw, rule = np.random.default_rng(seed), rule_of(spec)
    released: list[Released] = []
    state: Any = None
    own: TrainingRound | None = rule.first(spec.rounds)
    while own is not None:
        plan = planned(spec, own, epsilon)
        check_readable(plan)
        exact = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
        noise = draw.normal(0, math.sqrt(3) * plan.statistics[0].sigma, len(exact))
        opened = [cell + round(each) for cell, each in zip(exact, noise.tolist(), strict=True)]
        released.append(Released.of(plan, opened))
        state = rule.after(state, released[-1])
        own = rule.next(state)
    return released


def rule_of(spec: ModelInRounds) -> Rule[Any]:
    return round_kind(spec.model).rule(spec.training)


def model_of(released: Sequence[Released]) -> Any:
    """The same as whoever has the receipts makes it."""
    kind = round_kind(released[0].plan.fit.model)
    return kind.model(followed(kind.rule(released[0].plan.fit.round), released).state)


@pytest.fixture(scope="module")
def network() -> list[Released]:
    return rounds_of(NeuralNetwork("well ~ age + dose", hidden=(12,), rounds=24), people(8000))


@pytest.fixture(scope="module")
def boosted() -> list[Released]:
    return rounds_of(ExplainableBoosting("pulse ~ age + dose + ward", rounds=14), people(6000))


def test_a_network_learns_what_no_line_does(network: list[Released]) -> None:
    rows = people(2000, seed=2)
    model = model_of(network)
    assert isinstance(model, NetworkModel)
    found = np.array(model.predict(rows))
    assert (found == rows["well"]).mean() > 0.8
    assert max(rows["well"].mean(), 1 - rows["well"].mean()) < 0.6


def test_the_estimator_says_what_the_network_says(network: list[Released]) -> None:
    rows, model = people(50, seed=3), model_of(network)
    made = model.estimator()
    assert made.predict_proba(model.frame_of(rows)) == pytest.approx(np.array(model.predict_proba(rows)), abs=1e-9)
    assert list(made.predict(model.frame_of(rows))) == model.predict(rows)


@pytest.mark.parametrize(
    ("formula", "hidden"), [("pulse ~ age + ward", (3,)), ("ward ~ age * dose", (4, 3)), ("pulse ~ dose", (2, 2))]
)
def test_networks_of_numbers_and_of_categories_have_estimators(formula: str, hidden: tuple[int, ...]) -> None:
    rows = people(300)
    model = model_of(rounds_of(NeuralNetwork(formula, hidden=hidden, rounds=6), rows))
    made, frame = model.estimator(), model.frame_of(rows)
    if model.classes:
        assert made.predict_proba(frame) == pytest.approx(np.array(model.predict_proba(rows)), abs=1e-9)
        assert set(made.predict(frame)) <= set(WARDS)
    else:
        assert made.predict(frame) == pytest.approx(np.array(model.predict(rows)), abs=1e-6)


def test_rounds_that_do_not_follow_are_found(network: list[Released], boosted: list[Released]) -> None:
    for rounds in (network, boosted):
        own = rounds[0].plan.fit
        rule = round_kind(own.model).rule(own.round)
        followed(rule, rounds)
        for place in (1, 4):
            forged = list(rounds)
            values = tuple(value + 50.0 for value in forged[place].values)
            forged[place] = Released(forged[place].plan, values, forged[place].deviation)
            with pytest.raises(PlanError, match="does not follow"):
                followed(rule, forged)
        with pytest.raises(PlanError, match="does not follow"):
            followed(rule, [rounds[0], *rounds[2:]])


def test_a_plan_whose_vector_is_not_its_rounds_is_not_paid_for(
    network: list[Released], boosted: list[Released]
) -> None:
    for rounds in (network, boosted):
        plan = Plan()
        plan.CopyFrom(rounds[3].plan)
        vector = plan.statistics[0].model_vector
        if vector.HasField("network"):
            vector.network.parameters[0] += 1
        else:
            vector.binned_gradient.intercept += 1
        with pytest.raises(PlanError, match="not that of its round"):
            check_readable(plan)


@pytest.mark.parametrize("hidden", [[], [10**9], [4, 513], [2, 2, 2]])
def test_a_first_round_of_layers_that_nobody_can_hold_is_not_read(network: list[Released], hidden: list[int]) -> None:
    plan = Plan()
    plan.CopyFrom(network[0].plan)
    plan.fit.round.network.hidden[:] = hidden
    with pytest.raises(PlanError, match="not that of its round"):
        check_readable(plan)


def test_where_noise_is_much_gradients_are_cut_shorter() -> None:
    spec = NeuralNetwork("well ~ age + dose", hidden=(2,), rounds=6)
    rule = rule_of(spec)
    norms = []
    for epsilon in (0.5, NOISELESS):
        plan = planned(spec, rule.first(6), epsilon)
        state: NetworkState = rule.after(None, Released(plan, (300.0, 0, 0, 150, 30, 20, 150), 1.0))
        norms.append((state.max_gradient, state.rate))
    assert norms == [(1.0, 1.0), (4.0, 8.0)]


def test_steps_of_many_sums_of_few_inputs_are_smaller() -> None:
    """All of them say nearly the same, so a step in each is as many times too long: it would swing ever further."""
    rates = []
    for hidden in (2, 8, 32):
        spec = NeuralNetwork("well ~ age", hidden=(hidden,), rounds=6)
        plan = planned(spec, rule_of(spec).first(6), NOISELESS)
        state: NetworkState = rule_of(spec).after(None, Released(plan, (300.0, 0, 150, 30, 150), 1.0))
        rates.append(state.rate)
    assert rates[0] == 4
    assert rates[1] == pytest.approx(4 * rates[2], rel=0.3)
    assert 1 < rates[2] < 2


def test_an_additive_model_has_steps_curves_and_categories(boosted: list[Released]) -> None:
    model = model_of(boosted)
    assert isinstance(model, BoostedModel)
    rows = people(2000, seed=2)
    found, pulse = np.array(model.predict(rows)), rows["pulse"]
    assert 1 - ((found - pulse) ** 2).sum() / ((pulse - pulse.mean()) ** 2).sum() > 0.9
    grid: dict[str, Any] = {"age": [30.0, 70.0], "dose": [0.0, 0.0], "ward": ["north", "north"]}
    low, high = model.predict(grid)
    assert high - low == pytest.approx(20, abs=2)
    north, south, east = model.predict({"age": [30.0] * 3, "dose": [0.0] * 3, "ward": WARDS})
    assert (south - north, north - east) == (pytest.approx(10, abs=1), pytest.approx(10, abs=1))


def test_what_variables_add_is_what_is_predicted(boosted: list[Released]) -> None:
    rows, model = people(20, seed=3), model_of(boosted)
    added = [model.constant + sum(each.values()) for each in model.explain(rows)]
    assert added == pytest.approx(model.predict(rows))
    assert model.estimator().predict(model.frame_of(rows)) == pytest.approx(np.array(model.predict(rows)))
    table = model.to_pandas()
    assert len(table) == len(model.coefficients) - 1
    assert set(table["variable"]) == {"age", "dose", "ward"}


def test_a_row_without_a_value_has_no_prediction(network: list[Released], boosted: list[Released]) -> None:
    rows: dict[str, Any] = {"age": [None, 50.0], "dose": [0.0, 0.0], "ward": ["north", "west"], "well": [0, 0]}
    assert math.isnan(model_of(network).predict(rows)[0])
    assert all(map(math.isnan, model_of(boosted).predict(rows)))


def test_an_additive_model_of_classes_has_chances_and_an_estimator() -> None:
    rows = people(1500)
    rows["well"] = (rows["age"] > 50).astype(np.int64)
    model = model_of(rounds_of(ExplainableBoosting("well ~ age + ward", rounds=8), rows))
    chances = np.array(model.predict_proba(rows))
    assert ((chances[:, 1] > 0.5) == rows["well"]).mean() > 0.95
    assert model.estimator().predict_proba(model.frame_of(rows)) == pytest.approx(chances, abs=1e-9)
    assert list(model.estimator().predict(model.frame_of(rows))) == model.predict(rows)


def test_errors_of_scores_cover_what_noise_does() -> None:
    """Twelve bins of 500 and nothing but noise in the residuals: at the truth, 0, within ± twice ± mostly."""
    spec = ExplainableBoosting("well ~ age", rounds=10)
    plan = planned(spec, rule_of(spec).first(10), 1.0)
    bins = len(plan.statistics[0].model_vector.binned_gradient.features[0].scores)
    draw, misses, total, sizes, errors = np.random.default_rng(0), 0, 0, [], []
    for _ in range(40):
        rule: BoostingRule = BoostingRule()
        counts = [500.0] * bins + [250.0 * bins] * 2
        state: BoostingState = rule.after(None, Released(plan, tuple(counts), 1.0))
        for number in range(1, 10):
            state.fit.round.number = number
            later = Plan()
            later.CopyFrom(plan)
            later.fit.round.number = number
            # The residuals that the scores themselves make, and noise.
            (feature,) = state.features
            own = [-500.0 * state.curvature * score for score in feature.scores]
            noisy = [each + draw.normal(0, 40.0) for each in own]
            state = rule.after(state, Released(later, tuple(noisy), 40.0))
        (shape,) = shapes_of(state)
        misses += sum(abs(score) > 2 * error for score, error in zip(shape.scores, shape.errors, strict=True))
        total += len(shape.scores)
        sizes += [score**2 for score in shape.scores]
        errors += [error**2 for error in shape.errors]
    assert misses / total < 0.08
    assert 0.2 < math.sqrt(np.mean(sizes) / np.mean(errors)) < 1.2


def test_made_up_rows_are_computed_as_the_enclaves_do(network: list[Released], boosted: list[Released]) -> None:
    from enclave_sim.engine.models import KERNELS

    for each in (network[5], boosted[0], boosted[5]):
        vector = each.plan.statistics[0].model_vector
        kind = vector.WhichOneof("kind") or ""
        row = [0.3, -0.2, 1.0, 0.5][: len(each.plan.fit.columns)]
        found = round_kind(each.plan.fit.model).row_vector(each.plan, row)
        # Boosting's first round has the response once more.
        terms = np.array([[*row, row[-1]][: len(vector.terms)]])
        assert KERNELS[kind](vector)(terms)[0] == pytest.approx(found, abs=0.1 if kind == "network" else 1e-9)


def test_errors_are_foretold(network: list[Released], boosted: list[Released]) -> None:
    for each, names in ((network[0], 1), (boosted[0], 3)):
        assert len(predicted_errors(each.plan).average_errors) == 3 * names


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ExplainableBoosting("pulse ~ age:dose"), "a product"),
        (ExplainableBoosting("ward ~ age"), "has 3 values"),
        (ExplainableBoosting("pulse ~ 1"), "no regressors"),
        (ExplainableBoosting("pulse ~ pulse"), "both sides"),
        (NeuralNetwork("well ~ age - 1"), "always has a constant"),
        (NeuralNetwork("well ~ age + dose", hidden=(512, 512)), "parameters"),
        (NeuralNetwork("well ~ well"), "both sides"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_place(spec: ModelInRounds, said: str) -> None:
    with pytest.raises(Problem) as caught:
        planned(spec, rule_of(spec).first(spec.rounds), 1.0)
    assert said in caught.value.message
    assert caught.value.field == "formula"


@pytest.mark.parametrize("kind", ["parameters", "family", "max_gradient", "scales", "hidden", "features"])
def test_a_round_that_does_not_fit_the_model_is_malformed(
    network: list[Released], boosted: list[Released], kind: str
) -> None:
    own = TrainingRound()
    own.CopyFrom((boosted if kind == "features" else network)[3].plan.fit.round)
    match kind:
        case "parameters":
            own.network.parameters.append(0)
        case "family":
            own.network.family = 2  # type: ignore[assignment]
        case "max_gradient":
            own.max_gradient = math.nan
        case "scales":
            own.network.scales[0] = math.inf
        case "hidden":
            own.network.hidden[:] = [0]
        case _:
            own.binned_gradient.features.pop()
    spec: ModelInRounds = NeuralNetwork("well ~ age + dose", hidden=(12,), rounds=24)
    if kind == "features":
        spec = ExplainableBoosting("pulse ~ age + dose + ward")
    with pytest.raises(Problem) as caught:
        planned(spec, own, 1.0)
    assert caught.value.field in ("round", "hidden")


@pytest.mark.parametrize("more", [{"hidden": ()}, {"hidden": (2, 2, 2)}, {"early_stop": True}, {"rounds": 3}])
def test_a_specification_that_means_nothing_is_malformed(more: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        NeuralNetwork("well ~ age", **more)
