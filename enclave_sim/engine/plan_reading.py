"""What an engine reads off a plan before it sees a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from yingbi.api.v1.plan_pb2 import (
    ColumnReference,
    ColumnType,
    Expression,
    GroupKey,
    NamedExpression,
    Plan,
    Relation,
    Statistic,
    UnitAggregation,
    UnitJoin,
    Value,
)

from enclave_sim.engine.protocol import EngineError, OpenTable, Scalar, UnitKeys
from enclave_sim.plan.functions import result_of
from enclave_sim.plan.relations import inputs_of
from enclave_sim.plan.values import type_of

Types: TypeAlias = dict[str, ColumnType.ValueType]
"""Columns with the type that the plan gives them."""


def scalar(value: Value) -> Scalar:
    """A constant of the plan; NaN is None."""
    constant: Scalar = getattr(value, value.WhichOneof("kind") or "")
    return None if isinstance(constant, float) and math.isnan(constant) else constant


def operands(expression: Expression) -> list[Expression]:
    """The expressions directly below `expression`."""
    match expression.WhichOneof("kind"):
        case "comparison":
            return [expression.comparison.left, expression.comparison.right]
        case "conditional":
            conditional = expression.conditional
            parts = [part for branch in conditional.branches for part in (branch.condition, branch.result)]
            return parts + ([conditional.otherwise] if conditional.HasField("otherwise") else [])
        case "conjunction" | "disjunction" | "call" as kind:
            return list(getattr(expression, kind).operands)
        case "negation" | "membership" | "null_test" | "pattern" | "look_up" as kind:
            return [getattr(expression, kind).operand]
        case _:
            return []


def has_look_up(expression: Expression) -> bool:
    """Whether an expression is or contains a look-up."""
    return expression.HasField("look_up") or any(has_look_up(operand) for operand in operands(expression))


def value_type(expression: Expression) -> ColumnType.ValueType:
    """The type of a well-typed expression."""
    match expression.WhichOneof("kind"):
        case "column":
            return expression.column.type
        case "literal":
            return type_of(expression.literal)
        case "look_up":
            return expression.look_up.type
        case "conditional":
            return value_type(expression.conditional.branches[0].result)
        case "call":
            types = [value_type(operand) for operand in expression.call.operands]
            return result_of(expression.call.function, types, "call")
        case _:
            return ColumnType.COLUMN_TYPE_BOOL


def key_question(plan: Plan) -> Plan:
    """A plan whose groups are the keys of the plan's key selection, over one row for each that a unit has."""
    names = [f"key{position}" for position in range(len(plan.key_selection.keys))]
    pairs = UnitAggregation(
        input=plan.relation,
        keys=[
            NamedExpression(name=name, expression=key) for name, key in zip(names, plan.key_selection.keys, strict=True)
        ],
    )
    columns = [
        ColumnReference(name=name, type=value_type(key))
        for name, key in zip(names, plan.key_selection.keys, strict=True)
    ]
    return Plan(
        relation=Relation(unit_aggregation=pairs),
        group_by=[GroupKey(expression=Expression(column=column)) for column in columns],
    )


def unit_keys_of(units: Sequence[int], keys: Sequence[tuple[Scalar, ...]]) -> UnitKeys:
    """The pairs (unit, key), which are given in any order, each once."""
    known = sorted(set(keys), key=lambda key: [(part is None, part) for part in key])
    numbers = {key: number for number, key in enumerate(known)}
    of_units = np.array(units, dtype=np.int64)
    of_keys = np.array([numbers[key] for key in keys], dtype=np.int64)
    order = np.lexsort((of_keys, of_units))
    return UnitKeys(of_units[order], of_keys[order], known)


def term(statistic: Statistic) -> Expression | None:
    """What a statistic counts or adds up; None where it takes rows as they are."""
    match statistic.WhichOneof("kind"):
        case "non_null_count" | "bounded_sum" | "range_counts" as kind:
            expression: Expression = getattr(statistic, kind).term
            return expression
        case _:
            return None


def terms_of(statistic: Statistic) -> list[Expression]:
    """All that a statistic takes of a row, but for keys and filter."""
    if statistic.HasField("model_vector"):
        return list(statistic.model_vector.terms)
    counted = term(statistic)
    return [] if counted is None else [counted]


def statistics_of(plan: Plan) -> Iterator[Statistic]:
    """The plan's statistics, and those that norms are taken of."""
    for statistic in plan.statistics:
        yield statistic
        yield from statistic.unit_norms.vector


def columns_asked(plan: Plan) -> Types:
    """The columns of the plan's rows that its keys and statistics ask for."""
    return _references(_asked(plan))


def tables_read(plan: Plan, open_table: OpenTable) -> dict[str, Types]:
    """Every table that the plan scans, with the columns of it that the plan reads.

    Only a join of two relations that both have all columns of some table leaves open whose a column is; then
    `open_table` is asked.
    """
    return _Reading(open_table).of(plan)


class _Reading:
    def __init__(self, open_table: OpenTable) -> None:
        self._open_table = open_table
        self._tables: dict[str, Types] = {}

    def of(self, plan: Plan) -> dict[str, Types]:
        self._read(plan.relation, _references(_asked(plan)))
        return self._tables

    def _read(self, relation: Relation, wanted: Types) -> None:
        """Note what the scans below must give so that `relation` has the wanted columns."""
        match relation.WhichOneof("kind"):
            case "scan":
                types = self._tables.setdefault(relation.scan.table, {})
                self._tables[relation.scan.table] = _merged(types, wanted)
            case "unit_ranking":
                below = {name: kind for name, kind in wanted.items() if name != relation.unit_ranking.name}
                self._read(relation.unit_ranking.input, _merged(below, _references(expressions(relation))))
            case "selection":
                self._read(relation.selection.input, _merged(wanted, _references(expressions(relation))))
            case "projection" | "unit_aggregation" as kind:
                self._read(getattr(relation, kind).input, _references(expressions(relation)))
            case "unit_join":
                self._read_join(relation.unit_join, _merged(wanted, _references(expressions(relation))))
            case other:
                raise EngineError(f"the plan has a relation of an unknown kind: {other}")

    def _read_join(self, join: UnitJoin, wanted: Types) -> None:
        left = {name: kind for name, kind in wanted.items() if self._is_left(join, name)}
        self._read(join.left, left)
        self._read(join.right, {name: kind for name, kind in wanted.items() if name not in left})

    def _is_left(self, join: UnitJoin, name: str) -> bool:
        return self._has(join.left, name) if _is_open(join.right) else not self._has(join.right, name)

    def _has(self, relation: Relation, name: str) -> bool:
        names = _names(relation)
        if not _is_open(relation) or name in names:
            return name in names
        if relation.HasField("scan"):
            return self._is_stored(relation.scan.table, name)
        return any(self._has(below, name) for below in inputs_of(relation))

    def _is_stored(self, table: str, name: str) -> bool:
        try:
            self._open_table(table, [name])
        except LookupError:
            return False
        return True


def expressions(relation: Relation) -> list[Expression]:
    """The expressions of `relation` itself, over its input's columns."""
    match relation.WhichOneof("kind"):
        case "selection":
            return [relation.selection.condition]
        case "projection":
            return [column.expression for column in relation.projection.columns]
        case "unit_aggregation":
            aggregation = relation.unit_aggregation
            keys = [key.expression for key in aggregation.keys]
            arguments = [measure.argument for measure in aggregation.measures if measure.HasField("argument")]
            return keys + arguments + [measure.filter for measure in aggregation.measures if measure.HasField("filter")]
        case "unit_ranking":
            ranking = relation.unit_ranking
            return [*ranking.partition_by, *(ordering.expression for ordering in ranking.order_by)]
        case "unit_join":
            return [relation.unit_join.condition] if relation.unit_join.HasField("condition") else []
        case _:
            return []


def _names(relation: Relation) -> set[str]:
    """The columns of `relation` that the plan names, which are all where it is not open."""
    match relation.WhichOneof("kind"):
        case "projection":
            return {column.name for column in relation.projection.columns}
        case "unit_aggregation":
            aggregation = relation.unit_aggregation
            return {key.name for key in aggregation.keys} | {measure.name for measure in aggregation.measures}
        case "unit_ranking":
            return _names(relation.unit_ranking.input) | {relation.unit_ranking.name}
        case _:
            return set[str]().union(*(_names(below) for below in inputs_of(relation)))


def _is_open(relation: Relation) -> bool:
    """Whether it has all columns of some table, which the plan need not name."""
    match relation.WhichOneof("kind"):
        case "scan":
            return True
        case "projection" | "unit_aggregation":
            return False
        case _:
            return any(_is_open(below) for below in inputs_of(relation))


def _asked(plan: Plan) -> Iterator[Expression]:
    """The expressions over the plan's rows."""
    yield from (key.expression for key in plan.group_by)
    for statistic in statistics_of(plan):
        yield from terms_of(statistic)
        yield from statistic.unit_norms.keys
        if statistic.HasField("filter"):
            yield statistic.filter
    yield from plan.key_selection.keys


def _references(roots: Iterable[Expression]) -> Types:
    types: Types = {}
    for root in roots:
        if root.HasField("column"):
            types = _merged(types, {root.column.name: root.column.type})
        else:
            types = _merged(types, _references(operands(root)))
    return types


def _merged(some: Types, others: Types) -> Types:
    for name, kind in others.items():
        if some.get(name, kind) != kind:
            raise EngineError(f"the plan gives the column {name} two types")
    return {**some, **others}
