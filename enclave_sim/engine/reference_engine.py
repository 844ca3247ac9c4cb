"""The reference engine: the meaning of a plan in plain Python. Slow and obviously right; for tests.

No numpy, no SQL, one row after another; all it shares with the other engines is reading the plan.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import BoundedSum, Clipping, Comparison, Expression, Plan, Statistic

from enclave_sim.engine.plan_reading import Scalar, column_types, scalar
from enclave_sim.engine.protocol import Cancelled, EngineError, OpenTable, never
from enclave_sim.plan.sensitivity import groups
from enclave_sim.sealed.schema import UNIT_COLUMN

Row: TypeAlias = Mapping[str, Scalar]

_OPERATORS: Mapping[Comparison.Operator.ValueType, Callable[[Any, Any], bool]] = {
    Comparison.OPERATOR_EQUAL: operator.eq,
    Comparison.OPERATOR_NOT_EQUAL: operator.ne,
    Comparison.OPERATOR_LESS: operator.lt,
    Comparison.OPERATOR_LESS_OR_EQUAL: operator.le,
    Comparison.OPERATOR_GREATER: operator.gt,
    Comparison.OPERATOR_GREATER_OR_EQUAL: operator.ge,
}


@dataclass
class _Entry:
    """What one unit has in one group: its rows, and one measure for each statistic."""

    rows: int = 0
    measures: dict[int, int] = field(default_factory=dict)


class ReferenceEngine:
    """An `Engine`."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`. `cancelled` is asked before every row."""
        units: dict[int, dict[int, _Entry]] = {}
        for unit, row in _rows(plan, open_table):
            if cancelled():
                raise Cancelled
            group = _group(plan, row)
            if group is None or (plan.HasField("filter") and evaluate(plan.filter, row) is not True):
                continue
            _add(plan, row, units.setdefault(unit, {}).setdefault(group, _Entry()))
        vector = [0] * (len(plan.statistics) * groups(plan))
        for entries in units.values():
            for position, statistic in enumerate(plan.statistics):
                clipped = _clip(statistic, position, entries, plan.clipping, plan.fraction_bits)
                for group, value in clipped.items():
                    vector[position * groups(plan) + group] += value
        return vector


def evaluate(expression: Expression, row: Row) -> Scalar:  # noqa: PLR0911 - one for each kind
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
            value = row[expression.membership.column.name]
            found = any(scalar(member) == value for member in expression.membership.values)
            return None if value is None and expression.membership.values else found
        case "null_test":
            return row[expression.null_test.column.name] is None
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


def _no_nan(value: Scalar) -> Scalar:
    return None if isinstance(value, float) and math.isnan(value) else value


def _rows(plan: Plan, open_table: OpenTable) -> Iterator[tuple[int, Row]]:
    columns = list(column_types(plan))
    table = open_table(plan.table, [UNIT_COLUMN, *columns])
    data = {name: _scalars(table[name]) for name in columns}
    for position, unit in enumerate(table[UNIT_COLUMN].to_pylist()):
        yield unit, {name: data[name][position] for name in columns}


def _scalars(column: pa.ChunkedArray) -> list[Scalar]:
    """The values in Python; dates as days and timestamps as microseconds, which have no forbidden ones."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return [_no_nan(value) for value in column.to_pylist()]


def _group(plan: Plan, row: Row) -> int | None:
    """The row's group, or None where a key's value is not declared."""
    group = 0
    for key in plan.group_by:
        values = [scalar(value) for value in key.values]
        value = row[key.column.name]
        if value is None or value not in values:
            return None
        group = group * len(values) + values.index(value)
    return group


def _add(plan: Plan, row: Row, entry: _Entry) -> None:
    entry.rows += 1
    for position, statistic in enumerate(plan.statistics):
        measure = _measure(statistic, row, plan.fraction_bits)
        entry.measures[position] = entry.measures.get(position, 0) + measure


def _measure(statistic: Statistic, row: Row, fraction_bits: int) -> int:
    """What one row adds to its unit's value, in grid steps within ±2^fraction_bits."""
    match statistic.WhichOneof("kind"):
        case "row_count" | "distinct_units":
            return 1 << fraction_bits
        case "non_null_count":
            return 0 if row[statistic.non_null_count.column.name] is None else 1 << fraction_bits
        case "bounded_sum":
            return _steps(statistic.bounded_sum, row[statistic.bounded_sum.column.name], fraction_bits)
        case other:
            raise EngineError(f"the plan has a statistic of an unknown kind: {other}")


def _steps(term: BoundedSum, value: Scalar, fraction_bits: int) -> int:
    if value is None:
        return 0
    top = 1 << fraction_bits
    clipped = float(min(max(value, term.lower), term.upper))
    steps = (clipped - term.centre) / term.half_range * top + 0.5
    return math.floor(min(max(steps, -top), top))


def _clip(
    statistic: Statistic, position: int, entries: Mapping[int, _Entry], clipping: Clipping, fraction_bits: int
) -> dict[int, int]:
    """One unit's value in each group that it touches, cut to the norm that the plan allows."""
    if statistic.HasField("distinct_units"):
        weight = _indicator(len(entries), clipping.max_groups, fraction_bits)
        return dict.fromkeys(entries, weight)
    norm = _ceil_sqrt(sum(entry.rows**2 for entry in entries.values()))
    values = {group: entry.measures[position] for group, entry in entries.items()}
    if norm <= clipping.max_rows:
        return values
    return {group: _scale(value, clipping.max_rows, norm) for group, value in values.items()}


def _indicator(touched: int, bound: int, fraction_bits: int) -> int:
    """Each of `touched` groups' value, so that the squares add up to bound·4^fraction_bits at most."""
    if touched <= bound:
        return 1 << fraction_bits
    return math.isqrt((bound << (2 * fraction_bits)) // touched)


def _ceil_sqrt(square: int) -> int:
    root = math.isqrt(square)
    return root if root * root == square else root + 1


def _scale(value: int, bound: int, norm: int) -> int:
    """value·bound/norm, rounded towards zero."""
    magnitude = abs(value) * bound // norm
    return magnitude if value >= 0 else -magnitude
