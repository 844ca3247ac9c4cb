"""What a model's formula means of a row: the columns of its design and the response, each within [-1, 1].

They are made of declared ranges and values alone; nothing here depends on data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import product

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    Call,
    ColumnType,
    Comparison,
    Conditional,
    Conjunction,
    Expression,
    FitColumn,
    FitFactor,
    Membership,
    NamedExpression,
    Projection,
    Relation,
    Selection,
    Value,
)

from enclave_sim.plan.fits import MAX_FIT_COLUMNS
from enclave_sim.plan.values import NUMERIC, to_python, type_name
from gateway.planning import moments
from gateway.planning.float_expressions import as_float, cut, float_literal, less, over, product_of
from gateway.planning.model_formulas import Factor, ModelFormula, Term, bad, refused
from gateway.planning.scope import Scope
from gateway.planning.scope import Term as SqlTerm
from gateway.planning.sql import Source
from gateway.planning.subjects import Subject, bounded
from gateway.planning.sums import centre_of

MAX_LEVELS = 1000
"""Values of a category that are looked at; how many make columns, the number of moments decides."""


class Shape(Enum):
    """What a column is known to hold, beside numbers between its ends."""

    NUMBER = auto()
    INDICATOR = auto()
    """0 or 1."""
    SIGN = auto()
    """-1 or 1."""


@dataclass(frozen=True)
class Variable:
    """What a factor means."""

    factor: Factor
    subject: Subject | None
    """Of a number."""
    levels: tuple[Value, ...]
    """Of a category, in declared order."""
    expression: Expression
    is_binary: bool = False
    """Whether it is one of two neighbouring whole numbers once it is cut to its bounds."""
    type: ColumnType.ValueType = COLUMN_TYPE_FLOAT64
    """Of the expression."""

    @property
    def is_bool(self) -> bool:
        return self.type == COLUMN_TYPE_BOOL


@dataclass(frozen=True)
class Column:
    """A column z of the design, or the response: within [lower, upper], which is within [-1, 1]."""

    message: FitColumn
    expression: Expression
    kind: Shape
    term: Term
    is_apart: bool
    """Whether it is 0 where another column of its term is not."""

    @property
    def ends(self) -> tuple[float, float]:
        """Between which z lies."""
        return self.message.lower, self.message.upper


def variable_of(formula: ModelFormula, factor: Factor, term: SqlTerm, scope: Scope | None = None) -> Variable:
    """A number with bounds, or a category with values; raises Problem, in the formula, for anything else.

    With a `scope` a problem with bounds says which columns have some.
    """
    if factor.is_category or term.type == COLUMN_TYPE_STRING:
        return _category(formula, factor, term)
    if term.type == COLUMN_TYPE_BOOL:
        as_number = Expression(call=Call(function=Call.FUNCTION_TO_FLOAT64, operands=[term.expression]))
        return Variable(factor, Subject(as_number, True, 0.0, 1.0), (), term.expression, True, term.type)
    if term.type not in NUMERIC:
        raise Problem(
            Kind.REFUSED,
            "not_numeric",
            f"{factor.text} is a {type_name(term.type)}, neither a number nor a category with declared values.",
            field="formula",
            position=Source(formula.text).position(factor.start),
            hint=f"Write an expression, as YEAR({factor.text}), with WHERE or declared bounds saying which years.",
        )
    subject = bounded(term)
    if subject is None:
        raise _no_bounds(formula, factor, scope)
    is_binary = subject.upper - subject.lower == 1 and term.domain.integral and term.type != COLUMN_TYPE_FLOAT64
    return Variable(factor, subject, (), term.expression, is_binary, term.type)


def _no_bounds(formula: ModelFormula, factor: Factor, scope: Scope | None) -> Problem:
    attributes = scope.attributes if scope else ()
    known = [attribute.label for attribute in attributes if attribute.domain.bounds() is not None]
    others = f" Declared are those of {', '.join(known[:10])}." if known else ""
    return Problem(
        Kind.REFUSED,
        "no_bounds",
        f"{factor.text} has no declared bounds, which say how much one unit can move a sum.",
        field="formula",
        position=Source(formula.text).position(factor.start),
        hint=f"Write LEAST(GREATEST({factor.text}, lower), upper) with numbers for lower and upper.{others}",
    )


def _category(formula: ModelFormula, factor: Factor, term: SqlTerm) -> Variable:
    levels = None if term.type == COLUMN_TYPE_FLOAT64 else term.listed(MAX_LEVELS)
    if not levels:
        raise Problem(
            Kind.REFUSED,
            "undeclared_values",
            f"{factor.text} has no short list of declared values to make columns of.",
            field="formula",
            position=Source(formula.text).position(factor.start),
            hint=f"Say the values: where=\"{factor.text} IN ('a', 'b')\", or have the dataset declare them.",
        )
    return Variable(factor, None, levels, term.expression, type=term.type)


def class_of(formula: ModelFormula, factor: Factor, term: SqlTerm) -> Variable:
    """A variable whose declared values are classes; raises Problem, in the formula, for anything else."""
    if factor.is_category or term.type in (COLUMN_TYPE_STRING, COLUMN_TYPE_BOOL) or term.domain.bounds() is not None:
        found = variable_of(formula, factor, term)
        if found.levels or found.is_binary:
            return found
    raise refused(
        formula.text,
        factor.start,
        f"{factor.text} is a number, and no class.",
        f"write C({factor.text}) where its values are declared; a line predicts numbers: LinearRegression",
    )


def columns_of(formula: ModelFormula, variables: Mapping[Factor, Variable]) -> list[Column]:
    """The regressors and, last, the response; raises Problem, in the formula."""
    response = variables[formula.response]
    if response.subject is None:
        raise refused(
            formula.text,
            formula.response.start,
            f"{formula.response.text} is a category, which no line predicts.",
            "LogisticRegression and GaussianNB do; a bool or a number with the values 0 and 1 can be a response here",
        )
    found = regressors_of(formula, variables)
    if not found and not formula.intercept:
        raise bad(formula.text, 0, "The formula has neither regressors nor a constant.")
    return [*found, _column(formula, (formula.response,), (None,), variables)]


def regressors_of(formula: ModelFormula, variables: Mapping[Factor, Variable]) -> list[Column]:
    """The columns of the right side; raises Problem, in the formula."""
    response = formula.left
    if response is not None and any(response in term for term in formula.terms):
        message = f"{response.text} is on both sides of the formula."
        raise bad(formula.text, response.start, message, "leave it out on the right")
    found = [column for term in formula.terms for column in _of_term(formula, term, variables)]
    if len(found) + 1 > MAX_FIT_COLUMNS:
        raise too_many(formula, f"{len(found):,} regressors", f"{MAX_FIT_COLUMNS - 1}")
    return found


def _of_term(formula: ModelFormula, term: Term, variables: Mapping[Factor, Variable]) -> list[Column]:
    """Of a product of numbers one column; with categories one for each combination of their values.

    A category's first value is left out where the term without the category is in the model too, the constant being
    the term of nothing: it would be the sum of the others (as R does it).
    """
    present = {frozenset(each) for each in formula.terms}
    if formula.intercept:
        present.add(frozenset())
    choices: list[Sequence[Value | None]] = []
    for factor in term:
        levels = variables[factor].levels
        rest = frozenset(term) - {factor}
        choices.append(levels[1:] if levels and rest in present else levels or (None,))
    if math.prod(map(len, choices)) > MAX_FIT_COLUMNS:
        name = ":".join(factor.name for factor in term)
        raise too_many(formula, f"{math.prod(map(len, choices)):,} columns of {name}", f"{MAX_FIT_COLUMNS - 1}")
    chosen = list(product(*choices))
    return [_column(formula, term, levels, variables, is_alone=len(chosen) == 1) for levels in chosen]


def _column(
    formula: ModelFormula,
    term: Term,
    levels: Sequence[Value | None],
    variables: Mapping[Factor, Variable],
    *,
    is_alone: bool = True,
) -> Column:
    """One column. Of a term with others, which are 0 where it is not, it stays 0 there: it has no centre."""
    own = [variables[factor] for factor in term]
    subjects = [variable.subject for variable in own if variable.subject is not None]
    has_level = len(subjects) < len(own)
    lower, upper = _range_of(subjects)
    if has_level:
        lower, upper = min(lower, 0.0), max(upper, 0.0)
    centre = centre_of(lower, upper) if formula.intercept and is_alone else 0.0
    # What rounding takes beyond 1 is cut by the sums' own bounds.
    half = max(upper - centre, centre - lower)
    conditions = [
        equals(variable.expression, level) for variable, level in zip(own, levels, strict=True) if level is not None
    ]
    message = FitColumn(
        name=":".join(_shown(factor, level) for factor, level in zip(term, levels, strict=True)),
        factors=[FitFactor(variable=f.text, level=level) for f, level in zip(term, levels, strict=True)],
        centre=centre,
        half_range=half,
        lower=max(-1.0, (lower - centre) / half),
        upper=min(1.0, (upper - centre) / half),
    )
    raw = _where(conditions, product_of([cut(as_float(subject), subject.lower, subject.upper) for subject in subjects]))
    return Column(message, over(less(raw, centre), half), _kind(own, message), term, not is_alone)


def _kind(own: Sequence[Variable], message: FitColumn) -> Shape:
    binary = all(variable.subject is None or variable.is_binary for variable in own)
    at_ends = (message.lower, message.upper)
    if binary and at_ends == (0.0, 1.0):
        return Shape.INDICATOR
    # Half the distance of 0 and 1: a product of whole numbers that is between other ends has more values than two.
    if binary and at_ends == (-1.0, 1.0) and message.half_range == 0.5:
        return Shape.SIGN
    return Shape.NUMBER


def _range_of(subjects: Sequence[Subject]) -> tuple[float, float]:
    lower = upper = 1.0
    for subject in subjects:
        ends = [one * other for one in (lower, upper) for other in (subject.lower, subject.upper)]
        lower, upper = min(ends), max(ends)
    return lower, upper


def _shown(factor: Factor, level: Value | None) -> str:
    if level is None:
        return factor.text
    return f"{factor.name}[{to_python(level)}]"


def design_rows(
    scope: Scope, variables: Sequence[Variable], columns: Sequence[Column], *others: NamedExpression
) -> Relation:
    """The rows with all variables, as the columns of the design and the response, and others."""
    condition: Expression | None = None
    for variable in variables:
        condition = _both(condition, _usable(variable, scope))
    rows = scope.relation
    if condition is not None:
        rows = Relation(selection=Selection(input=rows, condition=condition))
    named = [
        NamedExpression(name=column_name(index), expression=each.expression) for index, each in enumerate(columns, 1)
    ]
    return Relation(projection=Projection(input=rows, columns=[*named, *others]))


def _usable(variable: Variable, scope: Scope) -> Expression | None:
    if variable.levels:
        return Expression(membership=Membership(operand=variable.expression, values=variable.levels))
    nullable = scope.is_nullable(variable.expression)
    return moments.present(Subject(variable.expression, nullable=nullable), None)


def _both(first: Expression | None, second: Expression | None) -> Expression | None:
    return first if second is None else moments.both(first, second)


def column_name(index: int) -> str:
    """What the relation calls a column; `index` from 1, the response last."""
    return f"z{index}"


def _where(conditions: Sequence[Expression], value: Expression) -> Expression:
    """The value where all conditions hold, else 0."""
    if not conditions:
        return value
    every = conditions[0] if len(conditions) == 1 else Expression(conjunction=Conjunction(operands=conditions))
    branch = Conditional.Branch(condition=every, result=value)
    return Expression(conditional=Conditional(branches=[branch], otherwise=float_literal(0.0)))


def equals(operand: Expression, level: Value) -> Expression:
    """Whether it is this value."""
    comparison = Comparison(operator=Comparison.OPERATOR_EQUAL, left=operand, right=Expression(literal=level))
    return Expression(comparison=comparison)


def too_many(formula: ModelFormula, found: str, allowed: str) -> Problem:
    """What is said of a model that is larger than a plan."""
    return Problem(
        Kind.REFUSED,
        "too_many_regressors",
        f"The model has {found}; {allowed} are allowed.",
        field="formula",
        position=Source(formula.text).position(0),
        hint="Leave some out, or make categories coarser.",
    )
