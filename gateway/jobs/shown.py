"""A job as its developer sees it: with what is left of the budget, and what there is to know about its plan."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from yingbi.api.v1.dataset_pb2 import Budget
from yingbi.api.v1.job_pb2 import Job, NeededApproval
from yingbi.api.v1.plan_pb2 import Plan

from gateway.governance import decisions
from gateway.governance.callers import Role
from gateway.governance.decisions import Given
from gateway.jobs import records, states
from gateway.jobs.plans import notes_of
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import agreements, approvals, catalogue, programs


def describe(connection: Connection, record: JobRecord) -> Job:
    """The job, with the budget as it stands. One step of the caller's transaction."""
    declaration = catalogue.find(connection, record.dataset).declaration
    agreement = agreements.find(connection, record.agreement)
    budget = ledger.budget(connection, declaration, record.organisation, agreement)
    record.message.source = programs.source_of(connection, record.job)
    withhold(connection, record.message)
    if record.state == states.WAITING:
        with_needed(record, declaration.grade, approvals.given(connection, record.job))
    return with_budget(record, budget, notes_of(Plan.FromString(record.plan), declaration))


def withhold(connection: Connection, job: Job) -> Job:
    """Take the release out of a job's message where its agreement forbids to hand it out, and say why."""
    reason = agreements.withheld(connection, job.agreement) if job.HasField("receipt") else None
    if reason is not None:
        job.ClearField("receipt")
        job.failure.CopyFrom(records.failure_of(reason))
    return job


def with_budget(record: JobRecord, budget: Budget, notes: Sequence[str]) -> Job:
    """The job's message, completed."""
    record.message.budget.CopyFrom(budget)
    record.message.notes[:] = notes
    return record.message


def with_needed(record: JobRecord, grade: int, given: Sequence[Given]) -> JobRecord:
    """A job that waits, with whom it waits for and since when."""
    record.message.needed.extend(needed(grade, given))
    record.message.waits_since.CopyFrom(record.message.created)
    return record


def needed(grade: int, given: Sequence[Given]) -> list[NeededApproval]:
    """Whose yes a job that waits takes, and who has said it."""
    by_kind = {each.kind: each for each in given}
    return [_needed(kind, by_kind.get(kind)) for kind in decisions.approvers(grade)]


def _needed(kind: Role, given: Given | None) -> NeededApproval:
    message = NeededApproval(kind=kind)
    if given is not None:
        message.organisation, message.person = given.organisation, given.person
        message.at.FromMilliseconds(int(given.at * 1000))
    return message
