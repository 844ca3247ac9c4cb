"""One SELECT that is put together from the parts of a request, with its problems told in the part that they came from.

What a model, an evaluation or a synthesis is of comes in parts: expressions, and which rows. SQL's rules read one text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.schema import find_column, find_table, is_unit
from gateway.planning.readable import UnknownColumn
from gateway.planning.scope import Scope
from gateway.planning.sources import read_source
from gateway.planning.sql import ParsedSelect, Source, parse_select

_T = TypeVar("_T")
_SELECT = "SELECT "
_CLAUSES = frozenset({"expressions", "from_", "joins", "laterals", "where"})
"""Of a SELECT that says expressions and rows, and no more."""


@dataclass(frozen=True)
class Part:
    """What a user wrote in a field of the request, or some characters of it."""

    field: str
    whole: str
    start: int = 0
    end: int | None = None

    @property
    def text(self) -> str:
        return self.whole[self.start : self.end]

    def position(self, offset: int) -> str:
        """'line:column' in the field, of a character of this part, or else of the nearest that it has."""
        return Source(self.whole).position(self.start + min(max(offset, 0), len(self.text)))


@dataclass(frozen=True)
class ComposedSelect:
    """A SELECT, and where in it the parts of the request are: the first part first."""

    sql: str
    parts: tuple[tuple[int, Part], ...]

    @classmethod
    def alone(cls, part: Part) -> Self:
        """SELECT these expressions, and nothing of which rows."""
        return cls(_SELECT + part.text, ((len(_SELECT), part),))

    @classmethod
    def of(cls, expressions: Sequence[Part], rows: Part | str, where: Part) -> Self:
        """SELECT these expressions FROM the rows; those that are no part of the request, as text."""
        sql, parts = _SELECT, []
        for number, part in enumerate(expressions):
            sql += ", " if number else ""
            parts.append((len(sql), part))
            sql += part.text
        sql += "\nFROM "
        if isinstance(rows, Part):
            parts.append((len(sql), rows))
        sql += rows if isinstance(rows, str) else rows.text
        if where.text.strip():
            sql += "\nWHERE "
            parts.append((len(sql), where))
            sql += where.text
        return cls(sql, tuple(parts))

    def read(self, reading: Callable[[], _T]) -> _T:
        """What `reading` of the SELECT gives; its problems are told in the request's own parts."""
        try:
            return reading()
        except Problem as problem:
            raise self.told(problem) from problem

    def told(self, problem: Problem) -> Problem:
        """A problem with the SELECT, as one with the part that it came from; without a place, with the first.

        What is nobody's part is counted with what stands before it.
        """
        (_, first), *_ = self.parts
        if problem.position is None:
            return replace(problem, field=first.field) if problem.field in (None, "sql") else problem
        line, column = map(int, problem.position.split(":"))
        offset = sum(len(each) + 1 for each in self.sql.split("\n")[: line - 1]) + column - 1
        at, part = [each for each in self.parts if each[0] <= offset or each[1] is first][-1]
        return replace(problem, field=part.field, position=part.position(offset - at))

    def rows(self, declaration: DatasetDeclaration, beside: str) -> tuple[ParsedSelect, Scope]:
        """The SELECT, and the rows that its FROM and WHERE leave; raises Problem.

        Args:
            beside: the sentence about a SELECT that has more than those.
        """
        parsed = self.read(lambda: parse_select(self.sql))
        for name, clause in parsed.select.args.items():
            if clause and name not in _CLAUSES:
                node = clause if isinstance(clause, exp.Expr) else parsed.select
                hint = "Leave the rest out; sub-queries in FROM may have it."
                raise self.told(parsed.source.unsupported(beside, at=node, hint=hint))
        return parsed, self.read(lambda: read_source(parsed.source, parsed.select, declaration))


@dataclass(frozen=True)
class Named:
    """A column that a request names, and where: in which field, at which place in it."""

    column: exp.Column
    field: str
    position: str


def tables_with(columns: Sequence[Named], declaration: DatasetDeclaration, unclear: Callable[[str], Problem]) -> str:
    """FROM for a request that does not say it: the one table with all columns, else those with one each, joined.

    Args:
        unclear: the problem where that is not one thing, from the beginning of a sentence that says why.

    Raises:
        Problem: that, or UNKNOWN "unknown_column".
    """
    names = {each.column.name for each in columns}
    if not any(each.column.table for each in columns):
        holders = [table for table in declaration.tables if all(find_column(table, name) for name in names)]
        if len(holders) == 1:
            return quoted(holders[0].name)
        if len(holders) > 1:
            raise unclear(f"Several tables have all of {', '.join(sorted(names))}")
    found = dict.fromkeys(_table_with(each, declaration, unclear) for each in columns)
    first, *others = found or {declaration.tables[0].name: None}
    unit = declaration.privacy_unit
    return quoted(first) + "".join(f" JOIN {quoted(other)} USING ({quoted(unit)})" for other in others)


def unknown_column(named: Named, declaration: DatasetDeclaration, *, units: bool = True) -> UnknownColumn:
    """The problem with a column that no table has; `units`: whether identifiers of units may be meant."""
    there = [each for table in declaration.tables for each in table.columns if units or not is_unit(each)]
    known = list(dict.fromkeys(each.name for each in there))
    near = nearest(named.column.name, known)
    return UnknownColumn(
        Kind.UNKNOWN,
        "unknown_column",
        f"No table of {declaration.dataset} has a column {named.column.name}.",
        field=named.field,
        position=named.position,
        hint=f"Did you mean {near}?" if near else f"The columns are {', '.join(known[:20])}.",
        column=named.column.name,
    )


def how_to_say(field: str, declaration: DatasetDeclaration) -> str:
    """What to do where it is not clear which rows are meant: say it in this field."""
    first, unit = declaration.tables[0].name, declaration.privacy_unit
    return f"Say it with {field}, as FROM has it: {first}, or {first} JOIN ... USING ({unit})."


def quoted(name: str) -> str:
    """A name as SQL has it, whatever its characters are."""
    return '"' + name.replace('"', '""') + '"'


def _table_with(named: Named, declaration: DatasetDeclaration, unclear: Callable[[str], Problem]) -> str:
    column = named.column
    if column.table and (meant := find_table(declaration, column.table)) is not None:
        return meant.name
    holders = [table for table in declaration.tables if find_column(table, column.name) is not None]
    if not holders:
        raise unknown_column(named, declaration)
    found = find_column(holders[0], column.name)
    if len(holders) > 1 and not (found is not None and is_unit(found)):
        raise unclear(f"Several tables have {column.name}")
    return holders[0].name
