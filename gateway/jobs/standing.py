"""Standing approvals at the gateway: given with a job that waits, used by those that follow, revoked.

A job that waits has a yes of each kind of organisation, of its own or a standing one. Which standing ones there are is
looked up, and counted, in the transaction that charges the job. Enclaves count by themselves
(`enclave_sim.standing_approvals`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.templates import check_fits, check_known, phase_of
from yingbi.api.v1.job_pb2 import SignedApproval, StandingApproval, StandingRecord
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.sensitivity import total_rho_units
from gateway.governance import decisions
from gateway.governance.callers import Caller, Role
from gateway.jobs import records, states
from gateway.jobs.records import JobRecord
from gateway.storage import agreements, approvals, audit, catalogue, standing
from gateway.storage.tables import jobs

MAX_DAYS = 31
"""How long a standing approval lasts at most."""


def check_given(
    connection: Connection,
    caller: Caller,
    signed: SignedApproval,
    terms: StandingApproval,
    record: JobRecord,
    now: float,
) -> None:
    """Raise Problem unless this caller may sign these terms, and they cover the job that they are given with."""
    if terms.operator_key != caller.key or not digests.is_signed(
        caller.key, digests.STANDING_APPROVAL, signed.standing, signed.signature
    ):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The standing approval is not signed with this caller's key.")
    # As enclaves do, which would refuse each job under it, after it was charged.
    check_known(terms, signed.standing)
    if terms.organisation != caller.organisation:
        message = (
            f"The standing approval is in the name of {terms.organisation or 'nobody'}, not {caller.organisation}."
        )
        raise Problem(Kind.NOT_ALLOWED, "other_organisation", message)
    agreement = agreements.find(connection, record.agreement)
    if agreement is None or not agreement.organisation_key:
        raise _refused("standing_needs_agreement", "A standing approval is about requests under a signed agreement.")
    if (terms.agreement, terms.asker_key) != (agreement.agreement, agreement.organisation_key):
        raise _refused(
            "other_agreement", f"The standing approval is not about {agreement.agreement} and its developers."
        )
    if not now < terms.expires.seconds <= now + MAX_DAYS * 24 * 3600:
        message = f"A standing approval ends later than now and within {MAX_DAYS} days."
        raise Problem(Kind.MALFORMED, "expires", message, field="expires", hint="approve it anew")
    plan = Plan.FromString(record.plan)
    price = total_rho_units(plan)
    check_fits(terms, plan, rho_units=price)
    if terms.max_jobs < 1 or terms.rho_units < price or terms.rho_units >= 2**63:
        raise _refused("other_price", "The standing approval does not cover the job that it is given with.")


def is_complete(connection: Connection, record: JobRecord, now: float) -> bool:
    """Whether the waiting job has every yes that it takes; the standing ones among them are counted, once all are."""
    plan = Plan.FromString(record.plan)
    covering = _covering(connection, record, plan, now)
    given = _without_lapsed(connection, record, covering)
    grade = catalogue.find(connection, record.dataset).declaration.grade
    missing = [kind for kind in decisions.approvers(grade) if kind not in given]
    found = {each.kind: each for each in reversed(covering)}
    if not all(kind in found for kind in missing):
        return False
    for kind in missing:
        _say_yes(connection, record.job, found[kind], now)
    used = {standing.id_of(each) for each in approvals.by_kind(connection, record.job).values()}
    for name in sorted(used - {""}):
        standing.use(connection, name, record.job, phase_of(plan), total_rho_units(plan))
    return True


def prune(connection: Connection, record: JobRecord, now: float) -> None:
    """Take from a waiting job the standing yes that is over, used up or revoked since it was given with it."""
    if records.get(connection, record.job).state == states.WAITING:
        _without_lapsed(connection, record, _covering(connection, record, Plan.FromString(record.plan), now))


def revoke(connection: Connection, caller: Caller, name: str, reason: str, now: float) -> StandingRecord:
    """End a standing approval of the caller's organisation: no job is admitted under it from now on. Raises Problem."""
    found = standing.get(connection, name)
    if found.terms.organisation != caller.organisation:
        message = f"The standing approval is of {found.terms.organisation}, which alone revokes it."
        raise Problem(Kind.NOT_ALLOWED, "not_allowed", message)
    if found.HasField("revoked"):
        return found
    audit.append(
        connection, "standing.revoke", name, person=caller.name, organisation=caller.organisation, reason=reason
    )
    standing.revoke(connection, name, now)
    waiting = select(jobs.c.job).where(jobs.c.state == states.WAITING).where(jobs.c.dataset == found.terms.dataset)
    for row in connection.execute(waiting).all():
        prune(connection, records.get(connection, row.job), now)
    return standing.get(connection, name)


def _covering(connection: Connection, record: JobRecord, plan: Plan, now: float) -> list[StandingRecord]:
    """The standing approvals that the job may be under, the oldest first."""
    if not record.agreement:
        return []
    usable = standing.usable(connection, record.dataset, record.organisation, record.agreement, now)
    return [each for each in usable if _covers(connection, each, plan)]


def _covers(connection: Connection, found: StandingRecord, plan: Plan) -> bool:
    price, phase = total_rho_units(plan), phase_of(plan)
    try:
        check_fits(found.terms, plan, rho_units=price)
    except Problem:
        return False
    if found.jobs >= found.terms.max_jobs or found.rho_units + price > found.terms.rho_units:
        return False
    # All rounds of a phase are alike: see `yingbi.api.templates`.
    number = phase.partition(":")[0]
    before = standing.phases(connection, found.standing)
    return all(each == phase for each in before if each.partition(":")[0] == number)


def _without_lapsed(
    connection: Connection, record: JobRecord, covering: Sequence[StandingRecord]
) -> dict[Role, SignedApproval]:
    """The job's approvals, those taken away that rest on a standing one which does not cover it any more."""
    names = {each.standing for each in covering} | {""}
    given = approvals.by_kind(connection, record.job)
    for kind, signed in list(given.items()):
        if standing.id_of(signed) not in names:
            approvals.withdraw(connection, record.job, kind)
            del given[kind]
    return given


def _say_yes(connection: Connection, job: str, found: StandingRecord, now: float) -> None:
    approvals.keep_standing(connection, job, found, standing.signed_of(connection, found.standing), now)
    said = f"by the standing approval {found.standing}"
    audit.append(
        connection, "job.approve", job, person=found.person, organisation=found.terms.organisation, reason=said
    )


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
