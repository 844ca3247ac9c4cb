"""Gaussian naive Bayes from released sums: of each class its share, and mean and variance of every column. Pure.

Of a class of n units with sums S and Q of z and z², the mean is S/n and the variance Q/n − (S/n)². Errors are of first
order in the noise; sampling adds v/n to a mean's variance and 2v²/n to that of a variance, as if z were normal, or for
a column of two values what that has. Units are taken to be drawn independently; with several rows each it is an upper
bound.

Noise may take a variance to 0 or below. It is told as at least its own noise's standard deviation, so that no class is
sure of anything for lack of data. A class of which noise does not let it be seen that anybody is in it (its n within
1.96 of its own errors of 0) has mean and variance of all classes together, counts as large as its noise, and has no
errors.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.cells import Cell, Layout, PlanError, Row, constants
from yingbi.display import cell_text
from yingbi.extras import learn_extra
from yingbi.linear_model import Columns
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
from yingbi.moments import NO_MOMENT, check_columns, read_outputs, spread_mean, spread_square
from yingbi.regression import Coefficient
from yingbi.uncertain import Linear, Source, Z, deviation

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 100
SHARE = "(Share)"
LEAST_VARIANCE = 1e-9
"""Of a column within [-1, 1]: scikit-learn's `var_smoothing`."""


@dataclass(frozen=True)
class ClassSums:
    """Of one class, with their noise."""

    units: Linear
    means: tuple[Linear, ...]
    """Σ z of each column."""
    squares: tuple[Linear, ...]

    @property
    def is_seen(self) -> bool:
        """Whether noise lets it be seen that anybody is in it."""
        return self.units.value > Z * deviation(self.units.noise)

    def noised(self, draw: random.Random) -> ClassSums:
        """With noise drawn anew: for rehearsals alone, where no privacy rests on it."""
        sources = {source for each in (self.units, *self.means, *self.squares) for source in each.noise}
        sizes = {source: draw.gauss(0.0, 1.0) for source in sorted(sources, key=str)}

        def moved(sum_: Linear) -> Linear:
            change = math.fsum(part * sizes[source] for source, part in sum_.noise.items())
            return Linear(sum_.value + change, sum_.noise)

        return ClassSums(moved(self.units), tuple(map(moved, self.means)), tuple(map(moved, self.squares)))


@dataclass(frozen=True)
class Spread:
    """Mean and variance of a column in one class, in the units of the data."""

    mean: Coefficient
    variance: Coefficient

    @property
    def deviation(self) -> Coefficient:
        """The root of the variance."""
        found = self.variance
        root = math.sqrt(found.value)
        noise, error = (None if each is None else each / (2 * root) for each in (found.noise_error, found.std_error))
        return Coefficient(found.name, root, noise, error)


@dataclass(frozen=True)
class ClassModel:
    """What is told of a class."""

    label: Cell
    units: float
    units_error: float
    share: Coefficient
    spreads: tuple[Spread, ...]


@dataclass(frozen=True)
class NaiveBayesModel:
    """A fitted Gaussian naive Bayes model: no data of the zone is in it, but its numbers."""

    fit: Fit
    classes: tuple[ClassModel, ...]

    @property
    def formula(self) -> str:
        return self.fit.formula

    @property
    def variables(self) -> tuple[str, ...]:
        """What `predict` needs of a row, as the formula writes it."""
        return variables_of(self.fit.columns)

    @property
    def labels(self) -> list[Cell]:
        return [each.label for each in self.classes]

    @property
    def units(self) -> float:
        return math.fsum(each.units for each in self.classes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters in canonical form, in hexadecimal: the same for whoever computes them anew."""
        return fingerprint_of(
            {
                "model": Fit.Model.Name(self.fit.model),
                "formula": self.formula,
                "classes": [
                    [str(each.label), digits(each.share.value)]
                    + [digits(number) for one in each.spreads for number in (one.mean.value, one.variance.value)]
                    for each in self.classes
                ],
            }
        )

    @property
    def lines(self) -> list[FitLine]:
        """Of each class its share, then mean and standard deviation of every column."""
        found = []
        for each in self.classes:
            found.append(FitLine((each.label, SHARE), (each.share, None)))
            found += [FitLine((each.label, one.mean.name), (one.mean, one.deviation)) for one in each.spreads]
        return found

    @property
    def words(self) -> list[str]:
        """How much there is of each class."""
        sizes = ", ".join(f"{each.label} {cell_text(each.units, each.units_error)}" for each in self.classes)
        unseen = [str(each.label) for each in self.classes if each.share.std_error is None]
        lines = [f"units by class: {sizes}"]
        if unseen:
            lines.append(f"too few beside the noise to tell anything: {', '.join(unseen)}; it has what all have")
        return [*lines, f"fingerprint {self.fingerprint}"]

    def predict(self, rows: Columns) -> list[Cell]:
        """The most probable class of each row; None where a variable has no value. Raises Problem as `rows_of`."""
        labels = self.labels
        return [
            None if math.isnan(each[0]) else labels[max(range(len(each)), key=each.__getitem__)]
            for each in self.predict_proba(rows)
        ]

    def predict_proba(self, rows: Columns) -> list[list[float]]:
        """The probability of each class, in the order of `labels`; NaN where a variable has no value."""
        return [
            self._probabilities(row) if is_complete(row) else [math.nan] * len(self.classes)
            for row in rows_of(self.fit.columns, rows)
        ]

    def estimator(self) -> Any:
        """A fitted scikit-learn GaussianNB, on the design's columns by their names.

        Raises:
            Problem: UNAVAILABLE "scikit_learn_missing".
        """
        pd, bayes = learn_extra(_sklearn)
        found = bayes.GaussianNB(var_smoothing=0.0)
        names = [each.name for each in self.fit.columns]
        found.classes_ = pd.Series(self.labels).to_numpy()
        found.theta_ = pd.DataFrame([[one.mean.value for one in each.spreads] for each in self.classes]).to_numpy()
        found.var_ = pd.DataFrame([[one.variance.value for one in each.spreads] for each in self.classes]).to_numpy()
        found.class_prior_ = pd.Series([each.share.value for each in self.classes], dtype="float64").to_numpy()
        found.class_count_ = pd.Series([each.units for each in self.classes], dtype="float64").to_numpy()
        found.epsilon_ = 0.0
        found.n_features_in_ = len(names)
        found.feature_names_in_ = pd.Series(names, dtype=object).to_numpy()
        return found

    def frame_of(self, rows: Columns) -> pd.DataFrame:
        """The design's columns as a frame: what `estimator()` is asked with."""
        return frame_of(self.fit.columns, rows)

    def to_json(self) -> dict[str, object]:
        return {
            "model": "GaussianNB",
            "formula": self.formula,
            "response": self.fit.response,
            "classes": [
                {
                    "class": each.label,
                    "units": each.units,
                    "units_error": each.units_error,
                    "share": number_json(each.share),
                    "columns": [
                        {"name": one.mean.name, "mean": number_json(one.mean), "variance": number_json(one.variance)}
                        for one in each.spreads
                    ],
                }
                for each in self.classes
            ],
            "units": self.units,
            "fingerprint": self.fingerprint,
        }

    def __repr__(self) -> str:
        numbers = (
            f"{line.keys[0]} {line.keys[1]} {cell_text(number.value, number.std_error)}"
            for line in self.lines
            for number in line.numbers[:1]
            if number is not None
        )
        return "\n".join([self.formula, *numbers])

    def _probabilities(self, row: Sequence[float]) -> list[float]:
        logs = [
            math.log(each.share.value)
            - math.fsum(
                (math.log(2 * math.pi * one.variance.value) + (value - one.mean.value) ** 2 / one.variance.value) / 2
                for one, value in zip(each.spreads, row, strict=True)
            )
            for each in self.classes
        ]
        most = max(logs)
        parts = [math.exp(each - most) for each in logs]
        return [each / math.fsum(parts) for each in parts]


def _sklearn() -> tuple[Any, Any]:
    import pandas as pd
    from sklearn import naive_bayes

    return pd, naive_bayes


def check_naive_bayes(plan: Plan) -> None:
    """Refuse what is no model of classes that this version can read; raises PlanError."""
    fit = plan.fit
    if len(plan.group_by) != 1 or plan.grouping_sets or plan.presentation.ByteSize():
        raise PlanError("the plan's model has not one key for its classes")
    if not 2 <= len(plan.group_by[0].values) <= MAX_CLASSES or plan.group_by[0].rest:
        raise PlanError("the plan's model has no classes, or too many")
    if len(fit.moments) != 1 + 2 * len(fit.columns):
        raise PlanError("the plan's model has not two moments for each column")
    check_columns(plan)
    if NO_MOMENT in fit.moments:
        raise PlanError("the plan's model lacks a moment")


def naive_bayes_of(plan: Plan, opened: Sequence[int]) -> NaiveBayesModel:
    """The model that `opened` is, under `plan`; raises PlanError."""
    layout = Layout.of(plan)
    return _model(plan, [_class_sums(plan, read_outputs(plan, layout, row)) for row in layout.rows(opened)])


def expected_naive_bayes(plan: Plan, units: int) -> NaiveBayesModel:
    """What it would be if classes were equally large and columns spread evenly over what they can be."""
    fit = plan.fit
    places = {(0, 0): fit.moments[0]}
    for place in range(1, len(fit.columns) + 1):
        places[0, place], places[place, place] = fit.moments[2 * place - 1], fit.moments[2 * place]
    means = [spread_mean(fit, column) for column in fit.columns]
    squares = [spread_square(fit, place, places) for place in range(1, len(fit.columns) + 1)]
    count = units / len(plan.group_by[0].values)
    exact = [(count, [count * each for each in means], [count * each for each in squares])]
    return rehearsed_naive_bayes(plan, exact * len(plan.group_by[0].values), None)


def rehearsed_naive_bayes(
    plan: Plan, sums: Sequence[tuple[float, Sequence[float], Sequence[float]]], draw: random.Random | None
) -> NaiveBayesModel:
    """The model of these sums (units, z, z²) of each class, with noise as the plan's; no noise without `draw`."""
    layout = Layout.of(plan)
    shape = _class_sums(plan, read_outputs(plan, layout, Row((), 1, tuple([0.0] * each for each in layout.widths))))
    found = []
    for units, means, squares in sums:
        exact = ClassSums(
            Linear(units, shape.units.noise),
            tuple(Linear(value, each.noise) for value, each in zip(means, shape.means, strict=True)),
            tuple(Linear(value, each.noise) for value, each in zip(squares, shape.squares, strict=True)),
        )
        found.append(exact if draw is None else exact.noised(draw))
    return _model(plan, found)


def _class_sums(plan: Plan, outputs: Sequence[Linear]) -> ClassSums:
    first, *rest = (outputs[place] for place in plan.fit.moments)
    return ClassSums(first, tuple(rest[::2]), tuple(rest[1::2]))


def _model(plan: Plan, sums: Sequence[ClassSums]) -> NaiveBayesModel:
    try:
        return NaiveBayesModel(plan.fit, tuple(_classes(plan, sums)))
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        raise PlanError("the plan's scale gives a model that is not finite") from error


def _classes(plan: Plan, sums: Sequence[ClassSums]) -> Iterator[ClassModel]:
    labels = constants(plan.group_by[0].values)
    counted = [each.units.value if each.is_seen else max(deviation(each.units.noise), LEAST_VARIANCE) for each in sums]
    total = math.fsum(counted)
    own = [deviation(each.units.noise) for each in sums]
    everybody = _spreads(plan.fit, _together(sums))
    for place, each in enumerate(sums):
        share = counted[place] / total
        if not each.is_seen:
            unknown = tuple(Spread(_bare(one.mean), _bare(one.variance)) for one in everybody)
            yield ClassModel(labels[place], each.units.value, own[place], _bare(share), unknown)
            continue
        parts = [(1.0 if other == place else 0.0) - share for other in range(len(sums))]
        noise = math.hypot(*(part * error for part, error in zip(parts, own, strict=True))) / total
        error = math.hypot(noise, math.sqrt(share * (1 - share) / total))
        told = Coefficient(SHARE, share, noise, error)
        yield ClassModel(labels[place], each.units.value, own[place], told, _spreads(plan.fit, each))


def _bare(number: Coefficient | float) -> Coefficient:
    """A number of which no error can be told."""
    if isinstance(number, Coefficient):
        return Coefficient(number.name, number.value, None, None)
    return Coefficient(SHARE, number, None, None)


def _together(sums: Sequence[ClassSums]) -> ClassSums:
    """All classes as one; their noises are independent of each other, and equally large."""
    return ClassSums(
        _added([each.units for each in sums]),
        tuple(_added(column) for column in zip(*(each.means for each in sums), strict=True)),
        tuple(_added(column) for column in zip(*(each.squares for each in sums), strict=True)),
    )


def _added(numbers: Sequence[Linear]) -> Linear:
    noise = {source: part * math.sqrt(len(numbers)) for source, part in numbers[0].noise.items()}
    return Linear(math.fsum(each.value for each in numbers), noise)


def _spreads(fit: Fit, sums: ClassSums) -> tuple[Spread, ...]:
    found = []
    for place, column in enumerate(fit.columns):
        name, half = column.name, column.half_range
        mean, variance = _scaled(sums, place, column.lower, column.upper)
        found.append(
            Spread(
                Coefficient(name, column.centre + half * mean[0], *_times(half, mean[1:])),
                Coefficient(name, half**2 * variance[0], *_times(half**2, variance[1:])),
            )
        )
    if not all(math.isfinite(one.mean.value) and 0 < one.variance.value < math.inf for one in found):
        raise OverflowError
    return tuple(found)


def _times(factor: float, errors: Sequence[float | None]) -> tuple[float | None, float | None]:
    first, second = (None if each is None or not math.isfinite(each) else factor * each for each in errors)
    return first, second


_Told = tuple[float, float | None, float | None]


def _scaled(sums: ClassSums, place: int, lower: float, upper: float) -> tuple[_Told, _Told]:
    """Mean and variance of z, each with its errors: of noise, and of noise and sampling."""
    units, total, square = sums.units, sums.means[place], sums.squares[place]
    if not sums.is_seen:
        return ((lower + upper) / 2, None, None), ((upper - lower) ** 2 / 12, None, None)
    n = units.value
    mean, of_squares = total.value / n, square.value / n
    of_mean = _ratio_noise(total, units, mean)
    of_square = _ratio_noise(square, units, of_squares)
    of_variance = {
        source: of_square.get(source, 0.0) - 2 * mean * of_mean.get(source, 0.0) for source in (*of_square, *of_mean)
    }
    is_two_valued = square is total or square == total
    mean_noise, variance_noise = math.hypot(*of_mean.values()), math.hypot(*of_variance.values())
    # Within what a number of this range can have (Popoviciu), and not below what noise hides.
    most = (upper - lower) ** 2 / 4
    variance = min(max(of_squares - mean * mean, variance_noise, LEAST_VARIANCE), most)
    sampled = (1 - 2 * mean) ** 2 * variance / n if is_two_valued else 2 * variance**2 / n
    return (
        (min(max(mean, lower), upper), mean_noise, math.hypot(mean_noise, math.sqrt(variance / n))),
        (variance, variance_noise, math.hypot(variance_noise, math.sqrt(sampled))),
    )


def _ratio_noise(numerator: Linear, denominator: Linear, ratio: float) -> Mapping[Source, float]:
    return {
        source: (numerator.noise.get(source, 0.0) - ratio * denominator.noise.get(source, 0.0)) / denominator.value
        for source in {**numerator.noise, **denominator.noise}
    }
