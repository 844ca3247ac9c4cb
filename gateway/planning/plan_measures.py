"""The measures of an answer, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator

from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Formula, Measure, Plan


def shown_measures(answer: Plan | View) -> Iterator[Measure]:
    """Those that are columns by themselves."""
    return (output.measure for output in answer.outputs if output.HasField("measure"))


def measures_of(answer: Plan | View) -> Iterator[Measure]:
    """All of an answer, those inside formulas included."""
    yield from shown_measures(answer)
    yield from (formula.measure for formula in formulas_of(answer) if formula.HasField("measure"))


def formulas_of(answer: Plan | View) -> Iterator[Formula]:
    """All formulas of an answer, and all that are in them."""
    formulas: list[Formula] = [output.formula for output in answer.outputs if output.HasField("formula")]
    formulas += [
        answer.presentation.having,
        answer.presentation.qualify,
        *(ordering.formula for ordering in answer.presentation.order_by),
    ]
    while formulas:
        formula = formulas.pop()
        yield formula
        formulas += formula.operation.operands
        formulas += formula.window.operands
        formulas += [ordering.formula for ordering in formula.window.order_by]
