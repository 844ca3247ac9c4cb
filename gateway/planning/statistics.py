"""Which statistics answer a query best, and how the privacy budget is shared among them.

Every statistic costs budget, so each is measured once and shared by all columns that need it:

- AVG(x) is a *centred* sum over a count of x: terms (x - centre) / half_range lie in [-1, 1] with half_range
  half the width of the bounds, which is less noise than the plain sum whenever 0 is not in the middle.
- SUM(x) alone is the plain sum, centre 0: it needs no count.
- SUM(x) beside AVG(x) is derived from the centred sum and the count, at no cost.
- Variances and what is like them share AVG's sum and count; see `moments`.
- All quantiles of x are read off one tree of counts; see `ranges`.
"""

from __future__ import annotations

from collections.abc import Iterable

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    CountMeasure,
    DistinctUnits,
    Expression,
    Formula,
    MeanMeasure,
    Measure,
    NonNullCount,
    Operation,
    Plan,
    QuantileMeasure,
    RowCount,
    Statistic,
    SumMeasure,
)

from enclave_sim.plan.sensitivity import delta2_squared, groups, width
from enclave_sim.privacy.gaussian import SigmaTooLargeError, rho_units_of, sigma_for
from gateway.planning import formulas, moments
from gateway.planning.aggregates import Aggregate, Function
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
        self._averaged = [
            (aggregate.subjects[0].expression, aggregate.filter)
            for aggregate in aggregates
            if aggregate.function in _CENTRED
        ]

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
                return self._count(_counted(asked))
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

    def _offset(self, subject: Subject, condition: Expression, count: Formula) -> Formula:
        """E[x] - c over the rows that the count counts."""
        return _operation(Operation.OPERATOR_DIVIDE, self._sum(moments.centred(subject), condition), count)

    def _index(self, statistic: Statistic) -> int:
        if statistic not in self.statistics:
            self.statistics.append(statistic)
        return self.statistics.index(statistic)


def share_budget(plan: Plan, rho_units: int) -> None:
    """Set each statistic's σ and price so that together they cost at most `rho_units`.

    Args:
        plan: complete but for σ, price and slot width; has at least one statistic. Changed in place.
        rho_units: to be shared by `_weight`; at least one for each part.

    Raises:
        Problem: REFUSED "too_little_epsilon" when a share is so small that its noise exceeds what is
            sampled exactly.
    """
    parts = sum(_weight(statistic) for statistic in plan.statistics)
    for statistic in plan.statistics:
        share = max(rho_units * _weight(statistic) // parts, 1)
        delta2 = delta2_squared(plan, statistic)
        cells = groups(plan) * width(statistic)
        try:
            statistic.sigma = sigma_for(delta2, share, plan.noise.parties, cells)
        except SigmaTooLargeError as error:
            raise too_little_epsilon() from error
        statistic.rho_units = rho_units_of(delta2, statistic.sigma, plan.noise.parties, cells)


def too_little_epsilon() -> Problem:
    """The problem with an epsilon whose noise cannot be drawn."""
    return Problem(
        Kind.REFUSED,
        "too_little_epsilon",
        "The noise for so small an epsilon is larger than what can be drawn exactly.",
        field="epsilon",
        hint="Ask with a larger epsilon, or for fewer statistics at once.",
    )


def _weight(statistic: Statistic) -> int:
    """Which part of the budget a statistic has: an equal one, and twice that for the counts of quantiles.

    A tree of two levels divides its part by two, and a quantile adds up several of its cells: twice the
    part gives each level what a plain count has.
    """
    return 2 if statistic.HasField("range_counts") else 1


def _counted(asked: Aggregate) -> Statistic:
    if asked.function is Function.ROWS:
        return Statistic(row_count=RowCount(), filter=asked.filter)
    if asked.function is Function.UNITS:
        return Statistic(distinct_units=DistinctUnits(), filter=asked.filter)
    return _non_null_count(asked.subjects[0], asked.filter)


def _non_null_count(subject: Subject, condition: Expression | None) -> Statistic:
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
