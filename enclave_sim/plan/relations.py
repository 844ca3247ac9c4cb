"""The relations of a plan: their columns, and how many rows of one unit they can have.

*Every operator keeps to one unit.* Let R(D) be the rows that a relation makes of data D, and R(D)|u those of
unit u. For every operator R(D)|u is a function of D|u, the rows that u has in the tables, and of their order:

- scan: the rows of u in one table;
- selection and projection take one row after another;
- unit_aggregation groups by the unit first, unit_ranking partitions by it first: a number or an aggregate is made
  of rows of u alone;
- unit_join pairs rows of u with rows of u, after keeping the first of u's rows on each side.

By induction this holds for the whole tree; `sensitivity` needs nothing else of it. Sub-queries over several
units, or a join on another column, cannot be said in the language.

*Order.* Rankings and joins read the order of u's rows in a table. It is the one they were sealed in: adding or
removing other units does not change the order among u's rows, be it given or drawn at random. (If it is drawn,
neighbours are compared draw by draw; the draws of different units are independent.)

*Bounds.* A unit has fewer than 2^24 rows in a table (`sealed.preparation` refuses more, before any plan), and no
operator but the join makes rows; `max_rows_bound` shows that a join stays below 2^24 as well. `clipping` is exact
up to there.

The privacy unit is no column: `_scan` leaves it out, and no operator brings it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_INT64,
    ColumnType,
    NamedExpression,
    Relation,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
    UnitRanking,
)

from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.expressions import Trait, check_condition, check_expression
from enclave_sim.plan.functions import measured
from enclave_sim.plan.schema import MAX_COLUMNS, RESERVED_PREFIX, is_unit
from enclave_sim.plan.size import check_size
from enclave_sim.privacy.clipping import MAX_UNIT_ROWS

MAX_RELATION_PARTS = 20_000
"""Messages in a relation, those of its expressions included."""

WHOLE_UNIT_OPERATORS = ("unit_aggregation", "unit_ranking", "unit_join")
"""Relations that are made of all rows of a unit."""

MAX_OPERATORS = 64
MAX_NAME_LENGTH = 200
MAX_ORDERINGS = 64
"""Expressions to partition by, and expressions to order by."""

MAX_JOINED_ROWS = 1023
"""Rows that a unit keeps on one side of a join: about a million pairs, which fit into an engine's memory."""

_Columns: TypeAlias = list[tuple[str, Trait]]
_JOIN_KINDS = (UnitJoin.KIND_INNER, UnitJoin.KIND_LEFT)


def columns_of(
    relation: Relation, declaration: DatasetDeclaration, path: str = "relation"
) -> dict[str, ColumnType.ValueType]:
    """The columns of a relation with their types, in order; the privacy unit is not among them.

    Args:
        declaration: one that `schema.check_declaration` accepts.

    Raises:
        PlanError: the relation breaks a rule; with the path of the part at fault.
    """
    return {name: trait.type for name, trait in check_relation(relation, declaration, path).items()}


def check_relation(relation: Relation, declaration: DatasetDeclaration, path: str = "relation") -> dict[str, Trait]:
    """As `columns_of`, with all that is known of the columns.

    Raises:
        PlanError: as there.
    """
    check_size(relation, path, max_parts=MAX_RELATION_PARTS)
    operators = sum(1 for _ in operators_of(relation))
    require(operators <= MAX_OPERATORS, path, f"has more than {MAX_OPERATORS} operators")
    return _Checker(declaration).check(relation, path)


def max_rows_bound(relation: Relation) -> int:
    """A public bound on the rows of one unit, from the relation alone; below 2^24 for a checked one.

    A join has at most one row for each pair of kept rows. A left row without a partner makes one row instead of
    none, which is no more than the at least one right row that is allowed for it.
    """
    match relation.WhichOneof("kind"):
        case "scan" | None:
            return MAX_UNIT_ROWS
        case "unit_join":
            join = relation.unit_join
            left = min(max_rows_bound(join.left), join.max_left_rows)
            return left * min(max_rows_bound(join.right), join.max_right_rows)
        case "unit_aggregation" if not relation.unit_aggregation.keys:
            return 1
        case _:
            return max(max_rows_bound(each) for each in inputs_of(relation))


def scans(relation: Relation) -> frozenset[str]:
    """The tables that a relation reads."""
    return frozenset(each.scan.table for each in operators_of(relation) if each.HasField("scan"))


def operators_of(relation: Relation) -> Iterator[Relation]:
    """The relation and all relations below it."""
    yield relation
    for each in inputs_of(relation):
        yield from operators_of(each)


def inputs_of(relation: Relation) -> Sequence[Relation]:
    """The relations directly below a relation."""
    match relation.WhichOneof("kind"):
        case "selection":
            return [relation.selection.input]
        case "projection":
            return [relation.projection.input]
        case "unit_aggregation":
            return [relation.unit_aggregation.input]
        case "unit_ranking":
            return [relation.unit_ranking.input]
        case "unit_join":
            return [relation.unit_join.left, relation.unit_join.right]
        case "scan" | None:
            return []


class _Checker:
    """Walks one relation, whose size is checked; each method returns the columns of its argument."""

    def __init__(self, declaration: DatasetDeclaration) -> None:
        self._declaration = declaration

    def check(self, relation: Relation, path: str) -> dict[str, Trait]:
        kind = relation.WhichOneof("kind")
        path = path if kind is None else f"{path}.{kind}"
        match kind:
            case "scan":
                columns = self._scan(relation.scan.table, path)
            case "selection":
                below = self.check(relation.selection.input, f"{path}.input")
                check_condition(relation.selection.condition, below, f"{path}.condition")
                columns = list(below.items())
            case "projection":
                below = self.check(relation.projection.input, f"{path}.input")
                columns = _named(relation.projection.columns, below, f"{path}.columns")
            case "unit_aggregation":
                columns = self._aggregation(relation.unit_aggregation, path)
            case "unit_ranking":
                columns = self._ranking(relation.unit_ranking, path)
            case "unit_join":
                return self._join(relation.unit_join, path)
            case None:
                raise PlanError(path, "is no relation")
        return _distinct(columns, path)

    def _scan(self, name: str, path: str) -> _Columns:
        for table in self._declaration.tables:
            if table.name == name:
                return [(column.name, Trait(column.type)) for column in table.columns if not is_unit(column)]
        raise PlanError(f"{path}.table", f"there is no table {name!r}")

    def _aggregation(self, aggregation: UnitAggregation, path: str) -> _Columns:
        below = self.check(aggregation.input, f"{path}.input")
        keys = _named(aggregation.keys, below, f"{path}.keys")
        measures = [
            (measure.name, _measure(measure, below, f"{path}.measures[{index}]"))
            for index, measure in enumerate(aggregation.measures)
        ]
        return [*keys, *measures]

    def _ranking(self, ranking: UnitRanking, path: str) -> _Columns:
        below = self.check(ranking.input, f"{path}.input")
        for field, expressions in (("partition_by", ranking.partition_by), ("order_by", ranking.order_by)):
            require(len(expressions) <= MAX_ORDERINGS, f"{path}.{field}", f"has more than {MAX_ORDERINGS} expressions")
        for index, expression in enumerate(ranking.partition_by):
            check_expression(expression, below, f"{path}.partition_by[{index}]")
        for index, ordering in enumerate(ranking.order_by):
            check_expression(ordering.expression, below, f"{path}.order_by[{index}].expression")
        return [*below.items(), (ranking.name, Trait(COLUMN_TYPE_INT64))]

    def _join(self, join: UnitJoin, path: str) -> dict[str, Trait]:
        require(join.kind in _JOIN_KINDS, f"{path}.kind", "is not known")
        for field, rows in (("max_left_rows", join.max_left_rows), ("max_right_rows", join.max_right_rows)):
            require(1 <= rows <= MAX_JOINED_ROWS, f"{path}.{field}", f"must be from 1 to {MAX_JOINED_ROWS:,}")
        left = self.check(join.left, f"{path}.left")
        right = self.check(join.right, f"{path}.right")
        columns = _distinct([*left.items(), *right.items()], path)
        if join.HasField("condition"):
            check_condition(join.condition, columns, f"{path}.condition")
        return columns


def _measure(measure: UnitMeasure, below: Mapping[str, Trait], path: str) -> Trait:
    argument = None
    if measure.HasField("argument"):
        argument = check_expression(measure.argument, below, f"{path}.argument")
    if measure.HasField("filter"):
        check_condition(measure.filter, below, f"{path}.filter")
    result = measured(measure.function, None if argument is None else argument.type, path)
    return Trait(result)


def _named(named: Sequence[NamedExpression], below: Mapping[str, Trait], path: str) -> _Columns:
    return [
        (each.name, check_expression(each.expression, below, f"{path}[{index}].expression"))
        for index, each in enumerate(named)
    ]


def _distinct(columns: _Columns, path: str) -> dict[str, Trait]:
    """The columns by name. Names are unique whatever their case, as declared ones are: an engine may not tell them."""
    require(len(columns) <= MAX_COLUMNS, path, f"has more than {MAX_COLUMNS:,} columns")
    taken: set[str] = set()
    for name, _ in columns:
        require(
            1 <= len(name) <= MAX_NAME_LENGTH, path, f"the name {name!r} must have 1 to {MAX_NAME_LENGTH} characters"
        )
        require(not name.lower().startswith(RESERVED_PREFIX), path, f"the name {name!r} is reserved")
        require(name.lower() not in taken, path, f"the name {name!r} is taken (case does not count)")
        taken.add(name.lower())
    return dict(columns)
