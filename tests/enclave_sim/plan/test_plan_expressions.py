"""What an expression of the plan language may be, and its type."""

from __future__ import annotations

from typing import TypeAlias

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_DATE,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
    ColumnReference,
    ColumnType,
    Expression,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_NODES, result_type
from enclave_sim.plan.functions import OF_ONE_TYPE, SIGNATURES

B, I, F = COLUMN_TYPE_BOOL, COLUMN_TYPE_INT64, COLUMN_TYPE_FLOAT64  # noqa: E741
S, D, T = COLUMN_TYPE_STRING, COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP
ALL = (B, I, F, S, D, T)
COLUMNS = {"b": B, "i": I, "f": F, "s": S, "d": D, "t": T}
NAMES = {kind: name for name, kind in COLUMNS.items()}

Type: TypeAlias = ColumnType.ValueType


def column(kind: Type) -> Expression:
    return Expression(column=ColumnReference(name=NAMES[kind], type=kind))


def number(value: int) -> Expression:
    return Expression(literal=Value(int64_value=value))


def call(function: Call.Function.ValueType, *operands: Expression) -> Expression:
    return Expression(call=Call(function=function, operands=operands))


def type_of(expression: Expression) -> Type:
    return result_type(expression, COLUMNS, "x")


def refused(expression: Expression) -> str:
    with pytest.raises(PlanError) as caught:
        type_of(expression)
    return caught.value.path


def read(text: str) -> Expression:
    """An expression in text form; `$i` is the column i with its type."""
    for name, kind in COLUMNS.items():
        text = text.replace(f"${name}", f'column {{ name: "{name}" type: {ColumnType.Name(kind)} }}')
    return text_format.Parse(text, Expression())


# As the proto's comments have it: function, operands, result.
CALLS: list[tuple[str, tuple[Type, ...], Type]] = [
    *((name, (kind, kind), kind) for name in ("ADD", "SUBTRACT", "MULTIPLY") for kind in (I, F)),
    ("DIVIDE", (F, F), F),
    ("MODULO", (I, I), I),
    *((name, (kind,), kind) for name in ("NEGATE", "ABSOLUTE") for kind in (I, F)),
    *((name, (F,), F) for name in ("FLOOR", "CEILING", "ROUND", "SQUARE_ROOT", "NATURAL_LOGARITHM")),
    *((name, (kind,) * n, kind) for name in ("LEAST", "GREATEST", "COALESCE") for kind in ALL for n in (2, 3)),
    *(("TO_FLOAT64", (kind,), F) for kind in (I, B)),
    *(("TO_INT64", (kind,), I) for kind in (F, B, S)),
    *(("TO_STRING", (kind,), S) for kind in (I, B, D)),
    ("TO_DATE", (T,), D),
    *((name, (S,), S) for name in ("LOWER", "UPPER", "TRIM")),
    ("LENGTH", (S,), I),
    *(("CONCATENATE", (S,) * n, S) for n in (2, 3)),
    *(
        (name, (kind,), I)
        for name in ("YEAR", "QUARTER", "MONTH", "DAY", "DAY_OF_WEEK", "DAY_OF_YEAR")
        for kind in (D, T)
    ),
    *((name, (T,), I) for name in ("HOUR", "MINUTE")),
    *((f"TRUNCATE_TO_{name}", (kind,), D) for name in ("YEAR", "QUARTER", "MONTH", "WEEK") for kind in (D, T)),
    ("DAYS_BETWEEN", (D, D), I),
]


@pytest.mark.parametrize(("name", "operands", "result"), CALLS)
def test_a_call_of_the_operands_that_a_function_takes_has_its_type(
    name: str, operands: tuple[Type, ...], result: Type
) -> None:
    function = Call.Function.Value(f"FUNCTION_{name}")
    assert type_of(call(function, *map(column, operands))) == result


def test_the_table_above_has_every_function() -> None:
    named = {Call.Function.Value(f"FUNCTION_{name}") for name, _, _ in CALLS} | {Call.FUNCTION_SUBSTRING}
    assert named == set(Call.Function.values()) - {Call.FUNCTION_UNSPECIFIED}
    assert named == set(SIGNATURES) | OF_ONE_TYPE | {Call.FUNCTION_CONCATENATE}


@given(
    function=st.sampled_from([*Call.Function.values(), 39]),
    operands=st.lists(st.sampled_from(ALL), max_size=4).map(tuple),
)
def test_a_call_of_anything_else_is_refused(function: Call.Function.ValueType, operands: tuple[Type, ...]) -> None:
    taken = {(Call.Function.Value(f"FUNCTION_{name}"), types) for name, types, _ in CALLS}
    several = OF_ONE_TYPE | {Call.FUNCTION_CONCATENATE}
    if (function, operands) not in taken and not (function in several and (function, operands[:2]) in taken):
        assert refused(call(function, *map(column, operands))) in ("x.call.operands", "x.call.function")


def test_a_substring_is_cut_at_constants() -> None:
    text, substring = column(S), Call.FUNCTION_SUBSTRING
    assert type_of(call(substring, text, number(1), number(0))) == S
    assert type_of(call(substring, text, number(2**31 - 1), number(2**31 - 1))) == S
    for start in (number(0), number(-1), number(2**31), column(I), read("literal { float64_value: 1 }")):
        assert refused(call(substring, text, start, number(1))) in ("x.call.operands[1]", "x.call.operands")
    for length in (number(-1), number(2**31), column(I), call(Call.FUNCTION_ABSOLUTE, number(1))):
        assert refused(call(substring, text, number(1), length)) == "x.call.operands[2]"
    assert refused(call(substring, text, number(1))) == "x.call.operands"


GOOD: dict[str, tuple[Type, str]] = {
    "a column": (T, "$t"),
    "a constant": (D, "literal { date_days: -3 }"),
    "a comparison of columns": (B, "comparison { operator: OPERATOR_LESS left { $d } right { $d } }"),
    "a comparison of truths": (
        B,
        "comparison { operator: OPERATOR_EQUAL left { null_test { operand { $s } } } right { $b } }",
    ),
    "a condition that is a column": (B, "conjunction { operands { $b } operands { negation { operand { $b } } } }"),
    "one of two": (B, "disjunction { operands { $b } operands { literal { bool_value: true } } }"),
    "a list": (B, 'membership { operand { $s } values { string_value: "" } values { string_value: "a" } }'),
    "a list for what is computed": (
        B,
        "membership { operand { call { function: FUNCTION_YEAR operands { $d } } } values { int64_value: 2024 } }",
    ),
    "a null test of a condition": (B, "null_test { operand { $b } }"),
    "a pattern": (B, 'pattern { operand { $s } pattern: "%a_" }'),
    "an empty pattern": (B, "pattern { operand { $s } }"),
    "cases": (
        F,
        "conditional { branches { condition { $b } result { $f } } branches { condition { $b } result { $f } } "
        "otherwise { literal { float64_value: 1 } } }",
    ),
    "a case without else": (S, "conditional { branches { condition { $b } result { $s } } }"),
}


@pytest.mark.parametrize(("kind", "text"), GOOD.values(), ids=GOOD.keys())
def test_a_good_expression_has_a_type(kind: Type, text: str) -> None:
    assert type_of(read(text)) == kind


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("x", ""),
    "an unknown column": ("x.column", 'column { name: "z" type: COLUMN_TYPE_BOOL }'),
    "a column in another case": ("x.column", 'column { name: "B" type: COLUMN_TYPE_BOOL }'),
    "a column of another type": ("x.column", 'column { name: "b" type: COLUMN_TYPE_INT64 }'),
    "a column without type": ("x.column", 'column { name: "b" }'),
    "a constant without kind": ("x.literal", "literal {}"),
    "NaN": ("x.literal", "literal { float64_value: nan }"),
    "infinity": ("x.literal", "literal { float64_value: inf }"),
    "a day after year 9999": ("x.literal", "literal { date_days: 2932897 }"),
    "a moment before year 1": ("x.literal", "literal { timestamp_micros: -62135596800000001 }"),
    "a long string": ("x.literal", 'literal { string_value: "' + "影" * 334 + '" }'),
    "no operator": ("x.comparison.operator", "comparison { left { $i } right { $i } }"),
    "an operator of a later version": ("x.comparison.operator", "comparison { operator: 7 left { $i } right { $i } }"),
    "a comparison of two types": ("x.comparison", "comparison { operator: OPERATOR_EQUAL left { $i } right { $f } }"),
    "a comparison with nothing": ("x.comparison.right", "comparison { operator: OPERATOR_EQUAL left { $i } }"),
    "an empty conjunction": ("x.conjunction.operands", "conjunction {}"),
    "an empty disjunction": ("x.disjunction.operands", "disjunction {}"),
    "a conjunction of numbers": ("x.conjunction.operands[1]", "conjunction { operands { $b } operands { $i } }"),
    "a negation of a number": ("x.negation.operand", "negation { operand { $i } }"),
    "a negation of nothing": ("x.negation.operand", "negation {}"),
    "an empty list": ("x.membership.values", "membership { operand { $i } }"),
    "a list of two types": (
        "x.membership.values[1]",
        "membership { operand { $i } values { int64_value: 1 } values { float64_value: 1 } }",
    ),
    "a list for nothing": ("x.membership.operand", "membership { values { int64_value: 1 } }"),
    "a list with a long string": (
        "x.membership.values[0]",
        'membership { operand { $s } values { string_value: "' + "x" * 1001 + '" } }',
    ),
    "a null test of nothing": ("x.null_test.operand", "null_test {}"),
    "a pattern of a number": ("x.pattern.operand", 'pattern { operand { $i } pattern: "1%" }'),
    "a long pattern": ("x.pattern.pattern", 'pattern { operand { $s } pattern: "' + "%" * 1001 + '" }'),
    "no cases": ("x.conditional.branches", "conditional { otherwise { $i } }"),
    "a case of a number": (
        "x.conditional.branches[0].condition",
        "conditional { branches { condition { $i } result { $i } } }",
    ),
    "a case without result": ("x.conditional.branches[0].result", "conditional { branches { condition { $b } } }"),
    "cases of two types": (
        "x.conditional",
        "conditional { branches { condition { $b } result { $i } } branches { condition { $b } result { $f } } }",
    ),
    "an else of another type": (
        "x.conditional",
        "conditional { branches { condition { $b } result { $i } } otherwise { $s } }",
    ),
    "something wrong far inside": (
        "x.negation.operand.null_test.operand.call.operands[0].column",
        'negation { operand { null_test { operand { call { function: FUNCTION_LOWER operands { column { name: "z" } } '
        "} } } } }",
    ),
}


@pytest.mark.parametrize(("path", "text"), BAD.values(), ids=BAD.keys())
def test_a_bad_expression_is_refused(path: str, text: str) -> None:
    assert refused(read(text)) == path


def test_an_expression_has_a_largest_size() -> None:
    # Two messages for a constant, two for what is around them.
    operands = [read("literal { bool_value: true }")] * ((MAX_NODES - 2) // 2)
    expression = read("disjunction {}")
    expression.disjunction.operands.extend(operands)
    assert type_of(expression) == B
    expression.disjunction.operands.append(operands[0])
    assert refused(expression) == "x"
