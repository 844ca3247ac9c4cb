"""What privacy costs in time and memory: `python -m benchmarks.query`, with `--rows` for another size than 10 million.

The same question is asked of DuckDB over plain Parquet and of the engine over a sealed shard: COUNT, SUM and AVG by
20 groups, of 200,000 people with uneven numbers of rows. Private time is reading (decrypting) the shard and
clipping every person's rows; encryption under Paillier depends on the cells alone and is not in it. Then the median
of the first million rows, by range counts. Machines are noisy: compare times of one run, not runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Clipping,
    ColumnReference,
    ColumnType,
    DistinctUnits,
    Expression,
    GroupKey,
    Noise,
    NonNullCount,
    Plan,
    RangeCounts,
    Relation,
    RowCount,
    Scan,
    Statistic,
    Value,
)

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.sealed.shard import seal_shard, stream_table

SEED = 20261122
PEOPLE = 200_000
GROUPS = [f"clinic {number:02}" for number in range(20)]
REPETITIONS = 5
MEDIAN_ROWS = 1_000_000
MAX_ROWS = 200
WRAPPING_KEY = bytes(range(32))
PLAIN_SQL = "SELECT clinic, COUNT(*), SUM(cost), AVG(cost) FROM read_parquet(?) GROUP BY clinic"


def main() -> None:
    """Make data, measure in processes of their own, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--task", choices=["plain", "private", "median"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(TASKS[arguments.task](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _in_own_process(_make, folder, arguments.rows)
        _print(arguments.rows, {task: _measured(task, folder) for task in TASKS})


def _measured(task: str, folder: Path) -> dict[str, float]:
    """In a process of its own, for its peak of memory to be its own."""
    command = [sys.executable, "-m", "benchmarks.query", "--task", task, "--folder", str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured: dict[str, float] = json.loads(output)
    return measured


def _in_own_process(make: Callable[[Path, int], None], folder: Path, rows: int) -> None:
    code = f"import pathlib, benchmarks.query as q; q.{make.__name__}(pathlib.Path({str(folder)!r}), {rows})"
    subprocess.run([sys.executable, "-c", code], check=True)


def _make(folder: Path, rows: int) -> None:
    """The same rows as plain Parquet and as sealed shards."""
    for name, count in (("all", rows), ("million", min(rows, MEDIAN_ROWS))):
        table = _rows(count)
        pq.write_table(table, folder / f"{name}.parquet")
        sealed = seal_shard(folder / name, _declaration().SerializeToString(), {"visits": table}, WRAPPING_KEY)
        (folder / f"{name}.txt").write_text(str(sealed.folder))


def _rows(count: int) -> pa.Table:
    random = np.random.default_rng(SEED)
    busy = random.lognormal(0, 1, PEOPLE)
    people = random.choice(PEOPLE, count, p=busy / busy.sum())
    clinics = pa.DictionaryArray.from_arrays(random.integers(0, len(GROUPS), count).astype(np.int32), GROUPS)
    costs = random.gamma(2, 100, count).round(2)
    return pa.table({"person": people, "clinic": clinics.cast(pa.string()), "cost": costs})


def _declaration() -> DatasetDeclaration:
    return DatasetDeclaration(
        dataset="visits",
        max_units=2 * PEOPLE,
        tables=[
            TableDeclaration(
                name="visits",
                columns=[
                    ColumnDeclaration(
                        name="person", type=ColumnType.COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT
                    ),
                    ColumnDeclaration(
                        name="clinic",
                        type=ColumnType.COLUMN_TYPE_STRING,
                        role=ColumnDeclaration.ROLE_ATTRIBUTE,
                        values=[Value(string_value=group) for group in GROUPS],
                    ),
                    ColumnDeclaration(
                        name="cost", type=ColumnType.COLUMN_TYPE_FLOAT64, role=ColumnDeclaration.ROLE_ATTRIBUTE
                    ),
                ],
            )
        ],
    )


def _plan(asked: Sequence[Statistic], by: Sequence[GroupKey]) -> Plan:
    return Plan(
        relation=Relation(scan=Scan(table="visits")),
        group_by=by,
        statistics=asked,
        clipping=Clipping(max_rows=MAX_ROWS, max_groups=1),
        fraction_bits=16,
        noise=Noise(parties=1, parties_per_unit=1),
    )


def _grouped() -> Plan:
    """COUNT(*), SUM(cost), AVG(cost) by clinic; the last two take the same sum and count."""
    clinic = Expression(column=ColumnReference(name="clinic", type=ColumnType.COLUMN_TYPE_STRING))
    key = GroupKey(expression=clinic, values=[Value(string_value=group) for group in GROUPS])
    asked = [
        Statistic(row_count=RowCount()),
        Statistic(non_null_count=NonNullCount(term=_cost())),
        Statistic(bounded_sum=BoundedSum(term=_cost(), lower=0, upper=2000, centre=1000, half_range=1000)),
    ]
    return _plan(asked, [key])


def _median() -> Plan:
    """1,024 leaves, as the planner takes for a wide range."""
    ranges = RangeCounts(term=_cost(), lower=0, upper=2000, branching=4, levels=5)
    return _plan([Statistic(range_counts=ranges), Statistic(distinct_units=DistinctUnits())], [])


def _cost() -> Expression:
    return Expression(column=ColumnReference(name="cost", type=ColumnType.COLUMN_TYPE_FLOAT64))


def _time_plain(folder: Path) -> dict[str, float]:
    with duckdb.connect() as connection:

        def ask() -> None:
            connection.execute(PLAIN_SQL, [str(folder / "all.parquet")]).fetchall()

        return _timed(ask)


def _time_private(folder: Path, name: str = "all") -> dict[str, float]:
    shard = Path((folder / f"{name}.txt").read_text())
    plan = _grouped() if name == "all" else _median()
    open_columns = partial(stream_table, shard, wrapping_key=WRAPPING_KEY)
    engine = DuckDBEngine()
    return _timed(lambda: engine.contribution(plan, open_columns))


TASKS: dict[str, Callable[[Path], dict[str, float]]] = {
    "plain": _time_plain,
    "private": _time_private,
    "median": partial(_time_private, name="million"),
}


def _timed(ask: Callable[[], object]) -> dict[str, float]:
    """Seconds of the first time, and the median and least of the next ones; peak memory in GiB."""
    times = []
    for _ in range(1 + REPETITIONS):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"first": times[0], "median": statistics.median(times[1:]), "least": min(times[1:]), "peak": peak}


def _print(rows: int, measured: dict[str, dict[str, float]]) -> None:
    titles = {
        "plain": "plain: DuckDB over Parquet",
        "private": "private: sealed shard, per-person clipping",
        "median": f"private median of {min(rows, MEDIAN_ROWS):,} rows",
    }
    table = Table("query", "first s", "median s", "least s", "peak GiB", title=f"{rows:,} rows, {PEOPLE:,} people")
    for task, figures in measured.items():
        table.add_row(titles[task], *(f"{figures[name]:.3f}" for name in ("first", "median", "least", "peak")))
    console = Console()
    console.print(table)
    console.print(f"private / plain, medians: {measured['private']['median'] / measured['plain']['median']:.2f}")


if __name__ == "__main__":
    main()
