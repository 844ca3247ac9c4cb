"""How long the main job takes, step by step: `python -m benchmarks.end_to_end`.

A zone of three nodes at 3072 bits, one small table, real processes. Prints medians and ranges in seconds;
machines are noisy, so compare steps of one run with each other rather than runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yingbi
from rich.console import Console
from rich.table import Table

REPETITIONS = 10
WIDE_REPETITIONS = 3
PEOPLE = 20_000
DAYS = 167
"""So that 20 clinics have 3,340 groups, with three cells each."""
METADATA = f"""
dataset: small
zone: bench
title: {{en: "Small"}}
grade: 1
source: "made up for the benchmark"
privacy_unit: person
max_units: 30000
units_disjoint: true
budget: {{epsilon: 1000, delta: 1.0e-7}}
tables:
  visits:
    file: visits.parquet
    max_rows_per_unit: 4
    columns:
      person: {{type: int64, role: unit}}
      clinic: {{type: int64, values: {list(range(20))}}}
      day:    {{type: int64, values: {list(range(DAYS))}}}
      pain:   {{type: float64, lower: 0, upper: 10}}
"""
QUESTION = "SELECT clinic, COUNT(*), AVG(pain) FROM visits WHERE pain < {} GROUP BY clinic"
WIDE_QUESTION = "SELECT clinic, day, COUNT(*), AVG(pain) FROM visits WHERE pain < {} GROUP BY clinic, day"


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone = folder / "zone"
        os.environ.update(XDG_CONFIG_HOME=str(folder / "config"), YINGBI_ZONE=str(zone))
        steps: dict[str, list[float]] = {}
        try:
            steps["init, key ceremony included"] = [timed(partial(command, "init", zone, "--auto-approve"))]
            steps["up"] = [timed(partial(command, "up", zone, "--detach"))]
            steps["dataset add, 40,000 rows"] = [timed(partial(command, "dataset", "add", zone, _data(folder)))]
            steps.update(_queries(zone))
        finally:
            command("down", zone)
    _print(steps)


def _queries(zone: Path) -> dict[str, list[float]]:
    with yingbi.connect(folder=zone) as connection:
        dataset = connection.dataset("small")
        questions = [dataset.sql(QUESTION.format(number + 1)) for number in range(REPETITIONS)]
        wide = [dataset.sql(WIDE_QUESTION.format(number + 1)) for number in range(WIDE_REPETITIONS)]
        return {
            "preview": [timed(partial(one.preview, epsilon=0.5)) for one in questions],
            "query, 20 groups, 60 cells": [timed(partial(one.run, epsilon=0.5, progress=False)) for one in questions],
            "query, 3,340 groups, 10,020 cells": [timed(partial(one.run, epsilon=0.5, progress=False)) for one in wide],
            "the same as the first, replayed": [
                timed(partial(one.run, epsilon=0.5, progress=False)) for one in questions
            ],
            "yingbi budget, as a process": [timed(partial(command, "budget", "small")) for _ in range(3)],
        }


def timed(step: Callable[[], object]) -> float:
    """Seconds that `step` takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def command(*arguments: str | Path) -> None:
    """Run `yingbi ARGUMENTS`."""
    subprocess.run([sys.executable, "-m", "yingbi", *map(str, arguments)], check=True, capture_output=True)


def _data(folder: Path) -> Path:
    rows = range(2 * PEOPLE)
    table = pa.table(
        {
            "person": [row // 2 for row in rows],
            "clinic": [row % 20 for row in rows],
            "day": [row % DAYS for row in rows],
            "pain": [row % 10 for row in rows],
        }
    )
    pq.write_table(table, folder / "visits.parquet")
    path = folder / "small.yaml"
    path.write_text(METADATA)
    return path


def _print(steps: dict[str, list[float]]) -> None:
    table = Table("step", "median s", "least", "most", "runs")
    for name, seconds in steps.items():
        figures = (statistics.median(seconds), min(seconds), max(seconds))
        table.add_row(name, *(f"{figure:.3f}" for figure in figures), str(len(seconds)))
    Console().print(table)


if __name__ == "__main__":
    main()
