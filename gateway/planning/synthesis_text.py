"""The rows that a synthesis is of: its columns, FROM and WHERE as one SELECT, and places in it.

A request's text comes in parts, `columns`, `source` and `where`; SQL's rules read one text. So one is put together, and
where it is refused the place is told in the part that it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import SynthesizeQuery

from enclave_sim.plan.schema import find_column, is_unit
from gateway.planning.readable import UnknownColumn
from gateway.planning.scope import Scope
from gateway.planning.sources import read_source
from gateway.planning.sql import ParsedSelect, Source, parse_select

_T = TypeVar("_T")
_ROWS = frozenset({"expressions", "from_", "joins", "laterals", "where"})
_SELECT = "SELECT "


@dataclass(frozen=True)
class SynthesisText:
    """A SELECT of the columns, and where in it the parts of the request are."""

    sql: str
    starts: tuple[tuple[str, int], ...]
    """Fields of the request, and where each begins; what is not the user's is counted with what stands before it."""
    asked: SynthesizeQuery

    def read(self, reading: Callable[[], _T]) -> _T:
        """What `reading` of the SELECT gives; its problems are told in the request's own parts."""
        try:
            return reading()
        except Problem as problem:
            raise self.told(problem) from problem

    def told(self, problem: Problem) -> Problem:
        """A problem with the SELECT, as one with the part that it came from."""
        if problem.position is None:
            return replace(problem, field="columns") if problem.field == "sql" else problem
        line, column = map(int, problem.position.split(":"))
        offset = sum(len(each) + 1 for each in self.sql.split("\n")[: line - 1]) + column - 1
        before = [each for each in self.starts if each[1] <= offset]
        field, start = before[-1] if before else self.starts[0]
        text: str = getattr(self.asked, field)
        inside = Source(text).position(min(max(offset - start, 0), len(text)))
        return replace(problem, field=field, position=inside)


def text_of(asked: SynthesizeQuery, declaration: DatasetDeclaration) -> SynthesisText:
    """The SELECT of the columns.

    Raises:
        Problem: the columns are no list of expressions, or nobody said which table they are of.
    """
    if not asked.columns.strip():
        raise _bad_columns("No columns are named.")
    source = asked.source if asked.source.strip() else _table_of(asked, declaration)
    sql = f"{_SELECT}{asked.columns}"
    starts = [("columns", len(_SELECT))]
    sql += "\nFROM "
    if asked.source.strip():
        starts.append(("source", len(sql)))
    sql += source
    if asked.where.strip():
        sql += "\nWHERE "
        starts.append(("where", len(sql)))
        sql += asked.where
    return SynthesisText(sql, tuple(starts), asked)


def read_rows(text: SynthesisText, declaration: DatasetDeclaration) -> tuple[ParsedSelect, Scope]:
    """The SELECT and the rows that its FROM and WHERE leave; raises Problem."""
    parsed = text.read(lambda: parse_select(text.sql))
    for name, part in parsed.select.args.items():
        if part and name not in _ROWS:
            node = part if isinstance(part, exp.Expr) else parsed.select
            problem = parsed.source.unsupported(
                "Rows to synthesize are said by columns, FROM, JOIN and WHERE alone.",
                at=node,
                hint="Leave the rest out; sub-queries in FROM may have it.",
            )
            raise text.told(problem)
    return parsed, text.read(lambda: read_source(parsed.source, parsed.select, declaration))


def _table_of(asked: SynthesizeQuery, declaration: DatasetDeclaration) -> str:
    """The one table that has all the columns."""
    text = SynthesisText(f"{_SELECT}{asked.columns}", (("columns", len(_SELECT)),), asked)
    select = text.read(lambda: parse_select(text.sql)).select
    if any(part for name, part in select.args.items() if name != "expressions"):
        raise _bad_columns("The columns are more than a list of expressions.")
    named = list(select.find_all(exp.Column))
    names = {column.name for column in named}
    holders = [table for table in declaration.tables if all(find_column(table, name) for name in names)]
    if len(holders) == 1:
        return '"' + holders[0].name.replace('"', '""') + '"'
    for column in named:
        if not any(find_column(table, column.name) for table in declaration.tables):
            raise _unknown(column, text, declaration)
    several = "Several tables have" if holders else "No table by itself has"
    first, unit = declaration.tables[0].name, declaration.privacy_unit
    raise Problem(
        Kind.MALFORMED,
        "ambiguous_column",
        f"{several} all of {', '.join(sorted(names))}; it is not said which rows are meant.",
        field="columns",
        position="1:1",
        hint=f"Say it with source, as FROM has it: {first}, or {first} JOIN ... USING ({unit}).",
    )


def _unknown(column: exp.Column, text: SynthesisText, declaration: DatasetDeclaration) -> Problem:
    names = list(dict.fromkeys(name for table in declaration.tables for name in _names(table)))
    near = nearest(column.name, names)
    problem = UnknownColumn(
        Kind.UNKNOWN,
        "unknown_column",
        f"No table of {declaration.dataset} has a column {column.name}.",
        field="sql",
        position=Source(text.sql).position_of(column),
        hint=f"Did you mean {near}?" if near else f"The columns are {', '.join(names[:20])}.",
        column=column.name,
    )
    return text.told(problem)


def _names(table: TableDeclaration) -> list[str]:
    return [column.name for column in table.columns if not is_unit(column)]


def _bad_columns(message: str) -> Problem:
    hint = 'write them as SELECT has them: "age, sex"'
    return Problem(Kind.MALFORMED, "columns", message, field="columns", position="1:1", hint=hint)
