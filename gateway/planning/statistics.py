"""Which statistics answer a query best, and how the privacy budget is shared among them.

Every statistic costs budget, so each is measured once and shared by all columns that need it:

- AVG(x) is a *centred* sum over a count of x: terms (x - centre) / half_range lie in [-1, 1] with half_range
  half the width of the bounds, which is less noise than the plain sum whenever 0 is not in the middle.
- SUM(x) alone is the plain sum, centre 0: it needs no count.
- SUM(x) beside AVG(x) is derived from the centred sum and the count, at no cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    CountOutput,
    DistinctUnits,
    MeanOutput,
    NonNullCount,
    Output,
    Plan,
    RowCount,
    Statistic,
    SumOutput,
)

from enclave_sim.plan.sensitivity import delta2_squared, groups
from enclave_sim.privacy.gaussian import SigmaTooLargeError, rho_units_of, sigma_for
from gateway.planning.scope import reference
from gateway.planning.selection import Aggregate, Selection, Shown, ShownAggregate, ShownKey


@dataclass(frozen=True)
class Measurement:
    """Statistics without their noise, and the outputs that are computed from them."""

    statistics: tuple[Statistic, ...]
    outputs: tuple[Output, ...]


def choose_statistics(selection: Selection) -> Measurement:
    """The fewest statistics that answer the selection, in the order of first need."""
    chooser = _Chooser(selection)
    outputs = tuple(chooser.output(column) for column in selection.shown)
    return Measurement(tuple(chooser.statistics), outputs)


def share_budget(plan: Plan, rho_units: int) -> None:
    """Set each statistic's σ and price so that together they cost at most `rho_units`.

    Args:
        plan: complete but for σ, price and slot width; has at least one statistic. Changed in place.
        rho_units: to be shared evenly; at least one for each statistic.

    Raises:
        Problem: REFUSED "too_little_epsilon" when a share is so small that its noise exceeds what is
            sampled exactly.
    """
    part = rho_units // len(plan.statistics)
    for statistic in plan.statistics:
        delta2 = delta2_squared(plan, statistic)
        try:
            statistic.sigma = sigma_for(delta2, max(part, 1), plan.noise.parties, groups(plan))
        except SigmaTooLargeError as error:
            raise Problem(
                Kind.REFUSED,
                "too_little_epsilon",
                "The noise for so small an epsilon is larger than what can be drawn exactly.",
                field="epsilon",
                hint="Ask with a larger epsilon, or for fewer statistics at once.",
            ) from error
        statistic.rho_units = rho_units_of(delta2, statistic.sigma, plan.noise.parties, groups(plan))


def bounded_sum(column: ColumnDeclaration, *, centred: bool) -> BoundedSum:
    """The sum of a column with bounds, around the middle of its bounds or around 0.

    `half_range` is the smallest double that covers both bounds around the (rounded) centre exactly.
    """
    lower, upper = Fraction(column.lower), Fraction(column.upper)
    centre = float((lower + upper) / 2) + 0.0 if centred else 0.0
    needed = max(abs(lower - Fraction(centre)), abs(upper - Fraction(centre)))
    half_range = float(needed)
    if Fraction(half_range) < needed:
        half_range = math.nextafter(half_range, math.inf)
    return BoundedSum(
        column=reference(column), lower=column.lower, upper=column.upper, centre=centre, half_range=half_range
    )


class _Chooser:
    """Collects statistics, each once."""

    def __init__(self, selection: Selection) -> None:
        self.statistics: list[Statistic] = []
        self._averaged = {
            item.column.name
            for item in selection.shown
            if isinstance(item, ShownAggregate) and item.aggregate is Aggregate.MEAN and item.column
        }

    def output(self, shown: Shown) -> Output:
        if isinstance(shown, ShownKey):
            return Output(name=shown.name, key=shown.key)
        if shown.aggregate is Aggregate.ROWS:
            return self._count(shown.name, Statistic(row_count=RowCount()))
        if shown.aggregate is Aggregate.UNITS:
            return self._count(shown.name, Statistic(distinct_units=DistinctUnits()))
        if shown.column is None:
            raise ValueError(f"{shown.aggregate} needs a column")
        if shown.aggregate is Aggregate.NON_NULL:
            return self._count(shown.name, _non_null_count(shown.column))
        if shown.aggregate is Aggregate.SUM:
            return self._sum(shown.name, shown.column)
        return self._mean(shown.name, shown.column)

    def _count(self, name: str, statistic: Statistic) -> Output:
        return Output(name=name, count=CountOutput(statistic=self._index(statistic)))

    def _sum(self, name: str, column: ColumnDeclaration) -> Output:
        total = bounded_sum(column, centred=column.name in self._averaged)
        output = SumOutput(bounded_sum=self._index(Statistic(bounded_sum=total)))
        if total.centre != 0:
            output.non_null_count = self._index(_non_null_count(column))
        return Output(name=name, sum=output)

    def _mean(self, name: str, column: ColumnDeclaration) -> Output:
        total = Statistic(bounded_sum=bounded_sum(column, centred=True))
        mean = MeanOutput(bounded_sum=self._index(total), non_null_count=self._index(_non_null_count(column)))
        return Output(name=name, mean=mean)

    def _index(self, statistic: Statistic) -> int:
        if statistic not in self.statistics:
            self.statistics.append(statistic)
        return self.statistics.index(statistic)


def _non_null_count(column: ColumnDeclaration) -> Statistic:
    return Statistic(non_null_count=NonNullCount(column=reference(column)))
