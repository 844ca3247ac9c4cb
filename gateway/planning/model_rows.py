"""The rows that a model is trained on: a formula's variables, FROM and WHERE as one SELECT, and places in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery

from gateway.planning.composed import ComposedSelect, Named, Part, how_to_say, tables_with
from gateway.planning.model_formulas import Factor, ModelFormula, bad
from gateway.planning.scope import Scope
from gateway.planning.sql import ParsedSelect, Source, parse_select


@dataclass(frozen=True)
class ModelText(ComposedSelect):
    """A SELECT of a formula's factors, in their order, and what its characters were."""

    def told(self, problem: Problem) -> Problem:
        """As of any; what is no SQL in a formula is a malformed formula."""
        told = super().told(problem)
        return replace(told, code="formula") if (told.code, told.field) == ("sql_syntax", "formula") else told


def text_of(asked: TrainQuery, formula: ModelFormula, declaration: DatasetDeclaration) -> ModelText:
    """The SELECT of all factors of a formula.

    Raises:
        Problem: a factor is no expression of its own, or nobody said which tables it is about.
    """
    columns = [
        Named(column, "formula", Source(asked.formula).position(factor.start))
        for factor in formula.factors
        for column in _columns(asked, factor)
    ]
    expressions = [_part_of(asked, factor) for factor in formula.factors]
    rows: Part | str = Part("rows", asked.rows)
    if not asked.rows.strip():
        rows = _tables(formula, columns, declaration)
    return ModelText.of(expressions, rows, Part("where", asked.where))


def read_rows(text: ModelText, declaration: DatasetDeclaration) -> tuple[ParsedSelect, Scope]:
    """The SELECT and the rows that its FROM and WHERE leave; raises Problem."""
    return text.rows(declaration, "Rows to train on are said by FROM, JOIN and WHERE alone.")


def _part_of(asked: TrainQuery, factor: Factor) -> Part:
    return Part("formula", asked.formula, factor.start, factor.start + len(factor.text))


def _columns(asked: TrainQuery, factor: Factor) -> list[exp.Column]:
    """The columns that a factor names; a factor is one expression, whatever is written into it."""
    text = ModelText.alone(_part_of(asked, factor))
    select = text.read(lambda: parse_select(text.sql)).select
    parts = [name for name, part in select.args.items() if part and name != "expressions"]
    if parts or len(select.expressions) != 1 or isinstance(select.expressions[0], exp.Alias):
        message = f"{factor.text[:60]!r} is no expression over a row."
        raise bad(asked.formula, factor.start, message, "name a column, or write an expression in brackets")
    return list(select.expressions[0].find_all(exp.Column))


def _tables(formula: ModelFormula, columns: Sequence[Named], declaration: DatasetDeclaration) -> str:
    """FROM for a formula that does not say it."""
    start = formula.left.start if formula.left else 0

    def unclear(why: str) -> Problem:
        return Problem(
            Kind.MALFORMED,
            "ambiguous_column",
            f"{why}; the model does not say which rows it is about.",
            field="formula",
            position=Source(formula.text).position(start),
            hint=how_to_say("rows", declaration),
        )

    return tables_with(columns, declaration, unclear)
