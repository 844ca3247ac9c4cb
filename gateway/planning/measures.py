"""The aggregates of one unit's rows, and what is known of their values."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    ColumnType,
    Conjunction,
    Expression,
    UnitMeasure,
)

from enclave_sim.plan import values
from gateway.planning import calls, domains
from gateway.planning.domains import Domain
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term, describe, has_parts_beyond

_MEASURES: dict[type[exp.Expr], UnitMeasure.Function.ValueType] = {
    exp.Sum: UnitMeasure.FUNCTION_SUM,
    exp.Avg: UnitMeasure.FUNCTION_MEAN,
    exp.Min: UnitMeasure.FUNCTION_MINIMUM,
    exp.Max: UnitMeasure.FUNCTION_MAXIMUM,
    exp.LogicalOr: UnitMeasure.FUNCTION_MAXIMUM,
    exp.LogicalAnd: UnitMeasure.FUNCTION_MINIMUM,
}
_ACCEPTED = (
    "Within a unit, ask for COUNT, COUNT(DISTINCT x), SUM, AVG, MIN, MAX, BOOL_OR, BOOL_AND, ARG_MAX(x, y), "
    "ARG_MIN(x, y) or FIRST(x ORDER BY y)."
)


def read_measure(scope: Scope, node: exp.Expr, condition: Expression | None) -> UnitMeasure:
    """What an aggregate computes, without a name.

    Raises:
        Problem: it cannot be asked within a unit.
    """
    if isinstance(node, exp.CountIf):
        tested = compile_condition(scope, node.this)
        both = tested if condition is None else Expression(conjunction=Conjunction(operands=[condition, tested]))
        return UnitMeasure(function=UnitMeasure.FUNCTION_COUNT_ROWS, filter=both)
    if isinstance(node, exp.Count):
        return _count(scope, node, condition)
    function = _MEASURES.get(type(node))
    operand = unwrapped(node.this) if isinstance(node.this, exp.Expr) else None
    if function is None or operand is None or has_parts_beyond(node, frozenset({"this"})):
        raise unsupported(scope, node)
    if isinstance(operand, exp.Distinct) and isinstance(node, exp.Min | exp.Max) and len(operand.expressions) == 1:
        operand = operand.expressions[0]
    if isinstance(operand, exp.Distinct | exp.Order):
        raise unsupported(scope, node)
    term = compile_term(scope, operand)
    if isinstance(node, exp.Sum | exp.Avg):
        term = _number(scope, term, operand)
    if isinstance(node, exp.LogicalOr | exp.LogicalAnd) and term.type != COLUMN_TYPE_BOOL:
        raise scope.source.malformed(
            "type_mismatch", f"{describe(term)} is no condition.", at=operand, hint="Compare it with a constant."
        )
    return UnitMeasure(function=function, argument=term.expression, filter=condition)


def _number(scope: Scope, term: Term, at: exp.Expr) -> Term:
    if term.type == COLUMN_TYPE_BOOL:
        return calls.as_int(term)
    if term.type not in values.NUMERIC:
        raise scope.source.refuse(
            "not_numeric", f"{describe(term)} is not numeric.", at=at, hint="Ask for COUNT, MIN or MAX of it."
        )
    return term


def _count(scope: Scope, node: exp.Count, condition: Expression | None) -> UnitMeasure:
    counted = unwrapped(node.this) if isinstance(node.this, exp.Expr) else node.this
    if has_parts_beyond(node, frozenset({"this", "big_int"})):
        raise unsupported(scope, node)
    if isinstance(counted, exp.Distinct):
        if len(counted.expressions) != 1 or has_parts_beyond(counted, frozenset({"expressions"})):
            raise unsupported(scope, node)
        return UnitMeasure(
            function=UnitMeasure.FUNCTION_COUNT_DISTINCT,
            argument=compile_term(scope, counted.expressions[0]).expression,
            filter=condition,
        )
    rows = counted is None or isinstance(counted, exp.Star | exp.Literal)
    if rows or (isinstance(counted, exp.Column) and scope.is_unit(counted)):
        return UnitMeasure(function=UnitMeasure.FUNCTION_COUNT_ROWS, filter=condition)
    argument = compile_term(scope, counted).expression
    return UnitMeasure(function=UnitMeasure.FUNCTION_COUNT, argument=argument, filter=condition)


def knowledge(scope: Scope, measure: UnitMeasure, node: exp.Expr) -> tuple[ColumnType.ValueType, Domain]:
    """Type and domain: counts go up to the rows that a unit is declared to have, sums to that many bounds."""
    most = scope.max_rows
    if not measure.HasField("argument"):
        least = 0 if measure.HasField("filter") else 1
        return COLUMN_TYPE_INT64, domains.interval(least, most, COLUMN_TYPE_INT64)
    if measure.function in (UnitMeasure.FUNCTION_COUNT, UnitMeasure.FUNCTION_COUNT_DISTINCT):
        return COLUMN_TYPE_INT64, domains.interval(0, most, COLUMN_TYPE_INT64)
    operand = unwrapped(node.this)
    term = compile_term(scope, operand.expressions[0] if isinstance(operand, exp.Distinct) else operand)
    if measure.function in (UnitMeasure.FUNCTION_MINIMUM, UnitMeasure.FUNCTION_MAXIMUM):
        return term.type, term.domain
    domain = _number(scope, term, node).domain
    if measure.function == UnitMeasure.FUNCTION_MEAN:
        return COLUMN_TYPE_FLOAT64, domains.interval(domain.lower, domain.upper, COLUMN_TYPE_FLOAT64)
    lower = None if domain.lower is None else min(domain.lower, domain.lower * most)
    upper = None if domain.upper is None else max(domain.upper, domain.upper * most)
    return COLUMN_TYPE_FLOAT64, domains.interval(lower, upper, COLUMN_TYPE_FLOAT64, integral=domain.integral)


def unsupported(scope: Scope, node: exp.Expr) -> Problem:
    """The problem with an aggregate that cannot be asked within a unit."""
    return scope.source.unsupported(
        f"{node.sql(dialect='duckdb')[:60]} cannot be asked within a unit.", at=node, hint=_ACCEPTED
    )
