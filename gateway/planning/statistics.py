"""Which statistics answer a query best, and how the privacy budget is shared among them.

Every statistic costs budget, so each is measured once and shared by all columns that need it:

- COUNT(x) is COUNT(*) where x is declared as required, or a condition says that it is there.
- AVG(x) is a *centred* sum over a count of x: terms (x - centre) / half_range lie in [-1, 1] with half_range
  half the width of the bounds, which is less noise than the plain sum whenever 0 is not in the middle.
- SUM(x) alone is the plain sum, centre 0: it needs no count.
- SUM(x) beside AVG(x) is derived from the centred sum and the count, at no cost.
- Variances and what is like them share AVG's sum and count; see `moments`.
- All quantiles of x are read off one tree of counts; see `ranges`.
- Counts of several ranges of x are read off one table or tree of counts; see `range_workload`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    CountMeasure,
    DistinctUnits,
    DistinctValuesMeasure,
    Expression,
    Formula,
    MeanMeasure,
    Measure,
    NonNullCount,
    Operation,
    Plan,
    QuantileMeasure,
    RangeCountMeasure,
    RowCount,
    Statistic,
    SumMeasure,
)

from enclave_sim.plan.releases import releases, unknown_shares
from enclave_sim.privacy.gaussian import SigmaTooLargeError, sigma_for
from gateway.planning import formulas, moments
from gateway.planning.aggregates import Aggregate, Function
from gateway.planning.marginals import share_of_table
from gateway.planning.plan_measures import measures_of
from gateway.planning.range_workload import Place, RangeWorkload, asked_variance
from gateway.planning.ranges import is_integral, range_counts
from gateway.planning.subjects import Subject
from gateway.planning.sums import bounded_sum, centre_of
from gateway.planning.windows import Window

_CENTRED = frozenset({Function.MEAN, Function.VAR_POP, Function.VAR_SAMP, Function.STDDEV_POP, Function.STDDEV_SAMP})
_SAMPLE = frozenset({Function.VAR_SAMP, Function.STDDEV_SAMP, Function.COVAR_SAMP})
_ROOT = frozenset({Function.STDDEV_POP, Function.STDDEV_SAMP})
_ONE_SUBJECT = _CENTRED - {Function.MEAN}


class Chooser:
    """Collects the fewest statistics that answer formulas, in the order of first need, each once.

    Args:
        aggregates: all that the query asks for, shown or not: what one is measured by depends on the others.
        groups: of the query.
    """

    def __init__(self, aggregates: Iterable[Aggregate], groups: int) -> None:
        self.statistics: list[Statistic] = []
        self._groups = groups
        asked = list(aggregates)
        averaged = [aggregate for aggregate in asked if aggregate.function in _CENTRED]
        self._averaged = [(aggregate.subjects[0].expression, aggregate.filter) for aggregate in averaged]
        self._row_counted = [aggregate.filter for aggregate in averaged if not aggregate.subjects[0].nullable]
        self._ranges = RangeWorkload([count for count in asked if self._is_free(count)], groups)

    def asking(self, aggregates: Iterable[Aggregate]) -> Chooser:
        """For one of several queries that share the statistics: its ranges are read off what it would have alone."""
        own = copy(self)
        own._ranges = Chooser(aggregates, self._groups)._ranges
        return own

    def formula(self, asked: formulas.Formula) -> Formula:
        """What computes the formula from the statistics."""
        if isinstance(asked, Aggregate):
            return self._aggregate(asked)
        if isinstance(asked, formulas.Arithmetic):
            return _operation(asked.operator, *(self.formula(operand) for operand in asked.operands))
        if isinstance(asked, Window):
            return asked.message(self.formula)
        return Formula(constant=asked)

    def _aggregate(self, asked: Aggregate) -> Formula:
        match asked.function:
            case Function.ROWS | Function.UNITS | Function.NON_NULL:
                place = self._ranges.place(asked)
                return self._count(_counted(asked)) if place is None else self._range_count(place)
            case Function.VALUES:
                return self._distinct_values(asked)
            case Function.SUM:
                return self._sum(asked.subjects[0], asked.filter)
            case Function.MEAN:
                return self._mean(asked.subjects[0], asked.filter)
            case Function.QUANTILE:
                return self._quantile(asked)
            case _:
                return self._moment(asked)

    def _count(self, statistic: Statistic) -> Formula:
        return Formula(measure=Measure(count=CountMeasure(statistic=self._index(statistic))))

    def _distinct_values(self, asked: Aggregate) -> Formula:
        # `distinct` sets the threshold when σ is known.
        index = self._index(Statistic(distinct_units=DistinctUnits(), filter=asked.filter))
        return Formula(measure=Measure(distinct_values=DistinctValuesMeasure(statistic=index)))

    def _range_count(self, place: Place) -> Formula:
        index = self._index(place.statistic)
        measure = RangeCountMeasure(range_counts=index, first_leaf=place.first, end_leaf=place.end)
        return Formula(measure=Measure(range_count=measure))

    def _is_free(self, count: Aggregate) -> bool:
        """Whether it is a count of rows that no average needs anyway."""
        if count.function is Function.NON_NULL:
            return (count.subjects[0].expression, count.filter) not in self._averaged
        return count.function is Function.ROWS and count.filter not in self._row_counted

    def _sum(self, subject: Subject, condition: Expression | None) -> Formula:
        centred = (subject.expression, condition) in self._averaged
        total = bounded_sum(subject.expression, subject.lower, subject.upper, centred=centred)
        measure = SumMeasure(bounded_sum=self._index(Statistic(bounded_sum=total, filter=condition)))
        if total.centre != 0:
            measure.non_null_count = self._index(_non_null_count(subject, condition))
        return Formula(measure=Measure(sum=measure))

    def _mean(self, subject: Subject, condition: Expression | None) -> Formula:
        total = bounded_sum(subject.expression, subject.lower, subject.upper, centred=True)
        mean = MeanMeasure(
            bounded_sum=self._index(Statistic(bounded_sum=total, filter=condition)),
            non_null_count=self._index(_non_null_count(subject, condition)),
        )
        return Formula(measure=Measure(mean=mean))

    def _quantile(self, asked: Aggregate) -> Formula:
        subject = asked.subjects[0]
        tree = range_counts(subject, self._groups)
        quantile = QuantileMeasure(
            range_counts=self._index(Statistic(range_counts=tree, filter=asked.filter)),
            quantile=asked.quantile,
            integral=is_integral(subject),
        )
        return Formula(measure=Measure(quantile=quantile))

    def _moment(self, asked: Aggregate) -> Formula:
        moment = self._variance(asked) if asked.function in _ONE_SUBJECT else self._covariance(asked)
        return _operation(Operation.OPERATOR_SQUARE_ROOT, moment) if asked.function in _ROOT else moment

    def _variance(self, asked: Aggregate) -> Formula:
        subject, condition = asked.subjects[0], asked.filter
        # The mean is NULL where the count is not above 0, and so is all that it is part of.
        mean = self._mean(subject, condition)
        count = self._count(_non_null_count(subject, condition))
        offset = _less(mean, centre_of(subject.lower, subject.upper))
        variance = _not_below(0.0, self._central(subject, condition, count, offset))
        return _of_a_sample(variance, count) if asked.function in _SAMPLE else variance

    def _covariance(self, asked: Aggregate) -> Formula:
        first, second = asked.subjects
        product = moments.cross(first, second)
        count = self._count(_non_null_count(product, asked.filter))
        first_filter = moments.present(second, asked.filter)
        second_filter = moments.present(first, asked.filter)
        first_offset = self._offset(first, first_filter, count)
        second_offset = self._offset(second, second_filter, count)
        covariance = _operation(
            Operation.OPERATOR_SUBTRACT,
            self._mean(product, asked.filter),
            _operation(Operation.OPERATOR_MULTIPLY, first_offset, second_offset),
        )
        if asked.function is not Function.CORR:
            return _of_a_sample(covariance, count) if asked.function in _SAMPLE else covariance
        spread = _operation(
            Operation.OPERATOR_MULTIPLY,
            _not_below(0.0, self._central(first, first_filter, count, first_offset)),
            _not_below(0.0, self._central(second, second_filter, count, second_offset)),
        )
        ratio = _operation(Operation.OPERATOR_DIVIDE, covariance, _operation(Operation.OPERATOR_SQUARE_ROOT, spread))
        return _operation(Operation.OPERATOR_LEAST, Formula(constant=1.0), _not_below(-1.0, ratio))

    def _central(self, subject: Subject, condition: Expression | None, count: Formula, offset: Formula) -> Formula:
        """E[(x - c)²] - (E[x] - c)², which noise may take below 0."""
        square = moments.square(subject)
        second = _operation(Operation.OPERATOR_DIVIDE, self._sum(square, condition), count)
        return _operation(
            Operation.OPERATOR_SUBTRACT,
            _operation(Operation.OPERATOR_ADD, second, Formula(constant=square.upper)),
            _operation(Operation.OPERATOR_MULTIPLY, offset, offset),
        )

    def _offset(self, subject: Subject, condition: Expression | None, count: Formula) -> Formula:
        """E[x] - c over the rows that the count counts."""
        return _operation(Operation.OPERATOR_DIVIDE, self._sum(moments.centred(subject), condition), count)

    def _index(self, statistic: Statistic) -> int:
        if statistic not in self.statistics:
            self.statistics.append(statistic)
        return self.statistics.index(statistic)


def share_budget(plan: Plan, rho_units: int) -> None:
    """Set each statistic's σ and price so that together they cost at most `rho_units`.

    A joint vector has the part that its statistics would have by themselves.

    Args:
        plan: complete but for σ, price and slot width; has at least one statistic. Changed in place.
        rho_units: to be shared by `_weights`; at least one for each part.

    Raises:
        Problem: REFUSED "too_little_epsilon" when a share is so small that its noise exceeds what is
            sampled exactly.
    """
    set_prices(plan, shares_of(plan, rho_units))


def shares_of(plan: Plan, rho_units: int) -> list[int]:
    """What each statistic of one question has of the question's ρ."""
    weights = _weights(plan)
    return [max(rho_units * weight // sum(weights), 1) for weight in weights]


def set_prices(plan: Plan, shares: Sequence[int]) -> None:
    """Set each release's σ, and its price, which is at most the shares of its statistics; see `share_budget`."""
    for release in releases(plan):
        share = sum(shares[index] for index in release.statistics)
        try:
            sigma = sigma_for(release.delta2_squared, share, unknown_shares(plan), release.cells)
        except SigmaTooLargeError as error:
            raise too_little_epsilon() from error
        for index in release.statistics:
            plan.statistics[index].sigma, plan.statistics[index].rho_units = sigma, 0
        plan.statistics[release.statistics[0]].rho_units = release.rho_units(sigma, unknown_shares(plan))


def budget_parts(plan: Plan) -> float:
    """The parts that `share_budget` makes, of which a count has one."""
    return sum(_weights(plan)) / _WEIGHT


def too_little_epsilon() -> Problem:
    """The problem with an epsilon whose noise cannot be drawn."""
    return Problem(
        Kind.REFUSED,
        "too_little_epsilon",
        "The noise for so small an epsilon is larger than what can be drawn exactly.",
        field="epsilon",
        hint="Ask with a larger epsilon, or for fewer statistics at once.",
    )


def _weights(plan: Plan) -> list[int]:
    """Which part of the budget each statistic has, in 2^-20: 1 but for trees, and for marginals, which share it.

    A tree of quantiles has 2: two levels divide its part by two, and a quantile adds up several of its cells; twice
    the part gives each level what a plain count has.

    A tree that k counts of ranges are read off has √V, V being the sum of their variances in units of what one count
    has with the same ρ. With parts w that add up to 1, the columns' variances add up to the sum of V/w over all
    statistics, V being 1 for a plain one, and by Cauchy and Schwarz that is least where w is as √V. Plain statistics
    thus have equal parts, as ever; k ranges that are disjoint have V = k, and so √k parts in place of k; and no other
    column has less than with k statistics, since a tree is only made where V < k·k.
    """
    measures = list(measures_of(plan))
    quantiles = {measure.quantile.range_counts for measure in measures if measure.HasField("quantile")}
    ranges: dict[int, set[tuple[int, int]]] = {}
    for measure in measures:
        if measure.HasField("range_count"):
            asked = measure.range_count
            ranges.setdefault(asked.range_counts, set()).add((asked.first_leaf, asked.end_leaf))
    weights = (
        math.sqrt(_variance(statistic, ranges.get(index, set()), of_quantiles=index in quantiles))
        for index, statistic in enumerate(plan.statistics)
    )
    return [round(_WEIGHT * weight * part) for weight, part in zip(weights, share_of_table(plan), strict=True)]


_WEIGHT = 2**20


def _variance(statistic: Statistic, ranges: set[tuple[int, int]], *, of_quantiles: bool) -> float:
    if not statistic.HasField("range_counts"):
        return 1.0
    return asked_variance(statistic.range_counts, ranges) + (4.0 if of_quantiles else 0.0)


def _counted(asked: Aggregate) -> Statistic:
    if asked.function is Function.ROWS:
        return Statistic(row_count=RowCount(), filter=asked.filter)
    if asked.function is Function.UNITS:
        return Statistic(distinct_units=DistinctUnits(), filter=asked.filter)
    return _non_null_count(asked.subjects[0], asked.filter)


def _non_null_count(subject: Subject, condition: Expression | None) -> Statistic:
    if not subject.nullable:
        return Statistic(row_count=RowCount(), filter=condition)
    return Statistic(non_null_count=NonNullCount(term=subject.expression), filter=condition)


def _operation(operator: Operation.Operator.ValueType, *operands: Formula) -> Formula:
    return Formula(operation=Operation(operator=operator, operands=operands))


def _less(formula: Formula, number: float) -> Formula:
    if number == 0:
        return formula
    return _operation(Operation.OPERATOR_SUBTRACT, formula, Formula(constant=number))


def _not_below(floor: float, formula: Formula) -> Formula:
    return _operation(Operation.OPERATOR_GREATEST, formula, Formula(constant=floor))


def _of_a_sample(formula: Formula, count: Formula) -> Formula:
    """Times n / (n - 1); n - 1 is at least 1, since of one row a sample says nothing of spread."""
    ratio = _operation(Operation.OPERATOR_DIVIDE, count, _not_below(1.0, _less(count, 1.0)))
    return _operation(Operation.OPERATOR_MULTIPLY, formula, ratio)
