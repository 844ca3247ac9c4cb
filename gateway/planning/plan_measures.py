"""The measures of a plan, wherever they stand in its answer."""

from __future__ import annotations

from collections.abc import Iterator

from yingbi.api.v1.plan_pb2 import Formula, Measure, Plan


def shown_measures(plan: Plan) -> Iterator[Measure]:
    """Those that are columns by themselves."""
    return (output.measure for output in plan.outputs if output.HasField("measure"))


def measures_of(plan: Plan) -> Iterator[Measure]:
    """All of the plan's answer, those inside formulas included."""
    yield from shown_measures(plan)
    formulas: list[Formula] = [output.formula for output in plan.outputs if output.HasField("formula")]
    formulas += [plan.presentation.having, *(ordering.formula for ordering in plan.presentation.order_by)]
    while formulas:
        formula = formulas.pop()
        if formula.HasField("measure"):
            yield formula.measure
        formulas += formula.operation.operands
