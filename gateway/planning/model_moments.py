"""Which sums a model is made of: second moments of its columns, those that follow from others left out.

Why, and why one unit moves each of them by a bounded amount, is in `training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    ColumnReference,
    CountMeasure,
    Expression,
    Measure,
    Output,
    RowCount,
    Statistic,
    SumMeasure,
)

from enclave_sim.plan.fits import NO_MOMENT
from enclave_sim.plan.statistics import MAX_PLAIN_STATISTICS, MAX_STATISTICS
from gateway.planning.float_expressions import product_of
from gateway.planning.model_columns import Column, Shape, column_name, too_many
from gateway.planning.model_formulas import ModelFormula
from gateway.planning.sums import bounded_sum


@dataclass
class Measured:
    """Statistics, what is read off them, and which of that each moment is."""

    centred: bool
    statistics: list[Statistic]
    outputs: list[Output]
    moments: list[int]


def measured_moments(formula: ModelFormula, columns: Sequence[Column], *, centred: bool) -> Measured:
    """Sums around the middle of their ranges, or, for a vector that is to be short, around 0.

    Raises:
        Problem: REFUSED "too_many_regressors".
    """
    most = MAX_PLAIN_STATISTICS if centred else MAX_STATISTICS
    found = Measured(centred, [Statistic(row_count=RowCount())], [Output(name="units", measure=count_measure())], [])
    index: dict[tuple[int, int], int] = {(0, 0): 0}
    for left, right in combinations_with_replacement(range(len(columns) + 1), 2):
        if (left, right) not in index:
            index[left, right] = _moment(formula, columns, left, right, index, found)
        found.moments.append(index[left, right])
    if len(found.statistics) > most:
        raise too_many(formula, f"{len(found.statistics):,} moments to measure", f"{most}")
    return found


def _moment(
    formula: ModelFormula,
    columns: Sequence[Column],
    left: int,
    right: int,
    index: Mapping[tuple[int, int], int],
    found: Measured,
) -> int:
    """The output that the sum of z_left · z_right is; a new one where it does not follow from what is measured."""
    if left == 0 and not formula.intercept:
        return NO_MOMENT
    second = columns[right - 1]
    if left == right and second.kind is Shape.SIGN:
        return index[0, 0]
    if left == right and second.kind is Shape.INDICATOR and formula.intercept:
        return index[0, right]
    term, ends, name = reference(right), second.ends, second.message.name
    if left:
        first = columns[left - 1]
        if left != right and first.term == second.term and first.is_apart:
            return NO_MOMENT
        term = product_of([reference(left), term])
        ends = ends_of_square(ends) if left == right else ends_of_product(first.ends, ends)
        name = f"{first.message.name} * {name}"
    total = bounded_sum(term, *ends, centred=found.centred)
    measure = SumMeasure(bounded_sum=len(found.statistics))
    if total.centre:
        measure.non_null_count = 0
    found.statistics.append(Statistic(bounded_sum=total))
    found.outputs.append(Output(name=f"{name} ({len(found.outputs)})", measure=Measure(sum=measure)))
    return len(found.outputs) - 1


def count_measure() -> Measure:
    """The number of units: of statistic 0."""
    return Measure(count=CountMeasure(statistic=0))


def ends_of_product(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Between which a product lies."""
    ends = [a * b for a in one for b in other]
    return min(ends), max(ends)


def ends_of_square(ends: tuple[float, float]) -> tuple[float, float]:
    """Between which a square lies."""
    squares = [end * end for end in ends]
    return (0.0 if ends[0] < 0 < ends[1] else min(squares)), max(squares)


def reference(index: int) -> Expression:
    """A column of the design, by its number from 1."""
    return Expression(column=ColumnReference(name=column_name(index), type=COLUMN_TYPE_FLOAT64))
