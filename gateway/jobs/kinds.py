"""What kind of job a request is for: a query, a program, a model to train or evaluate, or rows to make up. Pure."""

from __future__ import annotations

from typing import Literal

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Query
from yingbi.api.v1.plan_pb2 import Plan

from gateway.planning import evaluation, programs, synthesis, training

JobKind = Literal["query", "train", "program", "evaluate", "synthesize"]
"""As agreements name them."""


def kind_of(query: Query) -> JobKind:
    """The kind of job that a request makes."""
    if query.HasField("evaluate"):
        return "evaluate"
    if query.HasField("program"):
        return "program"
    if query.HasField("synthesize"):
        return "synthesize"
    return "train" if query.HasField("train") else "query"


def kind_of_plan(plan: Plan) -> JobKind | None:
    """The kind of job that a plan is of; None of one that a query makes, and the first stage of others too."""
    if plan.HasField("program"):
        return "program"
    if plan.HasField("evaluation"):
        return "evaluate"
    if plan.HasField("synthesis"):
        return "synthesize"
    return "train" if plan.HasField("fit") else None


def check_one_kind(query: Query) -> None:
    """Refuse (MALFORMED) a request that is of several kinds at once."""
    kind = kind_of(query)
    has = query.HasField
    asked = has("program") + has("train") + has("evaluate") + has("synthesize")
    staged = query.auto_bounds or query.first_stage
    is_staged = staged and kind in ("program", "evaluate", "synthesize")
    if asked > 1 or is_staged or (kind != "query" and (query.sql or query.lookups)):
        message = (
            "A request has SQL, a program, a model to train or evaluate, or columns to synthesize; one of them alone."
        )
        raise Problem(Kind.MALFORMED, kind, message, field=kind)


def words_of(query: Query) -> str:
    """What was asked, in one line: the SQL, or what stands in its place."""
    match kind_of(query):
        case "program":
            return programs.words_of(query.program)
        case "evaluate":
            return evaluation.words_of(query.evaluate)
        case "train":
            return training.words_of(query.train)
        case "synthesize":
            return synthesis.words_of(query.synthesize)
        case "query":
            return query.sql
