"""Standing approvals, as the database keeps and counts them. Each function is a step of a transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import SignedApproval, StandingApproval, StandingRecord

from gateway.governance.callers import Caller
from gateway.storage.tables import organisations, people, standing_approvals, standing_uses

_T = standing_approvals.c


def id_of(signed: SignedApproval) -> str:
    """What a standing approval is called here and in the enclaves' journals; empty for one of a single plan."""
    return digests.digest(digests.STANDING_APPROVAL, signed.standing).hex() if signed.standing else ""


def keep(
    connection: Connection, job: str, asked_by: str, caller: Caller, signed: SignedApproval, now: float
) -> StandingRecord:
    """Record one that was checked; the same again changes nothing."""
    terms, name = StandingApproval.FromString(signed.standing), id_of(signed)
    if _row(connection, name) is None:
        connection.execute(
            insert(standing_approvals).values(
                standing=name,
                dataset=terms.dataset,
                agreement=terms.agreement,
                organisation=caller.organisation,
                kind=caller.role.value,
                person=caller.name,
                asked_by=asked_by,
                job=job,
                signed=signed.SerializeToString(),
                given=now,
                expires=float(terms.expires.seconds),
                jobs=0,
                max_jobs=terms.max_jobs,
                rho_units=0,
                max_rho_units=terms.rho_units,
            )
        )
    return get(connection, name)


def get(connection: Connection, name: str) -> StandingRecord:
    """The one called `name`; raises Problem for an unknown one."""
    row = _row(connection, name)
    if row is None:
        hint = "`yingbi approvals list` lists them"
        raise Problem(Kind.UNKNOWN, "unknown_approval", f"There is no standing approval {name!r}.", hint=hint)
    return _record(row)


def listed(connection: Connection, organisation: str | None, now: float, *, all_: bool) -> list[StandingRecord]:
    """The newest first: those that `organisation` gave or asks under, or everybody's; in force at `now`, or `all_`."""
    wanted = select(standing_approvals).order_by(_T.given.desc(), _T.standing)
    if organisation is not None:
        wanted = wanted.where((_T.asked_by == organisation) | (_T.organisation == organisation))
    if not all_:
        wanted = wanted.where(_T.revoked.is_(None)).where(_T.expires > now).where(_T.jobs < _T.max_jobs)
    return [_record(row) for row in connection.execute(wanted)]


def usable(connection: Connection, dataset: str, asked_by: str, agreement: str, now: float) -> list[StandingRecord]:
    """Those that jobs like this may be under, the oldest first: not revoked, not over, and of people who are there."""
    left = select(people.c.person).where(people.c.person == _T.person).where(people.c.left.is_not(None))
    gone = select(organisations.c.organisation).where(organisations.c.organisation == _T.organisation)
    wanted = (
        select(standing_approvals)
        .where(_T.dataset == dataset)
        .where(_T.asked_by == asked_by)
        .where(_T.agreement == agreement)
        .where(_T.revoked.is_(None))
        .where(_T.expires > now)
        .where(_T.jobs < _T.max_jobs)
        .where(~left.exists())
        .where(~gone.where(organisations.c.left.is_not(None)).exists())
        .order_by(_T.given, _T.standing)
    )
    return [_record(row) for row in connection.execute(wanted)]


def signed_of(connection: Connection, name: str) -> SignedApproval:
    """The signature of one that is there."""
    return SignedApproval.FromString(connection.execute(select(_T.signed).where(_T.standing == name)).scalar_one())


def phases(connection: Connection, name: str) -> set[str]:
    """Of the jobs that were charged under it."""
    rows = connection.execute(select(standing_uses.c.phase).where(standing_uses.c.standing == name))
    return {row.phase for row in rows}


def use(connection: Connection, name: str, job: str, phase: str, rho_units: int) -> None:
    """Count one more job; raises IntegrityError beyond its limits."""
    connection.execute(
        update(standing_approvals)
        .where(_T.standing == name)
        .values(jobs=_T.jobs + 1, rho_units=_T.rho_units + rho_units)
    )
    connection.execute(insert(standing_uses).values(standing=name, job=job, phase=phase))


def revoke(connection: Connection, name: str, now: float) -> None:
    """End it."""
    connection.execute(update(standing_approvals).where(_T.standing == name).values(revoked=now))


def _row(connection: Connection, name: str) -> Any:
    return connection.execute(select(standing_approvals).where(_T.standing == name)).one_or_none()


def _record(row: Any) -> StandingRecord:
    record = StandingRecord(
        standing=row.standing,
        terms=StandingApproval.FromString(SignedApproval.FromString(row.signed).standing),
        person=row.person,
        kind=row.kind,
        asked_by=row.asked_by,
        job=row.job,
        jobs=row.jobs,
        rho_units=row.rho_units,
    )
    record.given.FromMilliseconds(int(row.given * 1000))
    if row.revoked is not None:
        record.revoked.FromMilliseconds(int(row.revoked * 1000))
    return record
