"""Naive Bayes and principal components on two real tables; see `models`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from rich.console import Console
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit

from benchmarks.model_peers import DIFFPRIVLIB, Asked, answers
from benchmarks.model_scores import Score, Scores, scored
from benchmarks.model_tables import DELTA, EPSILONS, Floats, RealTable, tables

COMPONENTS = 2
Way = Callable[[float], Floats]
"""What a model for an ε says."""


def naive_bayes(console: Console, repeats: int) -> Iterator[Scores]:
    """The area under the ROC curve of who died, on the rows themselves."""
    for table in tables():
        ways: dict[str, Way] = {
            "Yingbi": partial(_bayes, table, auto=False),
            "Yingbi, bounds found": partial(_bayes, table, auto=True),
        }
        label = table.label.astype(float)
        asked = Asked("naive-bayes", table.clipped, table.bounds, EPSILONS, DELTA, repeats, response=label)
        area = _area_of(table)
        clear = area(_clear_bayes(table))
        found = _found(ways, asked, area, console)
        yield Scores("Naive Bayes", table.name, "AUC", clear, found)


def components(console: Console, repeats: int) -> Iterator[Scores]:
    """The share of the scaled columns' variance that the first two components have, on the rows themselves."""
    for table in (each.of_numbers() for each in tables()):
        ways: dict[str, Way] = {
            "Yingbi": partial(_directions, table, auto=False),
            "Yingbi, bounds found": partial(_directions, table, auto=True),
        }
        bounds = ((-1.0, 1.0),) * len(table.names)
        asked = Asked("pca", table.scaled, bounds, EPSILONS, DELTA, repeats, parts=COMPONENTS)
        covariance = np.cov(table.scaled.T)
        best = float(np.sum(np.linalg.eigvalsh(covariance)[-COMPONENTS:]) / np.trace(covariance))
        found = _found(ways, asked, _share_of(covariance), console)
        yield Scores(f"PCA, {COMPONENTS} components", table.name, "share of variance", best, found)


def _found(
    ways: Mapping[str, Way], asked: Asked, score: Callable[[Floats], float], console: Console
) -> dict[str, list[list[float]]]:
    """Scores of our models, and of diffprivlib's where there are any."""
    said = answers(DIFFPRIVLIB, asked, console)
    theirs: Mapping[str, Way] = {} if said is None else {DIFFPRIVLIB.name: said}
    return scored({name: _scores(way, score) for name, way in {**ways, **theirs}.items()}, asked.repeats)


def _scores(way: Way, score: Callable[[Floats], float]) -> Score:
    return lambda epsilon: score(way(epsilon))


def _bayes(table: RealTable, epsilon: float, *, auto: bool) -> Floats:
    asked = TrainQuery(model=Fit.MODEL_GAUSSIAN_NAIVE_BAYES, formula=f"label ~ {' + '.join(table.names)}")
    model = table.trained(asked, epsilon, auto=auto)
    return np.array(model.predict_proba(table.frame))[:, 1]


def _clear_bayes(table: RealTable) -> Floats:
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB(var_smoothing=0.0).fit(table.clipped, table.label)
    return np.asarray(model.predict_proba(table.clipped)[:, 1])


def _area_of(table: RealTable) -> Callable[[Floats], float]:
    from sklearn.metrics import roc_auc_score

    return lambda scores: float(roc_auc_score(table.label, np.nan_to_num(scores, nan=0.5)))


def _directions(table: RealTable, epsilon: float, *, auto: bool) -> Floats:
    """Rows are loadings of columns within [-1, 1]: of each, as the formula scales it."""
    terms = [
        f"(({name} - {(low + high) / 2!r}) / {(high - low) / 2!r})"
        for name, (low, high) in zip(table.names, table.bounds, strict=True)
    ]
    formula = f"~ {' + '.join(terms)}"
    asked = TrainQuery(model=Fit.MODEL_PRINCIPAL_COMPONENTS, formula=formula, components=COMPONENTS)
    model = table.trained(asked, epsilon, auto=auto)
    return np.array([[one.value for one in each.loadings] for each in model.components])


def _share_of(covariance: Floats) -> Callable[[Floats], float]:
    def share(directions: Floats) -> float:
        basis = np.linalg.qr(directions.T)[0]
        return float(np.trace(basis.T @ covariance @ basis) / np.trace(covariance))

    return share
