"""The measures of an answer, wherever they stand in it."""

from __future__ import annotations

from collections.abc import Iterator

from yingbi.api.v1.job_pb2 import View
from yingbi.api.v1.plan_pb2 import Formula, Measure, Operation, Plan


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


_SUMS = (Operation.OPERATOR_ADD, Operation.OPERATOR_SUBTRACT, Operation.OPERATOR_NEGATE)
_LINEAR_MEASURES = ("count", "sum", "range_count")


def is_linear(formula: Formula) -> bool:
    """Whether a formula is a weighted sum of cells and a constant, whose standard error is exact; of no window."""
    match formula.WhichOneof("kind"):
        case "constant":
            return True
        case "measure":
            return formula.measure.WhichOneof("kind") in _LINEAR_MEASURES
        case "operation":
            operator, operands = formula.operation.operator, formula.operation.operands
            scales = operator == Operation.OPERATOR_MULTIPLY and any(_is_constant(each) for each in operands)
            divides = operator == Operation.OPERATOR_DIVIDE and _is_constant(operands[-1])
            return (operator in _SUMS or scales or divides) and all(is_linear(each) for each in operands)
        case _:
            return False


def _is_constant(formula: Formula) -> bool:
    """Whether it is computed of constants alone."""
    if formula.HasField("operation"):
        return all(_is_constant(each) for each in formula.operation.operands)
    return formula.HasField("constant")
