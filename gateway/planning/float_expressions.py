"""Expressions over the float64 numbers of a row, for terms that planning makes by itself."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import Call, Comparison, Conditional, Expression, Value

from gateway.planning.subjects import Subject


def float_literal(value: float) -> Expression:
    """A constant."""
    return Expression(literal=Value(float64_value=value))


def as_float(subject: Subject) -> Expression:
    """The subject as float64, its bounds left as they are."""
    if subject.is_float:
        return subject.expression
    return _call(Call.FUNCTION_TO_FLOAT64, subject.expression)


def less(expression: Expression, subtracted: float) -> Expression:
    """x - constant."""
    return expression if subtracted == 0 else _call(Call.FUNCTION_SUBTRACT, expression, float_literal(subtracted))


def over(expression: Expression, divisor: float) -> Expression:
    """x / constant."""
    return expression if divisor == 1 else _call(Call.FUNCTION_DIVIDE, expression, float_literal(divisor))


def product_of(factors: Sequence[Expression]) -> Expression:
    """Their product from the left; 1 of none."""
    if not factors:
        return float_literal(1.0)
    made = factors[0]
    for factor in factors[1:]:
        made = _call(Call.FUNCTION_MULTIPLY, made, factor)
    return made


def cut(expression: Expression, lower: float, upper: float) -> Expression:
    """The nearest number of [lower, upper]; NULL stays NULL."""
    branches = [
        Conditional.Branch(
            condition=Expression(comparison=Comparison(operator=operator, left=expression, right=float_literal(end))),
            result=float_literal(end),
        )
        for operator, end in ((Comparison.OPERATOR_LESS, lower), (Comparison.OPERATOR_GREATER, upper))
    ]
    return Expression(conditional=Conditional(branches=branches, otherwise=expression))


def _call(function: Call.Function.ValueType, *operands: Expression) -> Expression:
    return Expression(call=Call(function=function, operands=operands))
