"""What is decided about jobs that wait: approve, which charges them once all have said yes, return, or refuse.

Nothing here touches data. Every change is made by `_approve` or `_refuse`, each one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Approval, Failure, Job, SignedApproval, StandingApproval, StandingRecord
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.sensitivity import charge_of, total_rho_units
from gateway.governance import decisions
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import check_roster
from gateway.governance.signed_bytes import read
from gateway.jobs import agreement_door, records, shown, signatures, standing, states
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner, check_not_stopped, check_still_open
from gateway.ledger import ledger, limits
from gateway.storage import agreements, approvals, audit, catalogue, people
from gateway.storage import standing as stored
from gateway.storage.database import Database

MAX_WORDS = 2_000
"""Characters of a reason, or a clause."""


class Approvals:
    """Carries out decisions; hands approved jobs to the runner."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        runner: Runner,
        feed: Feed,
        *,
        clock: Callable[[], float] = time.time,
        governed: bool = False,
    ) -> None:
        """`clock` tells what agreements' terms are compared with: seconds since 1970.

        `governed`: no job goes on under none.
        """
        self._governed = governed
        self._clock = clock
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._feed = feed

    @property
    def nodes(self) -> int:
        """How many nodes compute a job."""
        return len(self._nodes.states())

    async def approve(self, caller: Caller, signed: SignedApproval, job: str = "") -> Job:
        """Let a waiting job run: reserves its budget now. Raises Problem.

        `job`: of a standing approval, the one that it is given with; those that follow need no call.
        """
        # A caller who goes away leaves no job that is charged and not started.
        return await asyncio.shield(self._approved(caller, signed, job))

    async def _approved(self, caller: Caller, signed: SignedApproval, job: str) -> Job:
        approval = read(Approval, signed.body, "approval.body")
        terms = read(StandingApproval, signed.standing, "approval.standing")
        record = await self._database.run(records.get, job if signed.standing else approval.job)
        if signed.standing:
            await self._database.run(standing.check_given, caller, signed, terms, record, self._clock())
        else:
            _check_approval(caller, signed, approval, record, self._clock())
        if not await self._database.run(records.release, record.plan_hash):
            epoch = self._nodes.check_connected()
            check_roster(record.dataset, record.registration.SerializeToString(), epoch)
        record = await self._database.run(_approve, caller, record, signed, self._clock(), self._governed)
        if record.state == states.QUEUED:
            self._runner.start(record)
        self._feed.changed(record.job)
        return await self._database.run(shown.describe, record)

    async def standing(self, caller: Caller, *, all_: bool) -> list[StandingRecord]:
        """Standing approvals that the caller may see: a developer those of their own organisation's requests."""
        organisation = caller.organisation if caller.role is Role.DEVELOPER else None
        return await self._database.run(partial(stored.listed, all_=all_), organisation, self._clock())

    async def revoke(self, caller: Caller, name: str, reason: str) -> StandingRecord:
        """End a standing approval for what is asked from now on. Raises Problem."""
        check_words("reason", reason)
        return await self._database.run(standing.revoke, caller, name, reason, self._clock())

    async def refuse(self, caller: Caller, job: str, reason: str, clause: str = "", *, returned: bool = False) -> Job:
        """Refuse a waiting job, or return it to be asked anew; a reason is owed. Raises Problem."""
        if not reason.strip():
            raise Problem(Kind.MALFORMED, "reason", "A refusal carries its reason.", field="reason")
        check_words("reason", reason)
        check_words("clause", clause)
        # A caller who goes away leaves nobody waiting for a job that has ended.
        return await asyncio.shield(self._refused(caller, job, reason.strip(), clause.strip(), returned=returned))

    async def _refused(self, caller: Caller, job: str, reason: str, clause: str, *, returned: bool) -> Job:
        failure = _failure(caller, reason, clause, returned=returned)
        record = await self._database.run(_refuse, caller, job, failure)
        self._feed.changed(job)
        return await self._database.run(shown.describe, record)


def check_words(field: str, text: str) -> None:
    """Raise Problem for a reason, or the like, that is too long."""
    if len(text) > MAX_WORDS:
        said = f"A {field} has at most {MAX_WORDS:,} characters, not {len(text):,}."
        raise Problem(Kind.MALFORMED, field, said, field=field)


def _failure(caller: Caller, reason: str, clause: str, *, returned: bool) -> Failure:
    under = f" by {clause}" if clause else ""
    if returned:
        hint = "change what is asked for, and ask again: nothing was charged"
        return Failure(code="returned", message=f"{caller.name} returned the job{under}: {reason}", hint=hint)
    return Failure(code="refused", message=f"{caller.name} refused the job{under}: {reason}")


def _approve(
    connection: Connection, caller: Caller, record: JobRecord, signed: SignedApproval, now: float, governed: bool
) -> JobRecord:
    """Record a yes; once it is the last one, answer the job, or charge and queue it, or refuse it: one transaction."""
    if not _said_yes(connection, caller, record, signed, now):
        return records.touch(connection, record.job)
    return charged(connection, record, now, governed=governed)


def charged(connection: Connection, record: JobRecord, now: float, *, governed: bool = False) -> JobRecord:
    """A waiting job that has every yes, charged and queued, or refused with the reason. One step of a transaction.

    Where its plan was released meanwhile, or to others before, that is its answer, at no cost.
    """
    if ended := _ended(connection, record, now, governed):
        return ended
    if records.release(connection, record.plan_hash) is not None:
        records.set_replayed(connection, record.job)
        return records.move(connection, record.job, states.SUCCEEDED)
    declaration = catalogue.find(connection, record.dataset).declaration
    agreement = agreements.find(connection, record.agreement)
    charge = charge_of(Plan.FromString(record.plan))
    if ledger.reserve(connection, record.job, declaration, record.organisation, charge, agreement, now=now):
        ledger.use_of_day(connection, agreement, now)
        return records.move(connection, record.job, states.QUEUED)
    budget = ledger.budget(connection, declaration, record.organisation, agreement)
    failure = records.failure_of(limits.exceeded(budget, charge.rho_units))
    return records.move(connection, record.job, states.REFUSED, failure)


def _ended(connection: Connection, record: JobRecord, now: float, governed: bool) -> JobRecord | None:
    """The waiting job, refused, where its agreement ended or its dataset closed while it waited."""
    try:
        signatures.check_count(connection, record, now)
        agreement_door.check(connection, record, now, governed=governed)
        check_not_stopped(connection, record)
        check_still_open(connection, record)
    except Problem as problem:
        return records.move(connection, record.job, states.REFUSED, records.failure_of(problem))
    return None


def _said_yes(connection: Connection, caller: Caller, record: JobRecord, signed: SignedApproval, now: float) -> bool:
    """Record the caller's yes; whether all are there now. Looked up in this transaction: two may decide at once."""
    standing.prune(connection, record, now)
    _check_may_decide(connection, caller, record.job)
    approvals.keep(connection, record.job, record.organisation, caller, signed, now)
    _note(connection, "job.approve", caller, record.job)
    if signed.standing:
        given = stored.keep(connection, record.job, record.organisation, caller, signed, now)
        _note(connection, "standing.approve", caller, given.standing)
    elif caller.role is Role.PROVIDER:
        records.set_approval(connection, record.job, signed)
    return standing.is_complete(connection, record, now)


def _check_may_decide(connection: Connection, caller: Caller, job: str) -> None:
    people.check_has_not_left(connection, caller)
    record = records.get(connection, job)
    if record.state != states.WAITING:
        states.check_transition(job, record.state, states.QUEUED)
    grade = catalogue.find(connection, record.dataset).declaration.grade
    decisions.check_may_decide(caller, record.organisation, grade, approvals.given(connection, job))


def _refuse(connection: Connection, caller: Caller, job: str, failure: Failure) -> JobRecord:
    _check_may_decide(connection, caller, job)
    _note(connection, f"job.{'return' if failure.code == 'returned' else 'refuse'}", caller, job, failure.message)
    return records.move(connection, job, states.REFUSED, failure)


def _note(connection: Connection, action: str, caller: Caller, job: str, reason: str = "") -> None:
    audit.append(connection, action, job, person=caller.name, organisation=caller.organisation, reason=reason)


def _check_approval(caller: Caller, signed: SignedApproval, approval: Approval, record: JobRecord, now: float) -> None:
    """What is approved is this job's plan at its price, until the approval ends; raises Problem."""
    if record.state != states.WAITING:
        states.check_transition(record.job, record.state, states.QUEUED)
    if approval.plan_hash != record.plan_hash:
        raise Problem(Kind.CONFLICT, "other_plan", f"Job {record.job} has another plan than the one approved.")
    if approval.operator_key != caller.key or not digests.is_signed(
        caller.key, digests.APPROVAL, signed.body, signed.signature
    ):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The approval is not signed with this caller's key.")
    if approval.organisation not in ("", caller.organisation):
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_organisation",
            f"The approval is in the name of {approval.organisation}; {caller.name} is of {caller.organisation}.",
        )
    plan = Plan.FromString(record.plan)
    # As every enclave compares it, once the job is charged: none takes an approval that says no price, or no number.
    if not (approval.rho_units >= total_rho_units(plan) and approval.delta >= plan.delta):
        raise Problem(
            Kind.CONFLICT,
            "other_price",
            f"Job {record.job} costs more than was approved: {total_rho_units(plan)} units of rho.",
            hint="look at the job again",
        )
    if approval.HasField("expires") and approval.expires.seconds <= now:
        raise Problem(
            Kind.REFUSED, "approval_expired", "The approval is over already.", field="expires", hint="approve it anew"
        )
