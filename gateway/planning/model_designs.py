"""What the models that are no line need of every row: means and variances, of each class or of all together.

Gaussian naive Bayes: of each class the number of units, Σ z and Σ z². Principal components: the number of units, Σ z
and Σ z_i·z_j. Why one unit moves them by a bounded amount, and how a unit with several rows counts, is in `training`.

**Classes are groups.** A unit's vector over classes has one length, whichever classes its rows are in; sums of products
with each class's indicator would be as many more statistics as there are classes, and share ρ with each other.

**One length for all** (`Weighting.KNOWN`). Where a unit has one row, its moments are in one vector, and how long that
can be is known: of |z| <= 1 the pair

    (15/16)·z  and  (z² − 3/4) / (3/4)

has a length of 1 at most (its square is convex in z²; it is 1 at z = 0 and 0.99 at |z| = 1), and a number of the row, a
product of two columns or z in {0, 1} around its middle has 1 too. Of columns of which at most one is not 0, as those of
a category, all together have 1. So with N such parts the vector is within √N, and the noise is that for √N, where sums
clipped by themselves would need √(the number of statistics): for naive Bayes of d numbers √(1 + d) and not √(1 + 2d).
Lengths are compared with every cell rounded up to sixteenths (`sensitivity.delta2_squared`), and the parts below are
counted so: no unit with one row weighs less than one. The proof uses none of this: units are cut to the length in the
enclaves, whatever it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Fit,
    GroupKey,
    Measure,
    NamedExpression,
    Output,
    Relation,
    RowCount,
    Statistic,
    SumMeasure,
    Value,
)

from enclave_sim.plan.fits import MAX_FIT_CLASSES, NO_MOMENT
from enclave_sim.plan.statistics import MAX_PLAIN_STATISTICS, MAX_STATISTICS
from enclave_sim.plan.values import from_python
from gateway.planning.float_expressions import product_of
from gateway.planning.model_columns import (
    Column,
    Shape,
    Variable,
    columns_of,
    design_rows,
    regressors_of,
    too_many,
)
from gateway.planning.model_formulas import Factor, ModelFormula, bad, refused
from gateway.planning.model_moments import count_measure, ends_of_product, ends_of_square, measured_moments, reference
from gateway.planning.scope import Scope
from gateway.planning.sums import bounded_sum

LINEAR_PART, SQUARE_CENTRE = 15 / 16, 3 / 4
"""Of z and z²: see above."""
CLASS_COLUMN = "class"

_PART, _PAIR_PART, _APART_PART = 256, 272, 288
"""Squares of sixteenths, rounded up as norms are, of a cell within 1; of z and z² as above (16² + 4², where |z| is a
little below 4/15, is the most); and of z/√2 and z²/√2 (12² + 12², at |z| = 1)."""


class Weighting(Enum):
    """How a unit's moments are kept within a length."""

    MEAN = auto()
    """Each by itself: the mean over the unit's rows."""
    KNOWN = auto()
    """All together, within what they can be; a unit has one row."""
    FOUND = auto()
    """All together, within what a first stage finds."""


@dataclass(frozen=True)
class Design:
    """A model's part of a plan."""

    relation: Relation
    statistics: Sequence[Statistic]
    outputs: Sequence[Output]
    fit: Fit
    group_by: Sequence[GroupKey] = ()
    joint_norm: int = 0
    """In sixteenths of a row; 0 where each statistic is clipped by itself, or the length is to be found."""


def design_of(
    model: Fit.Model.ValueType,
    formula: ModelFormula,
    variables: Mapping[Factor, Variable],
    scope: Scope,
    *,
    auto_bounds: bool,
) -> Design:
    """What is measured for a model, and how it follows from that.

    Raises:
        Problem: in the formula, where it is none of this model, or has more than a plan holds.
    """
    used = list(variables.values())
    if model == Fit.MODEL_LINEAR_REGRESSION:
        columns = columns_of(formula, variables)
        measured = measured_moments(formula, columns, centred=not auto_bounds)
        fit = Fit(columns=[each.message for each in columns], intercept=formula.intercept, moments=measured.moments)
        return Design(design_rows(scope, used, columns), measured.statistics, measured.outputs, fit)
    columns = _described(formula, variables)
    weighting = _weighting(columns, scope, auto_bounds=auto_bounds, pairs=model == Fit.MODEL_PRINCIPAL_COMPONENTS)
    sums = _Sums(formula, columns, weighting)
    sums.add_units()
    fit = Fit(columns=[each.message for each in columns], intercept=True)
    if model == Fit.MODEL_PRINCIPAL_COMPONENTS:
        fit.moments.extend(sums.second_moments())
        relation = design_rows(scope, used, columns)
        return Design(relation, sums.statistics, sums.outputs, fit, joint_norm=sums.joint_norm)
    fit.moments.extend(sums.means_and_squares())
    fit.response = formula.response.text
    response = variables[formula.response]
    relation = design_rows(scope, used, columns, NamedExpression(name=CLASS_COLUMN, expression=response.expression))
    return Design(relation, sums.statistics, sums.outputs, fit, [_key(formula, response)], sums.joint_norm)


def _described(formula: ModelFormula, variables: Mapping[Factor, Variable]) -> list[Column]:
    if not formula.intercept:
        message = "This model has no constant to be taken away."
        raise refused(formula.text, formula.text.find("~"), message, "leave - 1 out, or + 0")
    columns = regressors_of(formula, variables)
    if not columns:
        raise bad(formula.text, 0, "The formula names no columns.", "write them after ~")
    return columns


def _weighting(columns: Sequence[Column], scope: Scope, *, auto_bounds: bool, pairs: bool) -> Weighting:
    if auto_bounds:
        return Weighting.FOUND
    width = len(columns)
    most = (width + 1) * (width + 2) // 2 if pairs else 1 + 2 * width
    return Weighting.KNOWN if scope.max_rows == 1 and most <= MAX_STATISTICS else Weighting.MEAN


def _key(formula: ModelFormula, response: Variable) -> GroupKey:
    values = classes_of(response)
    at = formula.response.start
    if not 2 <= len(values) <= MAX_FIT_CLASSES:
        message = f"{formula.response.text} has {len(values):,} declared values; a model of classes has 2 to "
        raise refused(formula.text, at, f"{message}{MAX_FIT_CLASSES}.", "say which by WHERE, or make them coarser")
    column = reference(0)
    column.column.name = CLASS_COLUMN
    column.column.type = response.type
    return GroupKey(expression=column, values=values)


def classes_of(response: Variable) -> list[Value]:
    """The values that tell classes apart, in declared order."""
    if response.levels:
        return list(response.levels)
    assert response.subject is not None
    ends = (response.subject.lower, response.subject.upper)
    return [from_python(bool(end) if response.is_bool else int(end)) for end in ends]


@dataclass
class _Sums:
    """Statistics and what is read off them, as they are asked for."""

    formula: ModelFormula
    columns: Sequence[Column]
    weighting: Weighting
    statistics: list[Statistic] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    parts: int = 0
    """The square of the length that a unit's vector can have, in sixteenths of a row, rounded up as norms are."""

    @property
    def joint_norm(self) -> int:
        """Of `Weighting.KNOWN`, in sixteenths of a row."""
        return math.isqrt(self.parts - 1) + 1 if self.weighting is Weighting.KNOWN else 0

    def add_units(self) -> None:
        """The number of units, as output 0."""
        self.statistics.append(Statistic(row_count=RowCount()))
        self.outputs.append(Output(name="units", measure=count_measure()))
        self.parts += _PART

    def means_and_squares(self) -> list[int]:
        """Outputs of Σ 1, and of Σ z and Σ z² of each column."""
        found = [0]
        for place in range(1, len(self.columns) + 1):
            found += self._pair(place)
        return self._checked(found)

    def second_moments(self) -> list[int]:
        """Outputs of Σ z_i·z_j for i <= j, with 1 as column 0; in the order of `Fit.moments`."""
        size = len(self.columns) + 1
        index: dict[tuple[int, int], int] = {(0, 0): 0}
        for place in range(1, size):
            index[0, place], index[place, place] = self._pair(place)
        for left in range(1, size):
            for right in range(left + 1, size):
                index[left, right] = self._product(left, right)
        return self._checked([index[left, right] for left in range(size) for right in range(left, size)])

    def _checked(self, found: list[int]) -> list[int]:
        most = MAX_PLAIN_STATISTICS if self.weighting is Weighting.MEAN else MAX_STATISTICS
        if len(self.statistics) > most:
            raise too_many(self.formula, f"{len(self.statistics):,} moments to measure", f"{most}")
        return found

    def _pair(self, place: int) -> tuple[int, int]:
        """Of z and of z², which may be another output: z where z is 0 or 1, the units where it is -1 or 1."""
        column, name = self.columns[place - 1], self.columns[place - 1].message.name
        known = self.weighting is Weighting.KNOWN
        # Of the columns of one term that is a category's, one is not 0: the first of them brings the part of all.
        is_first = place == 1 or self.columns[place - 2].term != column.term
        if column.kind is not Shape.NUMBER:
            centred = self._is_centred and not (known and column.is_apart)
            total = bounded_sum(reference(place), *column.ends, centred=centred)
            self.parts += _PART if is_first or not column.is_apart else 0
            own = self._sum(total, name)
            return own, 0 if column.kind is Shape.SIGN else own
        square = product_of([reference(place), reference(place)])
        z = bounded_sum(reference(place), *column.ends, centred=self._is_centred and not known)
        squared = bounded_sum(square, *ends_of_square(column.ends), centred=self._is_centred and not known)
        if known and column.is_apart:
            z.half_range = squared.half_range = math.sqrt(2)
            self.parts += _APART_PART if is_first else 0
        elif known:
            z.half_range = 1 / LINEAR_PART
            squared.centre = squared.half_range = SQUARE_CENTRE
            self.parts += _PAIR_PART
        return self._sum(z, name), self._sum(squared, f"{name} * {name}")

    def _product(self, left: int, right: int) -> int:
        first, second = self.columns[left - 1], self.columns[right - 1]
        if first.term == second.term and first.is_apart:
            return NO_MOMENT
        product = product_of([reference(left), reference(right)])
        total = bounded_sum(product, *ends_of_product(first.ends, second.ends), centred=self._is_centred)
        self.parts += _PART
        return self._sum(total, f"{first.message.name} * {second.message.name}")

    @property
    def _is_centred(self) -> bool:
        """A vector that is to be short has its sums around 0."""
        return self.weighting is not Weighting.FOUND

    def _sum(self, total: BoundedSum, name: str) -> int:
        measure = SumMeasure(bounded_sum=len(self.statistics))
        if total.centre:
            measure.non_null_count = 0
        self.statistics.append(Statistic(bounded_sum=total))
        self.outputs.append(Output(name=f"{name} ({len(self.outputs)})", measure=Measure(sum=measure)))
        return len(self.outputs) - 1
