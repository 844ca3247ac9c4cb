"""What can be read off the cells of a row, with its noise: counts, sums, means, quantiles, distinct values, ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from yingbi.api.range_tree import range_noise
from yingbi.api.v1.plan_pb2 import (
    BlockMeanMeasure,
    BlockMedianMeasure,
    BlockOutput,
    BoundedSum,
    DistinctValuesMeasure,
    MeanMeasure,
    Measure,
    QuantileMeasure,
    RangeCountMeasure,
    RangeCounts,
    SumMeasure,
)
from yingbi.cells import Layout, PlanError, Row, output_width
from yingbi.distinct import values_held
from yingbi.quantiles import Question, Tree, consistent_leaves, with_total
from yingbi.uncertain import DEPENDENT, Linear, Number, Ratio, Smooth, Source, Z

Reading = Callable[[Row], Number | None]
"""A row's number; None is NULL."""

BlockShape = tuple[BlockOutput, int, int]

_ROWS = ("row_count", "non_null_count")
_COUNTS = (*_ROWS, "distinct_units")


@dataclass(frozen=True)
class Measures:
    """The measures of one plan."""

    layout: Layout

    def reading(self, measure: Measure) -> Reading:
        """How to read a measure off a row.

        Raises:
            PlanError: it does not fit the plan's statistics. The reading raises it too, where the plan's
                scale gives a number that is not finite.
        """
        kind = measure.WhichOneof("kind")
        if kind is None:
            raise PlanError("a measure is of a kind that this version does not know")
        readings: Mapping[str, Callable[[Any], Reading]] = {
            "count": lambda count: self._cell(count.statistic, *_COUNTS),
            "sum": self._sum,
            "mean": self._mean,
            "quantile": self._quantile,
            "distinct_values": self._distinct_values,
            "range_count": self._range_count,
            "block_mean": self._block_mean,
            "block_median": self._block_median,
        }
        return readings[kind](getattr(measure, kind))

    def cost(self, measure: Measure) -> int:
        """Cells that a reading goes through, back and forth."""
        match measure.WhichOneof("kind"):
            case "quantile":
                return 2 * self._width(measure.quantile.range_counts)
            case "distinct_values":
                return 4 * self.layout.most_leaves
            case "range_count":
                return self._width(measure.range_count.range_counts)
            case "block_median":
                return 2 * self._width(measure.block_median.block_outputs)
        return 1

    def sources(self, measure: Measure) -> int:
        """Of noise, in what is read: at most so many."""
        ranged = measure.HasField("range_count")
        return self._width(measure.range_count.range_counts) if ranged else 1

    def _width(self, statistic: int) -> int:
        return self.layout.widths[statistic] if statistic < len(self.layout.widths) else 1

    def _cell(self, statistic: int, *kinds: str) -> Callable[[Row], Linear]:
        self._check(statistic, *kinds)
        if self.layout.is_apart(statistic) and self.layout.has_totals:
            raise PlanError("the plan adds up units that may be in several groups")
        step, of_group = self.layout.step, self.layout.deviation(statistic)
        table = self.layout.tables[statistic]
        if table is not None and not table.is_readable:
            raise PlanError("a grouping set cannot be read off the marginals that are measured")
        if table is not None:
            source = Source(table.statistics[0])

            def estimated(row: Row) -> Linear:
                noise = self.layout.deviation_of_row(statistic, row)
                return _finite(Linear(row.cells[statistic][0] * step, {source: noise}), noise)

            return estimated

        def read(row: Row) -> Linear:
            noise = of_group * math.sqrt(row.leaves / len(row.parts))
            sources = {Source(statistic, part): noise for part in row.parts}
            return _finite(Linear(row.cells[statistic][0] * step, sources), noise)

        return read

    def _sum(self, measure: SumMeasure) -> Reading:
        shape = self._bounds(measure.bounded_sum)
        bounded = self._cell(measure.bounded_sum, "bounded_sum")
        count = self._cell(measure.non_null_count, *_ROWS) if measure.HasField("non_null_count") else None
        return lambda row: _total(shape, bounded(row), count(row) if count else Linear(0.0))

    def _mean(self, measure: MeanMeasure) -> Reading:
        shape = self._bounds(measure.bounded_sum)
        bounded = self._cell(measure.bounded_sum, "bounded_sum")
        counted = self._cell(measure.non_null_count, *_ROWS)

        def read(row: Row) -> Ratio | None:
            count = counted(row)
            if count.value <= 0:
                return None
            total = bounded(row)
            value = shape.centre + shape.half_range * (total.value / count.value)
            if math.isnan(value):
                raise PlanError("the plan's scale gives a number that is not finite")
            value = min(max(value, shape.lower), shape.upper)
            return Ratio(value, _total(shape, total, count), count, (shape.lower, shape.upper))

        return read

    def question(self, measure: QuantileMeasure) -> Question:
        """What a quantile asks of its tree. Raises PlanError where it does not fit the plan's statistics."""
        self._check(measure.range_counts, "range_counts")
        if not 0 <= measure.quantile <= 1:
            raise PlanError("a quantile in the plan is not from 0 to 1")
        tree = _tree_of(self.layout.plan.statistics[measure.range_counts].range_counts)
        return Question(tree, measure.quantile, measure.integral)

    def _quantile(self, measure: QuantileMeasure) -> Reading:
        statistic, step = measure.range_counts, self.layout.step
        question = self.question(measure)
        tree, of_group, is_apart = question.tree, self.layout.deviation(statistic), len(self.layout.sets) == 1

        def read(row: Row) -> Smooth | None:
            leaves = _leaves(row, statistic, tree, step)
            found = question.answer(leaves, of_group * math.sqrt(row.leaves))
            if found is None:
                return None
            error = found.std_error
            if error is None:
                return Smooth(found.value, None, found.interval)
            part = row.place if is_apart else DEPENDENT - row.place
            source = Source(statistic, part, measure.quantile)
            reach = max(found.value - found.interval[0], found.interval[1] - found.value)
            return Smooth(found.value, {source: error}, found.interval, max(0.0, reach - Z * error))

        return read

    def _distinct_values(self, measure: DistinctValuesMeasure) -> Reading:
        statistic, step, threshold = measure.statistic, self.layout.step, measure.threshold
        self._check(statistic, "distinct_units")
        if len(self.layout.sets) != 1 or not self.layout.has_totals:
            raise PlanError("the plan counts the values of no key")
        deviation = self.layout.deviation(statistic)
        if not (0 < threshold < math.inf and deviation < math.inf):
            raise PlanError("a count of distinct values in the plan has no finite threshold or noise")

        def read(row: Row) -> Smooth:
            found = values_held([cell * step for cell in row.cells[statistic]], threshold, deviation)
            return Smooth(found.value, {Source(statistic, row.place): found.std_error}, found.interval)

        return read

    def _range_count(self, measure: RangeCountMeasure) -> Callable[[Row], Linear]:
        statistic, step = measure.range_counts, self.layout.step
        self._check(statistic, "range_counts")
        tree = _tree_of(self.layout.plan.statistics[statistic].range_counts)
        first, end = measure.first_leaf, measure.end_leaf
        if not first < end <= tree.leaves:
            raise PlanError("a range in the plan is not within its tree")
        of_group = self.layout.deviation(statistic)

        @cache
        def nodes() -> dict[int, float]:
            # Once, and only when a row is read: by then the plan is known to be small enough.
            return range_noise(tree.branching, tree.levels, first, end)

        def read(row: Row) -> Linear:
            count = sum(_leaves(row, statistic, tree, step)[first:end])
            of_part = of_group * math.sqrt(row.leaves / len(row.parts))
            noise = {
                Source(statistic, part, node=node): of_part * share
                for part in row.parts
                for node, share in nodes().items()
            }
            return _finite(Linear(count, noise), *noise.values())

        return read

    def _block_mean(self, measure: BlockMeanMeasure) -> Callable[[Row], Linear]:
        statistic, (output, cell, blocks) = measure.block_outputs, self._block_output(measure, tree=False)
        scale = (output.upper - output.lower) * self.layout.step / blocks
        deviation = scale * self.layout.deviation(statistic) / self.layout.step

        def read(row: Row) -> Linear:
            value = output.lower + scale * row.cells[statistic][cell]
            return _finite(Linear(value, {Source(statistic, row.parts[0], node=cell): deviation}), deviation)

        return read

    def _block_median(self, measure: BlockMedianMeasure) -> Reading:
        statistic, (output, first, blocks) = measure.block_outputs, self._block_output(measure, tree=True)
        tree = _tree(output.lower, output.upper, output.tree.branching, output.tree.levels)
        question, end = Question(tree, 0.5, total=blocks), first + output_width(output)
        step, deviation = self.layout.step, self.layout.deviation(statistic)

        def read(row: Row) -> Smooth:
            nodes = [cell * step for cell in row.cells[statistic][first:end]]
            found = question.answer(with_total(consistent_leaves(tree, nodes), blocks), deviation)
            assert found is not None  # there are blocks
            error = found.std_error
            if error is None:
                return Smooth(found.value, None, found.interval)
            reach = max(found.value - found.interval[0], found.interval[1] - found.value)
            source = Source(statistic, row.parts[0], node=first)
            return Smooth(found.value, {source: error}, found.interval, max(0.0, reach - Z * error))

        return read

    def _block_output(self, measure: BlockMeanMeasure | BlockMedianMeasure, *, tree: bool) -> BlockShape:
        """The output that is read, its first cell, and how many blocks there are."""
        plan, index = self.layout.plan, measure.output
        self._check(measure.block_outputs, "block_outputs")
        outputs = plan.statistics[measure.block_outputs].block_outputs.outputs
        blocks = plan.program.blocks * plan.noise.parties
        if index >= len(outputs) or outputs[index].HasField("tree") != tree or not blocks:
            raise PlanError("the plan's outputs do not fit its statistics")
        return outputs[index], sum(map(output_width, outputs[:index])), blocks

    def _bounds(self, statistic: int) -> BoundedSum:
        self._check(statistic, "bounded_sum")
        shape = self.layout.plan.statistics[statistic].bounded_sum
        if not (math.isfinite(shape.lower) and math.isfinite(shape.upper) and shape.lower <= shape.upper):
            raise PlanError("a sum in the plan has no finite bounds")
        if not (math.isfinite(shape.centre) and math.isfinite(shape.half_range) and shape.half_range >= 0):
            raise PlanError("a sum in the plan has no finite scale")
        return shape

    def _check(self, statistic: int, *kinds: str) -> None:
        statistics = self.layout.plan.statistics
        if statistic >= len(statistics) or statistics[statistic].WhichOneof("kind") not in kinds:
            raise PlanError("the plan's outputs do not fit its statistics")


def _tree_of(shape: RangeCounts) -> Tree:
    return _tree(shape.lower, shape.upper, shape.branching, shape.levels)


def _tree(lower: float, upper: float, branching: int, levels: int) -> Tree:
    if not (lower < upper and math.isfinite(upper - lower)):
        raise PlanError("a tree of ranges in the plan has no finite bounds")
    return Tree(lower, upper, branching, levels)


def _leaves(row: Row, statistic: int, tree: Tree, step: float) -> list[float]:
    """Consistent counts, computed once for a row."""
    leaves = row.memory.get(statistic)
    if leaves is None:
        leaves = row.memory[statistic] = consistent_leaves(tree, [cell * step for cell in row.cells[statistic]])
    return leaves


def _total(shape: BoundedSum, bounded: Linear, count: Linear) -> Linear:
    value = shape.half_range * bounded.value + shape.centre * count.value
    noise = {source: shape.half_range * part for source, part in bounded.noise.items()}
    noise |= {source: shape.centre * part for source, part in count.noise.items()}
    return _finite(Linear(value, noise), *noise.values())


def _finite(number: Linear, *parts: float) -> Linear:
    if not all(map(math.isfinite, (number.value, *parts))):
        raise PlanError("the plan's scale gives a number that is not finite")
    return number
