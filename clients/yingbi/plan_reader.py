"""A plan as answers and forecasts are read off it: checked, its outputs ready to be computed from rows of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from yingbi.api.v1.plan_pb2 import Output, Plan
from yingbi.cells import Cell, Layout, PlanError, Row, constants
from yingbi.formulas import NODE_COST, Formulas, wide_parts
from yingbi.measures import Measures, Reading
from yingbi.presentation import Estimate, Line, Presentation
from yingbi.uncertain import Number, interval, std_error
from yingbi.windows import COUNTING, Window, is_share

MAX_OUTPUTS = 256
MAX_WORK = 40_000_000
"""Rows times what computing one costs; see `formulas.NODE_COST`."""
MAX_NOISES = 10_000_000
"""Rows times parts of formulas times sources of noise, where numbers are made of many rows: some seconds."""

ColumnKind = Literal[
    "key", "count", "sum", "mean", "quantile", "median", "distinct_values", "formula", "rank", "coefficient"
]
"""A rank, or what else counts rows of the answer, has no error."""


@dataclass(frozen=True)
class Reader:
    """A plan, checked and ready to be computed."""

    layout: Layout
    outputs: tuple[Callable[[Row], Estimate], ...]
    numbers: tuple[Reading | None, ...]
    """Of each output that is no key: its number, before it is shown."""
    windows: tuple[Window, ...]
    most_sources: int
    """Of noise, in a number that is made of many rows: with more, its error is not told."""
    presentation: Presentation

    @classmethod
    def of(cls, plan: Plan) -> Reader:
        """Of a plan that is well-formed and not too large; raises PlanError."""
        if max(len(plan.outputs), len(plan.presentation.order_by)) > MAX_OUTPUTS:
            raise PlanError(f"the plan has more than {MAX_OUTPUTS} outputs")
        layout = Layout.of(plan)
        formulas = Formulas(Measures(layout))
        numbers = tuple(_number(plan, output, formulas) for output in plan.outputs)
        outputs = tuple(_shown(layout, output, number) for output, number in zip(plan.outputs, numbers, strict=True))
        presentation = Presentation.of(plan, formulas)
        cost = formulas.cost + NODE_COST * (len(plan.outputs) + len(plan.presentation.order_by))
        several = bool(formulas.windows) and len(layout.sets) > 1
        if formulas.windows and not layout.is_comparable:
            raise PlanError("the plan compares rows whose noises it does not tell apart")
        noises = len(layout.sets) * layout.groups if several else layout.row_count
        if noises * cost > MAX_WORK:
            raise PlanError("the plan's answer is too large")
        most_sources = MAX_NOISES // max(1, layout.row_count * _wide_parts(plan))
        return cls(layout, outputs, numbers, tuple(formulas.windows), most_sources, presentation)

    def line(self, row: Row) -> Line:
        """The row as it is shown."""
        return Line(row, tuple(output(row) for output in self.outputs))

    def compute(self, rows: Sequence[Row], *, public: bool = False) -> None:
        """Put the numbers of all windows into the rows; only of those whose order is public, if so wanted."""
        for index, window in enumerate(self.windows):
            if window.is_public or not public:
                found = window.compute(rows, self.most_sources)
                for row in rows:
                    row.windows[index] = found[row.place]


def kind_of(output: Output) -> ColumnKind:
    """What a column's numbers are; raises PlanError where this version does not know."""
    kind = output.WhichOneof("kind")
    if kind == "measure":
        measured = output.measure.WhichOneof("kind")
        if measured == "range_count":
            return "count"
        if measured == "block_mean":
            return "mean"
        if measured == "block_median":
            return "median"
        if measured is not None:
            return measured
    elif kind == "formula" and output.formula.window.function in COUNTING:
        return "rank"
    elif kind is not None:
        return kind
    raise PlanError(f"column {output.name!r} is of a kind that this version does not know")


def _number(plan: Plan, output: Output, formulas: Formulas) -> Reading | None:
    match output.WhichOneof("kind"):
        case "measure":
            return formulas.measure(output.measure)
        case "formula":
            return formulas.number(output.formula)
        case "key" if output.key < len(plan.group_by):
            return None
        case "key":
            raise PlanError("an output of the plan is a key that is not there")
    raise PlanError(f"column {output.name!r} is of a kind that this version does not know")


def _shown(layout: Layout, output: Output, number: Reading | None) -> Callable[[Row], Estimate]:
    if number is None:
        key = output.key
        if not output.labels:
            return lambda row: Estimate(row.keys[key])
        labels = labels_of(layout, output)
        return lambda row: Estimate(labels.get(row.keys[key]))
    if kind_of(output) == "rank" and not is_share(output.formula.window):
        return lambda row: Estimate(_whole(number(row)))
    return lambda row: estimate_of(number(row))


def _whole(number: Number | None) -> int | None:
    return None if number is None else int(number.value)


def estimate_of(number: Number | None) -> Estimate:
    """A number as it is shown; without what of its error is not finite."""
    if number is None:
        return Estimate(None)
    error, ends = std_error(number), interval(number)
    return Estimate(
        number.value,
        error if error is not None and math.isfinite(error) else None,
        ends if ends is not None and all(map(math.isfinite, ends)) else None,
    )


def labels_of(layout: Layout, output: Output) -> dict[Cell, Cell]:
    """What the values of a key are shown as."""
    labels = constants(output.labels)
    if len(labels) != len(layout.values[output.key]):
        raise PlanError(f"column {output.name!r} has not a label for each value of its key")
    return dict(zip(layout.values[output.key], labels, strict=True))


def _wide_parts(plan: Plan) -> int:
    """Parts of formulas whose numbers may carry the noise of many rows."""
    presented = [ordering.formula for ordering in plan.presentation.order_by]
    formulas = [*(output.formula for output in plan.outputs), plan.presentation.qualify, *presented]
    return sum(map(wide_parts, formulas))
