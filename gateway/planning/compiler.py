"""What the rules for all kinds of expressions have in common: constants that take a type, and terms of one type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    Call,
    ColumnType,
    Comparison,
    Expression,
)

from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from gateway.planning import calls, literals
from gateway.planning.calls import call
from gateway.planning.literals import Constant, Null, unwrapped
from gateway.planning.scope import Scope, Term, describe, has_parts_beyond

MAX_NESTING = 40
"""Expressions inside one another, as a query writes them: a plan holds as many, and recursion stays shallow."""

Meaning: TypeAlias = Term | Constant
"""A constant keeps what was written until another expression says which type it must have."""

FLIPPED = {
    literals.EQUAL: literals.EQUAL,
    literals.NOT_EQUAL: literals.NOT_EQUAL,
    literals.LESS: literals.GREATER,
    literals.LESS_OR_EQUAL: literals.GREATER_OR_EQUAL,
    literals.GREATER: literals.LESS,
    literals.GREATER_OR_EQUAL: literals.LESS_OR_EQUAL,
}
ACCEPTED = (
    "Use columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, CASE, arithmetic and the "
    "listed functions of numbers, strings and dates."
)


def too_complex(scope: Scope, at: exp.Expr) -> Problem:
    """The problem with an expression that is larger than a plan holds."""
    return scope.source.refuse(
        "too_complex",
        "The expression has more parts, or is nested deeper, than a plan holds.",
        at=at,
        hint="Shorten it, for example with BETWEEN in the place of a long IN list.",
    )


class Compiler:
    """Compiles expressions over one scope, each kind by its rule."""

    def __init__(self, scope: Scope, rule: Callable[[Compiler, exp.Expr], Term]) -> None:
        self.scope = scope
        self.source = scope.source
        self._rule = rule
        self._depth = 0

    def meaning(self, node: exp.Expr) -> Meaning:
        """What a node means; a constant without a type of its own when it is one.

        Raises:
            Problem: it cannot be asked.
        """
        node = unwrapped(node)
        bound = self.scope.bound.get(id(node))
        if bound is not None:
            return bound
        constant = literals.read_constant(self.source, node)
        if constant is not None:
            return constant
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise too_complex(self.scope, node)
        result = self._rule(self, node)
        self._depth -= 1
        return result

    def term(self, node: exp.Expr) -> Term:
        """What a node means by itself.

        Raises:
            Problem: also for NULL, which has no type.
        """
        return self.typed(self.meaning(node))

    def condition(self, node: exp.Expr) -> Expression:
        """A node that is true, false or NULL.

        Raises:
            Problem: also MALFORMED "type_mismatch".
        """
        return self.of_type(node, COLUMN_TYPE_BOOL, "no condition by itself", "Compare it with a constant.").expression

    def of_type(self, node: exp.Expr, column_type: ColumnType.ValueType, wrong: str, hint: str) -> Term:
        """A node that must be of one type; an int64 stands for a float64, too.

        Raises:
            Problem: also MALFORMED "type_mismatch": the expression is `wrong`.
        """
        meaning = self.meaning(node)
        if isinstance(meaning, Constant) and isinstance(meaning.content, Null):
            return calls.null(column_type)
        if isinstance(meaning, Constant) and not isinstance(meaning.content, Null):
            value = literals.valued(self.source, meaning.content, column_type, meaning.node)
            if value is not None:
                return calls.literal(value)
        term = self.typed(meaning)
        if column_type == COLUMN_TYPE_FLOAT64 and term.type == COLUMN_TYPE_INT64:
            return calls.as_float(term)
        if term.type != column_type:
            raise self.source.malformed("type_mismatch", f"{described(term)} is {wrong}.", at=node, hint=hint)
        return term

    def number(self, node: exp.Expr) -> Term:
        """A node of type int64 or float64.

        Raises:
            Problem: also MALFORMED "type_mismatch".
        """
        term = self.term(node)
        if term.type not in values.NUMERIC:
            raise self.source.malformed(
                "type_mismatch",
                f"{described(term)} is no number.",
                at=node,
                hint="Use a number, or CAST(... AS BIGINT) of a string or a truth value.",
            )
        return term

    def typed(self, meaning: Meaning) -> Term:
        """A meaning with the type that it has by itself.

        Raises:
            Problem: it is NULL.
        """
        if isinstance(meaning, Term):
            return meaning
        content = meaning.content
        if isinstance(content, Null):
            raise self.source.unsupported(
                "NULL by itself has no type.", at=meaning.node, hint="Write CASE with a value in another branch."
            )
        value = literals.valued(self.source, content, literals.natural_type(content), meaning.node)
        if value is None:
            raise ValueError("a constant has a value of its own type")
        return calls.literal(value)

    def unified(self, nodes: Sequence[exp.Expr], at: exp.Expr) -> list[Term]:
        """Nodes brought to one type: numbers to float64 when one is, constants to the others' type.

        Raises:
            Problem: also MALFORMED "type_mismatch".
        """
        return self.one_type([self.meaning(node) for node in nodes], at)

    def one_type(self, meanings: Sequence[Meaning], at: exp.Expr) -> list[Term]:
        """As `unified`, for what was compiled already."""
        wanted = self._common_type(meanings, at)
        return [self._brought(meaning, wanted, at) for meaning in meanings]

    def _common_type(self, meanings: Sequence[Meaning], at: exp.Expr) -> ColumnType.ValueType:
        terms = [meaning for meaning in meanings if isinstance(meaning, Term)]
        constants = [meaning.content for meaning in meanings if isinstance(meaning, Constant)]
        natural = [literals.natural_type(content) for content in constants if not isinstance(content, Null)]
        kinds = {term.type for term in terms} or set(natural)
        if not kinds:
            raise self.source.unsupported("NULL by itself has no type.", at=at, hint="Give one of them a value.")
        if kinds <= values.NUMERIC:
            return COLUMN_TYPE_FLOAT64 if COLUMN_TYPE_FLOAT64 in {*kinds, *natural} else COLUMN_TYPE_INT64
        if len(kinds) > 1:
            first, second = (terms + [self.typed(m) for m in meanings if isinstance(m, Constant)])[:2]
            other = next((term for term in terms if term.type != first.type), second)
            raise self.source.malformed(
                "type_mismatch",
                f"{described(first)} and {describe(other)} have different types.",
                at=at,
                hint="Compare columns of one type, or use CAST.",
            )
        return kinds.pop()

    def _brought(self, meaning: Meaning, wanted: ColumnType.ValueType, at: exp.Expr) -> Term:
        if isinstance(meaning, Term):
            return calls.as_float(meaning) if meaning.type != wanted else meaning
        if isinstance(meaning.content, Null):
            return calls.null(wanted)
        value = literals.valued(self.source, meaning.content, wanted, meaning.node)
        if value is None:
            raise self.source.malformed(
                "type_mismatch",
                f"This constant is no {values.type_name(wanted)}.",
                at=meaning.node,
                hint=f"Write {literals.EXAMPLES[wanted]}.",
            )
        return calls.literal(value)

    def compared(self, left: Meaning, operator: Comparison.Operator.ValueType, right: Meaning, at: exp.Expr) -> Term:
        """A comparison, exact between an int64 and any constant.

        Raises:
            Problem: the sides are of different types, or one is NULL.
        """
        if isinstance(left, Constant) and isinstance(right, Term):
            left, operator, right = right, FLIPPED[operator], left
        if isinstance(left, Constant):
            left = self._first_typed(left, right)
        if isinstance(right, Constant):
            if not left.expression.HasField("literal"):
                return calls.truth(literals.compare(self.source, left, operator, right))
            right = calls.literal(literals.coerce(self.source, left, right))
        first, second = self.one_type([left, right], at)
        return calls.compare(first, operator, second)

    def _first_typed(self, left: Constant, right: Meaning) -> Term:
        """Of two constants the left one, as a float64 where the right one is no whole number."""
        term = self.typed(left)
        is_float = isinstance(right, Constant) and isinstance(right.content, literals.Number)
        return calls.as_float(term) if is_float and term.type == COLUMN_TYPE_INT64 else term

    def text(self, node: exp.Expr, user: str) -> str:
        """The text of a string constant that a function needs as such.

        Raises:
            Problem: it is none.
        """
        meaning = self.meaning(node)
        content = meaning.content if isinstance(meaning, Constant) else None
        if not isinstance(content, literals.Text) or len(content.value.encode()) > MAX_STRING_BYTES:
            raise self.source.unsupported(
                f"{user} takes a string constant of at most {MAX_STRING_BYTES:,} bytes here.",
                at=node,
                hint="Write a text in quotes, as 'abc'.",
            )
        return content.value

    def as_text(self, node: exp.Expr) -> Term:
        """A node as a string, as || takes it.

        Raises:
            Problem: it cannot be written as one.
        """
        meaning = self.meaning(node)
        if isinstance(meaning, Constant) and isinstance(meaning.content, Null):
            return calls.null(COLUMN_TYPE_STRING)
        return self.to_string(self.typed(meaning), node)

    def to_string(self, term: Term, at: exp.Expr) -> Term:
        """A term as a string.

        Raises:
            Problem: a float64 or a timestamp, which have no one spelling.
        """
        if term.type == COLUMN_TYPE_STRING:
            return term
        if term.type in (COLUMN_TYPE_FLOAT64, COLUMN_TYPE_TIMESTAMP):
            instead = "ROUND it and CAST it to BIGINT" if term.type == COLUMN_TYPE_FLOAT64 else "CAST it to DATE"
            raise self.source.unsupported(
                f"{described(term)} cannot be made a string.", at=at, hint=f"{instead} before, or compare it as it is."
            )
        return call(Call.FUNCTION_TO_STRING, term)

    def require_parts(self, node: exp.Expr, allowed: frozenset[str]) -> None:
        """Refuse a node that says more than it may.

        Raises:
            Problem: REFUSED "not_supported".
        """
        if has_parts_beyond(node, allowed):
            raise self.unsupported(node)

    def unsupported(self, node: exp.Expr) -> Problem:
        """The problem with a node that cannot be asked; a wrong name in it is the greater problem."""
        for column in node.find_all(exp.Column):
            if isinstance(column.this, exp.Identifier) and column.find_ancestor(exp.Query) is node.find_ancestor(
                exp.Query
            ):
                self.scope.attribute(column)
        return self.source.unsupported(f"{_named(node)} cannot be asked.", at=node, hint=ACCEPTED)


def described(term: Term) -> str:
    """As `describe`, to begin a sentence with."""
    text = describe(term)
    return text[0].upper() + text[1:] if text.startswith(calls.UNNAMED) else text


def _named(node: exp.Expr) -> str:
    if isinstance(node, exp.Anonymous):
        return f"The function {node.name.upper()[:40]}"
    if isinstance(node, exp.Query | exp.Subquery | exp.Exists):
        return "A subquery in this place"
    if isinstance(node, exp.Window):
        return "A window function in this place"
    if isinstance(node, exp.AggFunc):
        return f"The aggregate {node.sql_name()} in this place"
    return f"The function {node.sql_name()}" if isinstance(node, exp.Func) else "This part of the expression"
