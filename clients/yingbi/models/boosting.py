"""A fitted additive model of bins: what each variable adds, and what it says of rows of one's own. Pure."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, FitColumn
from yingbi.cells import Cell, to_json, to_python
from yingbi.display import cell_text
from yingbi.extras import learn_extra, pandas_extra
from yingbi.linear_model import Columns, design_column, level_numbers
from yingbi.models.boosting_rule import BoostingState, Shape, shapes_of
from yingbi.regression import INTERCEPT, Coefficient

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 7
"""Of a score that its fingerprint is made of."""


@dataclass(frozen=True)
class BoostedModel:
    """What rounds came to, in the units of the data."""

    state: BoostingState

    @property
    def fit(self) -> Fit:
        return self.state.fit

    @property
    def name(self) -> str:
        """Of the model's kind."""
        return "ExplainableBoosting"

    @property
    def classes(self) -> tuple[Cell, ...]:
        """What is predicted; none of a number."""
        return tuple(map(to_python, self.fit.classes))

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        return tuple(column.factors[0].variable for column in self.fit.columns[:-1])

    @cached_property
    def constant(self) -> float:
        """The logarithm of the odds, or the number, of whom all variables say nothing about."""
        if self.classes:
            return self.state.final_constant
        response = self.fit.columns[-1]
        return response.centre + response.half_range * (self.state.final_constant - self.state.shift) / self.state.scale

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """What each variable adds by bin, to the logarithm of the odds or to the number; edges in the data's units."""
        unit = 1.0 if self.classes else self.fit.columns[-1].half_range / self.state.scale
        return tuple(
            Shape(
                tuple(column.centre + column.half_range * edge for edge in shape.edges),
                tuple(unit * score for score in shape.scores),
                tuple(unit * error for error in shape.errors),
            )
            for column, shape in zip(self.fit.columns, shapes_of(self.state), strict=False)
        )

    @cached_property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The constant, then what each bin adds, named as `age[60, 65)` or `sex[f]`; errors are of the noise."""
        found = [Coefficient(INTERCEPT, self.constant, None, None)]
        for column, shape in zip(self.fit.columns, self.shapes, strict=False):
            for label, score, error in zip(_labels(column, shape), shape.scores, shape.errors, strict=True):
                found.append(Coefficient(f"{column.name}{label}", score, error, error))
        return tuple(found)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        document = {
            "model": Fit.Model.Name(self.fit.model),
            "formula": self.fit.formula,
            "classes": [to_json(each) for each in self.classes],
            "scores": [[each.name, f"{each.value + 0.0:.{DIGITS - 1}e}"] for each in self.coefficients],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def explain(self, rows: Columns) -> list[dict[str, float]]:
        """Of each row what each variable adds to the constant, by name; they add up to the prediction's score."""
        columns = self._columns(rows)
        names = [column.name for column in self.fit.columns[:-1]]
        return [dict(zip(names, self._added(row), strict=True)) for row in zip(*columns, strict=True)]

    def to_pandas(self) -> pd.DataFrame:
        """What each variable adds: a row for each bin, with its ends or its value, score and noise error."""
        rows: list[dict[str, Any]] = []
        for column, shape in zip(self.fit.columns, self.shapes, strict=False):
            ends = (-math.inf, *shape.edges, math.inf)
            for place, (score, error) in enumerate(zip(shape.scores, shape.errors, strict=True)):
                is_number = not column.levels
                rows.append(
                    {
                        "variable": column.name,
                        "value": None if is_number else to_python(column.levels[place]),
                        "from": ends[place] if is_number else None,
                        "below": ends[place + 1] if is_number else None,
                        "score": score,
                        "noise_error": error,
                    }
                )
        found: pd.DataFrame = pandas_extra().DataFrame(rows)
        return found

    def predict(self, rows: Columns) -> list[Any]:
        """The more likely class of each row, or its number; NaN where a variable has no value.

        Raises:
            Problem: as `LinearModel.design`.
        """
        if not self.classes:
            return self._scores(rows)
        return [math.nan if math.isnan(each) else self.classes[each > 0] for each in self._scores(rows)]

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The chance of each class, in their order; of a number there is none, and this is MALFORMED "no_classes"."""
        if not self.classes:
            raise Problem(
                Kind.MALFORMED, "no_classes", "Of a number there are no chances.", hint="predict() says the number"
            )
        chances = (0.5 + 0.5 * math.tanh(0.5 * each) for each in self._scores(rows))
        return [[1 - chance, chance] for chance in chances]

    def estimator(self) -> Any:
        """A fitted scikit-learn Pipeline of bins and a linear model, on the columns of `frame_of`.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, linear_model, pipeline, preprocessing = learn_extra(_sklearn)
        counts = [len(shape.scores) for shape in self.shapes]
        binned = preprocessing.KBinsDiscretizer(encode="onehot-dense", strategy="uniform")
        names = pd.Series([column.name for column in self.fit.columns[:-1]], dtype=object).to_numpy()
        columns = zip(self.fit.columns, self.shapes, strict=False)
        inner = [[place + 0.5 for place in range(len(s.edges))] if c.levels else s.edges for c, s in columns]
        ends = [pd.Series([-math.inf, *each, math.inf], dtype="float64").to_numpy() for each in inner]
        # What its fit() would set, and transform() asks for.
        binned.bin_edges_ = pd.Series(ends, dtype=object).to_numpy()
        binned.n_bins_ = pd.Series(counts, dtype="int64").to_numpy()
        binned.n_features_in_, binned.feature_names_in_ = len(counts), names
        categories = [pd.Series(range(count), dtype="float64").to_numpy() for count in counts]
        binned._encoder = preprocessing.OneHotEncoder(categories=categories, sparse_output=False)
        binned._encoder.fit(pd.DataFrame([[0.0] * len(counts)]).to_numpy())
        last = linear_model.LogisticRegression() if self.classes else linear_model.LinearRegression()
        scores = pd.Series([score for shape in self.shapes for score in shape.scores], dtype="float64").to_numpy()
        last.coef_, last.intercept_ = scores, self.constant
        if self.classes:
            last.coef_, last.intercept_ = scores.reshape(1, -1), pd.Series([self.constant]).to_numpy()
            last.classes_ = pd.Series(list(self.classes)).to_numpy()
        last.n_features_in_ = len(scores)
        return pipeline.Pipeline([("bins", binned), ("scores", last)])

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """Numbers as they are, and of categories the place of the value: what `estimator()` predicts from."""
        columns = zip(self.fit.columns, self._columns(rows), strict=False)
        named = {column.name: values for column, values in columns}
        found: pd.DataFrame = pandas_extra("learn").DataFrame(named)
        return found

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.name,
            "formula": self.fit.formula,
            "classes": [to_json(each) for each in self.classes] or None,
            "constant": self.constant,
            "shapes": [
                {
                    "variable": column.name,
                    "values": [to_json(to_python(level)) for level in column.levels] or None,
                    "edges": None if column.levels else list(shape.edges),
                    "scores": list(shape.scores),
                    "noise_errors": list(shape.errors),
                }
                for column, shape in zip(self.fit.columns, self.shapes, strict=False)
            ],
            "units": self.state.units,
            "units_error": self.state.units_error,
            "rounds": self.fit.round.number + 1,
            "rounds_planned": self.fit.round.rounds,
            "gradient": self.state.gradient,
            "gradient_noise": self.state.noise_length,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        numbers = (f"{each.name} {cell_text(each.value, each.std_error)}" for each in self.coefficients)
        return "\n".join([self.fit.formula, *numbers])

    def _columns(self, rows: Columns) -> list[list[float]]:
        return [
            level_numbers(column, rows) if column.levels else design_column(column, rows)
            for column in self.fit.columns[:-1]
        ]

    def _added(self, row: Sequence[float]) -> list[float]:
        places = zip(self.fit.columns, self.shapes, row, strict=False)
        return [
            math.nan if math.isnan(value) else shape.scores[_bin(column, shape, value)]
            for column, shape, value in places
        ]

    def _scores(self, rows: Columns) -> list[float]:
        return [self.constant + math.fsum(self._added(row)) for row in zip(*self._columns(rows), strict=True)]


def _bin(column: FitColumn, shape: Shape, value: float) -> int:
    return int(value) if column.levels else bisect_right(shape.edges, value)


def _labels(column: FitColumn, shape: Shape) -> list[str]:
    if column.levels:
        return [f"[{to_python(level)}]" for level in column.levels]
    if not shape.edges:
        return [""]
    shown = [f"{edge:.6g}" for edge in shape.edges]
    middle = [f"[{one}, {other})" for one, other in itertools.pairwise(shown)]
    return [f" < {shown[0]}", *middle, f" >= {shown[-1]}"]


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import linear_model, pipeline, preprocessing

    return pd, linear_model, pipeline, preprocessing
