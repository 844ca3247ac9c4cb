# mypy: ignore-errors
"""What every peer's script shares: it reads its task, times its answers and writes them.

Runs in the peer's own environment: nothing here may need more than Python itself.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Answer = Iterable[tuple[int, float, float, float]]


def run(
    packages: Sequence[str],
    prepare: Callable[[SimpleNamespace], Any],
    answer: Callable[[Any, SimpleNamespace], Answer],
) -> None:
    """Answer the task of `argv[1]` and write to `argv[2]` what came out.

    `prepare` brings the data into the form that the library takes, once. `answer` gives (group, count, sum,
    average) of each group, once per trial; the result is written after each, so that a stopped script has one.
    """
    task = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    began = time.perf_counter()
    prepared = prepare(task)
    result = {
        "versions": {package: metadata.version(package) for package in packages},
        "prepare_seconds": time.perf_counter() - began,
        "runs": [],
    }
    for _ in range(task.trials):
        began = time.perf_counter()
        rows = list(answer(prepared, task))
        seconds = time.perf_counter() - began
        result["runs"].append({"seconds": seconds, "rows": [_numbers(row) for row in rows]})
        Path(sys.argv[2]).write_text(json.dumps(result))


def rho_of(epsilon: float, delta: float) -> float:
    """The largest rho for which rho-zCDP is (epsilon, delta)-DP, by Canonne, Kamath and Steinke 2020, lemma 3.5."""
    low, high = 0.0, epsilon
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta_of(middle, epsilon) <= delta else (low, middle)
    return low


def _delta_of(rho: float, epsilon: float) -> float:
    orders = (1 + math.exp(step / 100) for step in range(-500, 1000))
    return min(
        math.exp((a - 1) * (a * rho - epsilon) + a * math.log1p(-1 / a)) / (a - 1)
        for a in orders
        if (a - 1) * (a * rho - epsilon) < 50
    )


def _numbers(row: Sequence[Any]) -> list[float]:
    return [int(row[0]), *(float(value) for value in row[1:])]
