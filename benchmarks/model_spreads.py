"""Naive Bayes and principal components on two real tables; see `models`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit

from benchmarks.model_peers import DIFFPRIVLIB, Asked, answers
from benchmarks.model_tables import DELTA, EPSILONS, Floats, RealTable, tables

COMPONENTS = 2


def naive_bayes(console: Console, repeats: int) -> None:
    """The area under the ROC curve of who died, on the rows themselves."""
    for table in tables():
        ways: dict[str, Callable[[float], Floats]] = {
            "Yingbi": partial(_bayes, table, auto=False),
            "Yingbi, bounds found": partial(_bayes, table, auto=True),
        }
        label = table.label.astype(float)
        asked = Asked("naive-bayes", table.clipped, table.bounds, EPSILONS, DELTA, repeats, response=label)
        _add(ways, asked, console)
        clear = _clear_bayes(table)
        _show(console, f"Naive Bayes, {table.name}: AUC {clear:.3f} in the clear", ways, repeats, _area_of(table))


def components(console: Console, repeats: int) -> None:
    """The share of the scaled columns' variance that the first two components have, on the rows themselves."""
    for table in (each.of_numbers() for each in tables()):
        ways: dict[str, Callable[[float], Floats]] = {
            "Yingbi": partial(_directions, table, auto=False),
            "Yingbi, bounds found": partial(_directions, table, auto=True),
        }
        bounds = ((-1.0, 1.0),) * len(table.names)
        _add(ways, Asked("pca", table.scaled, bounds, EPSILONS, DELTA, repeats, parts=COMPONENTS), console)
        covariance = np.cov(table.scaled.T)
        best = float(np.sum(np.linalg.eigvalsh(covariance)[-COMPONENTS:]) / np.trace(covariance))
        title = f"PCA, {table.name}: the first {COMPONENTS} components have {best:.3f} in the clear"
        _show(console, title, ways, repeats, _share_of(covariance))


def _add(ways: dict[str, Callable[[float], Floats]], asked: Asked, console: Console) -> None:
    said = answers(DIFFPRIVLIB, asked, console)
    if said is not None:
        ways[DIFFPRIVLIB.name] = said


def _show(
    console: Console,
    title: str,
    ways: Mapping[str, Callable[[float], Floats]],
    repeats: int,
    score: Callable[[Floats], float],
) -> None:
    shown = Table(title=title, title_justify="left")
    for header in ("", *(f"ε = {epsilon:g}" for epsilon in EPSILONS)):
        shown.add_column(header)
    for name, way in ways.items():
        cells = []
        for epsilon in EPSILONS:
            found = sorted(score(way(epsilon)) for _ in range(repeats))
            cells.append(f"{statistics.median(found):.3f} (least {found[0]:.3f})")
        shown.add_row(name, *cells)
    console.print(shown)


def _bayes(table: RealTable, epsilon: float, *, auto: bool) -> Floats:
    asked = TrainQuery(model=Fit.MODEL_GAUSSIAN_NAIVE_BAYES, formula=f"label ~ {' + '.join(table.names)}")
    model = table.trained(asked, epsilon, auto=auto)
    return np.array(model.predict_proba(table.frame))[:, 1]


def _clear_bayes(table: RealTable) -> float:
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB(var_smoothing=0.0).fit(table.clipped, table.label)
    return _area_of(table)(model.predict_proba(table.clipped)[:, 1])


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
