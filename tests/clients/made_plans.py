"""Short words for plans of many statistics, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    CountMeasure,
    DistinctUnits,
    Formula,
    GroupKey,
    MeanMeasure,
    Measure,
    Noise,
    NonNullCount,
    Operation,
    Output,
    Plan,
    QuantileMeasure,
    RangeCountMeasure,
    RangeCounts,
    RowCount,
    Statistic,
    SumMeasure,
    Value,
)

SIGMA = 600
PARTIES = 3
STEP = 2.0**-6


def rows() -> Statistic:
    return Statistic(row_count=RowCount(), sigma=SIGMA)


def non_null() -> Statistic:
    return Statistic(non_null_count=NonNullCount(), sigma=SIGMA)


def units() -> Statistic:
    return Statistic(distinct_units=DistinctUnits(), sigma=SIGMA)


def total(lower: float = 0, upper: float = 100) -> Statistic:
    centre = (lower + upper) / 2
    bounded = BoundedSum(lower=lower, upper=upper, centre=centre, half_range=upper - centre)
    return Statistic(bounded_sum=bounded, sigma=SIGMA)


def ranges(branching: int = 4, levels: int = 2, lower: float = 0, upper: float = 16) -> Statistic:
    shape = RangeCounts(lower=lower, upper=upper, branching=branching, levels=levels)
    return Statistic(range_counts=shape, sigma=SIGMA)


def count(statistic: int) -> Measure:
    return Measure(count=CountMeasure(statistic=statistic))


def sum_of(bounded_sum: int, non_null_count: int | None = None) -> Measure:
    return Measure(sum=SumMeasure(bounded_sum=bounded_sum, non_null_count=non_null_count))


def mean(bounded_sum: int, non_null_count: int) -> Measure:
    return Measure(mean=MeanMeasure(bounded_sum=bounded_sum, non_null_count=non_null_count))


def quantile(statistic: int, share: float, *, integral: bool = False) -> Measure:
    return Measure(quantile=QuantileMeasure(range_counts=statistic, quantile=share, integral=integral))


def range_count(statistic: int, first: int, end: int) -> Measure:
    return Measure(range_count=RangeCountMeasure(range_counts=statistic, first_leaf=first, end_leaf=end))


def formula(operator: str, *operands: Formula | Measure | float) -> Formula:
    """`formula("ADD", count(0), 1)`."""
    return Formula(
        operation=Operation(
            operator=Operation.Operator.Value(f"OPERATOR_{operator}"), operands=[part(each) for each in operands]
        )
    )


def part(operand: Formula | Measure | float) -> Formula:
    match operand:
        case Formula():
            return operand
        case Measure():
            return Formula(measure=operand)
    return Formula(constant=operand)


def plan(
    statistics: Sequence[Statistic],
    shown: Sequence[Formula | Measure | int],
    keys: Sequence[Sequence[str]] = (),
    sets: Sequence[Sequence[int]] = (),
) -> Plan:
    """A plan with an output for each item: a formula, a measure, or the index of a key."""
    made = Plan(
        language_version=2,
        fraction_bits=6,
        noise=Noise(parties=PARTIES, parties_per_unit=1),
        statistics=statistics,
        group_by=[GroupKey(values=[Value(string_value=value) for value in values]) for values in keys],
        outputs=[_output(f"c{index}", item) for index, item in enumerate(shown)],
    )
    for each in sets:
        made.grouping_sets.add(keys=each)
    return made


def grid(*numbers: float) -> list[int]:
    """Exact numbers as opened integers."""
    return [round(number / STEP) for number in numbers]


def _output(name: str, item: Formula | Measure | int) -> Output:
    match item:
        case Formula():
            return Output(name=name, formula=item)
        case Measure():
            return Output(name=name, measure=item)
    return Output(name=name, key=item)
