"""Variances, covariances and correlations as sums of centred moments.

With x in [c - h, c + h], where c is the middle of the bounds and n the rows with a value:

    VAR_POP(x)  = m2 - (AVG(x) - c)²,     m2 = E[(x - c)²] in [0, h²],
    COVAR_POP   = E[dx·dy] - E[dx]·E[dy],  dx = x - cx, dy = y - cy,  over rows where both have a value,
    CORR        = COVAR_POP / √(VAR_POP(x) · VAR_POP(y)) over the same rows.

Each second moment is measured less the middle of its range, h²/2 for a square and 0 for a product, so that
every term lies in [-1, 1] times half the range: half the noise that the moment itself would need. Moments
around c and not around 0 have no large numbers that cancel. Expressions keep NULL: a row without a value adds
to no moment and to no count. A value outside its bounds counts as the nearest one: in a square because
(x - c)² is clipped to h² exactly where |x - c| > h, in a product because dx and dy are clipped first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import (
    Call,
    Conjunction,
    Expression,
    Negation,
    NullTest,
)

from gateway.planning.float_expressions import as_float, cut, less, product_of
from gateway.planning.subjects import Subject
from gateway.planning.sums import centre_of


def centred(subject: Subject) -> Subject:
    """x - c, not clipped, and its bounds."""
    half = half_width(subject)
    term = less(as_float(subject), centre_of(subject.lower, subject.upper))
    return Subject(term, True, -half, half, nullable=subject.nullable)


def half_width(subject: Subject) -> float:
    """h: the smallest double with |x - c| <= h for all x within the bounds."""
    centre = centre_of(subject.lower, subject.upper)
    return math.nextafter(max(subject.upper - centre, centre - subject.lower), math.inf)


def square(subject: Subject) -> Subject:
    """(x - c)² less the middle of its range, and that middle as both bounds."""
    distance = centred(subject)
    middle = distance.upper * distance.upper / 2
    term = less(product_of([distance.expression, distance.expression]), middle)
    return Subject(term, True, -middle, middle, nullable=subject.nullable)


def clipped(subject: Subject) -> Subject:
    """x - c, clipped to its bounds; NULL stays NULL."""
    distance = centred(subject)
    expression = cut(distance.expression, distance.lower, distance.upper)
    return Subject(expression, True, distance.lower, distance.upper, nullable=subject.nullable)


def cross(first: Subject, second: Subject) -> Subject:
    """dx·dy, NULL where either is."""
    left, right = clipped(first), clipped(second)
    bound = left.upper * right.upper
    product = product_of([left.expression, right.expression])
    return Subject(product, True, -bound, bound, nullable=left.nullable or right.nullable)


def present(subject: Subject, condition: Expression | None) -> Expression | None:
    """`condition AND x IS NOT NULL`; the condition alone where x always has a value."""
    if not subject.nullable:
        return condition
    is_there = Expression(negation=Negation(operand=Expression(null_test=NullTest(operand=subject.expression))))
    return both(condition, is_there)


def both(first: Expression | None, second: Expression) -> Expression:
    """Conditions joined by AND, the first of which may be absent."""
    if first is None:
        return second
    operands = list(first.conjunction.operands) if first.HasField("conjunction") else [first]
    return Expression(conjunction=Conjunction(operands=[*operands, second]))


def are_squarable(subjects: Sequence[Subject]) -> bool:
    """Whether products of the subjects' widths are doubles: neither infinite nor 0."""
    widths = [half_width(subject) for subject in subjects]
    return all(1e-150 < width < 1e150 for width in widths)


def is_second_moment(term: Expression) -> bool:
    """Whether it is what `square` or `cross` makes."""
    call = term.call
    if call.function == Call.FUNCTION_SUBTRACT:
        squared = call.operands[0].call
        return squared.function == Call.FUNCTION_MULTIPLY and squared.operands[0] == squared.operands[1]
    return call.function == Call.FUNCTION_MULTIPLY and all(part.HasField("conditional") for part in call.operands)
