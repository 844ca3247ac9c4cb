# mypy: ignore-errors
"""interpret's DP-EBM, with the same bounds, ε and δ, and else as it comes: of single rows, their number public."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from interpret.privacy import DPExplainableBoostingClassifier, DPExplainableBoostingRegressor
from models_harness import run


def options(task: SimpleNamespace, epsilon: float, seed: int) -> dict[str, Any]:
    bounds = dict(enumerate(zip(task.lower.tolist(), task.upper.tolist(), strict=True)))
    # Said, so that it takes nothing from the data beside what it pays for.
    kinds = ["nominal" if ends == (0.0, 1.0) else "continuous" for ends in bounds.values()]
    return {
        "epsilon": epsilon,
        "delta": task.delta,
        "privacy_bounds": bounds,
        "feature_types": kinds,
        "random_state": seed,
        "n_jobs": 1,
    }


def classes(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    made = DPExplainableBoostingClassifier(**options(task, epsilon, seed))
    return made.fit(task.rows, task.response).predict_proba(task.judged)[:, 1]


def numbers(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    low, high = task.response_bounds
    made = DPExplainableBoostingRegressor(
        privacy_target_min=low, privacy_target_max=high, **options(task, epsilon, seed)
    )
    return made.fit(task.rows, task.response).predict(task.judged)


run({"classes": classes, "numbers": numbers})
