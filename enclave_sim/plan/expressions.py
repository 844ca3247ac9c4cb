"""Types and size of a plan's filter.

A filter is a *predicate*: a comparison, a membership, a null test, TRUE or FALSE, or predicates joined by
AND, OR and NOT. Its *operands* are columns and constants. Every accepted predicate has a value (true, false
or NULL) for every row that the declaration allows: nothing in it can fail, overflow or run long.
"""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api.v1.dataset_pb2 import TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    ColumnReference,
    ColumnType,
    Comparison,
    Expression,
    Membership,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.schema import is_unit

MAX_DEPTH = 40
"""Expressions inside one another. Protobuf reads 100 messages deep, and each level here is two."""

MAX_NODES = 1000
"""Expressions and listed values together."""

MAX_STRING_BYTES = 1000
"""UTF-8 length of a string constant."""

_OPERATORS = frozenset(Comparison.Operator.values()) - {Comparison.OPERATOR_UNSPECIFIED}


def check_filter(expression: Expression, table: TableDeclaration, path: str = "filter") -> None:
    """Refuse a filter that is not a well-typed predicate over the table's attributes.

    Raises:
        PlanError: with the path of the part at fault.
    """
    nodes = _Checker(table).check_predicate(expression, path, depth=1)
    require(nodes <= MAX_NODES, path, f"has more than {MAX_NODES} parts")


def check_column(reference: ColumnReference, table: TableDeclaration, path: str) -> None:
    """Refuse a reference to a column that is not there, is spelt or typed otherwise, or is the unit.

    Raises:
        PlanError: naming what is wrong.
    """
    column = next((column for column in table.columns if column.name == reference.name), None)
    if column is None:
        raise PlanError(path, f"there is no column {reference.name!r}")
    require(not is_unit(column), path, "the privacy unit may only be counted")
    require(
        reference.type == column.type,
        path,
        f"{column.name} is declared {values.type_name(column.type)}, not {values.type_name(reference.type)}",
    )


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
    """Walks one filter; each method returns the number of parts that it saw."""

    def __init__(self, table: TableDeclaration) -> None:
        self._table = table

    def check_predicate(self, expression: Expression, path: str, depth: int) -> int:
        require(depth <= MAX_DEPTH, path, f"is nested more than {MAX_DEPTH} deep")
        match expression.WhichOneof("kind"):
            case "comparison":
                return 1 + self._check_comparison(expression.comparison, f"{path}.comparison")
            case "conjunction" | "disjunction" as kind:
                junction = expression.conjunction if kind == "conjunction" else expression.disjunction
                return 1 + self._check_operands(junction.operands, f"{path}.{kind}", depth)
            case "negation":
                operand = expression.negation.operand
                return 1 + self.check_predicate(operand, f"{path}.negation.operand", depth + 1)
            case "membership":
                return 1 + self._check_membership(expression.membership, f"{path}.membership")
            case "null_test":
                check_column(expression.null_test.column, self._table, f"{path}.null_test.column")
                return 1
            case "literal":
                check_constant(expression.literal, COLUMN_TYPE_BOOL, f"{path}.literal")
                return 1
            case "column" | None:
                raise PlanError(path, "is no predicate")

    def _check_operands(self, operands: Sequence[Expression], path: str, depth: int) -> int:
        require(len(operands) > 0, f"{path}.operands", "must not be empty")
        require(len(operands) <= MAX_NODES, f"{path}.operands", f"has more than {MAX_NODES} parts")
        return sum(
            self.check_predicate(operand, f"{path}.operands[{index}]", depth + 1)
            for index, operand in enumerate(operands)
        )

    def _check_comparison(self, comparison: Comparison, path: str) -> int:
        require(comparison.operator in _OPERATORS, f"{path}.operator", "is not known")
        left = self._operand_type(comparison.left, f"{path}.left")
        right = self._operand_type(comparison.right, f"{path}.right")
        require(
            left == right,
            path,
            f"compares {values.type_name(left)} with {values.type_name(right)}; both sides need one type",
        )
        return 2

    def _operand_type(self, expression: Expression, path: str) -> ColumnType.ValueType:
        match expression.WhichOneof("kind"):
            case "column":
                check_column(expression.column, self._table, f"{path}.column")
                return expression.column.type
            case "literal":
                literal_type = values.type_of(expression.literal)
                check_constant(expression.literal, literal_type, f"{path}.literal")
                return literal_type
            case _:
                raise PlanError(path, "must be a column or a constant")

    def _check_membership(self, membership: Membership, path: str) -> int:
        check_column(membership.column, self._table, f"{path}.column")
        require(len(membership.values) > 0, f"{path}.values", "must not be empty")
        require(len(membership.values) <= MAX_NODES, f"{path}.values", f"has more than {MAX_NODES} values")
        for index, value in enumerate(membership.values):
            check_constant(value, membership.column.type, f"{path}.values[{index}]")
        return len(membership.values)
