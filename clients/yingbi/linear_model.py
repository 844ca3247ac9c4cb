"""A fitted linear model: what it says of rows of one's own. No data of the zone is in it, but its coefficients."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan
from yingbi.cells import to_json, to_python
from yingbi.display import cell_text, error_text
from yingbi.extras import learn_extra, pandas_extra
from yingbi.regression import INTERCEPT, Coefficient, Regression, regression_of

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 12
"""Of a coefficient that its fingerprint is made of: below what different machines round differently."""

Columns = Mapping[str, Sequence[Any]]
"""A frame, or lists by name: a formula's variables as it writes them."""


@dataclass(frozen=True)
class LinearModel:
    """A fit and the formula that it is of."""

    fit: Fit
    regression: Regression

    @property
    def formula(self) -> str:
        return self.fit.formula

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        return tuple(dict.fromkeys(factor.variable for each in self._regressors for factor in each.factors))

    @property
    def coefficients(self) -> dict[str, Coefficient]:
        """By name, the constant as "(Intercept)"."""
        return {each.name: each for each in self.regression.coefficients}

    @property
    def intercept(self) -> float:
        return self.coefficients[INTERCEPT].value if self.fit.intercept else 0.0

    @property
    def slopes(self) -> list[float]:
        """The other coefficients, in the order of `design`."""
        return [each.value for each in self.regression.coefficients[int(self.fit.intercept) :]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        document = {
            "model": Fit.Model.Name(self.fit.model),
            "formula": self.formula,
            "alpha": _digits(self.fit.alpha),
            "coefficients": [[each.name, _digits(each.value)] for each in self.regression.coefficients],
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def design(self, rows: Columns) -> dict[str, list[float]]:
        """The regressors of some rows by their names; NaN where a variable has no value.

        Raises:
            Problem: MALFORMED "missing_column", where the rows lack a variable; "rows", where columns differ in length.
        """
        return design_of(self._regressors, rows)

    def predict(self, rows: Columns) -> list[float]:
        """The response for each row; NaN where a variable has no value. Raises Problem as `design`."""
        columns, slopes = list(self.design(rows).values()), self.slopes
        count = len(columns[0]) if columns else _length(rows)
        return [
            self.intercept + math.fsum(slope * column[row] for slope, column in zip(slopes, columns, strict=True))
            if all(math.isfinite(column[row]) for column in columns)
            else math.nan
            for row in range(count)
        ]

    def estimator(self) -> Any:
        """A fitted scikit-learn LinearRegression, or Ridge, on the columns of `frame_of`.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, linear_model = learn_extra(_sklearn)
        penalised, intercept = self.fit.HasField("alpha"), self.fit.intercept
        made = linear_model.Ridge(alpha=self.fit.alpha, fit_intercept=intercept) if penalised else None
        found = linear_model.LinearRegression(fit_intercept=intercept) if made is None else made
        found.coef_ = pd.Series(self.slopes, dtype="float64").to_numpy()
        found.intercept_ = self.intercept
        found.n_features_in_ = len(self.slopes)
        found.feature_names_in_ = pd.Series([each.name for each in self._regressors], dtype=object).to_numpy()
        return found

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """`design` as a frame: what `estimator()` predicts from."""
        found: pd.DataFrame = pandas_extra("learn").DataFrame(self.design(rows))
        return found

    @property
    def units(self) -> float:
        """Persons that it was trained on, as released."""
        return self.regression.units

    @property
    def words(self) -> list[str]:
        """How good it is, in some sentences."""
        found, name = self.regression, self.fit.columns[-1].name
        units = f"{cell_text(found.units, found.units_error)} {'units' if found.units != 1 else 'unit'}"
        if not found.is_determined:
            return [f"{units}: too few beside the noise to tell anything"]
        r_squared = cell_text(found.r_squared, found.r_squared_error)
        lines = [f"R² {r_squared} over {units}; {name} is within {error_text(found.residual)} of it (root mean square)"]
        if found.ridge > 0:
            lines.append(
                f"a ridge of {found.ridge:.2g} of the units was added, so that noise decides no coefficient: "
                "all are shrunk, which ± does not have"
            )
        return [*lines, f"fingerprint {self.fingerprint}"]

    def to_json(self) -> dict[str, object]:
        found = self.regression
        return {
            "model": "Ridge" if self.fit.HasField("alpha") else "LinearRegression",
            "formula": self.formula,
            "alpha": self.fit.alpha if self.fit.HasField("alpha") else None,
            "coefficients": [
                {
                    "name": each.name,
                    "value": each.value,
                    "std_error": each.std_error,
                    "noise_error": each.noise_error,
                }
                for each in found.coefficients
            ],
            "units": found.units,
            "units_error": found.units_error,
            "r_squared": found.r_squared,
            "r_squared_error": found.r_squared_error,
            "residual": found.residual,
            "ridge": found.ridge if math.isfinite(found.ridge) else None,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        numbers = (f"{each.name} {cell_text(each.value, each.std_error)}" for each in self.regression.coefficients)
        return "\n".join([self.formula, *numbers])

    @property
    def _regressors(self) -> Sequence[FitColumn]:
        return self.fit.columns[:-1]


def fitted_of(plan: Plan, opened: Sequence[int]) -> LinearModel:
    """The model that opened integers are; raises PlanError."""
    return LinearModel(plan.fit, regression_of(plan, opened))


def design_of(columns: Sequence[FitColumn], rows: Columns) -> dict[str, list[float]]:
    """These columns of the design for some rows; see `LinearModel.design`."""
    lengths = {name: len(rows[name]) for name in rows}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length:,}" for name, length in itertools.islice(lengths.items(), 20))
        raise Problem(Kind.MALFORMED, "rows", f"The columns have different numbers of rows: {said}.", field="rows")
    return {column.name: design_column(column, rows) for column in columns}


def design_column(column: FitColumn, rows: Columns) -> list[float]:
    """A column of the design for some rows, in the data's units."""
    found = [1.0] * _length(rows)
    for factor in column.factors:
        cells = _cells(factor.variable, rows)
        level = to_python(factor.level) if factor.HasField("level") else None
        parts = [_number(cell) if level is None else _indicator(cell, level) for cell in cells]
        found = [one * other for one, other in zip(found, parts, strict=True)]
    return found


def level_numbers(column: FitColumn, rows: Columns) -> list[float]:
    """Of a category whose values are numbered: of each row the number of its value; NaN where it has another."""
    (factor,) = column.factors
    levels = [to_python(level) for level in column.levels]
    found = []
    for cell in _cells(factor.variable, rows):
        places = [place for place, level in enumerate(levels) if _indicator(cell, level) == 1]
        found.append(float(places[0]) if places else math.nan)
    return found


def _cells(variable: str, rows: Columns) -> Sequence[Any]:
    if variable in rows:
        return list(rows[variable])
    raise Problem(
        Kind.MALFORMED,
        "missing_column",
        f"The rows have no column {variable!r}, which the formula uses.",
        field="rows",
        hint=f"there are {', '.join(map(str, list(rows)[:20])) or 'none'}; an expression's column has its text as name",
    )


def _length(rows: Columns) -> int:
    return max((len(rows[name]) for name in rows), default=0)


def _number(cell: Any) -> float:
    try:
        return math.nan if cell is None else float(cell)
    except (TypeError, ValueError):
        # pandas' NA, and what is no number.
        return math.nan


def _indicator(cell: Any, level: Any) -> float:
    try:
        is_missing = cell is None or bool(cell != cell)  # noqa: PLR0124 - NaN alone differs from itself
        return math.nan if is_missing else float(bool(cell == level) or to_json(cell) == to_json(level))
    except (TypeError, ValueError):
        # pandas' NA says neither.
        return math.nan


def _digits(value: float) -> str:
    return f"{value + 0.0:.{DIGITS - 1}e}"


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import linear_model

    return pd, linear_model
