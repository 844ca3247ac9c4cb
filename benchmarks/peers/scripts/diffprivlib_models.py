# mypy: ignore-errors
"""diffprivlib's models, with the same bounds and ε: pure, and of single rows, whose number it takes for public."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from diffprivlib import models
from models_harness import run


def scaled(task: SimpleNamespace, rows: np.ndarray) -> np.ndarray:
    """Within [-1, 1], so that the longest row that bounds allow is as short as it can be."""
    return 2 * (rows - task.lower) / (task.upper - task.lower) - 1


def naive_bayes(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    made = models.GaussianNB(epsilon=epsilon, bounds=(task.lower, task.upper), random_state=seed)
    return made.fit(task.rows, task.response).predict_proba(task.judged)[:, 1]


def components(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    size = task.rows.shape[1]
    made = models.PCA(
        task.parts,
        epsilon=epsilon,
        bounds=(-np.ones(size), np.ones(size)),
        data_norm=float(np.sqrt(size)),
        random_state=seed,
    )
    return made.fit(scaled(task, task.rows)).components_


def centres(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    size = task.rows.shape[1]
    made = models.KMeans(task.parts, epsilon=epsilon, bounds=(-np.ones(size), np.ones(size)), random_state=seed)
    return made.fit(scaled(task, task.rows)).cluster_centers_


def linear(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    made = models.LinearRegression(
        epsilon=epsilon, bounds_X=(-1, 1), bounds_y=tuple(task.response_bounds), random_state=seed
    )
    return made.fit(scaled(task, task.rows), task.response).predict(scaled(task, task.judged))


def logistic(task: SimpleNamespace, epsilon: float, seed: int) -> np.ndarray:
    made = models.LogisticRegression(
        epsilon=epsilon, data_norm=float(np.sqrt(task.rows.shape[1])), max_iter=1000, random_state=seed
    )
    return made.fit(scaled(task, task.rows), task.response).decision_function(scaled(task, task.judged))


run({"naive-bayes": naive_bayes, "pca": components, "kmeans": centres, "linear": linear, "logistic": logistic})
