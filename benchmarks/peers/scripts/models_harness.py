# mypy: ignore-errors
"""What the scripts that train models share: read the task, train each model with its ε and seed, write numbers."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np

Train = Callable[[SimpleNamespace, float, int], np.ndarray]
"""Of the task, ε and a seed: numbers of a model."""


def run(kinds: Mapping[str, Train]) -> None:
    """Train the models that the task asks for; `kinds` by their names."""
    asked, rows, said = sys.argv[1:]
    task = SimpleNamespace(**json.loads(Path(asked).read_text(encoding="utf-8")))
    with np.load(rows) as given:
        arrays = dict(given)
    task.rows, task.lower, task.upper = arrays["rows"], *arrays["bounds"].T
    task.response, task.judged = arrays.get("response"), arrays.get("judged", arrays["rows"])
    make = kinds[task.kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [[make(task, epsilon, seed) for seed in range(task.repeats)] for epsilon in task.epsilons]
    np.savez(said, models=np.array(models, dtype=float))
