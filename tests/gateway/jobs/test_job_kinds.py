"""What kind of job a request is for, and that it is for one alone."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import LookUpTable, ProgramQuery, Query, SynthesizeQuery, TrainQuery
from yingbi.api.v1.plan_pb2 import Fit

from gateway.jobs.kinds import check_one_kind, kind_of, words_of

SQL = Query(sql="SELECT COUNT(*) FROM t", auto_bounds=True, first_stage="job-1")
PROGRAM = Query(program=ProgramQuery(sha256=b"p" * 32))
TRAIN = Query(
    train=TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="y ~ x"), auto_bounds=True, first_stage="job-1"
)
SYNTHESIZE = Query(synthesize=SynthesizeQuery(columns="a, b"))


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        (SQL, "query", "SELECT COUNT(*) FROM t"),
        (PROGRAM, "program", f"PROGRAM {'70' * 32} RETURNS "),
        (TRAIN, "train", "TRAIN LinearRegression y ~ x"),
        (SYNTHESIZE, "synthesize", "SYNTHESIZE a, b"),
    ],
)
def test_a_request_is_of_one_kind_and_has_words(query: Query, kind: str, words: str) -> None:
    check_one_kind(query)
    assert kind_of(query) == kind
    assert words_of(query) == words


@pytest.mark.parametrize(
    "more",
    [
        (TRAIN, Query(sql="SELECT 1")),
        (TRAIN, PROGRAM),
        (TRAIN, Query(lookups=[LookUpTable(name="t")])),
        (PROGRAM, Query(sql="SELECT 1")),
        (PROGRAM, Query(auto_bounds=True)),
        (PROGRAM, Query(first_stage="job-1")),
        (SYNTHESIZE, TRAIN),
        (SYNTHESIZE, PROGRAM),
        (SYNTHESIZE, Query(sql="SELECT 1")),
        (SYNTHESIZE, Query(auto_bounds=True)),
    ],
)
def test_a_request_of_several_kinds_is_refused(more: tuple[Query, Query]) -> None:
    query = Query()
    for each in more:
        query.MergeFrom(each)
    with pytest.raises(Problem, match="one of them alone"):
        check_one_kind(query)
