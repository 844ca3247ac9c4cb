"""From a WHERE clause to the plan language's filter."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    Comparison,
    Conjunction,
    Disjunction,
    Expression,
    Membership,
    Negation,
    NullTest,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.expressions import MAX_DEPTH, check_filter
from gateway.planning import literals
from gateway.planning.scope import Scope, describe, has_parts_beyond, reference

_OPERATORS: dict[type[exp.Expr], Comparison.Operator.ValueType] = {
    exp.EQ: literals.EQUAL,
    exp.NEQ: literals.NOT_EQUAL,
    exp.LT: literals.LESS,
    exp.LTE: literals.LESS_OR_EQUAL,
    exp.GT: literals.GREATER,
    exp.GTE: literals.GREATER_OR_EQUAL,
}
_FLIPPED = {
    literals.EQUAL: literals.EQUAL,
    literals.NOT_EQUAL: literals.NOT_EQUAL,
    literals.LESS: literals.GREATER,
    literals.LESS_OR_EQUAL: literals.GREATER_OR_EQUAL,
    literals.GREATER: literals.LESS,
    literals.GREATER_OR_EQUAL: literals.LESS_OR_EQUAL,
}
_BINARY = frozenset({"this", "expression"})
_ACCEPTED = "Use =, <>, <, <=, >, >=, IN, BETWEEN, IS NULL, AND, OR and NOT on columns and constants."


def compile_filter(scope: Scope, where: exp.Expr) -> Expression:
    """The filter for the condition of a WHERE clause.

    Raises:
        Problem: whatever cannot be asked, with its place; "too_complex" for more than a plan holds.
    """
    expression = _Compiler(scope).predicate(where, depth=1)
    try:
        check_filter(expression, scope.table)
    except PlanError as error:
        raise _too_complex(scope, where) from error
    return expression


def _too_complex(scope: Scope, at: exp.Expr) -> Problem:
    return scope.source.refuse(
        "too_complex",
        "The condition has more parts, or is nested deeper, than a plan holds.",
        at=at,
        hint="Shorten it, for example with BETWEEN in the place of a long IN list.",
    )


class _Compiler:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._source = scope.source
        self._rules: dict[type[exp.Expr], Callable[..., Expression]] = {
            exp.And: self._junction,
            exp.Or: self._junction,
            exp.Not: self._negation,
            exp.In: self._membership,
            exp.Between: self._between,
            exp.Is: self._null_test,
            exp.Boolean: self._truth,
            exp.Column: self._bool_column,
            **dict.fromkeys(_OPERATORS, self._comparison),
        }

    def predicate(self, node: exp.Expr, depth: int) -> Expression:
        node = literals.unwrapped(node)
        if depth > MAX_DEPTH:
            raise _too_complex(self._scope, node)
        rule = self._rules.get(type(node))
        if rule is None:
            raise self._unsupported(node)
        if rule in (self._junction, self._negation):
            return rule(node, depth)
        return rule(node)

    def _junction(self, node: exp.Expr, depth: int) -> Expression:
        operands = [self.predicate(operand, depth + 1) for operand in _flattened(node)]
        if type(node) is exp.And:
            return Expression(conjunction=Conjunction(operands=operands))
        return Expression(disjunction=Disjunction(operands=operands))

    def _negation(self, node: exp.Not, depth: int) -> Expression:
        return Expression(negation=Negation(operand=self.predicate(node.this, depth + 1)))

    def _comparison(self, node: exp.Expr) -> Expression:
        if has_parts_beyond(node, _BINARY):
            raise self._unsupported(node)
        return self._compared(node.this, _OPERATORS[type(node)], node.args["expression"], node)

    def _compared(
        self, left: exp.Expr, operator: Comparison.Operator.ValueType, right: exp.Expr, at: exp.Expr
    ) -> Expression:
        left, right = literals.unwrapped(left), literals.unwrapped(right)
        if isinstance(left, exp.Column) and isinstance(right, exp.Column):
            return self._two_columns(left, operator, right)
        if isinstance(right, exp.Column):
            left, operator, right = right, _FLIPPED[operator], left
        if not isinstance(left, exp.Column):
            raise self._unsupported(at)
        column = self._scope.attribute(left)
        constant = literals.read_constant(self._source, right)
        if constant is None:
            raise self._unsupported(right)
        return literals.compare(self._source, column, operator, constant)

    def _two_columns(self, left: exp.Column, operator: Comparison.Operator.ValueType, right: exp.Column) -> Expression:
        first, second = self._scope.attribute(left), self._scope.attribute(right)
        if first.type != second.type:
            raise self._source.malformed(
                "type_mismatch",
                f"{describe(first)} and {describe(second)} have different types.",
                at=left,
                hint="Compare columns of one type.",
            )
        return Expression(
            comparison=Comparison(
                operator=operator,
                left=Expression(column=reference(first)),
                right=Expression(column=reference(second)),
            )
        )

    def _membership(self, node: exp.In) -> Expression:
        subject, listed = literals.unwrapped(node.this), node.expressions
        if has_parts_beyond(node, frozenset({"this", "expressions"})) or not listed:
            raise self._source.unsupported("IN takes a list of constants.", at=node, hint="Write column IN (1, 2, 3).")
        if not isinstance(subject, exp.Column):
            raise self._unsupported(node)
        column = self._scope.attribute(subject)
        values = literals.members(self._source, column, [self._constant(item) for item in listed])
        if not values:
            return literals.never(column)
        return Expression(membership=Membership(column=reference(column), values=values))

    def _between(self, node: exp.Between) -> Expression:
        if has_parts_beyond(node, frozenset({"this", "low", "high"})):
            raise self._unsupported(node)
        at_least = self._compared(node.this, literals.GREATER_OR_EQUAL, node.args["low"], node)
        at_most = self._compared(node.this, literals.LESS_OR_EQUAL, node.args["high"], node)
        return Expression(conjunction=Conjunction(operands=[at_least, at_most]))

    def _null_test(self, node: exp.Is) -> Expression:
        subject = literals.unwrapped(node.this)
        if not isinstance(node.args["expression"], exp.Null) or has_parts_beyond(node, _BINARY):
            raise self._source.unsupported(
                "IS can only be asked with NULL.", at=node, hint="Write column = TRUE in the place of IS TRUE."
            )
        if not isinstance(subject, exp.Column):
            raise self._unsupported(node)
        return Expression(null_test=NullTest(column=reference(self._scope.attribute(subject))))

    def _truth(self, node: exp.Boolean) -> Expression:
        return Expression(literal=Value(bool_value=bool(node.this)))

    def _bool_column(self, node: exp.Column) -> Expression:
        column: ColumnDeclaration = self._scope.attribute(node)
        if column.type != COLUMN_TYPE_BOOL:
            raise self._source.malformed(
                "type_mismatch",
                f"{describe(column)} is no condition by itself.",
                at=node,
                hint="Compare it with a constant.",
            )
        return literals.comparison(column, literals.EQUAL, Value(bool_value=True))

    def _constant(self, node: exp.Expr) -> literals.Constant:
        constant = literals.read_constant(self._source, node)
        if constant is None:
            raise self._unsupported(node)
        return constant

    def _unsupported(self, node: exp.Expr) -> Problem:
        if isinstance(node, exp.Column):
            self._scope.attribute(node)
        for column in node.find_all(exp.Column):
            self._scope.attribute(column)
        return self._source.unsupported("This part of the condition cannot be asked.", at=node, hint=_ACCEPTED)


def _flattened(node: exp.Expr) -> list[exp.Expr]:
    """The operands of a chain of AND (or of OR), however long: it is read as a tree as deep."""
    operands: list[exp.Expr] = []
    waiting = [node]
    while waiting:
        present = literals.unwrapped(waiting.pop())
        if type(present) is type(node):
            waiting += [present.args["expression"], present.this]
        else:
            operands.append(present)
    return operands
