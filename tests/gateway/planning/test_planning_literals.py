"""Constants are brought to the column's type without changing what any row answers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_INT64, ColumnReference, Comparison, Expression

from gateway.planning import literals

from .test_planning_expressions import term_of

DAYS = Expression(column=ColumnReference(name="days", type=COLUMN_TYPE_INT64))
OPERATORS: dict[str, tuple[Comparison.Operator.ValueType, Callable[[Any, Any], bool]]] = {
    "=": (literals.EQUAL, operator.eq),
    "<>": (literals.NOT_EQUAL, operator.ne),
    "<": (literals.LESS, operator.lt),
    "<=": (literals.LESS_OR_EQUAL, operator.le),
    ">": (literals.GREATER, operator.gt),
    ">=": (literals.GREATER_OR_EQUAL, operator.ge),
}
PYTHON = dict(OPERATORS.values())
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(
    st.integers(-(10**25), 10**25).map(Decimal),
    st.integers(-5, 5).map(Decimal),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-10, max_value=10),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1]).map(Decimal),
)


def truth(expression: Expression, value: int | None) -> bool | None:
    """What a comparison with a constant says of an int64 or NULL."""
    if value is None:
        return None
    comparison = expression.comparison
    return PYTHON[comparison.operator](value, comparison.right.literal.int64_value)


@settings(deadline=None)
@given(st.none() | INT64 | st.integers(-12, 12), st.sampled_from(sorted(OPERATORS)), NUMBERS)
def test_an_integer_column_compares_with_any_number(value: int | None, symbol: str, number: Decimal) -> None:
    code, python = OPERATORS[symbol]
    expected = None if value is None else python(Fraction(value), Fraction(number))
    assert truth(literals.compare_int64(DAYS, code, number), value) == expected


@settings(deadline=None)
@given(st.integers(-12, 12), st.sampled_from(sorted(OPERATORS)), st.integers(-40, 40))
def test_the_same_through_sql_with_the_constant_on_either_side(
    declaration: DatasetDeclaration, value: int, symbol: str, quarter: int
) -> None:
    number = str(Decimal(quarter) / 4)
    _, python = OPERATORS[symbol]
    left = term_of(declaration, f"days {symbol} {number}").expression
    right = term_of(declaration, f"{number} {symbol} days").expression
    assert truth(left, value) == python(value, Fraction(quarter, 4))
    assert truth(right, value) == python(Fraction(quarter, 4), value)


@pytest.mark.parametrize(
    ("condition", "kind", "value"),
    [
        ("value < 3", "float64_value", 3.0),
        ("value < -3.5", "float64_value", -3.5),
        ("value < -0.0", "float64_value", 0.0),
        ("value < .1", "float64_value", 0.1),
        ("value < (-(-2))", "float64_value", 2.0),
        ("days < 1e3", "int64_value", 1000),
        ("days < 3.0", "int64_value", 3),
        ("note < 'it''s'", "string_value", "it's"),
        ("fasting = FALSE", "bool_value", False),
        ("seen < '1970-01-02'", "date_days", 1),
        ("seen < DATE '1969-12-31'", "date_days", -1),
        ("at < '1970-01-01 00:00:01'", "timestamp_micros", 10**6),
        ("at < '1970-01-01T00:00:00.5'", "timestamp_micros", 500_000),
        ("at < TIMESTAMP '1970-01-01 00:00'", "timestamp_micros", 0),
        ("at < DATE '1970-01-02'", "timestamp_micros", 86_400 * 10**6),
    ],
)
def test_constants_take_the_columns_type(
    declaration: DatasetDeclaration, condition: str, kind: str, value: object
) -> None:
    literal = term_of(declaration, condition).expression.comparison.right.literal
    assert literal.WhichOneof("kind") == kind
    assert getattr(literal, kind) == value
    assert str(getattr(literal, kind)) == str(value)


def test_a_list_keeps_what_the_column_can_hold_once(declaration: DatasetDeclaration) -> None:
    membership = term_of(declaration, "days IN (1, 2.0, 1, 2.5, 1e30)").expression.membership
    assert [value.int64_value for value in membership.values] == [1, 2]


def test_a_list_of_nothing_that_the_column_can_hold_is_never_true_but_null_for_null(
    declaration: DatasetDeclaration,
) -> None:
    expression = term_of(declaration, "days IN (2.5, 1e30)").expression
    assert [truth(expression, value) for value in (0, -(2**63), 2**63 - 1, None)] == [False, False, False, None]
