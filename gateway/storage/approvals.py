"""Approvals of jobs that wait, as the database keeps them. Each function is a step of a transaction."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select
from yingbi.api.v1.job_pb2 import SignedApproval, StandingRecord

from gateway.governance.callers import Caller, Role
from gateway.governance.decisions import Given
from gateway.storage.tables import approvals

_OF_JOB = select(approvals).where(approvals.c.job == bindparam("wanted")).order_by(approvals.c.approved)


def keep(connection: Connection, job: str, asked_by: str, caller: Caller, signed: SignedApproval, now: float) -> None:
    """Record the caller's yes; raises IntegrityError where their organisation asked itself, or said yes before."""
    connection.execute(
        insert(approvals).values(
            job=job,
            organisation=caller.organisation,
            kind=caller.role.value,
            person=caller.name,
            asked_by=asked_by,
            signed=signed.SerializeToString(),
            approved=now,
        )
    )


def keep_standing(connection: Connection, job: str, found: StandingRecord, signed: SignedApproval, now: float) -> None:
    """Record the yes that whoever gave a standing approval says by it; raises IntegrityError as `keep`."""
    connection.execute(
        insert(approvals).values(
            job=job,
            organisation=found.terms.organisation,
            kind=found.kind,
            person=found.person,
            asked_by=found.asked_by,
            signed=signed.SerializeToString(),
            approved=now,
        )
    )


def withdraw(connection: Connection, job: str, kind: Role) -> None:
    """Take the yes of a kind of organisation from a job that waits."""
    connection.execute(delete(approvals).where(approvals.c.job == job).where(approvals.c.kind == kind.value))


def by_kind(connection: Connection, job: str) -> dict[Role, SignedApproval]:
    """The signatures, by the kind of organisation that gave them."""
    rows = connection.execute(_OF_JOB, {"wanted": job})
    return {Role(row.kind): SignedApproval.FromString(row.signed) for row in rows}


def given(connection: Connection, job: str) -> list[Given]:
    """Whose yes a job has, in the order in which they said it."""
    rows = connection.execute(_OF_JOB, {"wanted": job})
    return [Given(Role(row.kind), row.organisation, row.person, row.approved) for row in rows]


def signed(connection: Connection, job: str) -> list[SignedApproval]:
    """The signatures, for the enclaves."""
    return [SignedApproval.FromString(row.signed) for row in connection.execute(_OF_JOB, {"wanted": job})]
