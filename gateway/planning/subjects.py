"""What an aggregate is of: an expression, and the bounds that its sums and ranges are made with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, Expression

from gateway.planning.scope import Term


@dataclass(frozen=True)
class Subject:
    """An expression over the rows. `lower` < `upper` for all but COUNT(x), which needs no bounds."""

    expression: Expression
    is_float: bool = True
    lower: float = 0.0
    upper: float = 1.0
    integral: bool = False
    nullable: bool = True
    """Whether a row may have no value of it."""


def bounded(term: Term) -> Subject | None:
    """The term with bounds that differ; None if there are none whose distance a double holds."""
    ends = term.domain.bounds()
    if ends is None:
        return None
    lower, upper = float(ends[0]) + 0.0, float(ends[1]) + 0.0
    if lower == upper:
        # A constant: any interval with it in is as true.
        lower, upper = (min(lower, 0.0), max(upper, 0.0)) if lower else (0.0, 1.0)
    if not (math.isfinite(lower) and math.isfinite(upper) and math.isfinite(upper - lower)):
        return None
    return Subject(term.expression, term.type == COLUMN_TYPE_FLOAT64, lower, upper, term.domain.integral)
