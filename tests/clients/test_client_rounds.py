"""Models in rounds, from the gateway's plans through the engine and noise to coefficients: without a zone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from yingbi.answer import check_readable
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, COLUMN_TYPE_STRING, Fit, TrainingRound, Value
from yingbi.cells import PlanError
from yingbi.forecasts import predicted_errors
from yingbi.generalized_linear import GeneralizedLinearRule, State
from yingbi.generalized_model import GeneralizedModel
from yingbi.rounds import Released, followed

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

LOGISTIC, POISSON = Fit.MODEL_LOGISTIC_REGRESSION, Fit.MODEL_POISSON_REGRESSION
NOISELESS = 10_000.0
Rows = dict[str, NDArray[np.generic]]


def declared(rows: Rows, bounds: dict[str, tuple[float, float] | list[str]]) -> DatasetDeclaration:
    column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
    columns = [column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT)]
    for name, known in bounds.items():
        if isinstance(known, list):
            values = [Value(string_value=each) for each in known]
            columns.append(column(name=name, type=COLUMN_TYPE_STRING, role=attribute, values=values))
            continue
        kind = COLUMN_TYPE_INT64 if rows[name].dtype.kind == "i" else COLUMN_TYPE_FLOAT64
        columns.append(column(name=name, type=kind, role=attribute, lower=known[0], upper=known[1]))
    table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
    return DatasetDeclaration(
        dataset="people", privacy_unit="id", max_units=100_000, units_disjoint=True, tables=[table]
    )


class Study:
    """People of whom models are made."""

    def __init__(self, rows: Rows, bounds: dict[str, tuple[float, float] | list[str]]) -> None:
        count = len(next(iter(rows.values())))
        self.declaration = declared(rows, bounds)
        self.table = pa.table({UNIT_COLUMN: pa.array(np.arange(count)), **{n: pa.array(c) for n, c in rows.items()}})

    def trained(
        self, formula: str, model: Fit.Model.ValueType, epsilon: float = NOISELESS, seed: int = 0, rounds: int = 12
    ) -> list[Released]:
        """What all rounds release."""
        draw, rule = np.random.default_rng(seed), GeneralizedLinearRule()
        released: list[Released] = []
        state: State | None = None
        own: TrainingRound | None = rule.first(rounds)
        while own is not None:
            plan = plan_training(
                TrainQuery(model=model, formula=formula, round=own),
                self.declaration,
                dataset_version=bytes(32),
                parties=3,
                epsilon=epsilon,
                delta=1e-6,
            ).plan
            check_readable(plan)
            exact = DuckDBEngine().contribution(plan, lambda _, columns: self.table.select(list(columns)))
            noise = draw.normal(0, math.sqrt(3) * plan.statistics[0].sigma, len(exact))
            opened = [cell + round(each) for cell, each in zip(exact, noise.tolist(), strict=True)]
            released.append(Released.of(plan, opened))
            state = rule.after(state, released[-1])
            own = rule.next(state)
        return released

    def model(
        self, formula: str, model: Fit.Model.ValueType, epsilon: float = NOISELESS, seed: int = 0, rounds: int = 8
    ) -> GeneralizedModel:
        """The same as whoever has the receipts makes it."""
        return GeneralizedModel(
            followed(GeneralizedLinearRule(), self.trained(formula, model, epsilon, seed, rounds)).state
        )


def _chances(predictor: NDArray[np.float64]) -> NDArray[np.float64]:
    chances: NDArray[np.float64] = 1 / (1 + np.exp(-predictor))
    return chances


def patients(count: int, seed: int = 1) -> Study:
    """Few die, the older sooner; nobody's age or mass is near the middle of what is declared."""
    draw = np.random.default_rng(seed)
    age, mass = draw.normal(53, 14, count), draw.normal(28, 5, count)
    male = draw.integers(0, 2, count)
    dead = (draw.random(count) < _chances(-7.5 + 0.08 * age + 0.4 * male + 0.02 * mass)).astype(np.int64)
    stays = np.minimum(draw.poisson(np.exp(0.2 + 0.02 * (age - 53) + 0.3 * male)), 30)
    rows: Rows = {"age": age, "mass": mass, "male": male, "dead": dead, "stays": stays}
    bounds: dict[str, tuple[float, float] | list[str]] = {
        "age": (0, 120), "mass": (10, 80), "male": (0, 1), "dead": (0, 1), "stays": (0, 30),
    }  # fmt: skip
    return Study(rows, bounds)


def values(model: GeneralizedModel) -> list[float]:
    return [each.value for each in model.coefficients]


def clear(study: Study, response: str, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = study.table
    design = np.column_stack([np.ones(len(table)), *(table[name].to_numpy() for name in names)])
    return design, table[response].to_numpy().astype(float)


def newton(design: NDArray[np.float64], response: NDArray[np.float64], *, counts: bool) -> NDArray[np.float64]:
    """The likelihood's maximum."""
    beta = np.zeros(design.shape[1])
    if counts:
        beta[0] = math.log(response.mean())
    for _ in range(50):
        mean = np.exp(design @ beta) if counts else _chances(design @ beta)
        weight = mean if counts else mean * (1 - mean)
        beta += np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (response - mean))
    return beta


def test_without_noise_the_model_is_that_of_the_likelihood_within_its_sampling_error() -> None:
    """Persons are weighed by their regressors, which changes what is estimated by less than sampling does."""
    study = patients(8000)
    found = study.model("dead ~ age + male + mass", LOGISTIC)
    exact = newton(*clear(study, "dead", ["age", "male", "mass"]), counts=False)
    for coefficient, value in zip(found.coefficients, exact.tolist(), strict=True):
        assert coefficient.std_error is not None
        assert abs(coefficient.value - value) <= 0.6 * coefficient.std_error, coefficient
    counted = study.model("stays ~ age + male", POISSON)
    exact = newton(*clear(study, "stays", ["age", "male"]), counts=True)
    assert values(counted) == pytest.approx(exact.tolist(), abs=0.05)


def test_categories_have_coefficients_for_each_class_but_the_first() -> None:
    draw = np.random.default_rng(4)
    dose = draw.uniform(0, 10, 12_000)
    scores = np.column_stack([np.zeros_like(dose), -1 + 0.3 * dose, 1 - 0.2 * dose])
    picked = (scores + draw.gumbel(size=scores.shape)).argmax(axis=1)
    kind = np.array(["none", "mild", "bad"])[picked]
    study = Study({"dose": dose, "kind": kind}, {"dose": (0, 10), "kind": ["none", "mild", "bad"]})
    found = study.model("kind ~ dose", LOGISTIC)
    assert [each.name for each in found.coefficients] == [
        "mild: (Intercept)", "mild: dose", "bad: (Intercept)", "bad: dose",
    ]  # fmt: skip
    for coefficient, exact in zip(found.coefficients, (-1, 0.3, 1, -0.2), strict=True):
        assert abs(coefficient.value - exact) <= 4 * (coefficient.std_error or 0), coefficient
    (chances,) = found.predict_proba({"dose": [10.0]})
    assert math.fsum(chances) == pytest.approx(1)
    assert found.predict({"dose": [10.0, None]})[0] == "mild"


def test_noise_errors_hold_what_noise_does() -> None:
    """Of 8 trainings of the same people: as often as said within 2 errors of the model without noise."""
    study = patients(3000)
    formula = "dead ~ age + male"
    exact = values(study.model(formula, LOGISTIC))
    within, told = 0, 0
    for seed in range(8):
        model = study.model(formula, LOGISTIC, epsilon=1.0, seed=seed)
        for coefficient, value in zip(model.coefficients, exact, strict=True):
            within += abs(coefficient.value - value) <= 2 * (coefficient.noise_error or 0)
            told += 1
    assert 0.85 * told <= within


def test_errors_of_noise_and_sampling_hold_the_truth() -> None:
    """Of 8 samples of other people."""
    within, told = 0, 0
    for seed in range(8):
        study = patients(1500, seed=100 + seed)
        model = study.model("dead ~ age + male + mass", LOGISTIC, epsilon=3.0, seed=seed)
        for coefficient, value in zip(model.coefficients, (-7.5, 0.08, 0.4, 0.02), strict=True):
            within += abs(coefficient.value - value) <= 2 * (coefficient.std_error or 0)
            told += 1
    assert 0.85 * told <= within


def test_a_preview_tells_the_noise_of_coefficients_within_a_factor() -> None:
    """Of regressors that are spread evenly, and classes that are equally frequent."""
    draw = np.random.default_rng(2)
    rows: Rows = {"age": draw.uniform(0, 100, 10_000), "male": draw.integers(0, 2, 10_000)}
    study = Study({**rows, "dead": draw.integers(0, 2, 10_000)}, {"age": (0, 100), "male": (0, 1), "dead": (0, 1)})
    rounds = study.trained("dead ~ age + male", LOGISTIC, epsilon=1.0)
    told = {(each.column, each.rows): each.std_error for each in predicted_errors(rounds[0].plan).average_errors}
    for coefficient in GeneralizedModel(followed(GeneralizedLinearRule(), rounds).state).coefficients:
        assert coefficient.noise_error is not None
        assert told[coefficient.name, 10_000] == pytest.approx(coefficient.noise_error, rel=0.5)


def test_rounds_that_do_not_follow_from_each_other_are_no_model() -> None:
    rounds = patients(500).trained("dead ~ age", LOGISTIC, epsilon=5.0, rounds=6)
    assert followed(GeneralizedLinearRule(), rounds[:4]).rounds == 4
    rule = GeneralizedLinearRule()
    with pytest.raises(PlanError, match="no rounds"):
        followed(rule, [])
    for broken in ([*rounds[:2], *rounds[3:]], [*rounds, rounds[-1]], rounds[::-1]):
        with pytest.raises(PlanError, match="does not follow"):
            followed(rule, broken)
    moved = Released(rounds[2].plan, tuple(each + 1 for each in rounds[2].values), rounds[2].deviation)
    with pytest.raises(PlanError, match="round 3 does not follow"):
        followed(rule, [*rounds[:2], moved, *rounds[3:]])
    other = patients(500).trained("dead ~ mass", LOGISTIC, epsilon=5.0, rounds=6)
    with pytest.raises(PlanError, match=r"about other rows|another model"):
        followed(rule, [*rounds[:3], *other[3:]])


def test_a_plan_whose_gradient_is_not_what_it_says_is_not_read() -> None:
    plan = patients(500).trained("dead ~ age", LOGISTIC, rounds=6)[-1].plan
    check_readable(plan)
    plan.statistics[0].model_vector.generalized_linear.parameters[0] += 1
    with pytest.raises(PlanError, match="not that of its round"):
        check_readable(plan)


def test_the_estimator_says_what_the_model_says() -> None:
    pytest.importorskip("sklearn")
    study = patients(2000)
    rows: dict[str, Sequence[float]] = {"age": [40.0, 80.0], "male": [0, 1]}
    dead = study.model("dead ~ age + male", LOGISTIC)
    predicted = dead.estimator().predict_proba(dead.frame_of(rows))
    assert predicted.tolist() == [pytest.approx(each) for each in dead.predict_proba(rows)]
    assert dead.estimator().predict(dead.frame_of(rows)).tolist() == dead.predict(rows)
    stays = study.model("stays ~ age + male", POISSON)
    assert stays.estimator().predict(stays.frame_of(rows)).tolist() == pytest.approx(stays.predict(rows))


def test_a_fingerprint_is_of_the_parameters_alone() -> None:
    study = patients(500)
    one, two, other = (study.model("dead ~ age", LOGISTIC, epsilon=5.0, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == two.fingerprint != other.fingerprint
