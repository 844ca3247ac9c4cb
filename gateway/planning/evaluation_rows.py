"""The rows that a model is evaluated on: inputs, response, groups, FROM and WHERE as one SELECT, and places in it.

As `model_rows` for what is trained: SQL's rules read one text, so one is put together, and where it is refused the
place is told in the part of the request that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery

from enclave_sim.plan.schema import find_column, find_table, is_unit
from gateway.planning.expressions import compile_term
from gateway.planning.readable import UnknownColumn
from gateway.planning.scope import Scope, Term
from gateway.planning.sources import read_source
from gateway.planning.sql import ParsedSelect, Source, parse_select

_T = TypeVar("_T")
_ROWS = frozenset({"expressions", "from_", "joins", "laterals", "where"})
_LISTS = ("inputs", "response", "by")


@dataclass(frozen=True)
class _Piece:
    """A part of the request, and where it stands in the SELECT."""

    field: str
    text: str
    at: int


@dataclass(frozen=True)
class EvaluationText:
    """A SELECT of everything that an evaluation reads, and what its characters were."""

    sql: str
    pieces: tuple[_Piece, ...]
    counts: tuple[int, int, int]
    """Expressions of the inputs, the response and the groups."""

    def read(self, reading: Callable[[], _T]) -> _T:
        """What `reading` of the SELECT gives; its problems are told in the request's own parts."""
        try:
            return reading()
        except Problem as problem:
            raise self.told(problem) from problem

    def told(self, problem: Problem) -> Problem:
        """A problem with the SELECT, as one with the part that it came from."""
        if problem.position is None:
            return _in_part(problem, problem.field or "inputs", None)
        line, column = map(int, problem.position.split(":"))
        offset = sum(len(each) + 1 for each in self.sql.split("\n")[: line - 1]) + column - 1
        piece = [each for each in self.pieces if each.at <= offset or each == self.pieces[0]][-1]
        inside = min(max(offset - piece.at, 0), len(piece.text))
        return _in_part(problem, piece.field, Source(piece.text).position(inside))


def _in_part(problem: Problem, field: str, at: str | None) -> Problem:
    return replace(problem, field=field, position=at)


@dataclass(frozen=True)
class EvaluationRows:
    """What the parts of a request mean, over the rows that FROM and WHERE leave."""

    text: EvaluationText
    parsed: ParsedSelect
    scope: Scope
    inputs: tuple[Term, ...]
    response: Term
    by: tuple[Term, ...]

    def refused(self, code: str, field: str, message: str, hint: str) -> Problem:
        """A problem with one part."""
        return Problem(Kind.REFUSED, code, message, field=field, position="1:1", hint=hint)


def read_rows(asked: EvaluateQuery, declaration: DatasetDeclaration) -> EvaluationRows:
    """Read all parts of a request.

    Raises:
        Problem: with the part and the place in it, for whatever cannot be read or asked.
    """
    found = {field: _expressions(asked, field) for field in _LISTS}
    if len(found["response"]) != 1 or not found["inputs"]:
        field = "inputs" if not found["inputs"] else "response"
        message = "A model is given one expression or more, and has one response."
        raise Problem(Kind.MALFORMED, field, message, field=field, hint="age, male, bmi")
    text = _text_of(asked, found, declaration)
    parsed = text.read(lambda: parse_select(text.sql))
    _refuse_other_parts(parsed, text)
    scope = text.read(lambda: read_source(parsed.source, parsed.select, declaration))
    terms = [text.read(partial(compile_term, scope, node)) for node in parsed.select.expressions]
    inputs, response, _ = text.counts
    return EvaluationRows(text, parsed, scope, tuple(terms[:inputs]), terms[inputs], tuple(terms[inputs + response :]))


def _expressions(asked: EvaluateQuery, field: str) -> list[exp.Expr]:
    """What a list has; each is one expression over a row, whatever is written into it."""
    written: str = getattr(asked, field)
    if not written.strip():
        return []
    own = EvaluationText(f"SELECT {written}", (_Piece(field, written, 7),), (0, 0, 0))
    select = own.read(lambda: parse_select(own.sql)).select
    parts = [name for name, part in select.args.items() if part and name != "expressions"]
    if parts or any(isinstance(each, exp.Alias | exp.Star) for each in select.expressions):
        message = f"{written[:60]!r} is no list of expressions over a row."
        raise Problem(Kind.MALFORMED, field, message, field=field, position="1:1", hint="name columns: age, male, bmi")
    return list(select.expressions)


def _text_of(asked: EvaluateQuery, found: dict[str, list[exp.Expr]], declaration: DatasetDeclaration) -> EvaluationText:
    sql = "SELECT "
    pieces: list[_Piece] = []
    for field in _LISTS:
        if found[field]:
            sql += ", " if pieces else ""
            pieces.append(_Piece(field, getattr(asked, field), len(sql)))
            sql += getattr(asked, field)
    sql += "\nFROM "
    if asked.rows.strip():
        pieces.append(_Piece("rows", asked.rows, len(sql)))
        sql += asked.rows
    else:
        columns = [(field, column) for field in _LISTS for each in found[field] for column in each.find_all(exp.Column)]
        sql += _tables(columns, declaration)
    if asked.where.strip():
        sql += "\nWHERE "
        pieces.append(_Piece("where", asked.where, len(sql)))
        sql += asked.where
    return EvaluationText(sql, tuple(pieces), (len(found["inputs"]), 1, len(found["by"])))


def _refuse_other_parts(parsed: ParsedSelect, text: EvaluationText) -> None:
    for name, part in parsed.select.args.items():
        if part and name not in _ROWS:
            node = part if isinstance(part, exp.Expr) else parsed.select
            what = "Rows to evaluate on are said by FROM, JOIN and WHERE alone."
            hint = "Leave the rest out; sub-queries in FROM may have it."
            raise text.told(parsed.source.unsupported(what, at=node, hint=hint))


def _tables(columns: Sequence[tuple[str, exp.Column]], declaration: DatasetDeclaration) -> str:
    """FROM for a request that does not say it: the one table with all columns, else those with one each, joined."""
    names = {column.name for _, column in columns}
    if not any(column.table for _, column in columns):
        holders = [table for table in declaration.tables if all(find_column(table, name) for name in names)]
        if len(holders) == 1:
            return _quoted(holders[0].name)
        if len(holders) > 1:
            raise _unclear(f"Several tables have all of {', '.join(sorted(names))}", declaration)
    found: dict[str, None] = {}
    for field, column in columns:
        found[_table_of(field, column, declaration)] = None
    first, *others = found or {declaration.tables[0].name: None}
    unit = declaration.privacy_unit
    return _quoted(first) + "".join(f" JOIN {_quoted(other)} USING ({_quoted(unit)})" for other in others)


def _table_of(field: str, column: exp.Column, declaration: DatasetDeclaration) -> str:
    if column.table and (named := find_table(declaration, column.table)) is not None:
        return named.name
    holders = [table for table in declaration.tables if find_column(table, column.name) is not None]
    if not holders:
        known = list(dict.fromkeys(each.name for table in declaration.tables for each in table.columns))
        near = nearest(column.name, known)
        hint = f"Did you mean {near}?" if near else f"The columns are {', '.join(known[:20])}."
        message = f"No table of {declaration.dataset} has a column {column.name}."
        raise UnknownColumn(
            Kind.UNKNOWN, "unknown_column", message, field=field, position="1:1", hint=hint, column=column.name
        )
    found = find_column(holders[0], column.name)
    if len(holders) > 1 and not (found is not None and is_unit(found)):
        raise _unclear(f"Several tables have {column.name}", declaration)
    return holders[0].name


def _unclear(what: str, declaration: DatasetDeclaration) -> Problem:
    first = declaration.tables[0].name
    hint = f"Say it with rows, as FROM has it: {first}, or {first} JOIN ... USING ({declaration.privacy_unit})."
    message = f"{what}; it is not said which rows the model is evaluated on."
    return Problem(Kind.MALFORMED, "ambiguous_column", message, field="inputs", position="1:1", hint=hint)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
