"""Any fitted model as a table."""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.models.in_rounds import FittedInRounds, round_kind
from yingbi.models.kinds import Fitted, header_of, lines_of
from yingbi.models.lines import FitLine


def shape_of(model: Fitted | FittedInRounds) -> tuple[Sequence[str], Sequence[str], Sequence[FitLine]]:
    """The names of what numbers go by, the names of the numbers, and all lines."""
    if model.fit.HasField("round"):
        kind = round_kind(model.fit.model)
        return kind.keys, kind.numbers, kind.lines(model)
    keys, numbers = header_of(model.fit)
    return keys, numbers, lines_of(model)  # type: ignore[arg-type]
