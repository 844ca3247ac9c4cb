"""The second moments of a plan that trains a model, with their noise. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan
from yingbi.cells import Layout, PlanError, Row, to_python
from yingbi.formulas import Formulas
from yingbi.measures import Measures
from yingbi.uncertain import Linear, Source

MAX_COLUMNS = 64
MAX_FACTORS = 16
NO_MOMENT = -1

Pair = tuple[int, int]
Change = Mapping[Pair, float]
"""Of some moments i <= j: how one standard deviation of a source of noise changes them."""


@dataclass(frozen=True)
class Moments:
    """Sums over units of z_i · z_j: column 0 is 1, the last is the response. `values` is symmetric."""

    values: tuple[tuple[float, ...], ...]
    noise: tuple[Change, ...]
    """Of each independent source."""

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def units(self) -> float:
        """As released: it may be below 0."""
        return self.values[0][0]

    @property
    def units_error(self) -> float:
        return math.hypot(*(change.get((0, 0), 0.0) for change in self.noise))

    def noised(self, draw: random.Random) -> Moments:
        """The same with noise drawn anew: for rehearsals alone, where no privacy rests on it."""
        values = [list(row) for row in self.values]
        for change in self.noise:
            size = draw.gauss(0.0, 1.0)
            for (left, right), part in change.items():
                values[left][right] += size * part
                if left != right:
                    values[right][left] += size * part
        return Moments(tuple(map(tuple, values)), self.noise)


def check_fit(plan: Plan) -> None:
    """Refuse what is no model that this version can read; raises PlanError."""
    fit = plan.fit
    if fit.model not in (Fit.MODEL_LINEAR_REGRESSION, Fit.MODEL_PRINCIPAL_COMPONENTS):
        raise PlanError("the plan's model is one that this version does not know")
    size = len(fit.columns) + 1
    if plan.group_by or plan.grouping_sets:
        raise PlanError("the plan's model has groups")
    if len(fit.moments) != size * (size + 1) // 2:
        raise PlanError("the plan's model has not a moment for each pair of columns")
    check_columns(plan)


def check_columns(plan: Plan) -> None:
    """Refuse a model of any kind whose columns or moments cannot be read; raises PlanError."""
    fit = plan.fit
    if not 1 <= len(fit.columns) <= MAX_COLUMNS:
        raise PlanError("the plan's model has no columns, or too many")
    if fit.moments[0] == NO_MOMENT or not all(NO_MOMENT <= index < len(plan.outputs) for index in fit.moments):
        raise PlanError("the plan's model names an output that is not there")
    numbers = [fit.alpha, *(number for each in fit.columns for number in _numbers(each))]
    is_sound = all(map(math.isfinite, numbers)) and fit.alpha >= 0
    if not is_sound or any(each.half_range <= 0 or not _has_factors(each) for each in fit.columns):
        raise PlanError("the plan's model has numbers out of range")


def moments_of(plan: Plan, opened: Sequence[int]) -> Moments:
    """The moments that were opened.

    Raises:
        PlanError: the plan is no model's, or the vector does not fit it.
    """
    layout = Layout.of(plan)
    return _moments(plan, read_outputs(plan, layout, next(iter(layout.rows(opened)))))


def expected_moments(plan: Plan, units: int) -> Moments:
    """What moments would be, if columns were independent and each spread evenly over what it can be."""
    means = [1.0, *(spread_mean(plan.fit, column) for column in plan.fit.columns)]
    values: dict[Pair, float] = {}
    places = dict(zip(pairs(len(means)), plan.fit.moments, strict=True))
    for (left, right), place in places.items():
        found = means[left] * means[right]
        if left == right > 0:
            found = spread_square(plan.fit, right, places)
        values[left, right] = 0.0 if place == NO_MOMENT and left else found * units
    return exact_moments(plan, values)


def exact_moments(plan: Plan, values: Mapping[Pair, float]) -> Moments:
    """Moments of these values, which have no noise in them, with what the noise of the plan would do to them."""
    layout = Layout.of(plan)
    row = Row((), 1, tuple([0.0] * width for width in layout.widths))
    shape = _moments(plan, read_outputs(plan, layout, row))
    return Moments(_symmetric(shape.size, values), shape.noise)


def pairs(size: int) -> Iterator[Pair]:
    """Of columns i <= j, in the order of `Fit.moments`."""
    return ((left, right) for left in range(size) for right in range(left, size))


def read_outputs(plan: Plan, layout: Layout, row: Row) -> list[Linear]:
    """The outputs of one row of the plan; raises PlanError where one is no sum."""
    formulas, found = Formulas(Measures(layout)), []
    for output in plan.outputs:
        if not output.HasField("measure"):
            raise PlanError("an output of the plan's model is no moment")
        number = formulas.measure(output.measure)(row)
        if not isinstance(number, Linear):
            raise PlanError("an output of the plan's model is no moment")
        found.append(number)
    return found


def _moments(plan: Plan, outputs: Sequence[Linear]) -> Moments:
    size = len(plan.fit.columns) + 1
    values: dict[Pair, float] = {}
    noise: dict[Source, dict[Pair, float]] = {}
    for pair, place in zip(pairs(size), plan.fit.moments, strict=True):
        if place == NO_MOMENT:
            continue
        values[pair] = outputs[place].value
        for source, part in outputs[place].noise.items():
            noise.setdefault(source, {})[pair] = part
    return Moments(_symmetric(size, values), tuple(noise.values()))


def _symmetric(size: int, values: Mapping[Pair, float]) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(values.get((min(row, column), max(row, column)), 0.0) for column in range(size)) for row in range(size)
    )


def spread_mean(fit: Fit, column: FitColumn) -> float:
    """Of a column that is spread evenly over what it can be."""
    middle = (column.lower + column.upper) / 2
    if column.centre != 0 or not any(factor.HasField("level") for factor in column.factors):
        return middle
    return _share(fit, column) * (1.0 if _is_indicator(column) else middle)


def spread_square(fit: Fit, place: int, places: Mapping[Pair, int]) -> float:
    """The mean of the square of such a column; `places` are the outputs of moments."""
    column = fit.columns[place - 1]
    if places[place, place] == places[0, 0]:
        return 1.0
    if _is_indicator(column) or places[place, place] == places[0, place]:
        return spread_mean(fit, column)
    low, high = column.lower, column.upper
    return _share(fit, column) * (low * low + low * high + high * high) / 3


def _is_indicator(column: FitColumn) -> bool:
    return all(factor.HasField("level") for factor in column.factors)


def _share(fit: Fit, column: FitColumn) -> float:
    """Of the rows, that have a column's values of categories: as if all values were as frequent."""
    if not any(factor.HasField("level") for factor in column.factors):
        return 1.0
    names = [factor.variable for factor in column.factors]
    alike = sum([factor.variable for factor in each.factors] == names for each in fit.columns)
    return 1.0 / (alike + 1)


def _numbers(column: FitColumn) -> tuple[float, ...]:
    return column.centre, column.half_range, column.lower, column.upper


def _has_factors(column: FitColumn) -> bool:
    try:
        for factor in column.factors:
            to_python(factor.level)
    except OverflowError:
        return False
    return 1 <= len(column.factors) <= MAX_FACTORS
