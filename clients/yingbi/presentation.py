"""Which rows of an answer are shown, and in which order: HAVING, ORDER BY, OFFSET and LIMIT.

They look at released values only, so they cost nothing; and at values without their errors, so noise decides
about rows near a limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from yingbi.api.v1.plan_pb2 import OutputOrdering, Plan
from yingbi.cells import Cell, PlanError, Row
from yingbi.formulas import Formulas, Truth
from yingbi.uncertain import Interval

_Key = Callable[["Line"], Cell]


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
    order: tuple[tuple[_Key, OutputOrdering], ...]
    offset: int
    limit: int | None

    @classmethod
    def of(cls, plan: Plan, formulas: Formulas) -> Presentation:
        """Raises PlanError for what is ill-typed or names an output that is not there."""
        message = plan.presentation
        return cls(
            formulas.truth(message.having) if message.HasField("having") else None,
            tuple((_key(plan, ordering, formulas), ordering) for ordering in message.order_by),
            message.offset,
            message.limit if message.HasField("limit") else None,
        )

    def keeps(self, row: Row) -> bool:
        """Whether HAVING is true; NULL is not."""
        return self.having is None or self.having(row) is True

    def arranged(self, lines: Sequence[Line]) -> list[Line]:
        """Rows that were kept, in order and cut. NULL comes last unless the plan says otherwise."""
        ordered = list(lines)
        # Sorting is stable, so sorting by the last key first makes the first one decide.
        for key, ordering in reversed(self.order):
            _sort(ordered, key, ordering)
        end = None if self.limit is None else self.offset + self.limit
        return ordered[self.offset : end]


def _key(plan: Plan, ordering: OutputOrdering, formulas: Formulas) -> _Key:
    match ordering.WhichOneof("kind"):
        case "output":
            index = ordering.output
            if index >= len(plan.outputs):
                raise PlanError("the plan orders by an output that is not there")
            return lambda line: line.estimates[index].value
        case "formula":
            number = formulas.number(ordering.formula)

            def value(line: Line) -> Cell:
                found = number(line.row)
                return None if found is None else found.value

            return value
    raise PlanError("the plan orders by something of a kind that this version does not know")


def _sort(lines: list[Line], key: _Key, ordering: OutputOrdering) -> None:
    keyed = [(key(line), line) for line in lines]
    known = [each for each in keyed if each[0] is not None]
    unknown = [each for each in keyed if each[0] is None]
    known.sort(key=lambda each: each[0], reverse=ordering.descending)  # type: ignore[arg-type, return-value]
    parts = (unknown, known) if ordering.nulls_first else (known, unknown)
    lines[:] = [line for part in parts for _, line in part]
