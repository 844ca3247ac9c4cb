"""People of two or three classes, planned for, computed by the engine and noised, for tests of models."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Fit,
    Plan,
    Value,
)
from yingbi.cells import Layout

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

Floats = NDArray[np.float64]
BAYES, COMPONENTS = Fit.MODEL_GAUSSIAN_NAIVE_BAYES, Fit.MODEL_PRINCIPAL_COMPONENTS
SPECIES = ("setosa", "versicolor", "virginica")
BOUNDS = {"a": (-3.0, 5.0), "b": (1990.0, 2030.0), "c": (0.0, 1e-3)}


def declaration(rows: int = 1) -> DatasetDeclaration:
    """Numbers a, b and c, a bool d and a species; so many rows a person."""
    attribute = ColumnDeclaration.ROLE_ATTRIBUTE
    columns = [ColumnDeclaration(name="id", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)]
    columns += [
        ColumnDeclaration(name=name, type=COLUMN_TYPE_FLOAT64, role=attribute, lower=lower, upper=upper, required=True)
        for name, (lower, upper) in BOUNDS.items()
    ]
    columns.append(ColumnDeclaration(name="d", type=COLUMN_TYPE_BOOL, role=attribute))
    values = [Value(string_value=name) for name in SPECIES]
    columns.append(ColumnDeclaration(name="species", type=COLUMN_TYPE_STRING, role=attribute, values=values))
    return DatasetDeclaration(
        dataset="garden", grade=1, privacy_unit="id", max_units=100_000, units_disjoint=True,
        tables=[TableDeclaration(name="flowers", max_rows_per_unit=rows, columns=columns)],
    )  # fmt: skip


def plan(model: Fit.Model.ValueType, formula: str, *, epsilon: float = 1.0, rows: int = 1, **asked: object) -> Plan:
    query = TrainQuery(model=model, formula=formula, **asked)  # type: ignore[arg-type]
    return plan_training(
        query, declaration(rows), dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=1e-7
    ).plan


def people(count: int, seed: int, *, rows: int = 1) -> dict[str, list[object]]:
    """Within bounds; each class has a place and a spread of its own. Every person has so many rows of one class."""
    draw = np.random.default_rng(seed)
    kind = np.repeat(draw.choice(3, count, p=[0.5, 0.3, 0.2]), rows)
    place = np.array([[0.0, 2010, 2e-4], [1.5, 2015, 5e-4], [2.0, 2000, 6e-4]])[kind]
    spread = np.array([[0.5, 2, 5e-5], [0.8, 3, 1e-4], [0.4, 4, 8e-5]])[kind]
    drawn = place + spread * draw.normal(size=(len(kind), 3))
    lower, upper = np.array(list(BOUNDS.values())).T
    numbers = np.clip(drawn, lower, upper)
    return {
        UNIT_COLUMN: np.repeat(np.arange(count), rows).tolist(),
        **{name: numbers[:, index].tolist() for index, name in enumerate(BOUNDS)},
        "d": (draw.random(len(kind)) < np.array([0.2, 0.5, 0.9])[kind]).tolist(),
        "species": [SPECIES[each] for each in kind],
    }


def opened(of: Plan, who: dict[str, list[object]], draw: Random | None = None) -> list[int]:
    """What the engine adds up, with noise of the plan's size where it is drawn."""
    table = pa.table(who)
    exact = DuckDBEngine().contribution(of, lambda _, names: table.select(list(names)))
    return exact if draw is None else noised(of, exact, draw)


def noised(of: Plan, exact: Sequence[int], draw: Random) -> list[int]:
    """The same with noise of the plan's size."""
    layout = Layout.of(of)
    deviations = [
        layout.deviation(place) / layout.step
        for place, each in enumerate(of.statistics)
        for _ in range(cells_of(of, each))
    ]
    return [cell + round(draw.gauss(0.0, size)) for cell, size in zip(exact, deviations, strict=True)]


def matrix(who: dict[str, list[object]], names: Sequence[str]) -> Floats:
    return np.array([who[name] for name in names], dtype=np.float64).T
