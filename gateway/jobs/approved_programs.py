"""The program that somebody said yes to before: what one that waits is compared with.

Keeps: APP-04
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, func, select
from yingbi.api.v1.job_pb2 import ApprovedProgram
from yingbi.api.v1.plan_pb2 import Plan

from gateway.governance import decisions
from gateway.jobs import states
from gateway.jobs.records import JobRecord
from gateway.planning.programs import words_begin
from gateway.storage import programs
from gateway.storage.tables import approvals, jobs

# A job that waits, or was refused, may have one yes of two: nobody let it run.
_BEFORE = (
    select(jobs.c.job, jobs.c.plan, func.max(approvals.c.approved).label("approved"))
    .join_from(jobs, approvals, approvals.c.job == jobs.c.job)
    .where(jobs.c.dataset == bindparam("dataset"))
    .where(jobs.c.organisation == bindparam("organisation"))
    .where(jobs.c.sql.like(bindparam("any_program")))
    .where(jobs.c.state.not_in([states.WAITING, states.REFUSED]))
    .group_by(jobs.c.number)
    .having(func.count() >= bindparam("needed"))
    .order_by(jobs.c.sql.like(bindparam("same_program")).desc(), func.max(approvals.c.approved).desc())
    .limit(1)
)


def before(connection: Connection, record: JobRecord, plan: Plan, grade: int) -> ApprovedProgram | None:
    """Of the programs of the same organisation on the same dataset: the same code, else the last that was approved.

    None for what is no program, and where none was approved. One step of the caller's transaction.
    """
    if not plan.HasField("program"):
        return None
    wanted = {
        "dataset": record.dataset,
        "organisation": record.organisation,
        "any_program": f"{words_begin()}%",
        "same_program": f"{words_begin(plan.program.sha256)}%",
        "needed": len(decisions.approvers(grade)),
    }
    row = connection.execute(_BEFORE, wanted).one_or_none()
    if row is None:
        return None
    found = ApprovedProgram(
        job=row.job,
        sha256=Plan.FromString(row.plan).program.sha256,
        source=programs.source_of(connection, row.job),
    )
    found.approved.FromMilliseconds(int(row.approved * 1000))
    return found
