"""Expressions of the plan language in a line. An operand is one, or the title of a column: `age:int64`."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from yingbi.api.v1.plan_pb2 import (
    Call,
    ColumnReference,
    ColumnType,
    Comparison,
    Conditional,
    Conjunction,
    Disjunction,
    Expression,
    LookUp,
    Membership,
    Negation,
    NullTest,
    Pattern,
)

from enclave_sim.plan import values

Operand: TypeAlias = str | Expression

TYPES = {name: kind for kind, name in values.TYPE_NAMES.items()}
OPERATORS = {
    "=": Comparison.OPERATOR_EQUAL,
    "<>": Comparison.OPERATOR_NOT_EQUAL,
    "<": Comparison.OPERATOR_LESS,
    "<=": Comparison.OPERATOR_LESS_OR_EQUAL,
    ">": Comparison.OPERATOR_GREATER,
    ">=": Comparison.OPERATOR_GREATER_OR_EQUAL,
}


def column_type(kind: str) -> ColumnType.ValueType:
    """The plan's type of this name, as in a declaration."""
    return ColumnType.ValueType(TYPES[kind])


def column(title: str) -> Expression:
    name, kind = title.rsplit(":", 1)
    return Expression(column=ColumnReference(name=name, type=column_type(kind)))


def operand(given: Operand) -> Expression:
    return column(given) if isinstance(given, str) else given


def literal(value: values.PythonValue) -> Expression:
    return Expression(literal=values.from_python(value))


def compare(left: Operand, operator: str, value: values.PythonValue | Expression) -> Expression:
    right = value if isinstance(value, Expression) else literal(value)
    return Expression(comparison=Comparison(operator=OPERATORS[operator], left=operand(left), right=right))


def all_of(*operands: Expression) -> Expression:
    return Expression(conjunction=Conjunction(operands=operands))


def any_of(*operands: Expression) -> Expression:
    return Expression(disjunction=Disjunction(operands=operands))


def negated(condition: Expression) -> Expression:
    return Expression(negation=Negation(operand=condition))


def one_of(tested: Operand, *members: values.PythonValue) -> Expression:
    constants = [values.from_python(member) for member in members]
    return Expression(membership=Membership(operand=operand(tested), values=constants))


def is_null(tested: Operand) -> Expression:
    return Expression(null_test=NullTest(operand=operand(tested)))


def look_up(key: Operand, entries: Mapping[Any, values.PythonValue | None], kind: str) -> Expression:
    """The value of this type that the entries have for the key."""
    listed = [
        LookUp.Entry(key=values.from_python(known), value=None if value is None else values.from_python(value))
        for known, value in entries.items()
    ]
    return Expression(look_up=LookUp(operand=operand(key), entries=listed, type=column_type(kind)))


def like(tested: Operand, pattern: str) -> Expression:
    return Expression(pattern=Pattern(operand=operand(tested), pattern=pattern))


def call(function: str, *operands: Operand) -> Expression:
    """The function by its name in lower case: `add`."""
    number = Call.Function.Value(f"FUNCTION_{function.upper()}")
    return Expression(call=Call(function=number, operands=[operand(given) for given in operands]))


def case(*branches: tuple[Expression, Operand], otherwise: Operand | None = None) -> Expression:
    whens = [Conditional.Branch(condition=condition, result=operand(result)) for condition, result in branches]
    default = None if otherwise is None else operand(otherwise)
    return Expression(conditional=Conditional(branches=whens, otherwise=default))
