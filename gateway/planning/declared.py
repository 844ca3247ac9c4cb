"""What the declaration says of the columns that a plan names.

Columns are told by their names. Names that a plan makes up are those of no declared column (`sources.Names`), so a
column with a declared name is the declared one, of one of the plan's tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import ColumnReference, Expression, Plan, UnitJoin

from enclave_sim.plan.relations import operators_of

_NUMBERED = re.compile(r"(.+)_[0-9]+")


@dataclass(frozen=True)
class Declared:
    """The declared columns of a plan's tables."""

    columns: tuple[ColumnDeclaration, ...]
    is_complete: bool
    """Whether every row has a row of every table: no LEFT JOIN leaves columns empty."""

    @classmethod
    def of(cls, plan: Plan, declaration: DatasetDeclaration) -> Declared:
        """What is declared of the tables that the plan's relation reads."""
        operators = list(operators_of(plan.relation))
        scanned = {part.scan.table for part in operators if part.HasField("scan")}
        tables = (table for table in declaration.tables if table.name in scanned)
        is_left = (part.unit_join.kind == UnitJoin.KIND_LEFT for part in operators if part.HasField("unit_join"))
        return cls(tuple(column for table in tables for column in table.columns), not any(is_left))

    def named(self, name: str) -> list[ColumnDeclaration]:
        """The columns of this name, one for each table that has it."""
        return [column for column in self.columns if column.name == name]

    def is_required(self, expression: Expression) -> bool:
        """Whether an expression is a column that every row has a value of, which is not NaN."""
        columns = self.named(expression.column.name) if expression.HasField("column") else []
        return self.is_complete and bool(columns) and all(column.required for column in columns)

    def is_constant(self, expression: Expression) -> bool:
        """Whether an expression is the same for all rows of a unit."""
        found = [self.named(name) for name in columns_in(expression)]
        return self.is_complete and all(
            bool(columns) and all(column.constant_per_unit for column in columns) for columns in found
        )


def columns_in(message: Message) -> Iterator[str]:
    """The names of the columns that a part of a plan reads."""
    if isinstance(message, ColumnReference):
        yield message.name
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in value if descriptor.is_repeated else [value]:
                yield from columns_in(part)


def as_asked(text: str, plan: Plan, declaration: DatasetDeclaration) -> str:
    """A text with the columns that the plan has numbered, as `city_2`, called as the query calls them."""
    taken = {column.name.lower() for table in declaration.tables for column in table.columns}
    made = [name for part in operators_of(plan.relation) for name in _made(part)]
    taken.update(name.lower() for name in made)
    for name in dict.fromkeys(made):
        numbered = _NUMBERED.fullmatch(name)
        if numbered is not None and numbered[1].lower() in taken and not _is_declared(name, declaration):
            text = re.sub(rf"\b{re.escape(name)}\b", numbered[1], text)
    return text


def _made(part: Message) -> Iterator[str]:
    for kind in ("projection", "unit_aggregation"):
        if part.HasField(kind):
            made = getattr(part, kind)
            parts = made.columns if kind == "projection" else (*made.keys, *made.measures)
            yield from (each.name for each in parts)


def _is_declared(name: str, declaration: DatasetDeclaration) -> bool:
    return any(column.name == name for table in declaration.tables for column in table.columns)
