"""From a plan and its opened integers to the table that a person reads. Pure; needs nothing but the plan.

The opened vector holds integers on a grid of 2^-fraction_bits, statistic by statistic, each over all groups,
the last key varying fastest. Its noise is public: every one of `parties` enclaves adds an independent
discrete Gaussian of `sigma` grid steps to every cell, so a cell is its exact value plus noise of standard
deviation sqrt(parties) * sigma * 2^-fraction_bits. With sigma >= 2 the normal quantiles hold for such a sum
far beyond the digits shown. All errors and intervals follow from that and from released values alone.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple, cast

from yingbi.api.v1.plan_pb2 import BoundedSum, MeanOutput, Output, Plan, SumOutput, Value

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

Cell = bool | int | float | str | datetime.date | datetime.datetime | None
Interval = tuple[float, float]
ColumnKind = Literal["key", "count", "sum", "mean"]

_EPOCH_DAY = datetime.date(1970, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1)


class PlanError(ValueError):
    """A plan, or a vector beside it, that is no table."""


@dataclass(frozen=True)
class Column:
    name: str
    kind: ColumnKind


@dataclass(frozen=True)
class Table:
    """An answer. `std_errors` and `intervals` have the shape of `rows`; None where there is none."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    std_errors: tuple[tuple[float | None, ...], ...]
    intervals: tuple[tuple[Interval | None, ...], ...]


@dataclass(frozen=True)
class AverageError:
    """The standard error that an average over `rows` rows will have; None where it cannot be told."""

    column: str
    rows: int
    std_error: float | None


@dataclass(frozen=True)
class Forecast:
    """What can be said before anything is spent: errors per group and output, None for keys and averages.

    An average's error depends on the size of its group, which is private; `average_errors` gives it for
    some sizes, of rows with full weight and a value in the middle of the range.
    """

    columns: tuple[Column, ...]
    groups: tuple[tuple[Cell, ...], ...]
    std_errors: tuple[tuple[float | None, ...], ...]
    average_errors: tuple[AverageError, ...]


class Estimate(NamedTuple):
    value: Cell
    std_error: float | None = None
    interval: Interval | None = None


class Normal(NamedTuple):
    """An unbiased measurement with normal noise of a known standard deviation."""

    value: float
    deviation: float


_Measured = Callable[[int], Normal]


def columns_of(plan: Plan) -> tuple[Column, ...]:
    """The answer's columns, in order."""
    return tuple(Column(output.name, _kind(output)) for output in plan.outputs)


def groups_of(plan: Plan) -> Iterator[tuple[Cell, ...]]:
    """Every combination of the keys' declared values, the last key varying fastest."""
    return itertools.product(*([to_python(value) for value in key.values] for key in plan.group_by))


def table_of(plan: Plan, opened: Sequence[int]) -> Table:
    """The answer that `opened` is, under `plan`.

    Raises:
        PlanError: the vector does not fit the plan, or the plan is not one this version can read.
    """
    groups = list(groups_of(plan))
    if len(opened) != len(plan.statistics) * len(groups):
        raise PlanError(
            f"the opened vector has {len(opened)} cells; the plan has {len(plan.statistics)} statistics"
            f" over {len(groups)} groups"
        )
    try:
        estimates = [_row(plan, opened, group, keys) for group, keys in enumerate(groups)]
    except (IndexError, OverflowError) as error:
        raise PlanError("the plan's outputs do not fit its statistics") from error
    return Table(
        columns_of(plan),
        tuple(tuple(cell.value for cell in row) for row in estimates),
        tuple(tuple(cell.std_error for cell in row) for row in estimates),
        tuple(tuple(cell.interval for cell in row) for row in estimates),
    )


def predicted_errors(plan: Plan, group_sizes: Sequence[int] = (100, 1_000, 10_000)) -> Forecast:
    """The standard errors that the answer to `plan` will have, before it is asked."""
    try:
        groups = tuple(groups_of(plan))
        errors = tuple(_predicted(plan, output) for output in plan.outputs)
        averages = tuple(
            AverageError(
                output.name,
                rows,
                _mean(
                    plan,
                    output.mean,
                    Normal(0.0, _deviation(plan, output.mean.bounded_sum)),
                    Normal(float(rows), _deviation(plan, output.mean.non_null_count)),
                ).std_error,
            )
            for output in plan.outputs
            if output.WhichOneof("kind") == "mean"
            for rows in group_sizes
        )
    except (IndexError, OverflowError) as error:
        raise PlanError("the plan's outputs do not fit its statistics") from error
    return Forecast(columns_of(plan), groups, tuple(errors for _ in groups), averages)


def ratio_interval(numerator: Normal, denominator: Normal) -> Interval | None:
    """Fieller's 95 % confidence set of the ratio of two independent normal means, if it is an interval.

    The set is {r : (b - r n)^2 <= z^2 (s_b^2 + r^2 s_n^2)}, exact at every sample size because b - r n is
    normal with mean zero at the true r (Fieller 1954). None where the denominator is not significantly
    different from zero: the set is then a half-line, the outside of an interval, or everything.
    """
    (b, s_b), (n, s_n) = numerator, denominator
    leading = n * n - Z * Z * s_n * s_n
    if leading <= 0:
        return None
    # b^2 n^2 - leading * (b^2 - z^2 s_b^2), multiplied out: with leading > 0 it is never negative.
    root = Z * math.sqrt(max(0.0, leading * s_b * s_b + b * b * s_n * s_n))
    return (b * n - root) / leading, (b * n + root) / leading


def to_python(value: Value) -> Cell:
    """A constant of the plan language as Python has it."""
    match value.WhichOneof("kind"):
        case "date_days":
            return _EPOCH_DAY + datetime.timedelta(days=value.date_days)
        case "timestamp_micros":
            return _EPOCH + datetime.timedelta(microseconds=value.timestamp_micros)
        case None:
            return None
        case kind:
            return cast("bool | int | float | str", getattr(value, kind))


def to_json(cell: Cell) -> bool | int | float | str | None:
    """A cell as JSON has it: dates and timestamps in ISO 8601."""
    return cell.isoformat() if isinstance(cell, datetime.date) else cell


def _kind(output: Output) -> ColumnKind:
    kind = output.WhichOneof("kind")
    if kind is None:
        raise PlanError(f"column {output.name!r} is of a kind that this version does not know")
    return kind


def _row(plan: Plan, opened: Sequence[int], group: int, keys: tuple[Cell, ...]) -> list[Estimate]:
    step = 2.0**-plan.fraction_bits
    groups = len(opened) // max(1, len(plan.statistics))

    def measured(statistic: int) -> Normal:
        return Normal(opened[statistic * groups + group] * step, _deviation(plan, statistic))

    return [_estimate(plan, output, keys, measured) for output in plan.outputs]


def _estimate(plan: Plan, output: Output, keys: tuple[Cell, ...], measured: _Measured) -> Estimate:
    match _kind(output):
        case "key":
            return Estimate(keys[output.key])
        case "count":
            return _normal(measured(output.count.statistic))
        case "sum":
            count = measured(output.sum.non_null_count) if output.sum.HasField("non_null_count") else None
            return _normal(_sum(plan, output.sum, measured(output.sum.bounded_sum), count))
        case "mean":
            return _mean(plan, output.mean, measured(output.mean.bounded_sum), measured(output.mean.non_null_count))


def _predicted(plan: Plan, output: Output) -> float | None:
    def nothing(statistic: int) -> Normal:
        return Normal(0.0, _deviation(plan, statistic))

    match _kind(output):
        case "key" | "mean":
            return None
        case _:
            return _estimate(plan, output, (), nothing).std_error


def _deviation(plan: Plan, statistic: int) -> float:
    noise = math.sqrt(plan.noise.parties) * plan.statistics[statistic].sigma
    return noise * 2.0**-plan.fraction_bits


def _normal(cell: Normal) -> Estimate:
    margin = Z * cell.deviation
    low, high = cell.value - margin, cell.value + margin
    if not (math.isfinite(low) and math.isfinite(high)):
        raise PlanError("the plan's scale gives a number that is not finite")
    return Estimate(cell.value, cell.deviation, (low, high))


def _sum(plan: Plan, output: SumOutput, bounded: Normal, count: Normal | None) -> Normal:
    shape = _bounds(plan, output.bounded_sum)
    value, deviation = shape.half_range * bounded.value, abs(shape.half_range) * bounded.deviation
    if count is None:
        return Normal(value, deviation)
    return Normal(value + shape.centre * count.value, math.hypot(deviation, shape.centre * count.deviation))


def _mean(plan: Plan, output: MeanOutput, bounded: Normal, count: Normal) -> Estimate:
    shape = _bounds(plan, output.bounded_sum)
    if count.value <= 0:
        return Estimate(None)

    def place(ratio: float) -> float:
        value = shape.centre + shape.half_range * ratio
        if math.isnan(value):
            raise PlanError("the plan's scale gives a number that is not finite")
        return min(max(value, shape.lower), shape.upper)

    ratio = bounded.value / count.value
    interval = ratio_interval(bounded, count)
    if interval is None:
        return Estimate(place(ratio), None, (shape.lower, shape.upper))
    std_error = shape.half_range * math.hypot(bounded.deviation, ratio * count.deviation) / count.value
    return Estimate(place(ratio), std_error, (place(interval[0]), place(interval[1])))


def _bounds(plan: Plan, statistic: int) -> BoundedSum:
    shape = plan.statistics[statistic].bounded_sum
    if not (math.isfinite(shape.lower) and math.isfinite(shape.upper) and shape.lower <= shape.upper):
        raise PlanError("a sum in the plan has no finite bounds")
    if not (math.isfinite(shape.centre) and math.isfinite(shape.half_range) and shape.half_range >= 0):
        raise PlanError("a sum in the plan has no finite scale")
    return shape
