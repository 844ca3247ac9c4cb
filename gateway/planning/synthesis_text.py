"""The rows that a synthesis is of: its columns, FROM and WHERE as one SELECT, and places in it."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import SynthesizeQuery

from enclave_sim.plan.schema import find_column
from gateway.planning.composed import ComposedSelect, Named, Part, how_to_say, quoted, unknown_column
from gateway.planning.scope import Scope
from gateway.planning.sql import ParsedSelect, Source, parse_select


def text_of(asked: SynthesizeQuery, declaration: DatasetDeclaration) -> ComposedSelect:
    """The SELECT of the columns.

    Raises:
        Problem: the columns are no list of expressions, or nobody said which table they are of.
    """
    if not asked.columns.strip():
        raise _bad_columns("No columns are named.")
    rows: Part | str = Part("source", asked.source)
    if not asked.source.strip():
        rows = quoted(_table_of(asked, declaration))
    return ComposedSelect.of([Part("columns", asked.columns)], rows, Part("where", asked.where))


def read_rows(text: ComposedSelect, declaration: DatasetDeclaration) -> tuple[ParsedSelect, Scope]:
    """The SELECT and the rows that its FROM and WHERE leave; raises Problem."""
    return text.rows(declaration, "Rows to synthesize are said by columns, FROM, JOIN and WHERE alone.")


def _table_of(asked: SynthesizeQuery, declaration: DatasetDeclaration) -> str:
    """The one table that has all the columns."""
    text = ComposedSelect.alone(Part("columns", asked.columns))
    select = text.read(lambda: parse_select(text.sql)).select
    if any(part for name, part in select.args.items() if name != "expressions"):
        raise _bad_columns("The columns are more than a list of expressions.")
    named = list(select.find_all(exp.Column))
    names = {column.name for column in named}
    holders = [table for table in declaration.tables if all(find_column(table, name) for name in names)]
    if len(holders) == 1:
        return holders[0].name
    for column in named:
        if not any(find_column(table, column.name) for table in declaration.tables):
            place = Source(text.sql).position_of(column) or "1:1"
            raise text.told(unknown_column(Named(column, "sql", place), declaration, units=False))
    several = "Several tables have" if holders else "No table by itself has"
    raise Problem(
        Kind.MALFORMED,
        "ambiguous_column",
        f"{several} all of {', '.join(sorted(names))}; it is not said which rows are meant.",
        field="columns",
        position="1:1",
        hint=how_to_say("source", declaration),
    )


def _bad_columns(message: str) -> Problem:
    hint = 'write them as SELECT has them: "age, sex"'
    return Problem(Kind.MALFORMED, "columns", message, field="columns", position="1:1", hint=hint)
