"""Relations as SQL.

Every relation becomes a FROM item with the column `u`, the unit; one column for each of its own; and, only where
something above asks for the order of a unit's rows, columns that say it. All names are ours and none occurs twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yingbi.api.v1.plan_pb2 import (
    ColumnType,
    Expression,
    NamedExpression,
    Ordering,
    Projection,
    Relation,
    Selection,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
    UnitRanking,
)

from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.scan import Tables
from enclave_sim.engine.sql_expressions import Values, Words
from enclave_sim.engine.sql_functions import cut_float64

UNIT = "u"
POSITION = "p"


@dataclass(frozen=True)
class Rows:
    """A relation in SQL: what stands after FROM, its columns' names by theirs in the plan, and its order."""

    source: str
    columns: Mapping[str, str]
    order: tuple[str, ...] = ()


@dataclass
class Scanned:
    """A scan of the statement: its table, and whether its rows need their place in the table (`POSITION`)."""

    table: str
    placed: bool


@dataclass
class Relations:
    """Writes relations over the tables that a plan reads.

    `scans` collects the scans, by the FROM items that they stand for.
    """

    tables: Tables
    words: Words
    scans: dict[str, Scanned] = field(default_factory=dict)

    def rows(self, relation: Relation, *, ordered: bool = False) -> Rows:
        """The relation; with its order if it has to be `ordered`."""
        match relation.WhichOneof("kind"):
            case "scan":
                return self._scan(relation.scan.table, ordered)
            case "selection":
                return self._selection(relation.selection, ordered)
            case "projection":
                return self._projection(relation.projection, ordered)
            case "unit_aggregation":
                return self._aggregation(relation.unit_aggregation, ordered)
            case "unit_ranking":
                return self._ranking(relation.unit_ranking)
            case "unit_join":
                return self._join(relation.unit_join)
            case other:
                raise EngineError(f"the plan has a relation of an unknown kind: {other}")

    def _scan(self, table: str, ordered: bool) -> Rows:
        stored, types = self.tables[table].names, self.tables[table].types
        source = f"s{len(self.scans)}"
        self.scans[source] = Scanned(table, ordered)
        names = {column: self.words.name() for column in stored}
        picked = [f"{_no_nan(stored[column], types[column])} AS {name}" for column, name in names.items()]
        order = (self.words.name(),) if ordered else ()
        places = [f"{POSITION} AS {name}" for name in order]
        return Rows(_select([UNIT, *picked, *places], source), names, order)

    def _selection(self, selection: Selection, ordered: bool) -> Rows:
        rows = self.rows(selection.input, ordered=ordered)
        values = Values(rows.columns, self.words)
        condition = values.sql(selection.condition)
        kept = [UNIT, *rows.columns.values(), *rows.order]
        return Rows(_select(kept, values.layered(rows.source), f"WHERE {condition}"), rows.columns, rows.order)

    def _projection(self, projection: Projection, ordered: bool) -> Rows:
        rows = self.rows(projection.input, ordered=ordered)
        values = Values(rows.columns, self.words)
        picked, names = self._picked(projection.columns, values)
        source = values.layered(rows.source)
        return Rows(_select([UNIT, *picked, *rows.order], source), names, rows.order)

    def _picked(self, columns: Sequence[NamedExpression], values: Values) -> tuple[list[str], dict[str, str]]:
        names = {column.name: self.words.name() for column in columns}
        return [f"{values.sql(column.expression)} AS {names[column.name]}" for column in columns], names

    def _aggregation(self, aggregation: UnitAggregation, ordered: bool) -> Rows:
        rows = self.rows(aggregation.input)
        values = Values(rows.columns, self.words)
        keys, names = self._picked(aggregation.keys, values)
        raw = {measure.name: self.words.name() for measure in aggregation.measures}
        cut = {measure.name: self.words.name() for measure in aggregation.measures}
        aggregates = [f"{_aggregate(measure, values)} AS {raw[measure.name]}" for measure in aggregation.measures]
        # By its number, since a key need not be a column.
        grouping = ", ".join([UNIT, *(str(2 + position) for position in range(len(keys)))])
        aggregated = _select([UNIT, *keys, *aggregates], values.layered(rows.source), f"GROUP BY {grouping}")
        picked = [f"{_cut(measure, raw[measure.name])} AS {cut[measure.name]}" for measure in aggregation.measures]
        source = _select([UNIT, *names.values(), *picked], aggregated)
        return Rows(source, {**names, **cut}, tuple(names.values()) if ordered else ())

    def _ranking(self, ranking: UnitRanking) -> Rows:
        rows = self.rows(ranking.input, ordered=True)
        values = Values(rows.columns, self.words)
        partition = [UNIT, *(values.name(expression) for expression in ranking.partition_by)]
        order = [_ordering(values, ordering) for ordering in ranking.order_by]
        name = self.words.name()
        number = f"{_row_number(partition, [*order, *_ascending(rows.order)])} AS {name}"
        kept = [UNIT, *rows.columns.values(), *rows.order, number]
        return Rows(_select(kept, values.layered(rows.source)), {**rows.columns, ranking.name: name}, rows.order)

    def _join(self, join: UnitJoin) -> Rows:
        left, left_place = self._first_rows(join.left, join.max_left_rows)
        right, right_place = self._first_rows(join.right, join.max_right_rows)
        columns = {**left.columns, **right.columns}
        places = (left_place, right_place)
        if join.kind == UnitJoin.KIND_LEFT and join.HasField("condition"):
            return Rows(self._left_join(join.condition, left, right, places), columns, places)
        kind = "LEFT JOIN" if join.kind == UnitJoin.KIND_LEFT else "JOIN"
        pairs = _select(
            [f"l.{UNIT} AS {UNIT}", *columns.values(), *places],
            f"{left.source} AS l {kind} {right.source} AS r ON l.{UNIT} = r.{UNIT}",
        )
        if not join.HasField("condition"):
            return Rows(pairs, columns, places)
        return Rows(self._filtered(pairs, join.condition, columns, [*columns.values(), *places]), columns, places)

    def _first_rows(self, relation: Relation, bound: int) -> tuple[Rows, str]:
        """Each unit's first rows, and the column of their places."""
        rows = self.rows(relation, ordered=True)
        place = self.words.name()
        number = f"{_row_number([UNIT], _ascending(rows.order))} AS {place}"
        numbered = _select([UNIT, *rows.columns.values(), number], rows.source)
        return Rows(_select(["*"], numbered, f"WHERE {place} <= {int(bound)}"), rows.columns, (place,)), place

    def _filtered(self, pairs: str, condition: Expression, columns: Mapping[str, str], kept: Sequence[str]) -> str:
        values = Values(columns, self.words)
        true = values.sql(condition)
        return _select([UNIT, *kept], values.layered(pairs), f"WHERE {true}")

    def _left_join(self, condition: Expression, left: Rows, right: Rows, places: tuple[str, str]) -> str:
        """Pairs that fulfil the condition, then left rows beside their pairs: a condition needs layers of its own."""
        all_left, inner_place = self.words.name(), self.words.name()
        pairs = _select(
            [f"l.{UNIT} AS {UNIT}", *left.columns.values(), *right.columns.values(), *places],
            f"{all_left} AS l JOIN {right.source} AS r ON l.{UNIT} = r.{UNIT}",
        )
        kept = [f"{places[0]} AS {inner_place}", *right.columns.values(), places[1]]
        found = self._filtered(pairs, condition, {**left.columns, **right.columns}, kept)
        joined = _select(
            [f"l.{UNIT} AS {UNIT}", *left.columns.values(), *right.columns.values(), *places],
            f"{all_left} AS l LEFT JOIN {found} AS r ON l.{UNIT} = r.{UNIT} AND l.{places[0]} = r.{inner_place}",
        )
        return f"(WITH {all_left} AS MATERIALIZED (FROM {left.source}) FROM {joined})"


def _select(picked: Sequence[str], source: str, rest: str = "") -> str:
    return f"(SELECT {', '.join(picked)} FROM {source} {rest})"  # noqa: S608 - our own words


def _no_nan(name: str, kind: ColumnType.ValueType) -> str:
    is_float = kind == ColumnType.COLUMN_TYPE_FLOAT64
    return f"CASE WHEN isnan({name}) THEN NULL ELSE {name} END" if is_float else name


def _aggregate(measure: UnitMeasure, values: Values) -> str:  # noqa: PLR0911 - one for each function
    rows = f" FILTER (WHERE {values.sql(measure.filter)})" if measure.HasField("filter") else ""
    if measure.function == UnitMeasure.FUNCTION_COUNT_ROWS:
        return f"count(*){rows}"
    argument = values.name(measure.argument)
    match measure.function:
        case UnitMeasure.FUNCTION_COUNT:
            return f"count({argument}){rows}"
        case UnitMeasure.FUNCTION_COUNT_DISTINCT:
            return f"count(DISTINCT {argument}){rows}"
        case UnitMeasure.FUNCTION_SUM:
            return _sum(argument, rows)
        case UnitMeasure.FUNCTION_MEAN:
            return f"{_sum(argument, rows)} / count({argument}){rows}"
        case UnitMeasure.FUNCTION_MINIMUM:
            return f"min({argument}){rows}"
        case UnitMeasure.FUNCTION_MAXIMUM:
            return f"max({argument}){rows}"
        case other:
            raise EngineError(f"the plan has a unit measure of an unknown function: {other}")


def _sum(argument: str, rows: str) -> str:
    """One number, whatever the order of rows: list_sum adds doubles one after another."""
    return f"list_sum(list_sort(list(CAST({argument} AS DOUBLE)){rows}))"


def _cut(measure: UnitMeasure, name: str) -> str:
    sums = (UnitMeasure.FUNCTION_SUM, UnitMeasure.FUNCTION_MEAN)
    return cut_float64(name) if measure.function in sums else name


def _ordering(values: Values, ordering: Ordering) -> str:
    direction = "DESC" if ordering.descending else "ASC"
    return f"{values.name(ordering.expression)} {direction} NULLS LAST"


def _ascending(names: Sequence[str]) -> list[str]:
    return [f"{name} ASC NULLS LAST" for name in names]


def _row_number(partition: Sequence[str], order: Sequence[str]) -> str:
    ordering = f" ORDER BY {', '.join(order)}" if order else ""
    return f"row_number() OVER (PARTITION BY {', '.join(partition)}{ordering})"
