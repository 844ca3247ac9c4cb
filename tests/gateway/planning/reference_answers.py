"""What the examples of docs/sql.md give: by the planner and the reference engine, without noise."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from yingbi.answer import Table, table_of
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP, Plan

from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.engine.reference_expressions import evaluate
from enclave_sim.engine.reference_relations import stored
from gateway.planning.expressions import compile_term
from gateway.planning.query import Question, plan_question
from gateway.planning.scope import Term
from gateway.planning.sources import read_source
from gateway.planning.sql import parse_select
from gateway.planning.stages import FirstStage

from .reference_clinic import clinic, odd_table, opened

VERSION = b"v" * 32
_EPOCH = datetime.datetime(1970, 1, 1)


def term_of(example: str) -> Term:
    """An expression over visits, as a term of the plan language."""
    parsed = parse_select(f"SELECT {example} FROM visits")
    scope = read_source(parsed.source, parsed.select, clinic())
    return compile_term(scope, parsed.select.expressions[0])


def values_of(example: str) -> list[Any]:
    """An expression's values for the odd rows."""
    term = term_of(example)
    names = [name for name in odd_table().column_names if name != "person"]
    rows = stored("visits", names, lambda name, columns: opened({"visits": odd_table()}, name, columns))
    return [_plain(term, evaluate(term.expression, row)) for unit in rows.of_units.values() for row in unit]


def question_of(sql: str, first_stage: FirstStage | None = None) -> Question:
    """The plans of a query for three providers at ε = 1, δ = 1e-7."""
    return plan_question(
        sql, clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7, first_stage=first_stage
    )


def refusal_of(sql: str) -> Problem | None:
    """Why a query is refused; None when it is not."""
    try:
        question_of(sql)
    except Problem as problem:
        return problem
    return None


def answer_of(plan: Plan, rows: Mapping[str, pa.Table]) -> Table:
    """The answer to a plan, as if no noise had been added."""
    return table_of(plan, cells_of(plan, rows))


def cells_of(plan: Plan, rows: Mapping[str, pa.Table]) -> Sequence[int]:
    """What a plan would open without noise."""
    return ReferenceEngine().contribution(plan, lambda name, columns: opened(rows, name, columns))


def _plain(term: Term, value: Any) -> Any:
    if value is not None and term.type == COLUMN_TYPE_DATE:
        return (_EPOCH + datetime.timedelta(value)).date()
    if value is not None and term.type == COLUMN_TYPE_TIMESTAMP:
        return _EPOCH + datetime.timedelta(microseconds=value)
    return value
