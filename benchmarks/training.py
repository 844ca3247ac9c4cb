"""How long a training in rounds takes through a real zone: `python -m benchmarks.training --rows 1000000`.

Made-up people, a row each, normal regressors with bounds at four deviations, are written as Parquet, streamed into the
enclaves of a zone of real processes, which seal them, and then trained on through the SDK: every round is previewed,
signed, computed on decrypted row groups, noised, encrypted, opened, and has its receipt. Making and sealing rows is no
part of a training's time, and is told apart. `--model network` trains one of about `--parameters` parameters. Prints
seconds, each round's, and the accuracy on other people beside scikit-learn's logistic regression in the clear.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yingbi
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.models.round_specs import ModelInRounds
from yingbi.rounds_model import RoundsModel

from benchmarks.end_to_end import command, timed

BOUND = 4.0
JUDGED = 50_000
Floats = NDArray[np.float64]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.training", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--regressors", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--model", choices=("logistic", "network"), default="logistic")
    parser.add_argument("--parameters", type=int, default=10_000, help="of a network")
    asked = parser.parse_args()
    rows, others = (_people(count, asked.regressors, seed) for count, seed in ((asked.rows, 1), (JUDGED, 2)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone = folder / "zone"
        os.environ.update(XDG_CONFIG_HOME=str(folder / "config"), YINGBI_ZONE=str(zone))
        steps: dict[str, float] = {}
        try:
            steps["zone: keys and processes"] = timed(partial(_set_up, zone, asked.nodes))
            steps["writing Parquet"] = timed(partial(_write, folder, rows))
            steps["reading, sending and sealing"] = timed(
                partial(command, "dataset", "add", zone, folder / "people.yaml")
            )
            with yingbi.connect(folder=zone) as connection:
                before, clock = processor_seconds(zone), Clock()
                training = connection.dataset("people").training(_spec(asked))
                model = training.run(epsilon=asked.epsilon, progress=False, say=clock)
                steps["training"] = sum(clock.seconds)
                steps["processor time of it, of the zone's processes"] = processor_seconds(zone) - before
            figures = _accuracies(model, rows, others)
        finally:
            command("down", zone)
    _print(asked, steps, clock.seconds, figures)


def processor_seconds(zone: Path) -> float:
    """Of all processes of a zone, so far. On a machine that is shared it says more than what passed on the wall."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_own = str(zone).encode() in (process / "cmdline").read_bytes()
            # After the name, which may have spaces: user and system time are the 14th and 15th of all.
            numbers = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += (int(numbers[11]) + int(numbers[12])) * is_own
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclass
class Clock:
    """What each round took; called after each."""

    last: float = field(default_factory=time.perf_counter)
    seconds: list[float] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self.last)
        self.last = now


def _people(count: int, regressors: int, seed: int) -> dict[str, Floats]:
    """A line explains them, always the same one."""
    draw = np.random.default_rng(seed)
    slopes = np.random.default_rng(0).normal(size=regressors)
    slopes *= 3 / np.linalg.norm(slopes)
    x = np.clip(draw.normal(size=(count, regressors)), -BOUND, BOUND)
    response = draw.random(count) < 1 / (1 + np.exp(-x @ slopes))
    return {**{f"x{place}": x[:, place] for place in range(regressors)}, "y": response.astype(np.float64)}


def _set_up(zone: Path, nodes: int) -> None:
    command("init", zone, "--nodes", str(nodes), "--auto-approve")
    command("up", zone, "--detach")


def _write(folder: Path, rows: Mapping[str, Floats]) -> None:
    count = len(rows["y"])
    columns = {name: pa.array(each.astype(np.int64) if name == "y" else each) for name, each in rows.items()}
    pq.write_table(pa.table({"person": pa.array(np.arange(count)), **columns}), folder / "people.parquet")
    declared = [f"      {name}: {{type: float64, lower: -4, upper: 4}}" for name in rows if name != "y"]
    text = METADATA.format(units=2 * count, columns="\n".join(declared))
    (folder / "people.yaml").write_text(text)


METADATA = """
dataset: people
zone: bench
title: {{en: "People"}}
grade: 1
source: "made up for the benchmark"
privacy_unit: person
max_units: {units}
units_disjoint: true
budget: {{epsilon: 1000, delta: 1.0e-6}}
tables:
  people:
    file: people.parquet
    max_rows_per_unit: 1
    columns:
      person: {{type: int64, role: unit}}
      y: {{type: int64, lower: 0, upper: 1}}
{columns}
"""


def _spec(asked: argparse.Namespace) -> ModelInRounds:
    formula = "y ~ " + " + ".join(f"x{place}" for place in range(asked.regressors))
    if asked.model == "logistic":
        return yingbi.LogisticRegression(formula, rounds=asked.rounds)
    width = max(1, (asked.parameters - 1) // (asked.regressors + 2))
    return yingbi.NeuralNetwork(formula, rounds=asked.rounds, hidden=(width,))


def _accuracies(model: RoundsModel, rows: Mapping[str, Floats], others: Mapping[str, Floats]) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    x, judged = (np.column_stack([each[name] for name in rows if name != "y"]) for each in (rows, others))
    clear = LogisticRegression(C=1e6, max_iter=1000).fit(x, rows["y"])
    shown: Any = others
    found = model.estimator().predict(model.fitted.frame_of(shown))
    return {
        "accuracy": float((found == others["y"]).mean()),
        "accuracy of a line in the clear": float(clear.score(judged, others["y"])),
    }


def _print(
    asked: argparse.Namespace, steps: Mapping[str, float], rounds: Sequence[float], figures: Mapping[str, float]
) -> None:
    title = (
        f"{asked.model}: {asked.rows:,} rows, {asked.regressors} regressors, {asked.nodes} nodes, ε = {asked.epsilon:g}"
    )
    table = Table("", "seconds", title=title)
    for name, seconds in steps.items():
        table.add_row(name, f"{seconds:.1f}")
    table.add_row(f"{len(rounds)} rounds, one by one", " ".join(f"{each:.1f}" for each in rounds))
    for name, figure in figures.items():
        table.add_row(name, f"{figure:.4f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
