"""The columns of a synthesis, cut into levels: declared values, or ranges between declared bounds, and NULL.

Levels are made of what is declared and of the text of the request alone; nothing here depends on data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    Call,
    ColumnReference,
    Conditional,
    Expression,
    LookUp,
    NamedExpression,
    NullTest,
    Projection,
    Relation,
    Selection,
    SynthesisColumn,
    Value,
)

from enclave_sim.plan.syntheses import column_name, levels_of
from enclave_sim.plan.values import NUMERIC, type_name
from gateway.planning.conditions import negated
from gateway.planning.float_expressions import as_float, cut, float_literal, less, over
from gateway.planning.literals import EQUAL, comparison
from gateway.planning.scope import Scope, Term
from gateway.planning.subjects import Subject, bounded

MIN_BINS = 2
MAX_BINS = 31
"""With NULL beside them 32 levels, so that any two numbers fit into one marginal."""

MAX_LEVELS = 500
MAX_LISTED_NUMBERS = 64
"""Numbers with more declared values are cut into ranges."""


@dataclass(frozen=True)
class LevelledColumn:
    """A column, and the expression of its level's index, a float64; NULL for what is no level."""

    message: SynthesisColumn
    index: Expression
    is_partial: bool
    """Whether a row may have none of its levels."""


def levelled(scope: Scope, node: exp.Expr, name: str, term: Term, bins: int) -> LevelledColumn:
    """A column's levels.

    Args:
        bins: into how many ranges a number is cut, at most.

    Raises:
        Problem: REFUSED "undeclared_values", "no_bounds" or "not_numeric", where nothing public says what the levels
            could be; "one_value".
    """
    nullable = scope.is_nullable(term.expression)
    values = None if term.domain.values is None else term.listed(MAX_LEVELS)
    if values and (term.type not in NUMERIC or len(values) <= MAX_LISTED_NUMBERS):
        found = _of_values(name, term, values, nullable=nullable)
    elif term.type in NUMERIC:
        found = _of_ranges(scope, node, name, term, bins, nullable=nullable)
    else:
        listed = term.listed(MAX_LEVELS)
        if not listed:
            raise _no_levels(scope, node, term)
        found = _of_values(name, term, listed, nullable=nullable)
    if levels_of(found.message) < 2:
        raise scope.source.refuse(
            "one_value", f"{term.label} has one value.", at=node, hint="Leave it out: every row has the same."
        )
    return found


def _of_values(name: str, term: Term, values: Sequence[Value], *, nullable: bool) -> LevelledColumn:
    message = SynthesisColumn(name=name, type=term.type, values=values, nullable=nullable)
    numbered = [(value, float(place)) for place, value in enumerate(values)]
    if term.type == COLUMN_TYPE_FLOAT64:
        branches = [
            Conditional.Branch(condition=comparison(term.expression, EQUAL, value), result=float_literal(place))
            for value, place in numbered
        ]
        index = Expression(conditional=Conditional(branches=branches))
    else:
        entries = [LookUp.Entry(key=value, value=Value(float64_value=place)) for value, place in numbered]
        index = Expression(look_up=LookUp(operand=term.expression, entries=entries, type=COLUMN_TYPE_FLOAT64))
    return LevelledColumn(message, _with_null(term, index, len(values), nullable=nullable), is_partial=True)


def _of_ranges(scope: Scope, node: exp.Expr, name: str, term: Term, bins: int, *, nullable: bool) -> LevelledColumn:
    subject = bounded(term)
    if subject is None:
        raise scope.source.refuse(
            "no_bounds",
            f"{term.label} has no declared bounds, between which it could be cut into ranges.",
            at=node,
            hint=f"Write LEAST(GREATEST({term.label}, lower), upper) AS {_alias(name)}, with numbers for both.",
        )
    message = _ranges(name, term, subject, bins, nullable=nullable)
    # Beyond the bounds the nearest range counts: the last one has the upper bound, which rounding could move on.
    inside = cut(as_float(subject), subject.lower, subject.upper)
    place = Call(function=Call.FUNCTION_FLOOR, operands=[over(less(inside, message.lower), message.width)])
    index = cut(Expression(call=place), 0.0, message.bins - 1.0)
    return LevelledColumn(message, _with_null(term, index, message.bins, nullable=nullable), is_partial=False)


def _ranges(name: str, term: Term, subject: Subject, bins: int, *, nullable: bool) -> SynthesisColumn:
    if subject.integral:
        lower, upper = math.ceil(subject.lower), math.floor(subject.upper) + 1
        width = -(-(upper - lower) // bins)
        count = -(-(upper - lower) // width)
        ends, step = (float(lower), float(upper)), float(width)
    else:
        ends, count = (subject.lower, subject.upper), bins
        step = (subject.upper - subject.lower) / bins
    return SynthesisColumn(
        name=name,
        type=term.type,
        lower=ends[0],
        upper=ends[1],
        bins=count,
        integral=subject.integral,
        nullable=nullable,
        width=step,
    )


def _with_null(term: Term, index: Expression, last: int, *, nullable: bool) -> Expression:
    """NULL is the last level of a column that may have it."""
    if not nullable:
        return index
    is_null = Expression(null_test=NullTest(operand=term.expression))
    branch = Conditional.Branch(condition=is_null, result=float_literal(float(last)))
    return Expression(conditional=Conditional(branches=[branch], otherwise=index))


def level_rows(scope: Scope, columns: Sequence[LevelledColumn]) -> Relation:
    """The rows that have a level of every column, as the indexes of their levels."""
    named = [NamedExpression(name=column_name(place), expression=each.index) for place, each in enumerate(columns)]
    rows = Relation(projection=Projection(input=scope.relation, columns=named))
    for place, column in enumerate(columns):
        if column.is_partial:
            is_missing = Expression(null_test=NullTest(operand=reference(place)))
            rows = Relation(selection=Selection(input=rows, condition=negated(is_missing)))
    return rows


def reference(place: int) -> Expression:
    """The index of a row's level of a column."""
    return Expression(column=ColumnReference(name=column_name(place), type=COLUMN_TYPE_FLOAT64))


def _no_levels(scope: Scope, node: exp.Expr, term: Term) -> Problem:
    if term.type == COLUMN_TYPE_STRING:
        return scope.source.refuse(
            "undeclared_values",
            f"{term.label} has no short list of declared values, which alone may be in what is made up.",
            at=node,
            hint=f"Say the values in where: {term.label} IN ('a', 'b'), or have the dataset declare them.",
        )
    return scope.source.refuse(
        "not_numeric",
        f"{term.label} is a {type_name(term.type)} without a short list of declared values.",
        at=node,
        hint=f"Write an expression, as YEAR({term.label}) AS year, with where or declared bounds saying which years.",
    )


def _alias(name: str) -> str:
    return name if name.isidentifier() else "x"
