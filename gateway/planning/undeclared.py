"""Constants that a query compares with a column whose declared values they are none of: most often a misspelling."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Comparison, Expression, Membership, Plan, Value

from enclave_sim.plan import values
from enclave_sim.plan.relations import operators_of

_EQUALITIES = (Comparison.OPERATOR_EQUAL, Comparison.OPERATOR_NOT_EQUAL)
_MOST = 5
"""Notes of one plan; a long list needs no note for each of its values."""


def undeclared_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """A note for each such constant: that its condition is true of no row, or of rows that are in no declared group.

    Columns are told by their names, which no other column of a plan has but one of another table; a constant that
    any of these tables declares has no note.
    """
    declared = _declared_values(plan, declaration)
    found: dict[str, None] = {}
    for column, constant in _tests(plan):
        allowed = declared.get(column)
        if allowed and values.to_python(constant) not in allowed:
            found[f"{_written(constant)} is no declared value of {column}."] = None
    return list(found)[:_MOST]


def _declared_values(plan: Plan, declaration: DatasetDeclaration) -> dict[str, set[values.PythonValue]]:
    """The values of the columns of the plan's tables that have declared ones, in every table with such a column."""
    scanned = {part.scan.table for part in operators_of(plan.relation) if part.HasField("scan")}
    columns = [column for table in declaration.tables if table.name in scanned for column in table.columns]
    free = {column.name for column in columns if not column.values}
    found: dict[str, set[values.PythonValue]] = {}
    for column in columns:
        if column.name not in free:
            found.setdefault(column.name, set()).update(map(values.to_python, column.values))
    return found


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
