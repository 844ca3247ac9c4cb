"""What a relation means, in plain Python: every unit's rows, in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import (
    Expression,
    Ordering,
    Projection,
    Relation,
    Selection,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
    UnitRanking,
)

from enclave_sim.engine.protocol import EngineError, OpenTable, Scalar
from enclave_sim.engine.reference_expressions import Row, evaluate
from enclave_sim.engine.reference_functions import cut
from enclave_sim.sealed.schema import UNIT_COLUMN


@dataclass(frozen=True)
class Rows:
    """The columns of a relation, and each unit's rows."""

    columns: tuple[str, ...]
    of_units: Mapping[int, Sequence[Row]]


Tables: TypeAlias = Mapping[str, Rows]


def stored(name: str, columns: Sequence[str], open_table: OpenTable) -> Rows:
    """These columns of a table."""
    table: pa.Table = open_table(name, [UNIT_COLUMN, *columns])
    data = {column: _scalars(table[column]) for column in columns}
    of_units: dict[int, list[Row]] = {}
    for position, unit in enumerate(table[UNIT_COLUMN].to_pylist()):
        of_units.setdefault(unit, []).append({column: data[column][position] for column in columns})
    return Rows(tuple(columns), of_units)


def _scalars(column: pa.ChunkedArray) -> list[Scalar]:
    """The values in Python; dates as days and timestamps as microseconds, which have no forbidden ones."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return [_no_nan(value) for value in column.to_pylist()]


def _no_nan(value: Scalar) -> Scalar:
    return None if isinstance(value, float) and math.isnan(value) else value


def rows_of(relation: Relation, tables: Tables) -> Rows:
    """The rows of a relation over these tables; units without a row may be there or not."""
    match relation.WhichOneof("kind"):
        case "scan":
            return tables[relation.scan.table]
        case "selection":
            return _select(relation.selection, rows_of(relation.selection.input, tables))
        case "projection":
            return _project(relation.projection, rows_of(relation.projection.input, tables))
        case "unit_aggregation":
            return _aggregate(relation.unit_aggregation, rows_of(relation.unit_aggregation.input, tables))
        case "unit_ranking":
            return _rank(relation.unit_ranking, rows_of(relation.unit_ranking.input, tables))
        case "unit_join":
            join = relation.unit_join
            return _join(join, rows_of(join.left, tables), rows_of(join.right, tables))
        case other:
            raise EngineError(f"the plan has a relation of an unknown kind: {other}")


def _each_unit(rows: Rows, columns: Iterable[str], of_unit: Callable[[Sequence[Row]], Sequence[Row]]) -> Rows:
    return Rows(tuple(columns), {unit: of_unit(own) for unit, own in rows.of_units.items()})


def _select(selection: Selection, rows: Rows) -> Rows:
    def kept(own: Sequence[Row]) -> list[Row]:
        return [row for row in own if evaluate(selection.condition, row) is True]

    return _each_unit(rows, rows.columns, kept)


def _project(projection: Projection, rows: Rows) -> Rows:
    def projected(own: Sequence[Row]) -> list[Row]:
        return [{column.name: evaluate(column.expression, row) for column in projection.columns} for row in own]

    return _each_unit(rows, [column.name for column in projection.columns], projected)


def _aggregate(aggregation: UnitAggregation, rows: Rows) -> Rows:
    keys = [key.name for key in aggregation.keys]

    def aggregated(own: Sequence[Row]) -> list[Row]:
        together = _partition([key.expression for key in aggregation.keys], own)
        return [
            dict(zip(keys, values, strict=True))
            | {measure.name: _measure(measure, together[values]) for measure in aggregation.measures}
            for values in sorted(together, key=_null_last)
        ]

    return _each_unit(rows, [*keys, *(measure.name for measure in aggregation.measures)], aggregated)


def _partition(by: Iterable[Expression], own: Sequence[Row]) -> dict[tuple[Scalar, ...], list[Row]]:
    """Rows with equal values together, NULL being equal to NULL, in the order in which they are."""
    expressions = list(by)
    parts: dict[tuple[Scalar, ...], list[Row]] = {}
    for row in own:
        parts.setdefault(tuple(evaluate(expression, row) for expression in expressions), []).append(row)
    return parts


def _null_last(values: tuple[Scalar, ...]) -> list[tuple[bool, Any]]:
    return [(value is None, 0 if value is None else value) for value in values]


def _measure(measure: UnitMeasure, own: Sequence[Row]) -> Scalar:  # noqa: PLR0911 - one for each function
    if measure.HasField("filter"):
        own = [row for row in own if evaluate(measure.filter, row) is True]
    if measure.function == UnitMeasure.FUNCTION_COUNT_ROWS:
        return len(own)
    found: list[Any] = [value for row in own if (value := evaluate(measure.argument, row)) is not None]
    match measure.function:
        case UnitMeasure.FUNCTION_COUNT:
            return len(found)
        case UnitMeasure.FUNCTION_COUNT_DISTINCT:
            return len(set(found))
        case UnitMeasure.FUNCTION_SUM:
            return cut(_sum(found)) if found else None
        case UnitMeasure.FUNCTION_MEAN:
            return cut(_sum(found) / len(found)) if found else None
        case UnitMeasure.FUNCTION_MINIMUM:
            return min(found, default=None)
        case UnitMeasure.FUNCTION_MAXIMUM:
            return max(found, default=None)
        case other:
            raise EngineError(f"the plan has a unit measure of an unknown function: {other}")


def _sum(found: list[Any]) -> float:
    """Rounded after every term, smallest first; the order makes it one number."""
    total = 0.0
    for value in sorted(float(value) for value in found):
        total += value
    return total


def _rank(ranking: UnitRanking, rows: Rows) -> Rows:
    def ranked(own: Sequence[Row]) -> list[Row]:
        numbers: dict[int, int] = {}
        for part in _partition(ranking.partition_by, own).values():
            for number, row in enumerate(_in_order(part, ranking.order_by), start=1):
                numbers[id(row)] = number
        return [{**row, ranking.name: numbers[id(row)]} for row in own]

    return _each_unit(rows, [*rows.columns, ranking.name], ranked)


def _in_order(part: list[Row], order_by: Sequence[Ordering]) -> list[Row]:
    """From the last ordering to the first, each sort keeping the order of what is equal in it."""
    for ordering in reversed(order_by):
        pairs: list[tuple[Any, Row]] = [(evaluate(ordering.expression, row), row) for row in part]
        present = [pair for pair in pairs if pair[0] is not None]
        present.sort(key=lambda pair: pair[0], reverse=ordering.descending)
        part = [row for _, row in present] + [row for value, row in pairs if value is None]
    return part


def _join(join: UnitJoin, left: Rows, right: Rows) -> Rows:
    nothing = dict.fromkeys(right.columns)

    def partners(row: Row, others: Sequence[Row]) -> list[Row]:
        pairs: list[Row] = [{**row, **other} for other in others]
        found = [pair for pair in pairs if not join.HasField("condition") or evaluate(join.condition, pair) is True]
        return found or ([{**row, **nothing}] if join.kind == UnitJoin.KIND_LEFT else [])

    of_units = {
        unit: [
            pair
            for row in own[: join.max_left_rows]
            for pair in partners(row, right.of_units.get(unit, ())[: join.max_right_rows])
        ]
        for unit, own in left.of_units.items()
    }
    return Rows((*left.columns, *right.columns), of_units)
