"""More text of one unit than an enclave goes through is refused, with its place, before there is a plan."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.text_work import MAX_WORK, total_work
from gateway.planning.batch import plan_batch
from gateway.planning.query import plan_query

from .conftest import Planner, nafld, refusal

LOWERED = "LOWER(LOWER(LOWER(LOWER(LOWER(note)))))"
"""Five times 60 rows of 256 bytes, 25 steps for each: a quarter of what is allowed."""

JOINED = " || ".join(["note"] * 6)
FILTERS = [f"COUNT(*) FILTER (WHERE {LOWERED} = '{letter}') AS {letter}" for letter in "abcde"]
TOO_MUCH = {
    "a condition": (
        f"SELECT COUNT(*) FROM labs WHERE days > 3\nAND LOWER(UPPER(LOWER(UPPER({JOINED})))) = 'b'",
        "2:5",
    ),
    "a filter": (f"SELECT COUNT(*) FILTER (WHERE note LIKE '%{'_' * 150}b%') FROM labs", "1:31"),
    "what a subquery made": (
        f"SELECT COUNT(*) FROM (SELECT id, {JOINED} AS t FROM labs) WHERE LOWER(UPPER(LOWER(UPPER(t)))) = 'b'",
        "1:101",
    ),
    "conditions together": (
        f"SELECT COUNT(*) FROM labs WHERE {' AND '.join(f'{LOWERED} <> {letter!r}' for letter in 'abcde')}",
        "1:33",
    ),
    "aggregates together": (f"SELECT {', '.join(FILTERS)} FROM labs", "1:8"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_too_much_text_is_refused_at_its_place(planned: Planner, name: str) -> None:
    """One expression where it stands; several together at the clause that has most of it."""
    sql, position = TOO_MUCH[name]
    problem = refusal(planned, sql)
    assert (problem.kind, problem.code, problem.position) == (Kind.REFUSED, "too_much_text", position)
    assert f"{MAX_WORK:,} are allowed" in problem.message
    assert problem.hint


def test_what_it_hints_at_is_accepted(planned: Planner, declaration: DatasetDeclaration) -> None:
    texts = "(SELECT id, SUBSTRING(note, 1, 50) AS text FROM labs)"
    conditions = " OR ".join(f"{LOWERED.replace('note', 'text')} = {letter!r}" for letter in "abcde")
    plan = planned(f"SELECT COUNT(*) FROM {texts} WHERE {conditions}")
    assert total_work(plan, declaration) < MAX_WORK


def test_a_longer_declared_text_leaves_less_to_ask(planned: Planner) -> None:
    sql = f"SELECT COUNT(*) FROM labs WHERE {LOWERED} = 'a'"
    longer = nafld()
    note = next(column for column in longer.tables[0].columns if column.name == "note")
    note.max_length = 2000
    planned(sql)
    with pytest.raises(Problem, match="steps"):
        plan_query(sql, longer, dataset_version=bytes(32), parties=3, epsilon=1.0, delta=1e-7)


def test_questions_of_a_batch_that_are_too_much_together_have_a_plan_each(declaration: DatasetDeclaration) -> None:
    """Each alone is not."""
    queries = [
        f"SELECT COUNT(*) FILTER (WHERE {LOWERED} = 'a{n}' OR {LOWERED} = 'b'  OR {LOWERED} = 'c') FROM labs"
        for n in range(3)
    ]
    batch = plan_batch(queries, declaration, dataset_version=bytes(32), parties=3, epsilon=3.0, delta=1e-7)
    assert len(batch.plans) == 3
    assert all(total_work(plan, declaration) <= MAX_WORK for plan in batch.plans)
