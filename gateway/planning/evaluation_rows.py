"""The rows that a model is evaluated on: inputs, response, groups, FROM and WHERE as one SELECT, and places in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery

from gateway.planning.composed import ComposedSelect, Named, Part, how_to_say, tables_with
from gateway.planning.expressions import compile_term
from gateway.planning.scope import Scope, Term
from gateway.planning.sql import ParsedSelect, parse_select

_LISTS = ("inputs", "response", "by")


@dataclass(frozen=True)
class EvaluationRows:
    """What the parts of a request mean, over the rows that FROM and WHERE leave."""

    text: ComposedSelect
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
    parsed, scope = text.rows(declaration, "Rows to evaluate on are said by FROM, JOIN and WHERE alone.")
    terms = [text.read(partial(compile_term, scope, node)) for node in parsed.select.expressions]
    inputs = len(found["inputs"])
    return EvaluationRows(text, parsed, scope, tuple(terms[:inputs]), terms[inputs], tuple(terms[inputs + 1 :]))


def _expressions(asked: EvaluateQuery, field: str) -> list[exp.Expr]:
    """What a list has; each is one expression over a row, whatever is written into it."""
    written: str = getattr(asked, field)
    if not written.strip():
        return []
    own = ComposedSelect.alone(Part(field, written))
    select = own.read(lambda: parse_select(own.sql)).select
    parts = [name for name, part in select.args.items() if part and name != "expressions"]
    if parts or any(isinstance(each, exp.Alias | exp.Star) for each in select.expressions):
        message = f"{written[:60]!r} is no list of expressions over a row."
        raise Problem(Kind.MALFORMED, field, message, field=field, position="1:1", hint="name columns: age, male, bmi")
    return list(select.expressions)


def _text_of(asked: EvaluateQuery, found: dict[str, list[exp.Expr]], declaration: DatasetDeclaration) -> ComposedSelect:
    rows: Part | str = Part("rows", asked.rows)
    if not asked.rows.strip():
        rows = _tables(found, declaration)
    expressions = [Part(field, getattr(asked, field)) for field in _LISTS if found[field]]
    return ComposedSelect.of(expressions, rows, Part("where", asked.where))


def _tables(found: dict[str, list[exp.Expr]], declaration: DatasetDeclaration) -> str:
    """FROM for a request that does not say it."""

    def unclear(why: str) -> Problem:
        return Problem(
            Kind.MALFORMED,
            "ambiguous_column",
            f"{why}; it is not said which rows the model is evaluated on.",
            field="inputs",
            position="1:1",
            hint=how_to_say("rows", declaration),
        )

    columns = [
        Named(column, field, "1:1") for field in _LISTS for each in found[field] for column in each.find_all(exp.Column)
    ]
    return tables_with(columns, declaration, unclear)
