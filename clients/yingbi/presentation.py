"""Which rows of an answer are shown, and in which order: HAVING, QUALIFY, ORDER BY, OFFSET and LIMIT.

They look at released values only, so they cost nothing; and at values without their errors, so noise decides
about rows near a limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from yingbi.api.v1.plan_pb2 import OutputOrdering, Plan
from yingbi.cells import Cell, PlanError, Row
from yingbi.formulas import Formulas, Truth, has_window
from yingbi.ordering import Order, arranged
from yingbi.uncertain import Interval


class Estimate(NamedTuple):
    """A cell of the answer."""

    value: Cell
    std_error: float | None = None
    interval: Interval | None = None


class Line(NamedTuple):
    """A row of the answer, and what it was computed from."""

    row: Row
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class Presentation:
    """A plan's presentation, ready to be applied."""

    having: Truth | None
    qualify: Truth | None
    order: tuple[Order[Line], ...]
    offset: int
    limit: int | None

    @classmethod
    def of(cls, plan: Plan, formulas: Formulas) -> Presentation:
        """Raises PlanError for what is ill-typed or names what is not there, and for a window in HAVING."""
        message = plan.presentation
        if has_window(message.having):
            raise PlanError("the plan's HAVING computes with other rows of the answer")
        return cls(
            formulas.truth(message.having) if message.HasField("having") else None,
            formulas.truth(message.qualify) if message.HasField("qualify") else None,
            tuple(_order(plan, ordering, formulas) for ordering in message.order_by),
            message.offset,
            message.limit if message.HasField("limit") else None,
        )

    def keeps(self, row: Row) -> bool:
        """Whether HAVING is true; NULL is not."""
        return self.having is None or self.having(row) is True

    def qualifies(self, row: Row) -> bool:
        """Whether QUALIFY is true, once the windows are computed."""
        return self.qualify is None or self.qualify(row) is True

    def arranged(self, lines: Sequence[Line]) -> list[Line]:
        """Rows that were kept, in order and cut. NULL comes last unless the plan says otherwise."""
        ordered = arranged(lines, self.order)
        end = None if self.limit is None else self.offset + self.limit
        return ordered[self.offset : end]


def _order(plan: Plan, ordering: OutputOrdering, formulas: Formulas) -> Order[Line]:
    match ordering.WhichOneof("kind"):
        case "output":
            index = ordering.output
            if index >= len(plan.outputs):
                raise PlanError("the plan orders by an output that is not there")
            return Order(lambda line: line.estimates[index].value, ordering.descending, ordering.nulls_first)
        case None:
            raise PlanError("the plan orders by something of a kind that this version does not know")
    key = formulas.order(ordering).key
    return Order(lambda line: key(line.row), ordering.descending, ordering.nulls_first)
