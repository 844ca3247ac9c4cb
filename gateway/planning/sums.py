"""A sum whose terms are public numbers away from a centre: what SUM, AVG and moments are made of."""

from __future__ import annotations

import math
from fractions import Fraction

from yingbi.api.v1.plan_pb2 import BoundedSum, Expression


def bounded_sum(term: Expression, lower: float, upper: float, *, centred: bool) -> BoundedSum:
    """The sum of a term with bounds, around the middle of its bounds or around 0.

    `half_range` is the smallest double that covers both bounds around the (rounded) centre exactly.
    """
    centre = centre_of(lower, upper) if centred else 0.0
    needed = max(abs(Fraction(lower) - Fraction(centre)), abs(Fraction(upper) - Fraction(centre)))
    half_range = float(needed)
    if Fraction(half_range) < needed:
        half_range = math.nextafter(half_range, math.inf)
    return BoundedSum(term=term, lower=lower, upper=upper, centre=centre, half_range=half_range)


def centre_of(lower: float, upper: float) -> float:
    """The middle, rounded to a double."""
    return float((Fraction(lower) + Fraction(upper)) / 2) + 0.0
