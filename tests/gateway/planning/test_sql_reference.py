"""docs/sql.md by example: all that it lists is answered as DuckDB does, or refused with the code that it says."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from google.protobuf.message import Message
from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    Call,
    Expression,
    Measure,
    Operation,
    Plan,
    Relation,
    Statistic,
    UnitMeasure,
)

from gateway.planning import dates, functions
from gateway.planning.stages import FirstStage
from scripts.generate_sql_reference import PAGE, generated, on_page

from .reference_answers import answer_of, cells_of, question_of, refusal_of, term_of, values_of
from .reference_clinic import database, odd_table, tables
from .sql_reference import DIFFERENT, FUNCTIONS, Function
from .sql_reference_queries import QUERIES, SAME, Query
from .sql_refusals import REFUSALS, Refusal

NOT_REACHED = {
    # sqlglot knows these as functions of their own.
    *("day", "dayofmonth", "dayofweek", "dayofyear", "hour", "minute", "month", "quarter", "year"),
}


@pytest.fixture(scope="module")
def odd() -> duckdb.DuckDBPyConnection:
    return database({"visits": odd_table()})


@pytest.fixture(scope="module")
def rows() -> Mapping[str, pa.Table]:
    return tables()


@pytest.fixture(scope="module")
def whole(rows: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    return database(rows)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.example)
def test_a_row_function_means_what_duckdb_says_or_what_is_written_here(
    odd: duckdb.DuckDBPyConnection, function: Function
) -> None:
    ours = values_of(function.example)
    if function.example in DIFFERENT:
        assert ours == pytest.approx(list(DIFFERENT[function.example]))
        return
    theirs = [row[0] for row in odd.execute(f"SELECT {function.example} FROM visits ORDER BY person").fetchall()]
    assert len(set(map(repr, theirs))) > 1, "the example says nothing"
    assert all(map(_same, ours, theirs)), (ours, theirs)


@pytest.mark.parametrize("query", QUERIES, ids=lambda each: each.example)
def test_an_answer_without_noise_is_that_of_duckdb(
    rows: Mapping[str, pa.Table], whole: duckdb.DuckDBPyConnection, query: Query
) -> None:
    ours = answer_of(planned(query.example, rows), rows).rows
    theirs = whole.execute(query.duckdb or query.example).fetchall()
    if "ORDER BY" not in query.example.rpartition("FROM")[2]:
        ours, theirs = tuple(sorted(ours, key=repr)), sorted(theirs, key=repr)
    assert theirs, "the example says nothing"
    assert len(ours) == len(theirs)
    for our_row, their_row in zip(ours, theirs, strict=True):
        assert all(_same(our, their, query.within) for our, their in zip(our_row, their_row, strict=True)), (
            ours,
            theirs,
        )


@pytest.mark.parametrize(("written", "meant"), SAME)
def test_another_name_means_the_same(written: str, meant: str) -> None:
    plans = [question_of(f"SELECT {each} AS x FROM visits").plan for each in (written, meant)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda each: each.example)
def test_what_is_not_there_is_refused_with_a_place_and_a_hint(refusal: Refusal) -> None:
    problem = refusal_of(refusal.example)
    assert problem is not None
    assert problem.code == refusal.code
    assert problem.position
    assert problem.hint
    assert problem.message.endswith(".")


def test_every_function_that_can_be_asked_is_on_the_page() -> None:
    nodes = [node for function in FUNCTIONS for node in sqlglot.parse_one(function.example, read="duckdb").walk()]
    # Written as EXTRACT or DATE_PART, a part of a date is a name or a text.
    written = " ".join(function.example for function in FUNCTIONS).lower()
    named = {node.name.lower() for node in nodes if isinstance(node, exp.Anonymous)}
    assert {*functions._OPERATORS, *functions._FUNCTIONS} - {type(node) for node in nodes} == set()
    assert set(functions._BY_NAME) - named - NOT_REACHED == set()
    assert [part for part in {*dates.PARTS, *dates._SPANS} if part not in written] == []


def test_every_node_of_the_plan_language_is_on_the_page(rows: Mapping[str, pa.Table]) -> None:
    plans: list[Message] = [planned(query.example, rows) for query in QUERIES]
    plans += [question_of(query.example).plan for query in QUERIES]
    plans += [term_of(function.example).expression for function in FUNCTIONS]
    parts = [part for plan in plans for part in _parts(plan)]
    for kind in (Expression, Relation, Statistic, Measure):
        kinds = {part.WhichOneof("kind") for part in parts if isinstance(part, kind)}
        # Programs and models are asked for otherwise.
        assert {field.name for field in kind.DESCRIPTOR.oneofs[0].fields} - kinds <= {
            "block_outputs",
            "block_mean",
            "block_median",
            "model_vector",
        }
    called = {part.function for part in parts if isinstance(part, Call)}
    assert set(Call.Function.values()) - called == {Call.FUNCTION_UNSPECIFIED}
    measured = {part.function for part in parts if isinstance(part, UnitMeasure)}
    assert set(UnitMeasure.Function.values()) - measured == {UnitMeasure.FUNCTION_UNSPECIFIED}
    computed = {part.operator for part in parts if isinstance(part, Operation)}
    assert set(Operation.Operator.values()) - computed == {Operation.OPERATOR_UNSPECIFIED}


def test_the_page_is_what_the_generator_prints() -> None:
    assert on_page(Path(PAGE).read_text(encoding="utf-8")) == generated(), "run `make sql-reference`"


def planned(sql: str, rows: Mapping[str, pa.Table]) -> Plan:
    """The plan that gives the answer; where a key is not declared, after a first stage that finds all its values."""
    question = question_of(sql)
    if question.outlook is None:
        return question.plan
    keys = [key.column.name for key in question.plan.key_selection.keys]
    found = tuple(tuple(sorted(set(rows["visits"][name].to_pylist()))) for name in keys)
    return question_of(sql, FirstStage(found, tuple(cells_of(question.plan, rows)))).plan


def _same(ours: Any, theirs: Any, within: float = 1e-9) -> bool:
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(float(ours), float(theirs), rel_tol=1e-12, abs_tol=within)
    if isinstance(theirs, datetime.datetime) and not isinstance(ours, datetime.datetime):
        # DATE_TRUNC of a date is a timestamp there.
        return bool(ours == theirs.date())
    return bool(ours == theirs)


def _parts(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            parts: Sequence[Message] = [value] if isinstance(value, Message) else value
            for part in parts:
                yield from _parts(part)
