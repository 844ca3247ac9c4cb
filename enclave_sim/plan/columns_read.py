"""Which stored columns a plan reads: what an agreement's list of columns is compared with.

*The claim.* What a plan releases is a function of the stored columns in `columns_read` and of nothing else of the data.

*The argument.* Rows enter a plan at its scans and at its program's tables alone, and a value of a row at a
ColumnReference, at a name among the inputs of its model, or at a program's columns: the language has no other way to
say one (`SELECT *` is written out before there is a plan). Every such place is resolved to what it was made of where it
stands, and counted there, whether or not something above uses it. Places are found by walking the message, whatever
field they are in, so that a kind of expression or statistic that is added later is walked too. Which rows there are,
and of whom, is told by a table's privacy unit: a table that is read has its unit column read, though nobody names it.
A name that does not resolve is refused, never passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from google.protobuf.message import Message
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnReference, NamedExpression, Plan, Relation, UnitAggregation, UnitJoin, Value

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.evaluations import model_columns
from enclave_sim.plan.schema import is_unit

_Origins: TypeAlias = Mapping[str, frozenset[str]]
"""Of what stored columns each column of a relation is made."""

_NOT_WALKED = (Relation.DESCRIPTOR, Value.DESCRIPTOR)
"""Relations are gone through by themselves, and in values there is no reference."""


def columns_read(plan: Plan, declaration: DatasetDeclaration) -> frozenset[str]:
    """All stored columns that a plan reads, each "table.column", the unit columns of the tables that it reads included.

    Args:
        plan: any; that `validation.check_plan` accepts it is not assumed.
        declaration: of the plan's dataset.

    Raises:
        PlanError: a table or a column is not there.
    """
    reader = _Reader(declaration)
    rows: _Origins = {}
    if plan.HasField("program"):
        reader.program(plan)
    if plan.HasField("relation"):
        rows = reader.relation(plan.relation)
    if plan.HasField("evaluation"):
        rows = reader.model(plan, rows)
    reader.read(plan, rows)
    return frozenset(reader.found)


def columns_outside(plan: Plan, declaration: DatasetDeclaration, allowed: Sequence[str]) -> list[str]:
    """What a plan reads beyond the columns of an agreement, ascending; nothing where the agreement lists none.

    The unit column of a table is allowed with any other column of that table: no row can be read without it.

    Raises:
        PlanError: as `columns_read`.
    """
    if not allowed:
        return []
    units = {f"{table.name}.{column.name}" for table in declaration.tables for column in _units(table)}
    tables = {name.partition(".")[0] for name in allowed}
    read = columns_read(plan, declaration) - set(allowed)
    return sorted(name for name in read if name not in units or name.partition(".")[0] not in tables)


class _Reader:
    """Goes through a plan, and keeps what it read."""

    def __init__(self, declaration: DatasetDeclaration) -> None:
        self._tables = {table.name: table for table in declaration.tables}
        self.found: set[str] = set()

    def program(self, plan: Plan) -> None:
        for each in plan.program.tables:
            self._scan(each.table)
            table = self._tables[each.table]
            stored = {column.name: _stored(table, column.name) for column in table.columns}
            self._read_names(each.columns, stored)

    def model(self, plan: Plan, rows: _Origins) -> _Origins:
        """The rows with what the model adds to them, which is made of all its inputs."""
        model = plan.evaluation.model
        inputs = self._read_names(model.inputs, rows)
        return {**rows, **dict.fromkeys(model_columns(model), inputs)}

    def relation(self, relation: Relation) -> _Origins:
        match relation.WhichOneof("kind"):
            case "scan":
                return self._scan(relation.scan.table)
            case "selection":
                below = self.relation(relation.selection.input)
                self.read(relation.selection.condition, below)
                return below
            case "projection":
                below = self.relation(relation.projection.input)
                return self._named(relation.projection.columns, below)
            case "unit_aggregation":
                return self._aggregation(relation.unit_aggregation)
            case "unit_ranking":
                below = self.relation(relation.unit_ranking.input)
                return {**below, relation.unit_ranking.name: self.read(relation.unit_ranking, below)}
            case "unit_join":
                return self._join(relation.unit_join)
            case other:
                raise PlanError("relation", f"has a part of an unknown kind: {other}")

    def read(self, message: Message, below: _Origins) -> frozenset[str]:
        """What all references in a message are made of; those of relations in it are not among them."""
        return self._read_names((reference.name for reference in _references(message)), below)

    def _read_names(self, names: Iterable[str], below: _Origins) -> frozenset[str]:
        origins: set[str] = set()
        for name in names:
            if name not in below:
                raise PlanError("plan", f"reads a column {name!r} that is not there")
            origins |= below[name]
        self.found |= origins
        return frozenset(origins)

    def _scan(self, name: str) -> _Origins:
        if name not in self._tables:
            raise PlanError("relation", f"there is no table {name!r}")
        table = self._tables[name]
        for unit in _units(table):
            self.found |= _stored(table, unit.name)
        return {column.name: _stored(table, column.name) for column in table.columns if not is_unit(column)}

    def _aggregation(self, aggregation: UnitAggregation) -> _Origins:
        below = self.relation(aggregation.input)
        measures = {measure.name: self.read(measure, below) for measure in aggregation.measures}
        return {**self._named(aggregation.keys, below), **measures}

    def _named(self, named: Sequence[NamedExpression], below: _Origins) -> _Origins:
        return {each.name: self.read(each.expression, below) for each in named}

    def _join(self, join: UnitJoin) -> _Origins:
        left, right = self.relation(join.left), self.relation(join.right)
        # In an accepted plan no name is on both sides; in any other it means both.
        both = {name: left.get(name, frozenset()) | right.get(name, frozenset()) for name in {**left, **right}}
        self.read(join.condition, both)
        return both


def _references(message: Message) -> Iterator[ColumnReference]:
    """All column references in a message, but for those of relations in it."""
    if isinstance(message, ColumnReference):
        yield message
        return
    for field, content in message.ListFields():
        if field.message_type is None or field.message_type in _NOT_WALKED:
            continue
        for part in [content] if isinstance(content, Message) else content:
            yield from _references(part)


def _units(table: TableDeclaration) -> list[ColumnDeclaration]:
    return [column for column in table.columns if is_unit(column)]


def _stored(table: TableDeclaration, column: str) -> frozenset[str]:
    return frozenset({f"{table.name}.{column}"})
