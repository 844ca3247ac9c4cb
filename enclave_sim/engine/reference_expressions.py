"""What an expression means, in plain Python: its value on one row."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from yingbi.api.v1.plan_pb2 import Comparison, Conditional, Expression, LookUp, Membership, Pattern

from enclave_sim.engine.plan_reading import scalar, value_type
from enclave_sim.engine.protocol import EngineError, Scalar
from enclave_sim.engine.reference_functions import call

Row: TypeAlias = Mapping[str, Scalar]

_OPERATORS: Mapping[Comparison.Operator.ValueType, Callable[[Any, Any], bool]] = {
    Comparison.OPERATOR_EQUAL: operator.eq,
    Comparison.OPERATOR_NOT_EQUAL: operator.ne,
    Comparison.OPERATOR_LESS: operator.lt,
    Comparison.OPERATOR_LESS_OR_EQUAL: operator.le,
    Comparison.OPERATOR_GREATER: operator.gt,
    Comparison.OPERATOR_GREATER_OR_EQUAL: operator.ge,
}


def evaluate(expression: Expression, row: Row) -> Scalar:  # noqa: PLR0911, PLR0912 - one for each kind
    """The value of an expression on one row, None being NULL and the truth value unknown."""
    match expression.WhichOneof("kind"):
        case "column":
            return row[expression.column.name]
        case "literal":
            return scalar(expression.literal)
        case "comparison":
            return _compare(expression.comparison, row)
        case "conjunction":
            return _all([evaluate(operand, row) for operand in expression.conjunction.operands])
        case "disjunction":
            return _not(_all([_not(evaluate(operand, row)) for operand in expression.disjunction.operands]))
        case "negation":
            return _not(evaluate(expression.negation.operand, row))
        case "membership":
            return _is_member(expression.membership, row)
        case "null_test":
            return evaluate(expression.null_test.operand, row) is None
        case "call":
            values = [evaluate(operand, row) for operand in expression.call.operands]
            return call(expression.call.function, value_type(expression.call.operands[0]), values)
        case "conditional":
            return _choose(expression.conditional, row)
        case "pattern":
            return _is_like(expression.pattern, row)
        case "look_up":
            return _look_up(expression.look_up, row)
        case other:
            raise EngineError(f"the plan has an expression of an unknown kind: {other}")


def _compare(comparison: Comparison, row: Row) -> bool | None:
    left, right = evaluate(comparison.left, row), evaluate(comparison.right, row)
    if left is None or right is None:
        return None
    return _OPERATORS[comparison.operator](left, right)


def _all(truths: list[Scalar]) -> bool | None:
    """False if one is false; else unknown if one is unknown; else true."""
    if any(truth is False for truth in truths):
        return False
    return None if any(truth is None for truth in truths) else True


def _not(truth: Scalar) -> bool | None:
    return None if truth is None else not truth


def _is_member(membership: Membership, row: Row) -> bool | None:
    value = evaluate(membership.operand, row)
    if value is None and membership.values:
        return None
    return any(scalar(member) == value for member in membership.values)


def _look_up(look_up: LookUp, row: Row) -> Scalar:
    key = evaluate(look_up.operand, row)
    for entry in look_up.entries:
        if key is not None and scalar(entry.key) == key:
            return scalar(entry.value) if entry.HasField("value") else None
    return None


def _choose(conditional: Conditional, row: Row) -> Scalar:
    for branch in conditional.branches:
        if evaluate(branch.condition, row) is True:
            return evaluate(branch.result, row)
    return evaluate(conditional.otherwise, row) if conditional.HasField("otherwise") else None


def _is_like(pattern: Pattern, row: Row) -> bool | None:
    value = evaluate(pattern.operand, row)
    if value is None:
        return None
    wildcards = {"%": ".*", "_": "."}
    regex = "".join(wildcards.get(character) or re.escape(character) for character in pattern.pattern)
    return re.fullmatch(regex, str(value), re.DOTALL) is not None
