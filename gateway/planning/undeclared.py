"""Constants that a query compares with a column whose declared values they are none of: most often a misspelling."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Comparison, Expression, Membership, Plan, Value

from enclave_sim.plan import values
from gateway.planning.declared import Declared

_EQUALITIES = (Comparison.OPERATOR_EQUAL, Comparison.OPERATOR_NOT_EQUAL)
_MOST = 5
"""Notes of one plan; a long list needs no note for each of its values."""


def undeclared_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """A note for each such constant; none for one that any of the plan's tables declares for a column of the name."""
    declared = Declared.of(plan, declaration)
    found: dict[str, None] = {}
    for column, constant in _tests(plan):
        columns = declared.named(column)
        allowed = {values.to_python(value) for each in columns for value in each.values}
        if columns and all(each.values for each in columns) and values.to_python(constant) not in allowed:
            found[f"{_written(constant)} is no declared value of {column}."] = None
    return list(found)[:_MOST]


def _tests(message: Message) -> Iterator[tuple[str, Value]]:
    """What columns are compared with, by name, wherever in a plan."""
    if isinstance(message, Comparison) and message.operator in _EQUALITIES:
        for one, other in ((message.left, message.right), (message.right, message.left)):
            if _is_column(one) and other.HasField("literal"):
                yield one.column.name, other.literal
    if isinstance(message, Membership) and _is_column(message.operand):
        yield from ((message.operand.column.name, value) for value in message.values)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in value if descriptor.is_repeated else [value]:
                yield from _tests(part)


def _is_column(expression: Expression) -> bool:
    return expression.HasField("column")


def _written(constant: Value) -> str:
    plain = values.to_python(constant)
    return str(plain).upper() if isinstance(plain, bool | int | float) else f"'{plain}'"
