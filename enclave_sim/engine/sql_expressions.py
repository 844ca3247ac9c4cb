"""Expressions as SQL: text made of our own words, every constant a bound parameter, every intermediate named once.

Values have the engine's physical types: dates are INTEGER days, timestamps BIGINT microseconds, and no value is
NaN. So every SQL function used here has a value, or NULL, wherever it is called; `test_duckdb_engine` tries
them at their edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from yingbi.api.v1.plan_pb2 import Call, ColumnType, Comparison, Conditional, Expression, LookUp, Membership, Value

from enclave_sim.engine.plan_reading import operands, scalar, value_type
from enclave_sim.engine.protocol import EngineError, Scalar
from enclave_sim.engine.sql_functions import call_sql, intermediate

_OPERATORS: Mapping[Comparison.Operator.ValueType, str] = {
    Comparison.OPERATOR_EQUAL: "=",
    Comparison.OPERATOR_NOT_EQUAL: "<>",
    Comparison.OPERATOR_LESS: "<",
    Comparison.OPERATOR_LESS_OR_EQUAL: "<=",
    Comparison.OPERATOR_GREATER: ">",
    Comparison.OPERATOR_GREATER_OR_EQUAL: ">=",
}
SQL_TYPES: Mapping[ColumnType.ValueType, str] = {
    ColumnType.COLUMN_TYPE_BOOL: "BOOLEAN",
    ColumnType.COLUMN_TYPE_INT64: "BIGINT",
    ColumnType.COLUMN_TYPE_FLOAT64: "DOUBLE",
    ColumnType.COLUMN_TYPE_STRING: "VARCHAR",
    ColumnType.COLUMN_TYPE_DATE: "INTEGER",
    ColumnType.COLUMN_TYPE_TIMESTAMP: "BIGINT",
}
"""How DuckDB holds values of each type. All dates and timestamps that are stored compare, and none is special."""


@dataclass
class Words:
    """What one statement has used up: names, and the parameters bound so far."""

    parameters: dict[str, Scalar | list[Scalar]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def name(self) -> str:
        """An identifier that is nowhere else in the statement."""
        return f"c{next(self._numbers)}"

    def bind(self, value: Scalar, kind: ColumnType.ValueType) -> str:
        """The SQL of a constant."""
        return self._bind(value, SQL_TYPES[kind])

    def bind_list(self, values: Sequence[Scalar], kind: ColumnType.ValueType) -> str:
        """The SQL of a list of constants."""
        return self._bind(list(values), f"{SQL_TYPES[kind]}[]")

    def _bind(self, value: Scalar | list[Scalar], sql_type: str) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"CAST(${name} AS {sql_type})"


@dataclass(frozen=True)
class _Sql:
    """SQL of one value, and how many layers of named intermediates it stands on.

    `short` is one word, which may be written as often as wanted.
    """

    text: str
    layer: int
    short: bool = False


@dataclass
class _Layer:
    """Intermediates that stand beside each other: expressions, and joins that find one row or none for each."""

    expressions: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    def over(self, source: str) -> str:
        return f"(SELECT {', '.join(['*', *self.expressions])} FROM {' '.join([source, *self.joins])})"  # noqa: S608


class Values:
    """Values over the columns of one source of rows.

    What is mentioned more than once gets a name in a layer between the source and its reader, so the text is
    as long as the plan is, however deep; equal parts are computed once.
    """

    def __init__(self, columns: Mapping[str, str], words: Words) -> None:
        """`columns` says how each column of the plan is called in the source."""
        self._columns = columns
        self._words = words
        self._layers: list[_Layer] = []
        self._known: dict[bytes, _Sql] = {}
        self._texts: dict[str, _Sql] = {}

    def sql(self, expression: Expression) -> str:
        """The SQL of an expression, over the rows of `layered`."""
        return self._value(expression).text

    def name(self, expression: Expression) -> str:
        """The same as one word."""
        return self._named(expression).text

    def layered(self, source: str) -> str:
        """A FROM item: `source`, which is one, with the intermediates beside its columns."""
        for layer in self._layers:
            source = layer.over(source)
        return source

    def _named(self, expression: Expression) -> _Sql:
        text = expression.SerializeToString(deterministic=True)
        if text not in self._known:
            self._known[text] = self._name(self._value(expression))
        return self._known[text]

    def _name(self, value: _Sql) -> _Sql:
        if value.short:
            return value
        if value.text not in self._texts:
            name = self._words.name()
            self._layer(value.layer).expressions.append(f"{value.text} AS {name}")
            self._texts[value.text] = _Sql(name, value.layer + 1, short=True)
        return self._texts[value.text]

    def _layer(self, number: int) -> _Layer:
        if len(self._layers) == number:
            self._layers.append(_Layer())
        return self._layers[number]

    def _value(self, expression: Expression) -> _Sql:  # noqa: PLR0911, PLR0912 - one for each kind
        match expression.WhichOneof("kind"):
            case "column":
                return _Sql(self._columns[expression.column.name], 0, short=True)
            case "literal":
                return _Sql(self._constant(expression.literal), 0, short=True)
            case "comparison":
                operator = _OPERATORS[expression.comparison.operator]
                return self._joined(expression, f" {operator} ", "")
            case "conjunction":
                return self._joined(expression, " AND ", "true")
            case "disjunction":
                return self._joined(expression, " OR ", "false")
            case "negation":
                return self._around("(NOT ", expression.negation.operand, ")")
            case "membership":
                return self._membership(expression.membership)
            case "null_test":
                return self._around("(", expression.null_test.operand, " IS NULL)")
            case "call":
                return self._call(expression)
            case "conditional":
                return self._conditional(expression.conditional)
            case "pattern":
                text = self._words.bind(expression.pattern.pattern, ColumnType.COLUMN_TYPE_STRING)
                return self._around("(", expression.pattern.operand, f" LIKE {text})")
            case "look_up":
                return self._look_up(expression)
            case other:
                raise EngineError(f"the plan has an expression of an unknown kind: {other}")

    def _constant(self, value: Value) -> str:
        return self._words.bind(scalar(value), value_type(Expression(literal=value)))

    def _joined(self, expression: Expression, word: str, empty: str) -> _Sql:
        parts = [self._value(operand) for operand in operands(expression)]
        if not parts:
            return _Sql(empty, 0, short=True)
        return _Sql(f"({word.join(part.text for part in parts)})", max(part.layer for part in parts))

    def _around(self, before: str, operand: Expression, after: str) -> _Sql:
        value = self._value(operand)
        return _Sql(f"{before}{value.text}{after}", value.layer)

    def _membership(self, membership: Membership) -> _Sql:
        # NULL among the values would make others unknown; NaN, which stands for it, is no value.
        values = [self._constant(value) for value in membership.values if scalar(value) is not None]
        if values:
            # By name, as DuckDB makes comparisons with each of a few values, and computes the operand for each.
            operand = self._named(membership.operand)
            return _Sql(f"({operand.text} IN ({', '.join(values)}))", operand.layer)
        if membership.values:
            return self._around("(CASE WHEN ", membership.operand, " IS NULL THEN NULL ELSE false END)")
        return _Sql("false", 0, short=True)

    def _conditional(self, conditional: Conditional) -> _Sql:
        branches = [(self._value(branch.condition), self._value(branch.result)) for branch in conditional.branches]
        otherwise = self._value(conditional.otherwise) if conditional.HasField("otherwise") else _Sql("NULL", 0)
        whens = " ".join(f"WHEN {condition.text} THEN {result.text}" for condition, result in branches)
        layer = max(part.layer for part in [otherwise, *(part for branch in branches for part in branch)])
        return _Sql(f"(CASE {whens} ELSE {otherwise.text} END)", layer)

    def _look_up(self, expression: Expression) -> _Sql:
        """A join with the entries, one for equal look-ups: keys are different, so every row stays one row."""
        text = expression.SerializeToString(deterministic=True)
        if text not in self._known:
            self._known[text] = self._joined_entries(expression.look_up)
        return self._known[text]

    def _joined_entries(self, look_up: LookUp) -> _Sql:
        operand = self._named(look_up.operand)
        pairs = [(scalar(entry.key), _value_of(entry)) for entry in look_up.entries]
        keys = self._words.bind_list([key for key, _ in pairs], value_type(look_up.operand))
        found = self._words.bind_list([value for _, value in pairs], look_up.type)
        key, value = self._words.name(), self._words.name()
        entries = f"(SELECT unnest({keys}) AS {key}, unnest({found}) AS {value})"
        self._layer(operand.layer).joins.append(f"LEFT JOIN {entries} ON {operand.text} = {key}")
        return _Sql(value, operand.layer + 1, short=True)

    def _call(self, expression: Expression) -> _Sql:
        """A function of named operands, by way of an intermediate where it has one."""
        call = expression.call
        # The place and length of a substring are numbers of the plan.
        own = call.operands[:1] if call.function == Call.FUNCTION_SUBSTRING else call.operands
        parts = [self._named(operand) for operand in own]
        layer = max((part.layer for part in parts), default=0)
        types = [value_type(operand) for operand in call.operands]
        names = [part.text for part in parts]
        first = intermediate(call.function, types, names)
        if first is not None:
            named = self._name(_Sql(first, layer))
            layer, names = named.layer, [named.text]
        return _Sql(call_sql(call, types, names), layer)


def _value_of(entry: LookUp.Entry) -> Scalar:
    return scalar(entry.value) if entry.HasField("value") else None
