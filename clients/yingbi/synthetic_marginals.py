"""The marginals of a plan for synthetic rows, as they were opened, and what their noise comes to. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import Plan, SynthesisColumn, SynthesisTable
from yingbi.cells import Layout, PlanError, to_python

MAX_COLUMNS = 20
Z = 1.6448536269514722
"""Normal quantile of 0.95."""


@dataclass(frozen=True)
class Marginal:
    """Counts of units by combinations of levels, the last column varying fastest."""

    columns: tuple[int, ...]
    merged: tuple[int, ...]
    """So many neighbouring levels of each column are one."""
    sizes: tuple[int, ...]
    """Levels of each column, after merging."""
    deviation: float
    """Of the noise of each count."""
    held_out: bool
    counts: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        return math.prod(self.sizes)

    def noise_distance(self, units: float) -> float:
        """The total variation, at so many units, that noise alone makes on average; 1 at most."""
        return min(1.0, self.cells * self.deviation / (math.sqrt(2 * math.pi) * units))

    def distance(self, shares: Sequence[float], units: float) -> float:
        """The total variation between what was released and a distribution; it has the noise in it."""
        pairs = zip(self.counts, shares, strict=True)
        return math.fsum(abs(count / units - share) for count, share in pairs) / 2

    def most_distance(self, shares: Sequence[float], units: float) -> float:
        """What the total variation between everybody and a distribution is not above, at 95 %.

        For a distribution that this marginal was not fitted to. The sum q of squared differences, over the noise's
        variance, is noncentral χ² with a degree of freedom for each cell; the largest noncentrality t that it does not
        refute follows from its normal approximation, (k + t - q)² = z² · 2(k + 2t). Then a total variation of at most
        ½√(k t) noises, by Cauchy and Schwarz.
        """
        squares = ((count - units * share) ** 2 for count, share in zip(self.counts, shares, strict=True))
        q, k = math.fsum(squares) / self.deviation**2, self.cells
        root = 4 * Z**2 * q - 2 * Z**2 * k + 4 * Z**4
        largest = max(0.0, q - k + 2 * Z**2 + math.sqrt(root)) if root > 0 else 0.0
        return min(1.0, math.sqrt(k * largest) / 2 * self.deviation / units)


@dataclass(frozen=True)
class Measured:
    """What a plan for synthetic rows released."""

    columns: tuple[SynthesisColumn, ...]
    units: float
    """The best estimate of how many there are, from all that was released; 1 at least."""
    fitted: tuple[Marginal, ...]
    held_out: tuple[Marginal, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(levels_of, self.columns))


def levels_of(column: SynthesisColumn) -> int:
    """How many levels a column has, NULL among them."""
    return (len(column.values) or column.bins) + column.nullable


def check_synthesis(plan: Plan) -> None:
    """Refuse what is no synthesis that this version can read; raises PlanError."""
    synthesis = plan.synthesis
    if not 2 <= len(synthesis.columns) <= MAX_COLUMNS or plan.group_by or plan.HasField("fit"):
        raise PlanError("the plan's synthesis has too few columns or too many, or groups")
    for column in synthesis.columns:
        _check_column(column)
    shapes = shapes_of(plan)
    fitted = {column for shape in shapes if not shape.held_out for column in shape.columns}
    if len(fitted) != len(synthesis.columns) or not any(shape.held_out for shape in shapes):
        raise PlanError("the plan's synthesis leaves a column out, or holds no marginal out")
    count = plan.statistics[0]
    if not count.HasField("row_count") or not count.sigma or count.HasField("filter"):
        raise PlanError("the plan's synthesis does not count units")


def shapes_of(plan: Plan) -> list[Marginal]:
    """The plan's marginals, without counts; raises PlanError."""
    layout = Layout.of(plan)
    return [_shape(layout, table) for table in plan.synthesis.tables]


def measured_of(plan: Plan, opened: Sequence[int]) -> Measured:
    """The marginals that opened integers are; raises PlanError."""
    check_synthesis(plan)
    layout = Layout.of(plan)
    if len(opened) != layout.length:
        raise PlanError(f"the opened vector has {len(opened)} cells; the plan has {layout.length}")
    starts = list(itertools.accumulate(layout.widths, initial=0))
    found = []
    for table, shape in zip(plan.synthesis.tables, shapes_of(plan), strict=True):
        cells = opened[starts[table.statistic] : starts[table.statistic + 1]]
        found.append(_with_counts(shape, [cell * layout.step for cell in cells]))
    totals = [(opened[0] * layout.step, layout.deviation(0) ** 2)]
    totals += [(math.fsum(each.counts), each.cells * each.deviation**2) for each in found]
    weights = math.fsum(1 / variance for _, variance in totals)
    units = math.fsum(total / variance for total, variance in totals) / weights
    return Measured(
        tuple(plan.synthesis.columns),
        max(1.0, units),
        tuple(each for each in found if not each.held_out),
        tuple(each for each in found if each.held_out),
    )


def expected_distance(plan: Plan, units: float) -> float:
    """The total variation that noise makes of the marginals of pairs, on average over them; raises PlanError."""
    pairs = [shape for shape in shapes_of(plan) if not shape.held_out]
    return math.fsum(shape.noise_distance(units) for shape in pairs) / len(pairs)


def _with_counts(shape: Marginal, counts: Sequence[float]) -> Marginal:
    return Marginal(shape.columns, shape.merged, shape.sizes, shape.deviation, shape.held_out, tuple(counts))


def _shape(layout: Layout, table: SynthesisTable) -> Marginal:
    columns, statistics = layout.plan.synthesis.columns, layout.plan.statistics
    known = all(place < len(columns) for place in table.columns) and table.statistic < len(statistics)
    if not known or not table.columns or list(table.columns) != sorted(set(table.columns)):
        raise PlanError("a marginal of the plan's synthesis names what is not there")
    if len(table.merged) != len(table.columns) or 0 in table.merged:
        raise PlanError("a marginal of the plan's synthesis has no shape")
    sizes = tuple(
        -(-levels_of(columns[place]) // merged) for place, merged in zip(table.columns, table.merged, strict=True)
    )
    statistic = statistics[table.statistic]
    is_flat = statistic.HasField("range_counts") and statistic.range_counts.levels == 1
    if not is_flat or layout.widths[table.statistic] != math.prod(sizes) or not statistic.sigma:
        raise PlanError("a marginal of the plan's synthesis has another size than its columns")
    deviation = layout.deviation(table.statistic)
    return Marginal(tuple(table.columns), tuple(table.merged), sizes, deviation, table.held_out)


def _check_column(column: SynthesisColumn) -> None:
    try:
        kinds = {type(to_python(value)) for value in column.values}
    except OverflowError as error:
        raise PlanError("a value of the plan's synthesis is no date") from error
    numbers = (column.lower, column.upper, column.width)
    if bool(column.values) == bool(column.bins) or len(kinds) > 1 or not all(map(math.isfinite, numbers)):
        raise PlanError(f"the column {column.name!r} of the plan's synthesis has no levels")
    if column.bins and not (column.lower < column.upper and column.width > 0):
        raise PlanError(f"the column {column.name!r} of the plan's synthesis has no ranges")
