"""What an engine reads off a plan before it sees a row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

from yingbi.api.v1.plan_pb2 import ColumnReference, ColumnType, Expression, Plan, Value

from enclave_sim.engine.protocol import EngineError

Scalar: TypeAlias = bool | int | float | str | None
"""A value of a row or a plan; a date as days and a timestamp as microseconds since 1970; NULL as None."""


def column_types(plan: Plan) -> dict[str, ColumnType.ValueType]:
    """Every column that the plan reads, once, with the type that the plan gives it."""
    types: dict[str, ColumnType.ValueType] = {}
    for column in _references(plan):
        if types.setdefault(column.name, column.type) != column.type:
            raise EngineError(f"the plan gives the column {column.name} two types")
    return types


def scalar(value: Value) -> Scalar:
    """A constant of the plan; NaN is None."""
    constant: Scalar = getattr(value, value.WhichOneof("kind") or "")
    return None if isinstance(constant, float) and math.isnan(constant) else constant


def operands(expression: Expression) -> list[Expression]:
    """The expressions directly below `expression`."""
    match expression.WhichOneof("kind"):
        case "comparison":
            return [expression.comparison.left, expression.comparison.right]
        case "conjunction":
            return list(expression.conjunction.operands)
        case "disjunction":
            return list(expression.disjunction.operands)
        case "negation":
            return [expression.negation.operand]
        case _:
            return []


def _references(plan: Plan) -> Iterator[ColumnReference]:
    if plan.HasField("filter"):
        yield from _references_below(plan.filter)
    for key in plan.group_by:
        yield key.column
    for statistic in plan.statistics:
        if statistic.HasField("non_null_count"):
            yield statistic.non_null_count.column
        if statistic.HasField("bounded_sum"):
            yield statistic.bounded_sum.column


def _references_below(expression: Expression) -> Iterator[ColumnReference]:
    match expression.WhichOneof("kind"):
        case "column":
            yield expression.column
        case "membership":
            yield expression.membership.column
        case "null_test":
            yield expression.null_test.column
        case _:
            for operand in operands(expression):
                yield from _references_below(operand)
