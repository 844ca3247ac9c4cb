"""Terms from terms: types, what is known of the values, and constants computed at once."""

from __future__ import annotations

import datetime
import math
import operator as operators
from collections.abc import Callable, Sequence
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
    ColumnType,
    Comparison,
    Conditional,
    Expression,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from enclave_sim.plan.functions import result_of
from enclave_sim.plan.values import PythonValue
from gateway.planning import domains
from gateway.planning.domains import Domain
from gateway.planning.folding import apply, day_of
from gateway.planning.scope import Term

_Ends: TypeAlias = tuple[float, float]
_Function: TypeAlias = Call.Function.ValueType

UNNAMED = "this expression"

_DEFAULTS: dict[int, PythonValue] = {
    COLUMN_TYPE_BOOL: False,
    COLUMN_TYPE_INT64: 0,
    COLUMN_TYPE_FLOAT64: 0.0,
    COLUMN_TYPE_STRING: "",
    COLUMN_TYPE_DATE: datetime.date(1970, 1, 1),
    COLUMN_TYPE_TIMESTAMP: datetime.datetime(1970, 1, 1),
}
_PARTS: dict[_Function, tuple[int, int]] = {
    Call.FUNCTION_QUARTER: (1, 4),
    Call.FUNCTION_MONTH: (1, 12),
    Call.FUNCTION_DAY: (1, 31),
    Call.FUNCTION_DAY_OF_WEEK: (0, 6),
    Call.FUNCTION_DAY_OF_YEAR: (1, 366),
    Call.FUNCTION_HOUR: (0, 23),
    Call.FUNCTION_MINUTE: (0, 59),
}
_STEPS = {
    Call.FUNCTION_TRUNCATE_TO_YEAR: 367,
    Call.FUNCTION_TRUNCATE_TO_QUARTER: 93,
    Call.FUNCTION_TRUNCATE_TO_MONTH: 32,
    Call.FUNCTION_TRUNCATE_TO_WEEK: 7,
}
"""Days from the first one of a span that lie in the next span."""

_UNIONS = frozenset({Call.FUNCTION_COALESCE, Call.FUNCTION_LEAST, Call.FUNCTION_GREATEST})
_INTEGRAL = frozenset({Call.FUNCTION_FLOOR, Call.FUNCTION_CEILING, Call.FUNCTION_ROUND})
_COMPARED: dict[Comparison.Operator.ValueType, Callable[..., bool]] = {
    Comparison.OPERATOR_EQUAL: operators.eq,
    Comparison.OPERATOR_NOT_EQUAL: operators.ne,
    Comparison.OPERATOR_LESS: operators.lt,
    Comparison.OPERATOR_LESS_OR_EQUAL: operators.le,
    Comparison.OPERATOR_GREATER: operators.gt,
    Comparison.OPERATOR_GREATER_OR_EQUAL: operators.ge,
}
_SCALES = frozenset({Call.FUNCTION_MULTIPLY, Call.FUNCTION_DIVIDE})
"""Functions that make steps out of whole numbers: FLOOR(x / 10) * 10 has few values, and none between them."""

_MONOTONE = frozenset(
    {*_INTEGRAL, Call.FUNCTION_TO_FLOAT64, Call.FUNCTION_TO_INT64, Call.FUNCTION_TO_DATE, Call.FUNCTION_YEAR}
    | {Call.FUNCTION_SQUARE_ROOT, Call.FUNCTION_NATURAL_LOGARITHM}
)
_KEEP_WHOLE = frozenset(
    {Call.FUNCTION_ADD, Call.FUNCTION_SUBTRACT, Call.FUNCTION_MULTIPLY, Call.FUNCTION_NEGATE}
    | {Call.FUNCTION_ABSOLUTE, Call.FUNCTION_TO_FLOAT64}
)
"""Of float64, whole numbers from whole numbers."""


def literal(value: Value) -> Term:
    """A constant."""
    column_type = values.type_of(value)
    domain = domains.listing([values.to_python(value)], column_type)
    return Term(Expression(literal=value), column_type, domain, UNNAMED)


def constant(value: PythonValue) -> Term:
    """A constant."""
    return literal(values.from_python(value))


def null(column_type: ColumnType.ValueType) -> Term:
    """NULL of a type: a CASE with no branch that is ever taken."""
    branch = Conditional.Branch(
        condition=Expression(literal=Value(bool_value=False)),
        result=Expression(literal=values.from_python(_DEFAULTS[column_type])),
    )
    expression = Expression(conditional=Conditional(branches=[branch]))
    return Term(expression, column_type, Domain(values=(), kind=column_type), UNNAMED)


def truth(expression: Expression) -> Term:
    """A condition."""
    return Term(expression, COLUMN_TYPE_BOOL, domains.TRUTH, UNNAMED)


def compare(left: Term, operator: Comparison.Operator.ValueType, right: Term) -> Term:
    """A comparison of terms of one type; computed now when both are constants."""
    sides = (left.expression, right.expression)
    if all(side.HasField("literal") for side in sides):
        first, second = (values.to_python(side.literal) for side in sides)
        return constant(_COMPARED[operator](first, second))
    return truth(Expression(comparison=Comparison(operator=operator, left=sides[0], right=sides[1])))


def call(function: _Function, *operands: Term) -> Term:
    """A function of terms; computed now when all are constants.

    Raises:
        PlanError: the function does not take these types.
    """
    column_type = result_of(function, [operand.type for operand in operands], UNNAMED)
    if all(operand.expression.HasField("literal") for operand in operands):
        folded = apply(function, tuple(values.to_python(operand.expression.literal) for operand in operands))
        if folded is None:
            return null(column_type)
        if not isinstance(folded, str) or len(folded.encode()) <= MAX_STRING_BYTES:
            return constant(folded)
    expression = Expression(call=Call(function=function, operands=[operand.expression for operand in operands]))
    return Term(expression, column_type, _domain(function, operands, column_type), UNNAMED)


def conditional(branches: Sequence[tuple[Expression, Term]], otherwise: Term | None) -> Term:
    """CASE over terms of one type; without the branches that a constant condition rules out."""
    for index, (when, then) in enumerate(branches):
        if when.HasField("literal"):
            rest = [*branches[:index], *branches[index + 1 :]]
            if when.literal.bool_value:
                rest, otherwise = list(branches[:index]), then
            return conditional(rest, otherwise) if rest else otherwise or null(then.type)
    results = [result for _, result in branches] + ([otherwise] if otherwise else [])
    column_type = results[0].type
    expression = Expression(
        conditional=Conditional(
            branches=[Conditional.Branch(condition=when, result=then.expression) for when, then in branches],
            otherwise=otherwise.expression if otherwise else None,
        )
    )
    domain = domains.union([result.domain for result in results], column_type)
    return Term(expression, column_type, domain, UNNAMED)


def as_float(term: Term) -> Term:
    """A number as float64."""
    return term if term.type == COLUMN_TYPE_FLOAT64 else call(Call.FUNCTION_TO_FLOAT64, term)


def as_int(term: Term) -> Term:
    """A number as int64."""
    return term if term.type == COLUMN_TYPE_INT64 else call(Call.FUNCTION_TO_INT64, term)


def with_domain(term: Term, domain: Domain) -> Term:
    """The same with another domain."""
    return Term(term.expression, term.type, domain, term.label)


def _domain(function: _Function, operands: Sequence[Term], column_type: ColumnType.ValueType) -> Domain:
    if function in _UNIONS:
        return _extreme(function, operands, column_type)
    if function in _STEPS:
        return _truncated(function, operands[0].domain, column_type)
    listed = _listing(function, operands, column_type)
    if listed is not None:
        return listed
    ends = _interval(function, operands)
    if ends is None or math.isnan(ends[0]) or math.isnan(ends[1]):
        return Domain(kind=column_type)
    whole = function in _INTEGRAL or (function in _KEEP_WHOLE and all(operand.domain.integral for operand in operands))
    return domains.interval(*ends, column_type, integral=whole)


def _listing(function: _Function, operands: Sequence[Term], column_type: ColumnType.ValueType) -> Domain | None:
    """The results for all listed operands, or the few that a part of a date has anyway."""
    known = [operand.domain for operand in operands]
    steps = function in _SCALES and any(operand.expression.HasField("literal") for operand in operands)
    if steps or all(domain.values is not None for domain in known):
        listed = domains.mapped(lambda *items: apply(function, items), known, column_type, limit=domains.MAX_MAPPED)
        if listed is not None:
            return listed
    first, last = _PARTS.get(function, (1, 0))
    return domains.listing(range(first, last + 1), column_type) if function in _PARTS else None


def _extreme(function: _Function, operands: Sequence[Term], column_type: ColumnType.ValueType) -> Domain:
    """Of COALESCE, LEAST and GREATEST: any operand may be what is left when the others are NULL.

    An operand that never is NULL limits LEAST from above and GREATEST from below.
    """
    known = domains.union([operand.domain for operand in operands], column_type)
    limits = [operand.domain for operand in operands if _never_null(operand.expression)]
    if function == Call.FUNCTION_LEAST:
        ends = [limit.upper for limit in limits if limit.upper is not None]
        return domains.narrowed(known, None, min(ends)) if ends else known
    if function == Call.FUNCTION_GREATEST:
        ends = [limit.lower for limit in limits if limit.lower is not None]
        return domains.narrowed(known, max(ends), None) if ends else known
    return known


def _never_null(expression: Expression) -> bool:
    if expression.HasField("call") and expression.call.function in _UNIONS:
        return any(_never_null(operand) for operand in expression.call.operands)
    return expression.WhichOneof("kind") in ("literal", "null_test")


def _truncated(function: _Function, known: Domain, column_type: ColumnType.ValueType) -> Domain:
    """The first days of the spans between the ends of an interval."""
    ends = _dates(known)
    if ends is None:
        return Domain(kind=column_type)
    if known.values is not None:
        items = (apply(function, (item,)) for item in known.values)
        return domains.listing((item for item in items if item is not None), column_type)
    days: list[PythonValue] = []
    day = apply(function, (ends[0],))
    while isinstance(day, datetime.date) and day <= ends[1] and len(days) <= domains.MAX_MAPPED:
        days.append(day)
        following = day.toordinal() + _STEPS[function]
        if following > datetime.date.max.toordinal():
            break
        day = apply(function, (datetime.date.fromordinal(following),))
    return domains.listing(days, column_type) if 0 < len(days) <= domains.MAX_MAPPED else Domain(kind=column_type)


def _dates(known: Domain) -> tuple[datetime.date, datetime.date] | None:
    bounds = known.bounds()
    if bounds is None:
        return None
    kind = "timestamp_micros" if known.kind == COLUMN_TYPE_TIMESTAMP else "date_days"
    days: list[datetime.date] = []
    for end in bounds:
        item = values.to_python(Value(**{kind: int(end)}))  # type: ignore[arg-type]
        if not isinstance(item, datetime.date):
            return None
        days.append(day_of(item))
    return days[0], days[1]


def _interval(function: _Function, operands: Sequence[Term]) -> _Ends | None:
    bounds = [operand.domain.bounds() for operand in operands]
    if function == Call.FUNCTION_YEAR and bounds[0] is None:
        return (1, 9999)
    if function == Call.FUNCTION_LENGTH or any(ends is None for ends in bounds):
        return None
    if function in _MONOTONE:
        return _monotone(function, operands[0])
    rule = _INTERVALS.get(function)
    if rule is None:
        return None
    if function == Call.FUNCTION_MULTIPLY and operands[0].expression == operands[1].expression:
        return _square(*(ends for ends in bounds[:1] if ends is not None))
    return rule(*(ends for ends in bounds if ends is not None))


def _monotone(function: _Function, operand: Term) -> _Ends | None:
    """The values at both ends; rounding keeps the order."""
    ends: list[float] = []
    for end in operand.domain.bounds() or ():
        item: PythonValue = end
        if operand.type == COLUMN_TYPE_DATE:
            item = values.to_python(Value(date_days=int(end)))
        elif operand.type == COLUMN_TYPE_TIMESTAMP:
            item = values.to_python(Value(timestamp_micros=int(end)))
        result = apply(function, (item,))
        number = None if result is None else domains.number_of(result)
        if number is None:
            return None
        ends.append(number)
    return (ends[0], ends[1]) if len(ends) == 2 else None


def _square(ends: _Ends) -> _Ends:
    squares = (ends[0] * ends[0], ends[1] * ends[1])
    return (0 if ends[0] <= 0 <= ends[1] else min(squares), max(squares))


def _corners(rule: Callable[[float, float], float]) -> Callable[[_Ends, _Ends], _Ends | None]:
    def ends(left: _Ends, right: _Ends) -> _Ends | None:
        corners = [rule(one, other) for one in left for other in right]
        return (min(corners), max(corners)) if all(not math.isnan(corner) for corner in corners) else None

    return ends


def _divided(left: _Ends, right: _Ends) -> _Ends | None:
    if right[0] <= 0 <= right[1]:
        return None
    corners = [one / other for one in left for other in right]
    return min(corners), max(corners)


def _remainder(left: _Ends, right: _Ends) -> _Ends:
    largest = max(abs(right[0]), abs(right[1])) - 1
    return (0 if left[0] >= 0 else max(-largest, left[0]), 0 if left[1] <= 0 else min(largest, left[1]))


def _absolute(ends: _Ends) -> _Ends:
    sizes = (abs(ends[0]), abs(ends[1]))
    return (0 if ends[0] <= 0 <= ends[1] else min(sizes), max(sizes))


_INTERVALS: dict[_Function, Callable[..., _Ends | None]] = {
    Call.FUNCTION_ADD: _corners(lambda left, right: left + right),
    Call.FUNCTION_SUBTRACT: _corners(lambda left, right: left - right),
    Call.FUNCTION_DAYS_BETWEEN: _corners(lambda left, right: right - left),
    Call.FUNCTION_MULTIPLY: _corners(lambda left, right: left * right),
    Call.FUNCTION_DIVIDE: _divided,
    Call.FUNCTION_MODULO: _remainder,
    Call.FUNCTION_NEGATE: lambda ends: (-ends[1], -ends[0]),
    Call.FUNCTION_ABSOLUTE: _absolute,
}
