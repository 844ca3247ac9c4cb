"""Small networks by noised gradients: how good they are beside one in the clear, and how long a training takes.

`python -m benchmarks.networks` trains on made-up people of whom a line explains a part, and interactions another: 20
normal columns with bounds at four deviations. Rounds are planned by the gateway's planner, computed by the engine on
one provider's rows, noised as three parties' shares are, and worked out by the SDK's rule; encryption is left out, as
it changes no number. Beside it scikit-learn's own network and logistic regression, without privacy.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, TrainingRound
from yingbi.models.in_rounds import FittedInRounds, round_kind, rule_of
from yingbi.models.network_specs import NeuralNetwork
from yingbi.models.round_specs import ModelInRounds
from yingbi.rounds import Released

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

DELTA = 1e-6
PARTIES = 3
COLUMNS = 20
Floats = NDArray[np.float64]
Rows = Mapping[str, Floats]
Bounds = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Trained:
    """A model, and the processor time of planning, engine and rule."""

    model: FittedInRounds
    seconds: float


def declared(bounds: Bounds, units: int) -> DatasetDeclaration:
    """One table `people`, a row each; columns with bounds 0 and 1 are whole numbers."""
    column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
    columns = [column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT)]
    for name, (lower, upper) in bounds.items():
        kind = COLUMN_TYPE_INT64 if (lower, upper) == (0, 1) else COLUMN_TYPE_FLOAT64
        columns.append(column(name=name, type=kind, role=attribute, lower=lower, upper=upper))
    table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
    return DatasetDeclaration(dataset="people", privacy_unit="id", max_units=units, units_disjoint=True, tables=[table])


def trained(spec: ModelInRounds, rows: Rows, bounds: Bounds, epsilon: float, seed: int) -> Trained:
    """All rounds on these rows, one a person."""
    count = len(next(iter(rows.values())))
    kind = round_kind(spec.model)
    rule = rule_of(spec.training, spec.model)
    declaration, draw = declared(bounds, 2 * count), np.random.default_rng(seed)
    made = {name: column.astype(np.int64) if bounds[name] == (0, 1) else column for name, column in rows.items()}
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(count)), **{name: pa.array(each) for name, each in made.items()}})
    engine, started = DuckDBEngine(), time.process_time()
    state: Any = None
    own: TrainingRound | None = rule.first(spec.rounds)
    while own is not None:
        plan = plan_training(
            spec.message(own), declaration, dataset_version=bytes(32), parties=PARTIES, epsilon=epsilon, delta=DELTA
        ).plan
        exact = engine.contribution(plan, lambda _, names: table.select(list(names)))
        sigmas = [each.sigma for each in plan.statistics for _ in range(cells_of(plan, each))]
        noise = draw.normal(0, math.sqrt(PARTIES) * np.array(sigmas))
        opened = [cell + round(each) for cell, each in zip(exact, noise.tolist(), strict=True)]
        state = rule.after(state, Released.of(plan, opened))
        own = rule.next(state)
    return Trained(kind.model(state), time.process_time() - started)


def people(count: int, seed: int) -> dict[str, Floats]:
    """Of these a line says three quarters right, and a network more."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, COLUMNS))
    weights = np.random.default_rng(7).normal(size=COLUMNS) / math.sqrt(COLUMNS) * 2.2
    score = x @ weights + 1.6 * (np.abs(x[:, 0]) - 0.8) + 1.2 * x[:, 1] * x[:, 2]
    y = draw.random(count) < 1 / (1 + np.exp(-1.6 * score))
    return {**{f"x{place}": np.clip(x[:, place], -4, 4) for place in range(COLUMNS)}, "y": y.astype(np.float64)}


BOUNDS: Bounds = {**{f"x{place}": (-4.0, 4.0) for place in range(COLUMNS)}, "y": (0.0, 1.0)}
FORMULA = "y ~ " + " + ".join(f"x{place}" for place in range(COLUMNS))


def _accuracy(model: Any, rows: Rows) -> float:
    frame = model.frame_of(rows)
    return float((model.estimator().predict(frame) == rows["y"]).mean())


def _in_the_clear(rows: Rows, others: Rows) -> tuple[float, float]:
    """A network's and a linear model's accuracy, without privacy."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    x, z = (np.column_stack([each[f"x{place}"] for place in range(COLUMNS)]) for each in (rows, others))
    net = MLPClassifier((32,), activation="tanh", early_stopping=True, random_state=0).fit(x, rows["y"])
    line = LogisticRegression().fit(x, rows["y"])
    return float(net.score(z, others["y"])), float(line.score(z, others["y"]))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2_000, 10_000, 30_000, 100_000])
    parser.add_argument("--epsilons", type=float, nargs="*", default=[0.5, 1.0, 4.0])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    others = people(50_000, 2)
    shown = Table(
        "people", "in the clear: net, line", *(f"ε = {each:g}" for each in asked.epsilons), "processor seconds"
    )
    for size in asked.sizes:
        rows = people(size, 1)
        cells, seconds = [], list[float]()
        for epsilon in asked.epsilons:
            made = [trained(NeuralNetwork(FORMULA), rows, BOUNDS, epsilon, seed) for seed in range(asked.repeats)]
            cells.append(f"{statistics.median(_accuracy(each.model, others) for each in made):.3f}")
            seconds += [each.seconds for each in made]
        clear = ", ".join(f"{each:.3f}" for each in _in_the_clear(rows, others))
        shown.add_row(f"{size:,}", clear, *cells, f"{statistics.median(seconds):.1f}")
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
