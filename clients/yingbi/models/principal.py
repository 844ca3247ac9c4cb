"""Principal components from released second moments: a covariance matrix and the directions in which most varies. Pure.

With M the released Σ (1, z)(1, z)ᵀ over n units, the covariance is C = M_zz/n − m·mᵀ, m = M_1z/n, in the units of the
data; standardized, the correlations. Its eigenvalues are the components' variances, its eigenvectors the components: of
each the first element that is at least half as large as the largest is above 0 (`matrices.eigenpairs`).

Errors are of first order: a source of noise that changes C by dC changes an eigenvalue by vᵀ dC v, and its vector by
Σ_j v_j (v_jᵀ dC v)/(λ − λ_j). Sampling is that of normal columns of independent units: 2λ²/n for a variance (Anderson,
"Asymptotic theory for principal component analysis", 1963), λ Σ_j λ_j/(λ − λ_j)² v_j v_jᵀ / n for its vector,
(c_ii·c_jj + c_ij²)/n for a covariance. Where variances are as near to each other as their noise, the vectors are mixed
with each other and their errors, of elements within −1 and 1, are told as 1.

A variance below 0, which noise can make, is told as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.cells import PlanError
from yingbi.display import cell_text
from yingbi.extras import learn_extra
from yingbi.linear_model import Columns
from yingbi.matrices import Matrix, dot, eigenpairs, multiplied
from yingbi.models.lines import (
    FitLine,
    digits,
    fingerprint_of,
    frame_of,
    is_complete,
    number_json,
    rows_of,
    variables_of,
)
from yingbi.moments import Change, Moments, check_fit, moments_of
from yingbi.regression import Coefficient
from yingbi.uncertain import Z

if TYPE_CHECKING:
    import pandas as pd

MEAN, VARIANCE, SHARE = "(Mean)", "(Variance)", "(Share)"
LEAST_VARIANCE = 1e-12
"""Of a column within [-1, 1], for correlations."""


@dataclass(frozen=True)
class Component:
    """A direction, and how much varies in it."""

    variance: Coefficient
    share: Coefficient
    """Of the variance of all columns together."""
    loadings: tuple[Coefficient, ...]
    """Of each column: the unit vector's element."""


@dataclass(frozen=True)
class PrincipalModel:
    """Fitted principal components: no data of the zone is in it, but its numbers."""

    fit: Fit
    units: float
    units_error: float
    means: tuple[Coefficient, ...]
    covariances: tuple[tuple[Coefficient, ...], ...]
    """Of the columns in the units of the data, on and above the diagonal."""
    components: tuple[Component, ...]
    left_variance: float
    """The mean variance of the components that are not told; 0 where all are."""

    @property
    def formula(self) -> str:
        return self.fit.formula

    @property
    def variables(self) -> tuple[str, ...]:
        """What `transform` needs of a row, as the formula writes it."""
        return variables_of(self.fit.columns)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [each.name for each in self.fit.columns]

    @property
    def is_determined(self) -> bool:
        """Whether there were enough units to tell anything."""
        return self.means[0].std_error is not None

    @property
    def covariance(self) -> list[list[float]]:
        """Of the columns, in the units of the data."""
        return [
            [self.covariances[min(i, j)][abs(i - j)].value for j in range(len(self.names))]
            for i in range(len(self.names))
        ]

    @property
    def scales(self) -> list[float]:
        """What the columns less their means are divided by before they are turned."""
        if not self.fit.standardized:
            return [1.0] * len(self.names)
        return [math.sqrt(row[0].value) for row in self.covariances]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        return fingerprint_of(
            {
                "model": Fit.Model.Name(self.fit.model),
                "formula": self.formula,
                "standardized": self.fit.standardized,
                "means": [digits(each.value) for each in self.means],
                "scales": [digits(each) for each in self.scales],
                "components": [
                    [digits(each.variance.value), *(digits(one.value) for one in each.loadings)]
                    for each in self.components
                ],
            }
        )

    @property
    def lines(self) -> list[FitLine]:
        """The means, then of each component its variance, its share, and its loadings."""
        found = [FitLine((MEAN, each.name), (each,)) for each in self.means]
        for number, each in enumerate(self.components, 1):
            for told in (each.variance, each.share, *each.loadings):
                found.append(FitLine((f"PC{number}", told.name), (told,)))
        return found

    @property
    def words(self) -> list[str]:
        """How much of the variance is in the components."""
        units = f"{cell_text(self.units, self.units_error)} units"
        if not self.is_determined:
            return [f"{units}: too few beside the noise to tell anything"]
        share = math.fsum(each.share.value for each in self.components)
        told, every = len(self.components), len(self.names)
        return [
            f"{told} of {every} components have {share:.1%} of the variance of {units}",
            f"fingerprint {self.fingerprint}",
        ]

    def transform(self, rows: Columns) -> list[list[float]]:
        """The components of each row; NaN where a variable has no value. Raises Problem as `rows_of`."""
        means, scales = [each.value for each in self.means], self.scales
        found = []
        for row in rows_of(self.fit.columns, rows):
            moved = [(x - mean) / scale for x, mean, scale in zip(row, means, scales, strict=True)]
            found.append(
                [dot([one.value for one in each.loadings], moved) for each in self.components]
                if is_complete(row)
                else [math.nan] * len(self.components)
            )
        return found

    def estimator(self) -> Any:
        """A fitted scikit-learn PCA, on the design's columns by their names; standardized, a pipeline before it.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, decomposition, pipeline, preprocessing = learn_extra(_sklearn)

        def array(values: Sequence[float]) -> Any:
            return pd.Series(values, dtype="float64").to_numpy()

        names, samples = pd.Series(self.names, dtype=object).to_numpy(), max(2, round(self.units))
        means = [each.value for each in self.means]
        found = decomposition.PCA(n_components=len(self.components))
        found.mean_ = array([0.0] * len(means) if self.fit.standardized else means)
        found.components_ = pd.DataFrame([[one.value for one in each.loadings] for each in self.components]).to_numpy()
        found.explained_variance_ = array([each.variance.value for each in self.components])
        found.explained_variance_ratio_ = array([each.share.value for each in self.components])
        found.singular_values_ = (found.explained_variance_ * (samples - 1)) ** 0.5
        found.noise_variance_ = self.left_variance
        found.n_components_, found.n_features_in_, found.n_samples_ = len(self.components), len(names), samples
        if not self.fit.standardized:
            found.feature_names_in_ = names
            return found
        scaler = preprocessing.StandardScaler()
        scaler.mean_, scaler.scale_ = array(means), array(self.scales)
        scaler.var_, scaler.n_features_in_, scaler.n_samples_seen_ = scaler.scale_**2, len(names), samples
        scaler.feature_names_in_ = names
        return pipeline.make_pipeline(scaler, found)

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """The design's columns as a frame: what `estimator()` is asked with."""
        return frame_of(self.fit.columns, rows)

    def to_json(self) -> dict[str, object]:
        return {
            "model": "PCA",
            "formula": self.formula,
            "standardized": self.fit.standardized,
            "columns": self.names,
            "means": [number_json(each) for each in self.means],
            "covariance": [[number_json(each) for each in row] for row in self.covariances],
            "components": [
                {
                    "variance": number_json(each.variance),
                    "share": number_json(each.share),
                    "loadings": [number_json(one) for one in each.loadings],
                }
                for each in self.components
            ],
            "units": self.units,
            "units_error": self.units_error,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        numbers = (
            f"{line.keys[0]} {line.keys[1]} {cell_text(number.value, number.std_error)}"
            for line in self.lines
            for number in line.numbers
            if number is not None
        )
        return "\n".join([self.formula, *numbers])


def _sklearn() -> tuple[Any, ...]:
    import pandas as pd
    from sklearn import decomposition, pipeline, preprocessing

    return pd, decomposition, pipeline, preprocessing


def check_principal(plan: Plan) -> None:
    """Refuse what is no model of components that this version can read; raises PlanError."""
    check_fit(plan)
    if not 1 <= plan.fit.components <= len(plan.fit.columns):
        raise PlanError("the plan's model has no components, or more than columns")


def principal_of(plan: Plan, opened: Sequence[int]) -> PrincipalModel:
    """The model that `opened` is, under `plan`; raises PlanError."""
    return principal(plan.fit, moments_of(plan, opened))


def principal(fit: Fit, moments: Moments) -> PrincipalModel:
    """The components of these moments; raises PlanError where they are beyond doubles."""
    try:
        found = _undetermined(fit, moments) if moments.units <= Z * moments.units_error else _solved(fit, moments)
        numbers = (number.value for line in found.lines for number in line.numbers if number is not None)
        if not all(map(math.isfinite, numbers)):
            raise OverflowError
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise PlanError("the plan's scale gives a model that is not finite") from error
    return found


def _undetermined(fit: Fit, moments: Moments) -> PrincipalModel:
    """Too few units beside the noise to tell anything: columns as they are, spread evenly over what they can be."""
    size = len(fit.columns)
    variances = [(each.half_range * (each.upper - each.lower)) ** 2 / 12 for each in fit.columns]
    order = sorted(range(size), key=lambda place: -variances[place])
    shown = [1.0] * size if fit.standardized else variances
    return PrincipalModel(
        fit,
        moments.units,
        moments.units_error,
        tuple(Coefficient(each.name, each.centre, None, None) for each in fit.columns),
        tuple(
            tuple(
                Coefficient(_pair_name(fit, i, j), variances[i] if i == j else 0.0, None, None) for j in range(i, size)
            )
            for i in range(size)
        ),
        tuple(
            Component(
                Coefficient(VARIANCE, shown[place], None, None),
                Coefficient(SHARE, shown[place] / math.fsum(shown), None, None),
                tuple(
                    Coefficient(each.name, float(other == place), None, None) for other, each in enumerate(fit.columns)
                ),
            )
            for place in order[: fit.components]
        ),
        _mean([shown[place] for place in order[fit.components :]]),
    )


def _solved(fit: Fit, moments: Moments) -> PrincipalModel:
    covariance = _Covariance.of(fit, moments)
    shown = covariance.standardized() if fit.standardized else covariance
    pairs = eigenpairs(shown.values)
    total = max(math.fsum(max(0.0, value) for value, _ in pairs), 5e-324)
    rest = [max(0.0, value) for value, _ in pairs[fit.components :]]
    return PrincipalModel(
        fit,
        moments.units,
        moments.units_error,
        tuple(_means(fit, moments, covariance)),
        tuple(tuple(row) for row in _told(fit, covariance)),
        tuple(_component(fit, shown, pairs, place, total) for place in range(fit.components)),
        _mean(rest),
    )


@dataclass(frozen=True)
class _Covariance:
    """A symmetric matrix, and what one standard deviation of each source of noise changes in it."""

    values: list[list[float]]
    changes: list[list[list[float]]]
    units: float
    least: list[float]
    """Variances below which a column's is not told."""

    @classmethod
    def of(cls, fit: Fit, moments: Moments) -> _Covariance:
        n, values, halves = moments.units, moments.values, [each.half_range for each in fit.columns]
        means = [values[0][place] / n for place in range(1, moments.size)]

        def at(entry: Callable[[int, int], float]) -> list[list[float]]:
            """In the units of the data, with rows and columns from 1."""
            size = range(1, moments.size)
            return [[entry(i, j) * halves[i - 1] * halves[j - 1] for j in size] for i in size]

        def changed(change: Change) -> list[list[float]]:
            units = change.get((0, 0), 0.0)
            moved = [(change.get((0, place), 0.0) - means[place - 1] * units) / n for place in range(1, moments.size)]
            return at(
                lambda i, j: (
                    (change.get((min(i, j), max(i, j)), 0.0) - values[i][j] / n * units) / n
                    - means[i - 1] * moved[j - 1]
                    - means[j - 1] * moved[i - 1]
                )
            )

        found = at(lambda i, j: values[i][j] / n - means[i - 1] * means[j - 1])
        least = [LEAST_VARIANCE * half**2 for half in halves]
        return cls(found, [changed(change) for change in moments.noise], n, least)

    def noise(self, i: int, j: int) -> float:
        return math.hypot(*(change[i][j] for change in self.changes))

    def variance(self, i: int) -> float:
        """Not below what its noise hides."""
        return max(self.values[i][i], self.noise(i, i), self.least[i])

    def standardized(self) -> _Covariance:
        """Of the columns over their standard deviations."""
        size = range(len(self.values))
        variances = [self.variance(i) for i in size]
        roots = [math.sqrt(each) for each in variances]
        values = [
            [1.0 if i == j else min(max(self.values[i][j] / (roots[i] * roots[j]), -1.0), 1.0) for j in size]
            for i in size
        ]
        changes = [
            [
                [
                    0.0
                    if i == j
                    else change[i][j] / (roots[i] * roots[j])
                    - values[i][j] * (change[i][i] / variances[i] + change[j][j] / variances[j]) / 2
                    for j in size
                ]
                for i in size
            ]
            for change in self.changes
        ]
        return _Covariance(values, changes, self.units, [1.0 for _ in size])


def _means(fit: Fit, moments: Moments, covariance: _Covariance) -> Iterator[Coefficient]:
    n = moments.units
    for place, column in enumerate(fit.columns):
        mean = moments.values[0][place + 1] / n
        noise = column.half_range * math.hypot(
            *((each.get((0, place + 1), 0.0) - mean * each.get((0, 0), 0.0)) / n for each in moments.noise)
        )
        sampled = math.sqrt(covariance.variance(place) / n)
        kept = min(max(mean, column.lower), column.upper)
        yield Coefficient(column.name, column.centre + column.half_range * kept, noise, math.hypot(noise, sampled))


def _told(fit: Fit, covariance: _Covariance) -> Iterator[list[Coefficient]]:
    for i in range(len(fit.columns)):
        row = []
        for j in range(i, len(fit.columns)):
            value = covariance.variance(i) if i == j else covariance.values[i][j]
            noise = covariance.noise(i, j)
            sampled = (covariance.variance(i) * covariance.variance(j) + value**2) / covariance.units
            row.append(Coefficient(_pair_name(fit, i, j), value, noise, math.hypot(noise, math.sqrt(sampled))))
        yield row


def _pair_name(fit: Fit, i: int, j: int) -> str:
    return f"{fit.columns[i].name} * {fit.columns[j].name}"


def _component(
    fit: Fit, matrix: _Covariance, pairs: Sequence[tuple[float, Sequence[float]]], place: int, total: float
) -> Component:
    value, vector = pairs[place]
    # What each source does to the quadratic forms v_jᵀ dC v.
    forms = [_forms(change, pairs, vector) for change in matrix.changes]
    noise, told = math.hypot(*(own[place] for own in forms)), max(0.0, value)
    sampled = math.sqrt(2 / matrix.units) * told
    share = told / total
    traces = [math.fsum(change[i][i] for i in range(len(vector))) for change in matrix.changes]
    of_share = math.hypot(*(own[place] - share * trace for own, trace in zip(forms, traces, strict=True))) / total
    # As if the components were independent: Σ_j (δ_ij − s)² 2λ_j² / n over the total.
    apart = (((1 - share) if other == place else -share) * max(0.0, each) for other, (each, _) in enumerate(pairs))
    of_sampling = math.sqrt(2 / matrix.units) * math.hypot(*apart) / total
    return Component(
        Coefficient(VARIANCE, told, noise, math.hypot(noise, sampled)),
        Coefficient(SHARE, share, of_share, math.hypot(of_share, of_sampling)),
        tuple(_loadings(fit, matrix, pairs, place, forms)),
    )


def _forms(change: Matrix, pairs: Sequence[tuple[float, Sequence[float]]], vector: Sequence[float]) -> list[float]:
    moved = multiplied(change, vector)
    return [dot(other, moved) for _, other in pairs]


def _loadings(
    fit: Fit,
    matrix: _Covariance,
    pairs: Sequence[tuple[float, Sequence[float]]],
    place: int,
    forms: Sequence[Sequence[float]],
) -> Iterator[Coefficient]:
    value, vector = pairs[place]
    # Of variances that rounding alone tells apart nothing is known but that the error is large.
    least = max(1e-12 * abs(pairs[0][0]), 1e-150)
    gaps = [difference if abs(difference) > least else least for difference in (value - other for other, _ in pairs)]
    others = [other for other in range(len(pairs)) if other != place]
    for index, column in enumerate(fit.columns):
        noise = math.hypot(
            *(math.fsum(pairs[other][1][index] * own[other] / gaps[other] for other in others) for own in forms)
        )
        sampled = math.hypot(
            *(
                math.sqrt(max(0.0, value) * max(0.0, pairs[other][0]) / matrix.units)
                * pairs[other][1][index]
                / gaps[other]
                for other in others
            )
        )
        yield Coefficient(column.name, vector[index], min(1.0, noise), min(1.0, math.hypot(noise, sampled)))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
