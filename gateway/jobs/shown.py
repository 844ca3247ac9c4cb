"""A job as its developer sees it: with what is left of the budget, and what there is to know about its plan."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from yingbi.api.v1.dataset_pb2 import Budget
from yingbi.api.v1.job_pb2 import Job
from yingbi.api.v1.plan_pb2 import Plan

from gateway.jobs.plans import notes_of
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import agreements, catalogue, programs


def describe(connection: Connection, record: JobRecord) -> Job:
    """The job, with the budget as it stands. One step of the caller's transaction."""
    declaration = catalogue.find(connection, record.dataset).declaration
    agreement = agreements.find(connection, record.agreement)
    budget = ledger.budget(connection, declaration, record.organisation, agreement)
    record.message.source = programs.source_of(connection, record.job)
    return with_budget(record, budget, notes_of(Plan.FromString(record.plan), declaration))


def with_budget(record: JobRecord, budget: Budget, notes: Sequence[str]) -> Job:
    """The job's message, completed."""
    record.message.budget.CopyFrom(budget)
    record.message.notes[:] = notes
    return record.message
