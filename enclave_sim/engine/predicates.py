"""A plan's filter as an SQL condition: text made of our own words, every constant a bound parameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from yingbi.api.v1.plan_pb2 import Comparison, Expression, Value

from enclave_sim.engine.plan_reading import Scalar, operands, scalar
from enclave_sim.engine.protocol import EngineError

_OPERATORS: Mapping[Comparison.Operator.ValueType, str] = {
    Comparison.OPERATOR_EQUAL: "=",
    Comparison.OPERATOR_NOT_EQUAL: "<>",
    Comparison.OPERATOR_LESS: "<",
    Comparison.OPERATOR_LESS_OR_EQUAL: "<=",
    Comparison.OPERATOR_GREATER: ">",
    Comparison.OPERATOR_GREATER_OR_EQUAL: ">=",
}
_SQL_TYPES: Mapping[str | None, str] = {
    "bool_value": "BOOLEAN",
    "int64_value": "BIGINT",
    "float64_value": "DOUBLE",
    "string_value": "VARCHAR",
    "date_days": "INTEGER",
    "timestamp_micros": "BIGINT",
}


@dataclass
class Statement:
    """SQL under construction: how columns are called in it, and the parameters bound so far."""

    names: Mapping[str, str]
    parameters: dict[str, Scalar] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The SQL of a column of the plan."""
        return self.names[name]

    def double(self, number: float) -> str:
        """The SQL of a number as DOUBLE, exactly."""
        return self._bind(number, "DOUBLE")

    def constant(self, value: Value) -> str:
        """The SQL of a constant of the plan."""
        return self._bind(scalar(value), _SQL_TYPES[value.WhichOneof("kind")])

    def condition(self, expression: Expression) -> str:  # noqa: PLR0911 - one for each kind
        """The SQL of an expression, in parentheses where it is not one word."""
        match expression.WhichOneof("kind"):
            case "column":
                return self.column(expression.column.name)
            case "literal":
                return self.constant(expression.literal)
            case "comparison":
                left, right = (self.condition(side) for side in operands(expression))
                return f"({left} {_OPERATORS[expression.comparison.operator]} {right})"
            case "conjunction":
                return self._joined(expression, " AND ", "true")
            case "disjunction":
                return self._joined(expression, " OR ", "false")
            case "negation":
                return f"(NOT {self.condition(expression.negation.operand)})"
            case "membership":
                return self._membership(expression)
            case "null_test":
                return f"({self.column(expression.null_test.column.name)} IS NULL)"
            case other:
                raise EngineError(f"the plan has an expression of an unknown kind: {other}")

    def _joined(self, expression: Expression, word: str, empty: str) -> str:
        parts = [self.condition(operand) for operand in operands(expression)]
        return f"({word.join(parts)})" if parts else empty

    def _membership(self, expression: Expression) -> str:
        values = [self.constant(value) for value in expression.membership.values]
        column = self.column(expression.membership.column.name)
        return f"({column} IN ({', '.join(values)}))" if values else "false"

    def _bind(self, value: Scalar, sql_type: str) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"CAST(${name} AS {sql_type})"
