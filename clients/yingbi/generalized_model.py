"""A fitted logistic or Poisson regression: its coefficients, and what it says of rows of one's own. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit
from yingbi.cells import Cell, to_json, to_python
from yingbi.display import cell_text
from yingbi.extras import learn_extra
from yingbi.generalized_linear import (
    FULL_STEPS,
    Curvature,
    State,
    coefficient_names,
    curvature,
    means_of,
    penalized,
    to_units,
)
from yingbi.linear_model import Columns, design_of
from yingbi.matrices import Matrix, dot, inverse, multiplied
from yingbi.models.balance import class_weights_json
from yingbi.regression import Coefficient

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 9
"""Of a coefficient that its fingerprint is made of: many steps lead to it, and machines round each differently."""

NAMES = {Fit.MODEL_LOGISTIC_REGRESSION: "LogisticRegression", Fit.MODEL_POISSON_REGRESSION: "PoissonRegression"}


@dataclass(frozen=True)
class GeneralizedModel:
    """What rounds came to, in the units of the data."""

    state: State

    @property
    def fit(self) -> Fit:
        return self.state.fit

    @property
    def name(self) -> str:
        """Of the model's kind."""
        return NAMES.get(self.fit.model, "Model")

    @property
    def classes(self) -> tuple[Cell, ...]:
        """What is predicted; none of counts."""
        return tuple(map(to_python, self.fit.classes))

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        regressors = self.fit.columns[:-1]
        return tuple(dict.fromkeys(factor.variable for each in regressors for factor in each.factors))

    @cached_property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """The constant first; of several classes those of the second, then those of the third, ...

        They are of the logarithm of the odds against the first class, or of the logarithm of the mean count.
        """
        names, scale = coefficient_names(self.fit), to_units(self.state)
        values = [dot(row, theta) for theta in self.state.theta for row in scale]
        errors = _errors(self.state, scale)
        return tuple(Coefficient(name, value, *error) for name, value, error in zip(names, values, errors, strict=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        document = {
            "model": Fit.Model.Name(self.fit.model),
            "formula": self.fit.formula,
            "classes": [to_json(each) for each in self.classes],
            "coefficients": [[each.name, f"{each.value + 0.0:.{DIGITS - 1}e}"] for each in self.coefficients],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def predict(self, rows: Columns) -> list[Any]:
        """The most likely class of each row, or its expected count; NaN where a variable has no value.

        Raises:
            Problem: as `LinearModel.design`.
        """
        if not self.classes:
            return [means[0] for means in self._means(rows)]
        return [
            self.classes[max(range(len(chances)), key=chances.__getitem__)] if math.isfinite(chances[0]) else math.nan
            for chances in self.predict_proba(rows)
        ]

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The chance of each class, in their order; of counts there is none, and this is MALFORMED "no_classes"."""
        if not self.classes:
            raise Problem(
                Kind.MALFORMED, "no_classes", "Of counts there are no chances.", hint="predict() says the mean"
            )
        return [[1 - math.fsum(means), *means] for means in self._means(rows)]

    def estimator(self) -> Any:
        """A fitted scikit-learn LogisticRegression, or PoissonRegressor, on the columns of `frame_of`.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, linear_model = learn_extra(_sklearn)
        rows = self.sets
        if not self.classes:
            made = linear_model.PoissonRegressor(alpha=self.fit.alpha)
            made.coef_, made.intercept_ = pd.Series(rows[0][1:], dtype="float64").to_numpy(), rows[0][0]
            # What its fit() would set, and predict() asks for.
            made._base_loss = made._get_loss()
        else:
            made = linear_model.LogisticRegression(C=1 / self.fit.alpha if self.fit.alpha else math.inf)
            if len(self.classes) > 2:
                rows = [[0.0] * len(rows[0]), *rows]
            table = pd.DataFrame(rows, dtype="float64").to_numpy()
            made.coef_, made.intercept_ = table[:, 1:].copy(), table[:, 0].copy()
            made.classes_ = pd.Series(list(self.classes)).to_numpy()
        made.n_features_in_ = len(self.fit.columns) - 1
        made.feature_names_in_ = pd.Series([each.name for each in self.fit.columns[:-1]], dtype=object).to_numpy()
        return made

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """The regressors as a frame: what `estimator()` predicts from."""
        import pandas as pd

        return pd.DataFrame(design_of(self.fit.columns[:-1], rows))

    def to_json(self) -> dict[str, object]:
        return {
            "model": self.name,
            "formula": self.fit.formula,
            "classes": [to_json(each) for each in self.classes] or None,
            "coefficients": [
                {
                    "name": each.name,
                    "value": each.value,
                    "std_error": each.std_error,
                    "noise_error": each.noise_error,
                }
                for each in self.coefficients
            ],
            "alpha": self.fit.alpha if self.fit.HasField("alpha") else None,
            "class_weights": class_weights_json(self.fit, self.state.balance),
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

    @property
    def sets(self) -> list[list[float]]:
        """The constant and the slopes, for each class but the first; of counts one."""
        size = len(self.fit.columns)
        values = [each.value for each in self.coefficients]
        return [values[start : start + size] for start in range(0, len(values), size)]

    def _means(self, rows: Columns) -> list[list[float]]:
        columns = list(design_of(self.fit.columns[:-1], rows).values())
        found = []
        for row in zip(*columns, strict=True):
            predictors = [own[0] + dot(own[1:], row) for own in self.sets] if all(map(math.isfinite, row)) else []
            found.append(means_of(self.fit, predictors) if predictors else [math.nan] * len(self.sets))
        return found


def _errors(state: State, scale: Sequence[Sequence[float]]) -> list[tuple[float | None, float | None]]:
    """Of each coefficient the error of noise, and that of noise and sampling; see `generalized_linear`."""
    found: Curvature = curvature(state)
    inverted = inverse(penalized(state, found))
    averaged = max(1, state.gradients - FULL_STEPS + 1)
    size = len(state.transform)
    errors: list[tuple[float | None, float | None]] = []
    for number in range(len(state.theta)):
        for row in scale:
            whole = [0.0] * (size * len(state.theta))
            whole[number * size : (number + 1) * size] = row
            pulled = multiplied(inverted, whole)
            noise = state.noise * math.hypot(*pulled) / math.sqrt(averaged)
            sampling = math.sqrt(max(0.0, _quadratic(found.variance, pulled)) / max(state.units, 1.0))
            errors.append((_finite(noise), _finite(math.hypot(noise, sampling))))
    return errors


def _quadratic(matrix: Matrix, vector: Sequence[float]) -> float:
    return dot(vector, multiplied(matrix, vector))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import linear_model

    return pd, linear_model
