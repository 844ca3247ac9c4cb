"""What kind of job a request is for: a query, a program, or the training of a model. Pure."""

from __future__ import annotations

from typing import Literal

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Query

from gateway.planning import programs, training

JobKind = Literal["query", "train", "program"]
"""As agreements name them."""


def kind_of(query: Query) -> JobKind:
    """The kind of job that a request makes."""
    if query.HasField("program"):
        return "program"
    return "train" if query.HasField("train") else "query"


def check_one_kind(query: Query) -> None:
    """Refuse (MALFORMED) a request that is of several kinds at once."""
    kind = kind_of(query)
    both = query.HasField("program") and query.HasField("train")
    staged = query.auto_bounds or query.first_stage
    if both or (kind != "query" and (query.sql or query.lookups)) or (kind == "program" and staged):
        message = "A request has SQL, a program or a model to train, and one of them alone."
        raise Problem(Kind.MALFORMED, kind, message, field=kind)


def words_of(query: Query) -> str:
    """What was asked, in one line: the SQL, or what stands in its place."""
    match kind_of(query):
        case "program":
            return programs.words_of(query.program)
        case "train":
            return training.words_of(query.train)
        case "query":
            return query.sql
