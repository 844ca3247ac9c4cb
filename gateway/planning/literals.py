"""Constants of a query, brought to the type of the expression that they meet, exactly.

SQL compares numbers as numbers: an int64 expression may be compared with 3.5 or with 10^30. The plan language
compares values of one type only, so such a comparison is rewritten into one with the same truth value for
every integer, and NULL for NULL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, InvalidOperation

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    ColumnType,
    Comparison,
    Expression,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from gateway.planning.scope import Term, describe, has_parts_beyond
from gateway.planning.sql import Source

EQUAL = Comparison.OPERATOR_EQUAL
NOT_EQUAL = Comparison.OPERATOR_NOT_EQUAL
LESS = Comparison.OPERATOR_LESS
LESS_OR_EQUAL = Comparison.OPERATOR_LESS_OR_EQUAL
GREATER = Comparison.OPERATOR_GREATER
GREATER_OR_EQUAL = Comparison.OPERATOR_GREATER_OR_EQUAL

EXAMPLES = {
    COLUMN_TYPE_BOOL: "TRUE or FALSE",
    COLUMN_TYPE_INT64: "a number, as 3",
    COLUMN_TYPE_FLOAT64: "a number, as 3.5",
    COLUMN_TYPE_STRING: "a string, as 'text'",
    COLUMN_TYPE_DATE: "a date, as '2024-01-31'",
    COLUMN_TYPE_TIMESTAMP: "a timestamp, as '2024-01-31 12:00:00'",
}
"""A constant of each type, for hints."""


@dataclass(frozen=True)
class Number:
    """A numeric constant; `is_whole` when it was written without point or exponent."""

    value: Decimal
    is_whole: bool


@dataclass(frozen=True)
class Text:
    """A string constant, which may also stand for a date or timestamp."""

    value: str


@dataclass(frozen=True)
class Typed:
    """A constant whose type was said: TRUE, DATE '...', TIMESTAMP '...'."""

    value: Value


@dataclass(frozen=True)
class Null:
    """NULL."""


@dataclass(frozen=True)
class Constant:
    """A constant and where it stands."""

    content: Number | Text | Typed | Null
    node: exp.Expr


def unwrapped(node: exp.Expr) -> exp.Expr:
    """The expression inside any brackets."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def read_constant(source: Source, node: exp.Expr) -> Constant | None:
    """The constant that an expression is; None when it is none.

    Raises:
        Problem: MALFORMED "bad_literal" for a date, timestamp or number that cannot be read.
    """
    inner = unwrapped(node)
    if isinstance(inner, exp.Neg):
        return _negated(source, inner, node)
    if isinstance(inner, exp.Null):
        # NULL has no place of its own in the tree.
        return Constant(Null(), node.parent or node)
    if isinstance(inner, exp.Boolean):
        return Constant(Typed(Value(bool_value=bool(inner.this))), node)
    if isinstance(inner, exp.Literal):
        return Constant(Text(inner.this) if inner.is_string else _number(source, inner), node)
    if type(inner) is exp.Cast:
        return _typed(source, inner)
    return None


def compare(source: Source, term: Term, operator: Comparison.Operator.ValueType, constant: Constant) -> Expression:
    """`term operator constant` in the plan language.

    Raises:
        Problem: the constant is NULL, of another type, or not representable in the term's type.
    """
    if term.type == COLUMN_TYPE_INT64 and isinstance(constant.content, Number):
        return compare_int64(term.expression, operator, constant.content.value)
    return comparison(term.expression, operator, coerce(source, term, constant))


def compare_int64(operand: Expression, operator: Comparison.Operator.ValueType, number: Decimal) -> Expression:
    """`operand operator number` for any finite number, with SQL's truth value for every int64 and NULL."""
    if number < values.MIN_INT64:
        return _constant_truth(operand, operator in (NOT_EQUAL, GREATER, GREATER_OR_EQUAL))
    if number > values.MAX_INT64:
        return _constant_truth(operand, operator in (NOT_EQUAL, LESS, LESS_OR_EQUAL))
    floor = int(number.to_integral_value(rounding=ROUND_FLOOR))
    if floor == number:
        return comparison(operand, operator, Value(int64_value=floor))
    if operator in (EQUAL, NOT_EQUAL):
        return _constant_truth(operand, operator == NOT_EQUAL)
    # Between two integers: below it means up to the lower one, above it means above the lower one.
    below = operator in (LESS, LESS_OR_EQUAL)
    return comparison(operand, LESS_OR_EQUAL if below else GREATER, Value(int64_value=floor))


def comparison(operand: Expression, operator: Comparison.Operator.ValueType, value: Value) -> Expression:
    """`operand operator value`, the value being of the operand's type."""
    return Expression(comparison=Comparison(operator=operator, left=operand, right=Expression(literal=value)))


def members(source: Source, term: Term, constants: list[Constant]) -> list[Value]:
    """The values of an IN list that a term can have, without repetitions.

    Raises:
        Problem: as `compare`.
    """
    held: dict[values.PythonValue, Value] = {}
    for constant in constants:
        content = constant.content
        if term.type == COLUMN_TYPE_INT64 and isinstance(content, Number) and not is_int64(content.value):
            continue
        value = coerce(source, term, constant)
        held.setdefault(values.to_python(value), value)
    return list(held.values())


def never(term: Term) -> Expression:
    """FALSE for every value of an int64 term, NULL for NULL."""
    return _constant_truth(term.expression, False)


def coerce(source: Source, term: Term, constant: Constant) -> Value:
    """The constant as a value of the term's type; an int64 term takes whole numbers in range here.

    Raises:
        Problem: as `compare`.
    """
    match constant.content:
        case Null():
            raise source.unsupported(
                "A comparison with NULL is never true.",
                at=constant.node,
                hint=f"Write {term.label} IS NULL or {term.label} IS NOT NULL.",
            )
        case content:
            value = valued(source, content, term.type, constant.node)
    if value is None:
        raise source.malformed(
            "type_mismatch",
            f"{describe(term)} cannot be compared with this constant.",
            at=constant.node,
            hint=f"Compare it with {EXAMPLES[term.type]}.",
        )
    return value


def valued(
    source: Source, content: Number | Text | Typed, column_type: ColumnType.ValueType, node: exp.Expr
) -> Value | None:
    """The constant as a value of a type; None when it is of another.

    Raises:
        Problem: MALFORMED "bad_literal" for what is meant for the type but cannot be read.
    """
    if isinstance(content, Typed):
        return _retyped(content.value, column_type)
    match column_type, content:
        case plan_pb2.COLUMN_TYPE_INT64, Number(number, _) if is_int64(number):
            return Value(int64_value=int(number))
        case plan_pb2.COLUMN_TYPE_FLOAT64, Number() as number:
            return _float(source, number, node)
        case plan_pb2.COLUMN_TYPE_STRING, Text(text):
            return _string(source, text, node)
        case plan_pb2.COLUMN_TYPE_DATE | plan_pb2.COLUMN_TYPE_TIMESTAMP, Text(text):
            return _instant(source, column_type, text, node)
        case _:
            return None


def _retyped(value: Value, column_type: ColumnType.ValueType) -> Value | None:
    """A date also is the timestamp at its beginning."""
    if values.type_of(value) == COLUMN_TYPE_DATE and column_type == COLUMN_TYPE_TIMESTAMP:
        return values.parse_timestamp(str(values.to_python(value)))
    return value if values.type_of(value) == column_type else None


def natural_type(content: Number | Text | Typed) -> ColumnType.ValueType:
    """The type that a constant has by itself."""
    match content:
        case Number(value, is_whole):
            return COLUMN_TYPE_INT64 if is_whole and is_int64(value) else COLUMN_TYPE_FLOAT64
        case Text():
            return COLUMN_TYPE_STRING
        case Typed(value):
            return values.type_of(value)


def _constant_truth(operand: Expression, truth: bool) -> Expression:
    """TRUE or FALSE for every int64, NULL for NULL."""
    return comparison(operand, GREATER_OR_EQUAL if truth else LESS, Value(int64_value=values.MIN_INT64))


def is_int64(number: Decimal) -> bool:
    """Whether an int64 is this number."""
    in_range = values.MIN_INT64 <= number <= values.MAX_INT64
    return in_range and number == number.to_integral_value(rounding=ROUND_FLOOR)


def _negated(source: Source, inner: exp.Neg, node: exp.Expr) -> Constant | None:
    constant = read_constant(source, inner.this)
    if constant is None or not isinstance(constant.content, Number):
        return None
    number = constant.content
    return Constant(Number(number.value.copy_negate(), number.is_whole), node)


def _number(source: Source, node: exp.Literal) -> Number:
    text = str(node.this)
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise _bad_literal(source, "The number cannot be read.", node, "a number as 3 or 3.5") from error
    if not value.is_finite():
        raise _bad_literal(source, "The number is not finite.", node, "a number as 3 or 3.5")
    return Number(value, text.isdecimal())


def _typed(source: Source, node: exp.Cast) -> Constant | None:
    """DATE '...' and TIMESTAMP '...', which are read as casts."""
    text = node.this
    if has_parts_beyond(node, frozenset({"this", "to", "_type"})):
        return None
    if not isinstance(text, exp.Literal) or not text.is_string:
        return None
    if node.to.this == exp.DataType.Type.DATE:
        return Constant(Typed(_instant(source, COLUMN_TYPE_DATE, text.this, node)), node)
    if node.to.this in (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ):
        return Constant(Typed(_instant(source, COLUMN_TYPE_TIMESTAMP, text.this, node)), node)
    return None


def _float(source: Source, number: Number, node: exp.Expr) -> Value:
    # Adding 0.0 turns -0.0, which SQL does not tell from 0.0, into 0.0.
    nearest = float(number.value) + 0.0
    if not math.isfinite(nearest):
        raise _bad_literal(source, "The number is too large for a float64.", node, "at most about 1.8e308")
    if number.is_whole and Decimal(nearest) != number.value:
        raise _bad_literal(
            source, "No float64 is exactly this whole number.", node, f"{nearest!r}, the nearest that exists"
        )
    return Value(float64_value=nearest)


def _string(source: Source, text: str, node: exp.Expr) -> Value:
    if len(text.encode()) > MAX_STRING_BYTES:
        raise _bad_literal(source, "The string is too long.", node, f"at most {MAX_STRING_BYTES} bytes")
    return Value(string_value=text)


def _instant(source: Source, column_type: ColumnType.ValueType, text: str, node: exp.Expr) -> Value:
    is_date = column_type == COLUMN_TYPE_DATE
    try:
        return values.parse_date(text) if is_date else values.parse_timestamp(text)
    except ValueError as error:
        what = "date" if is_date else "timestamp"
        raise _bad_literal(source, f"This is not a {what}.", node, EXAMPLES[column_type]) from error


def _bad_literal(source: Source, message: str, node: exp.Expr, accepted: str) -> Problem:
    return source.malformed("bad_literal", message, at=node, hint=f"Write {accepted}.")
