"""The rows that a model is trained on: a formula's variables, FROM and WHERE as one SELECT, and places in it.

A model's text comes in parts, the formula, `rows` and `where`; SQL's rules read one text. So one is put together,
and where it is refused the place is told in the part that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery

from enclave_sim.plan.schema import find_column, find_table, is_unit
from gateway.planning.model_formulas import Factor, ModelFormula, bad, position
from gateway.planning.readable import UnknownColumn
from gateway.planning.scope import Scope
from gateway.planning.sources import read_source
from gateway.planning.sql import ParsedSelect, parse_select

_T = TypeVar("_T")
_ROWS = frozenset({"expressions", "from_", "joins", "laterals", "where"})


@dataclass(frozen=True)
class _Piece:
    """Text of one part of the request, and where it stands there and in the SELECT."""

    field: str
    text: str
    start: int
    at: int


@dataclass(frozen=True)
class ModelText:
    """A SELECT of a formula's factors, in their order, and what its characters were."""

    sql: str
    pieces: tuple[_Piece, ...]
    asked: TrainQuery

    def read(self, reading: Callable[[], _T]) -> _T:
        """What `reading` of the SELECT gives; its problems are told in the request's own parts."""
        try:
            return reading()
        except Problem as problem:
            raise self.told(problem) from problem

    def told(self, problem: Problem) -> Problem:
        """A problem with the SELECT, as one with the part that it came from."""
        if problem.position is None:
            return _in_part(problem, "formula", None)
        line, column = map(int, problem.position.split(":"))
        lines = self.sql.split("\n")
        offset = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
        before = [piece for piece in self.pieces if piece.at <= offset]
        piece = before[-1] if before else self.pieces[0]
        inside = piece.start + min(max(offset - piece.at, 0), len(piece.text))
        return _in_part(problem, piece.field, position(getattr(self.asked, piece.field), inside))


def _in_part(problem: Problem, field: str, at: str | None) -> Problem:
    code = "formula" if problem.code == "sql_syntax" and field == "formula" else problem.code
    return replace(problem, code=code, field=field, position=at)


def text_of(asked: TrainQuery, formula: ModelFormula, declaration: DatasetDeclaration) -> ModelText:
    """The SELECT of all factors of a formula.

    Raises:
        Problem: a factor is no expression of its own, or nobody said which tables it is about.
    """
    columns = [column for factor in formula.factors for column in _columns(asked, factor)]
    sql, pieces = "SELECT ", []
    for number, factor in enumerate(formula.factors):
        sql += ", " if number else ""
        pieces.append(_Piece("formula", factor.text, factor.start, len(sql)))
        sql += factor.text
    sql += "\nFROM "
    if asked.rows.strip():
        pieces.append(_Piece("rows", asked.rows, 0, len(sql)))
        sql += asked.rows
    else:
        sql += _tables(formula, columns, declaration)
    if asked.where.strip():
        sql += "\nWHERE "
        pieces.append(_Piece("where", asked.where, 0, len(sql)))
        sql += asked.where
    return ModelText(sql, tuple(pieces), asked)


def read_rows(text: ModelText, declaration: DatasetDeclaration) -> tuple[ParsedSelect, Scope]:
    """The SELECT and the rows that its FROM and WHERE leave; raises Problem."""
    parsed = text.read(lambda: parse_select(text.sql))
    for name, part in parsed.select.args.items():
        if part and name not in _ROWS:
            node = part if isinstance(part, exp.Expr) else parsed.select
            problem = parsed.source.unsupported(
                "Rows to train on are said by FROM, JOIN and WHERE alone.",
                at=node,
                hint="Leave the rest out; sub-queries in FROM may have it.",
            )
            raise text.told(problem)
    return parsed, text.read(lambda: read_source(parsed.source, parsed.select, declaration))


def _columns(asked: TrainQuery, factor: Factor) -> list[exp.Column]:
    """The columns that a factor names; a factor is one expression, whatever is written into it."""
    text = ModelText(f"SELECT {factor.text}", (_Piece("formula", factor.text, factor.start, 7),), asked)
    select = text.read(lambda: parse_select(text.sql)).select
    parts = [name for name, part in select.args.items() if part and name != "expressions"]
    if parts or len(select.expressions) != 1 or isinstance(select.expressions[0], exp.Alias):
        message = f"{factor.text[:60]!r} is no expression over a row."
        raise bad(asked.formula, factor.start, message, "name a column, or write an expression in brackets")
    return list(select.expressions[0].find_all(exp.Column))


def _tables(formula: ModelFormula, columns: Sequence[exp.Column], declaration: DatasetDeclaration) -> str:
    """FROM for a formula that does not say it: the one table with all its columns, else those with each, joined."""
    names = {column.name for column in columns}
    if not any(column.table for column in columns):
        holders = [table for table in declaration.tables if all(find_column(table, name) for name in names)]
        if len(holders) == 1:
            return _quoted(holders[0].name)
        if len(holders) > 1:
            raise _unclear(formula, f"Several tables have all of {', '.join(sorted(names))}", declaration)
    found: dict[str, None] = {}
    for column in columns:
        found[_table_of(formula, column, declaration)] = None
    first, *others = found or {declaration.tables[0].name: None}
    unit = declaration.privacy_unit
    return _quoted(first) + "".join(f" JOIN {_quoted(other)} USING ({_quoted(unit)})" for other in others)


def _table_of(formula: ModelFormula, column: exp.Column, declaration: DatasetDeclaration) -> str:
    if column.table:
        named = find_table(declaration, column.table)
        if named is not None:
            return named.name
    tables = [table for table in declaration.tables if find_column(table, column.name) is not None]
    if not tables:
        raise _unknown(formula, column, declaration)
    found = find_column(tables[0], column.name)
    if len(tables) > 1 and not (found is not None and is_unit(found)):
        raise _unclear(formula, f"Several tables have {column.name}", declaration)
    return tables[0].name


def _unknown(formula: ModelFormula, column: exp.Column, declaration: DatasetDeclaration) -> Problem:
    names = list(dict.fromkeys(each.name for table in declaration.tables for each in table.columns))
    near = nearest(column.name, names)
    factor = next(each for each in formula.factors if column.name in each.text)
    return UnknownColumn(
        Kind.UNKNOWN,
        "unknown_column",
        f"No table of {declaration.dataset} has a column {column.name}.",
        field="formula",
        position=position(formula.text, factor.start),
        hint=f"Did you mean {near}?" if near else f"The columns are {', '.join(names[:20])}.",
        column=column.name,
    )


def _unclear(formula: ModelFormula, what: str, declaration: DatasetDeclaration) -> Problem:
    first, start = declaration.tables[0].name, formula.left.start if formula.left else 0
    return Problem(
        Kind.MALFORMED,
        "ambiguous_column",
        f"{what}; the model does not say which rows it is about.",
        field="formula",
        position=position(formula.text, start),
        hint=f"Say it with rows, as FROM has it: {first}, or {first} JOIN ... USING ({declaration.privacy_unit}).",
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
