"""Types and size of the expressions of a plan.

Every accepted expression has a value or is NULL for every row: no operator fails or overflows (the proto says
what each does instead), and none runs long: what all expressions of a plan do with texts is bounded by `text_work`.

A look-up is an expression like any other: its entries are constants of the plan, so what it makes of a row is a
function of that row and of what is public. A join with a public table thus moves no row from one unit to another
and costs nothing. Were a key twice in it, a join would make two rows of one; a plan cannot say that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    Call,
    ColumnReference,
    ColumnType,
    Comparison,
    Conditional,
    Expression,
    LookUp,
    Membership,
    Pattern,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.functions import result_of
from enclave_sim.plan.size import MAX_DEPTH, check_size

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_POSITION",
    "MAX_STRING_BYTES",
    "Trait",
    "check_condition",
    "check_constant",
    "check_expression",
    "result_type",
]

MAX_NODES = 4000
"""Messages in one expression: operators, columns and constants, most of which are two."""

MAX_STRING_BYTES = 1000
"""UTF-8 length of a string constant or a pattern."""

MAX_POSITION = 2**31 - 1
"""Start or length of a substring: beyond any string, and within the ranges that engines compute with."""

_OPERATORS = frozenset(Comparison.Operator.values()) - {Comparison.OPERATOR_UNSPECIFIED}


@dataclass(frozen=True)
class Trait:
    """What is known of a column or an expression before a row is seen."""

    type: ColumnType.ValueType


def result_type(expression: Expression, columns: Mapping[str, ColumnType.ValueType], path: str) -> ColumnType.ValueType:
    """The type of an expression over `columns`, which are taken for stored ones.

    Raises:
        PlanError: it is ill-typed or too large; with the path of the part at fault.
    """
    return check_expression(expression, {name: Trait(kind) for name, kind in columns.items()}, path).type


def check_expression(expression: Expression, columns: Mapping[str, Trait], path: str) -> Trait:
    """As `result_type`, for columns that may be computed ones.

    Raises:
        PlanError: as there.
    """
    check_size(expression, path, max_parts=MAX_NODES)
    return _Checker(columns).check(expression, path)


def check_condition(expression: Expression, columns: Mapping[str, Trait], path: str) -> None:
    """Refuse an expression that is no well-formed condition.

    Raises:
        PlanError: with the path of the part at fault.
    """
    _require_type(check_expression(expression, columns, path), COLUMN_TYPE_BOOL, path)


def check_constant(value: Value, column_type: int, path: str) -> None:
    """Refuse a constant that is not a finite, storable value of the type.

    Raises:
        PlanError: naming what is wrong.
    """
    require(values.is_valid(value), path, "must be a finite value")
    require(
        values.type_of(value) == column_type,
        path,
        f"must be {values.type_name(column_type)}, not {values.type_name(values.type_of(value))}",
    )
    require(len(value.string_value.encode()) <= MAX_STRING_BYTES, path, "is too long a string")


class _Checker:
    """Walks one expression, whose size is checked; each method returns what is known of its argument."""

    def __init__(self, columns: Mapping[str, Trait]) -> None:
        self._columns = columns

    def check(self, expression: Expression, path: str) -> Trait:  # noqa: PLR0911, PLR0912 - one for each kind
        kind = expression.WhichOneof("kind")
        path = path if kind is None else f"{path}.{kind}"
        match kind:
            case "column":
                return self._column(expression.column, path)
            case "literal":
                literal_type = values.type_of(expression.literal)
                check_constant(expression.literal, literal_type, path)
                return Trait(literal_type)
            case "comparison":
                return self._comparison(expression.comparison, path)
            case "conjunction":
                return self._junction(expression.conjunction.operands, path)
            case "disjunction":
                return self._junction(expression.disjunction.operands, path)
            case "negation":
                return self._condition(expression.negation.operand, f"{path}.operand")
            case "membership":
                return self._membership(expression.membership, path)
            case "null_test":
                self.check(expression.null_test.operand, f"{path}.operand")
                return Trait(COLUMN_TYPE_BOOL)
            case "call":
                return self._call(expression.call, path)
            case "conditional":
                return self._conditional(expression.conditional, path)
            case "pattern":
                return self._pattern(expression.pattern, path)
            case "look_up":
                return self._look_up(expression.look_up, path)
            case None:
                raise PlanError(path, "is no expression")

    def _column(self, reference: ColumnReference, path: str) -> Trait:
        column = self._columns.get(reference.name)
        if column is None:
            raise PlanError(path, f"there is no column {reference.name!r}")
        _require_type(column, reference.type, path)
        return column

    def _condition(self, expression: Expression, path: str) -> Trait:
        trait = self.check(expression, path)
        _require_type(trait, COLUMN_TYPE_BOOL, path)
        return trait

    def _comparison(self, comparison: Comparison, path: str) -> Trait:
        require(comparison.operator in _OPERATORS, f"{path}.operator", "is not known")
        left = self.check(comparison.left, f"{path}.left")
        right = self.check(comparison.right, f"{path}.right")
        _require_one_type((left, right), path)
        return Trait(COLUMN_TYPE_BOOL)

    def _junction(self, operands: Sequence[Expression], path: str) -> Trait:
        require(len(operands) > 0, f"{path}.operands", "must not be empty")
        for index, operand in enumerate(operands):
            self._condition(operand, f"{path}.operands[{index}]")
        return Trait(COLUMN_TYPE_BOOL)

    def _membership(self, membership: Membership, path: str) -> Trait:
        operand = self.check(membership.operand, f"{path}.operand")
        require(len(membership.values) > 0, f"{path}.values", "must not be empty")
        for index, value in enumerate(membership.values):
            check_constant(value, operand.type, f"{path}.values[{index}]")
        return Trait(COLUMN_TYPE_BOOL)

    def _pattern(self, pattern: Pattern, path: str) -> Trait:
        _require_type(self.check(pattern.operand, f"{path}.operand"), COLUMN_TYPE_STRING, f"{path}.operand")
        require(len(pattern.pattern.encode()) <= MAX_STRING_BYTES, f"{path}.pattern", "is too long a string")
        return Trait(COLUMN_TYPE_BOOL)

    def _look_up(self, look_up: LookUp, path: str) -> Trait:
        operand = self.check(look_up.operand, f"{path}.operand")
        require(operand.type != COLUMN_TYPE_FLOAT64, f"{path}.operand", "is float64, which is no key of a look-up")
        require(look_up.type in values.TYPE_NAMES, f"{path}.type", "is not known")
        require(len(look_up.entries) > 0, f"{path}.entries", "must not be empty")
        seen: set[values.PythonValue] = set()
        for index, entry in enumerate(look_up.entries):
            entry_path = f"{path}.entries[{index}]"
            check_constant(entry.key, operand.type, f"{entry_path}.key")
            if entry.HasField("value"):
                check_constant(entry.value, look_up.type, f"{entry_path}.value")
            key = values.to_python(entry.key)
            require(key not in seen, f"{entry_path}.key", "is listed twice")
            seen.add(key)
        return Trait(look_up.type)

    def _conditional(self, conditional: Conditional, path: str) -> Trait:
        require(len(conditional.branches) > 0, f"{path}.branches", "must not be empty")
        results: list[Trait] = []
        for index, branch in enumerate(conditional.branches):
            self._condition(branch.condition, f"{path}.branches[{index}].condition")
            results.append(self.check(branch.result, f"{path}.branches[{index}].result"))
        if conditional.HasField("otherwise"):
            results.append(self.check(conditional.otherwise, f"{path}.otherwise"))
        _require_one_type(results, path)
        return results[0]

    def _call(self, call: Call, path: str) -> Trait:
        operands = [self.check(operand, f"{path}.operands[{index}]") for index, operand in enumerate(call.operands)]
        result = result_of(call.function, [operand.type for operand in operands], path)
        if call.function == Call.FUNCTION_SUBSTRING:
            _require_literal(call.operands[1], 1, f"{path}.operands[1]")
            _require_literal(call.operands[2], 0, f"{path}.operands[2]")
        return Trait(result)


def _require_type(trait: Trait, wanted: int, path: str) -> None:
    require(trait.type == wanted, path, f"is {values.type_name(trait.type)}, not {values.type_name(wanted)}")


def _require_one_type(traits: Sequence[Trait], path: str) -> None:
    names = sorted({values.type_name(trait.type) for trait in traits})
    require(len(names) == 1, path, f"has sides of several types, {' and '.join(names)}; all must be of one")


def _require_literal(expression: Expression, least: int, path: str) -> None:
    within = least <= expression.literal.int64_value <= MAX_POSITION
    require(
        expression.WhichOneof("kind") == "literal" and within,
        path,
        f"must be a constant from {least} to {MAX_POSITION:,}",
    )
