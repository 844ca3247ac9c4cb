"""Arithmetic and conditions over aggregates: what is computed of an answer after it is opened.

A formula is read into a tree of `Aggregate`s, numbers and operations first; `statistics` then decides what is
measured for it, since that depends on everything else that the query asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, takewhile
from typing import TYPE_CHECKING, TypeAlias

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Operation

from gateway.planning.aggregates import ACCEPTED, Aggregate, has_aggregate, is_aggregate, read_aggregates
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, has_parts_beyond
from gateway.planning.windows import Window, WindowReader

if TYPE_CHECKING:
    from gateway.planning.keys import Keys

MAX_DEPTH = 20
"""Operations inside one another."""

MAX_PARTS = 2_000
"""Of one formula: names that stand for items which are made of others could make many."""

_ACCEPTED = "Use +, -, *, /, ABS, SQRT, LEAST and GREATEST on aggregates and numbers."
_BINARY = frozenset({"this", "expression", "typed", "safe"})
_ARITHMETIC: dict[type[exp.Expr], Operation.Operator.ValueType] = {
    exp.Add: Operation.OPERATOR_ADD,
    exp.Sub: Operation.OPERATOR_SUBTRACT,
    exp.Mul: Operation.OPERATOR_MULTIPLY,
    exp.Div: Operation.OPERATOR_DIVIDE,
}
_UNARY: dict[type[exp.Expr], Operation.Operator.ValueType] = {
    exp.Neg: Operation.OPERATOR_NEGATE,
    exp.Abs: Operation.OPERATOR_ABSOLUTE,
    exp.Sqrt: Operation.OPERATOR_SQUARE_ROOT,
}
_EXTREMES: dict[type[exp.Expr], Operation.Operator.ValueType] = {
    exp.Least: Operation.OPERATOR_LEAST,
    exp.Greatest: Operation.OPERATOR_GREATEST,
}
_COMPARISONS: dict[type[exp.Expr], Operation.Operator.ValueType] = {
    exp.EQ: Operation.OPERATOR_EQUAL,
    exp.NEQ: Operation.OPERATOR_NOT_EQUAL,
    exp.LT: Operation.OPERATOR_LESS,
    exp.LTE: Operation.OPERATOR_LESS_OR_EQUAL,
    exp.GT: Operation.OPERATOR_GREATER,
    exp.GTE: Operation.OPERATOR_GREATER_OR_EQUAL,
}
_JUNCTIONS: dict[type[exp.Expr], Operation.Operator.ValueType] = {
    exp.And: Operation.OPERATOR_AND,
    exp.Or: Operation.OPERATOR_OR,
}
_INSTEAD: dict[type[exp.Expr], str] = {
    exp.Round: "Leave ROUND out: the answer says how precise each number is.",
    exp.Floor: "Leave FLOOR out and round the answer.",
    exp.Ceil: "Leave CEIL out and round the answer.",
    exp.Coalesce: "Leave COALESCE out: where an answer is NULL is said with it.",
    exp.Nullif: "Leave NULLIF out: a division by 0 is NULL.",
    exp.Case: "Leave CASE out and compute it from the answer, or put it inside the aggregate.",
    exp.If: "Leave IF out and compute it from the answer, or put it inside the aggregate.",
    exp.IntDiv: "Write / and round the answer.",
    exp.Mod: "Compute it from the answer.",
    exp.Pow: "Write x * x.",
    exp.Cast: "Leave the cast out: aggregates are numbers with a fraction.",
}


@dataclass(frozen=True)
class Arithmetic:
    """An operation of the plan language on formulas."""

    operator: Operation.Operator.ValueType
    operands: tuple[Formula, ...]


Formula: TypeAlias = "Aggregate | float | Arithmetic | Window"


def aggregates_of(formula: Formula) -> tuple[Aggregate, ...]:
    """All aggregates that a formula computes with."""
    if isinstance(formula, Aggregate):
        return (formula,)
    parts = formula.operands if isinstance(formula, Arithmetic) else ()
    if isinstance(formula, Window):
        parts = formula.formulas
    return tuple(found for part in parts for found in aggregates_of(part))


def read_formula(
    scope: Scope, node: exp.Expr, named: Mapping[str, exp.Expr], windows_over: Keys | None = None
) -> Formula:
    """A number that is computed from aggregates and constants.

    Args:
        named: items of the SELECT list that may be meant by their alias, in lower case.
        windows_over: the query's keys, where window functions may stand.

    Raises:
        Problem: with position, for whatever cannot be asked.
    """
    return _Reader(scope, named, windows_over, count()).number(node, 1)


def read_condition(
    scope: Scope, node: exp.Expr, named: Mapping[str, exp.Expr], windows_over: Keys | None = None
) -> Formula:
    """A truth value that is computed from aggregates and constants; otherwise as `read_formula`."""
    return _Reader(scope, named, windows_over, count()).truth(node, 1)


def has_column(scope: Scope, name: str) -> bool:
    """Whether the rows have such a column, the privacy unit included."""
    return any(name.lower() in part.columns or name.lower() in part.units for part in scope.parts)


def is_computed(scope: Scope, node: exp.Expr, named: Mapping[str, exp.Expr]) -> bool:
    """Whether an expression without aggregates computes with items of the SELECT list, by their aliases."""
    seen, waiting = set[str](), [node]
    while waiting:
        for column in waiting.pop().find_all(exp.Column):
            name = column.name.lower()
            if name in named and name not in seen and not has_column(scope, name):
                if has_aggregate(named[name]):
                    return True
                seen.add(name)
                waiting.append(named[name])
    return False


class _Reader:
    def __init__(
        self, scope: Scope, named: Mapping[str, exp.Expr], windows_over: Keys | None, parts: Iterator[int]
    ) -> None:
        self._scope = scope
        self._source = scope.source
        self._named = named
        self._windows_over = windows_over
        self._parts = parts

    def number(self, node: exp.Expr, depth: int) -> Formula:
        node = unwrapped(node)
        if depth > MAX_DEPTH or next(self._parts) > MAX_PARTS:
            raise self._too_complex(node)
        if isinstance(node, exp.Column):
            return self._named_item(node, depth)
        if isinstance(node, exp.Literal) and not node.is_string:
            return self._constant(node)
        if is_aggregate(node):
            return self._aggregate(node)
        if isinstance(node, exp.Window):
            return self._window(node, depth)
        return self._computed(node, depth)

    def truth(self, node: exp.Expr, depth: int) -> Formula:
        node = unwrapped(node)
        if depth > MAX_DEPTH:
            raise self._too_complex(node)
        if type(node) in _JUNCTIONS:
            return self._junction(node, depth)
        if type(node) is exp.Not:
            return Arithmetic(Operation.OPERATOR_NOT, (self.truth(node.this, depth + 1),))
        return self._test(node, depth)

    def _test(self, node: exp.Expr, depth: int) -> Formula:
        if type(node) in _COMPARISONS and not has_parts_beyond(node, _BINARY):
            sides = (self.number(part, depth + 1) for part in (node.this, node.args["expression"]))
            return Arithmetic(_COMPARISONS[type(node)], tuple(sides))
        if type(node) is exp.Between and not has_parts_beyond(node, frozenset({"this", "low", "high"})):
            return self._between(node, depth)
        if type(node) is exp.In and not has_parts_beyond(node, frozenset({"this", "expressions"})):
            return self._membership(node, depth)
        if type(node) is exp.Is and isinstance(node.args["expression"], exp.Null):
            return Arithmetic(Operation.OPERATOR_IS_NULL, (self.number(node.this, depth + 1),))
        raise self._no_condition(node)

    def _computed(self, node: exp.Expr, depth: int) -> Formula:
        if type(node) in _ARITHMETIC and not has_parts_beyond(node, _BINARY):
            return self._binary(node, depth)
        if type(node) in _UNARY and not has_parts_beyond(node, frozenset({"this"})):
            operand = self.number(node.this, depth + 1)
            return -operand if isinstance(operand, float) and type(node) is exp.Neg else self._operation(node, operand)
        if type(node) in _EXTREMES and not has_parts_beyond(node, frozenset({"this", "expressions", "ignore_nulls"})):
            operands = [self.number(part, depth + 1) for part in (node.this, *node.expressions)]
            return operands[0] if len(operands) == 1 else self._operation(node, *operands)
        if isinstance(node, exp.Cast) and node.to.this in (exp.DataType.Type.DOUBLE, exp.DataType.Type.FLOAT):
            return self.number(node.this, depth + 1)
        raise self._unsupported(node)

    def _binary(self, node: exp.Expr, depth: int) -> Formula:
        left, right = node.this, unwrapped(node.args["expression"])
        if type(node) is exp.Div and isinstance(right, exp.Nullif) and _is_zero(right.args["expression"]):
            # x / NULLIF(y, 0) is how others ask for what x / y is here.
            right = right.this
        return self._operation(node, self.number(left, depth + 1), self.number(right, depth + 1))

    def _operation(self, node: exp.Expr, *operands: Formula) -> Formula:
        return Arithmetic({**_ARITHMETIC, **_UNARY, **_EXTREMES}[type(node)], operands)

    def _junction(self, node: exp.Expr, depth: int) -> Formula:
        operands, waiting = [], [node]
        while waiting:
            present = unwrapped(waiting.pop())
            if type(present) is type(node):
                waiting += [present.args["expression"], present.this]
            else:
                operands.append(self.truth(present, depth + 1))
        return Arithmetic(_JUNCTIONS[type(node)], tuple(operands))

    def _between(self, node: exp.Between, depth: int) -> Formula:
        subject = self.number(node.this, depth + 2)
        low, high = self.number(node.args["low"], depth + 2), self.number(node.args["high"], depth + 2)
        at_least = Arithmetic(Operation.OPERATOR_GREATER_OR_EQUAL, (subject, low))
        at_most = Arithmetic(Operation.OPERATOR_LESS_OR_EQUAL, (subject, high))
        return Arithmetic(Operation.OPERATOR_AND, (at_least, at_most))

    def _membership(self, node: exp.In, depth: int) -> Formula:
        subject = self.number(node.this, depth + 2)
        equal = [
            Arithmetic(Operation.OPERATOR_EQUAL, (subject, self.number(item, depth + 2))) for item in node.expressions
        ]
        if not equal:
            raise self._no_condition(node)
        return equal[0] if len(equal) == 1 else Arithmetic(Operation.OPERATOR_OR, tuple(equal))

    def _window(self, node: exp.Window, depth: int) -> Formula:
        if self._windows_over is None:
            raise self._source.unsupported(
                "Window functions cannot stand in HAVING, nor inside one another.",
                at=node,
                hint="Use QUALIFY for conditions on them.",
            )
        inside = _Reader(self._scope, self._named, None, self._parts)
        return WindowReader(
            self._scope,
            self._windows_over,
            lambda part: inside.number(part, depth + 2),
            lambda part: has_aggregate(part) or is_computed(self._scope, part, self._named),
            self._meant,
        ).read(node)

    def _meant(self, node: exp.Expr) -> exp.Expr:
        is_name = isinstance(node, exp.Column) and not node.table and not has_column(self._scope, node.name)
        return self._named.get(node.name.lower(), node) if is_name else node

    def _aggregate(self, node: exp.Expr) -> Formula:
        found = read_aggregates(self._scope, node)
        if len(found) > 1 or found[0][0]:
            raise self._source.unsupported(
                "A list of quantiles is no number.", at=node, hint="Ask for each quantile by itself."
            )
        return found[0][1]

    def _named_item(self, node: exp.Column, depth: int) -> Formula:
        meant = self._named.get(node.name.lower()) if not node.table else None
        if meant is not None and not has_column(self._scope, node.name):
            names = takewhile(lambda name: name != node.name.lower(), self._named)
            before = {name: self._named[name] for name in names}
            return _Reader(self._scope, before, self._windows_over, self._parts).number(meant, depth)
        label = self._scope.attribute(node).label
        raise self._source.refuse(
            "raw_columns",
            f"{label} has a value for each row, and rows never leave the zone.",
            at=node,
            hint=f"Use an aggregate of {label}, and put conditions on rows and keys into WHERE.",
        )

    def _constant(self, node: exp.Literal) -> float:
        try:
            number = float(node.this)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._source.malformed(
                "bad_literal", "The number cannot be read.", at=node, hint="Write a number as 3 or 3.5."
            )
        return number + 0.0

    def _unsupported(self, node: exp.Expr) -> Problem:
        if isinstance(node, exp.Query) or node.find(exp.Query):
            return self._source.unsupported(
                "A subquery cannot stand among aggregates.", at=node, hint="Send each SELECT by itself."
            )
        for column in node.find_all(exp.Column):
            if isinstance(column.this, exp.Identifier) and column.name.lower() not in self._named:
                self._scope.attribute(column)
        hint = _INSTEAD.get(type(node), _ACCEPTED)
        if isinstance(node, exp.Func) and not isinstance(node, exp.Case | exp.If | exp.Cast | exp.Connector):
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
            hint = hint if node.find(exp.AggFunc) or type(node) in _INSTEAD else ACCEPTED
            return self._source.unsupported(f"The function {name.upper()[:40]} cannot be asked.", at=node, hint=hint)
        return self._source.unsupported("This cannot be computed from aggregates.", at=node, hint=hint)

    def _no_condition(self, node: exp.Expr) -> Problem:
        return self._source.unsupported(
            "This is no condition on aggregates.",
            at=node,
            hint="Compare aggregates with numbers, as COUNT(*) > 100, and combine with AND, OR and NOT.",
        )

    def _too_complex(self, node: exp.Expr) -> Problem:
        return self._source.refuse(
            "too_complex",
            f"The formula is nested more than {MAX_DEPTH} deep, or has more than {MAX_PARTS:,} parts.",
            at=node,
            hint="Ask for its parts and compute with the answer.",
        )


def _is_zero(node: exp.Expr) -> bool:
    node = unwrapped(node)
    return isinstance(node, exp.Literal) and not node.is_string and node.this in ("0", "0.0")
