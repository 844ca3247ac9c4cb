"""Formulas over the measures of a row: numbers with their noise, and truth values of three-valued logic.

NULL wherever an operand is NULL, but for IS NULL, AND and OR; and wherever arithmetic has no result: x / 0, the
square root of a negative number, anything that is not finite.
"""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from yingbi import uncertain
from yingbi.api.v1.plan_pb2 import Formula, Measure, Operation, OutputOrdering
from yingbi.api.v1.plan_pb2 import Window as WindowMessage
from yingbi.cells import Cell, PlanError, Row
from yingbi.measures import Measures, Reading
from yingbi.ordering import Order
from yingbi.uncertain import Linear, Number
from yingbi.windows import Window, is_wide

MAX_PARTS = 100_000
"""Measures, constants and operations of all formulas of a plan."""

NODE_COST = 8
"""What one operation on a row costs, in cells of a tree that is read."""

Truth = Callable[[Row], bool | None]
_Binary = Callable[[Number, Number], Number | None]
_Many = Callable[[Sequence[Number]], Number | None]
_Compare = Callable[[float, float], bool]


def _folded(function: _Binary) -> _Many:
    def fold(numbers: Sequence[Number]) -> Number | None:
        result: Number | None = numbers[0]
        for number in numbers[1:]:
            result = None if result is None else function(result, number)
        return result

    return fold


_ANY_NUMBER = 0
"""Of operands: one or more."""

_ARITHMETIC: dict[int, tuple[int, _Many]] = {
    Operation.OPERATOR_ADD: (_ANY_NUMBER, _folded(uncertain.add)),
    Operation.OPERATOR_SUBTRACT: (2, _folded(uncertain.subtract)),
    Operation.OPERATOR_MULTIPLY: (_ANY_NUMBER, _folded(uncertain.multiply)),
    Operation.OPERATOR_DIVIDE: (2, _folded(uncertain.divide)),
    Operation.OPERATOR_NEGATE: (1, lambda numbers: uncertain.affine(numbers[0], -1, 0)),
    Operation.OPERATOR_ABSOLUTE: (1, lambda numbers: uncertain.absolute(numbers[0])),
    Operation.OPERATOR_SQUARE_ROOT: (1, lambda numbers: uncertain.square_root(numbers[0])),
    Operation.OPERATOR_LEAST: (_ANY_NUMBER, uncertain.least),
    Operation.OPERATOR_GREATEST: (_ANY_NUMBER, uncertain.greatest),
}
_COMPARISONS: dict[int, _Compare] = {
    Operation.OPERATOR_EQUAL: operators.eq,
    Operation.OPERATOR_NOT_EQUAL: operators.ne,
    Operation.OPERATOR_LESS: operators.lt,
    Operation.OPERATOR_LESS_OR_EQUAL: operators.le,
    Operation.OPERATOR_GREATER: operators.gt,
    Operation.OPERATOR_GREATER_OR_EQUAL: operators.ge,
}


def parts_of(formula: Formula) -> Iterator[Formula]:
    """The formula and all that are in it."""
    waiting = [formula]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += part.operation.operands
        waiting += part.window.operands
        waiting += [ordering.formula for ordering in part.window.order_by if ordering.HasField("formula")]


def has_window(formula: Formula) -> bool:
    """Whether it computes with other rows of the answer."""
    return any(part.HasField("window") for part in parts_of(formula))


def wide_parts(formula: Formula) -> int:
    """Its parts, if numbers in it may carry the noise of many rows; else 0."""
    parts = list(parts_of(formula))
    return len(parts) if any(is_wide(part.window) for part in parts if part.HasField("window")) else 0


@dataclass
class Formulas:
    """Compiles a plan's formulas and keeps account of what evaluating all of them on one row costs.

    Every method raises PlanError for what is ill-typed, too much, or does not fit the plan. How deep formulas
    can be nested is limited by protobuf, to a hundred messages.
    """

    measures: Measures
    cost: int = field(default=0, init=False)
    """In cells of a tree that is read."""
    windows: list[Window] = field(default_factory=list, init=False)
    """To be computed over all rows before any formula with a window is: into `Row.windows`, by index."""
    _parts: int = field(default=0, init=False)
    _sources: int = field(default=0, init=False)
    """Of noise, in all measures so far."""

    def measure(self, measure: Measure) -> Reading:
        self._count()
        self.cost += self.measures.cost(measure)
        self._sources += self.measures.sources(measure)
        return self.measures.reading(measure)

    def number(self, formula: Formula) -> Reading:
        """How to compute a formula that is a number."""
        match formula.WhichOneof("kind"):
            case "measure":
                return self.measure(formula.measure)
            case "constant":
                return self._constant(formula.constant)
            case "operation" if formula.operation.operator in _ARITHMETIC:
                return self._arithmetic(formula.operation)
            case "window":
                return self._window(formula.window)
        raise PlanError("a formula in the plan is no number")

    def order(self, ordering: OutputOrdering) -> Order[Row]:
        """How to order rows by a key or a formula."""
        return Order(self._order_key(ordering), ordering.descending, ordering.nulls_first)

    def truth(self, formula: Formula) -> Truth:
        """How to compute a formula that is a truth value."""
        if formula.WhichOneof("kind") != "operation":
            raise PlanError("a condition in the plan is no truth value")
        operation = formula.operation
        self._count()
        match operation.operator:
            case Operation.OPERATOR_AND:
                return _junction([self.truth(operand) for operand in operation.operands], decisive=False)
            case Operation.OPERATOR_OR:
                return _junction([self.truth(operand) for operand in operation.operands], decisive=True)
            case Operation.OPERATOR_NOT:
                _check_count(operation, 1)
                return _negation(self.truth(operation.operands[0]))
            case Operation.OPERATOR_IS_NULL:
                _check_count(operation, 1)
                return self._null_test(operation.operands[0])
            case operator if operator in _COMPARISONS:
                _check_count(operation, 2)
                return _comparison(_COMPARISONS[operator], *(self.number(o) for o in operation.operands))
        raise PlanError("a condition in the plan is no truth value")

    def _count(self) -> None:
        self._parts += 1
        self.cost += NODE_COST
        if self._parts > MAX_PARTS:
            raise PlanError(f"the plan's formulas have more than {MAX_PARTS:,} parts")

    def _constant(self, value: float) -> Reading:
        if not math.isfinite(value):
            raise PlanError("a constant in a formula is not finite")
        self._count()
        constant = Linear(value)
        return lambda _: constant

    def _arithmetic(self, operation: Operation) -> Reading:
        count, function = _ARITHMETIC[operation.operator]
        _check_count(operation, count)
        self._count()
        before = self._sources
        operands = [self.number(operand) for operand in operation.operands]
        # Operands are combined one by one, each with all sources so far.
        self.cost += len(operands) * (self._sources - before)

        def compute(row: Row) -> Number | None:
            numbers = []
            for operand in operands:
                number = operand(row)
                if number is None:
                    return None
                numbers.append(number)
            result = function(numbers)
            return result if result is not None and math.isfinite(result.value) else None

        return compute

    def _window(self, message: WindowMessage) -> Reading:
        self._count()
        inner = [*message.operands, *(ordering.formula for ordering in message.order_by)]
        if any(map(has_window, inner)):
            raise PlanError("a window in the plan stands in another one")
        layout, index = self.measures.layout, len(self.windows)
        window = Window.of(message, len(layout.plan.group_by), self.number, self.order)
        self.cost += NODE_COST * window.cost(layout.row_count)
        self.windows.append(window)
        return lambda row: row.windows.get(index)

    def _order_key(self, ordering: OutputOrdering) -> Callable[[Row], Cell]:
        if ordering.WhichOneof("kind") == "formula":
            number = self.number(ordering.formula)

            def value(row: Row) -> Cell:
                found = number(row)
                return None if found is None else found.value

            return value
        if ordering.WhichOneof("kind") == "key" and ordering.key < len(self.measures.layout.plan.group_by):
            key = ordering.key
            return lambda row: row.keys[key]
        raise PlanError("the plan orders by something that is not there")

    def _null_test(self, operand: Formula) -> Truth:
        is_truth = operand.WhichOneof("kind") == "operation" and operand.operation.operator not in _ARITHMETIC
        tested = self.truth(operand) if is_truth else self.number(operand)
        return lambda row: tested(row) is None


def _check_count(operation: Operation, count: int) -> None:
    found = len(operation.operands)
    if found == 0 or count not in (_ANY_NUMBER, found):
        raise PlanError("an operation in the plan has the wrong number of operands")


def _junction(operands: Sequence[Truth], *, decisive: bool) -> Truth:
    """AND, which one false decides, or OR, which one true does; else NULL where an operand is."""
    if not operands:
        raise PlanError("an operation in the plan has the wrong number of operands")

    def compute(row: Row) -> bool | None:
        found = [operand(row) for operand in operands]
        if decisive in found:
            return decisive
        return None if None in found else not decisive

    return compute


def _negation(operand: Truth) -> Truth:
    def compute(row: Row) -> bool | None:
        found = operand(row)
        return None if found is None else not found

    return compute


def _comparison(compare: _Compare, left: Reading, right: Reading) -> Truth:
    def compute(row: Row) -> bool | None:
        first, second = left(row), right(row)
        return None if first is None or second is None else compare(first.value, second.value)

    return compute
