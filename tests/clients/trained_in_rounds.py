"""Trainings in rounds of made-up people, computed without a zone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from yingbi.answer import check_readable
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Plan,
    TrainingRound,
    Value,
)
from yingbi.models.in_rounds import round_kind, rule_of, score_of
from yingbi.models.network_specs import ExplainableBoosting, NeuralNetwork
from yingbi.models.round_specs import LogisticRegression, ModelInRounds, PoissonRegression
from yingbi.models.scores import Score
from yingbi.rounds import Released, followed

from enclave_sim.engine.duckdb_engine import DuckDBEngine
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
    limit = score_in(model).limit
    if not model.classes:
        errors = np.minimum(np.abs(np.array(model.predict(asked)) - rows[response]), limit)
        return (float((errors**2).mean()),)
    chances = np.array(model.predict_proba(asked))
    places = np.array([model.classes.index(each) for each in rows[response].tolist()])
    losses = np.minimum(-np.log(chances[np.arange(len(places)), places]), limit)
    return float((chances.argmax(axis=1) == places).mean()), float(losses.mean())


def score_in(model: Any) -> Score:
    """The score that a trained model has."""
    found = score_of(model.state)
    assert found is not None
    return found
