"""What operators decide about jobs that wait: approve, which charges them, or refuse. Nothing here touches data."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import Approval, Failure, Job, SignedApproval
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.sensitivity import charge_of
from gateway.governance.callers import Caller
from gateway.governance.registration import check_roster
from gateway.jobs import records, shown, states
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.ledger import ledger, limits
from gateway.storage import agreements, catalogue
from gateway.storage.database import Database


class Approvals:
    """Carries out operators' decisions; hands approved jobs to the runner."""

    def __init__(
        self, database: Database, nodes: Nodes, runner: Runner, feed: Feed, *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` tells what agreements' terms are compared with: seconds since 1970."""
        self._clock = clock
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._feed = feed

    async def approve(self, caller: Caller, signed: SignedApproval) -> Job:
        """Let a waiting job run: reserves its budget now. Raises Problem."""
        approval = Approval.FromString(signed.body)
        record = await self._database.run(records.get, approval.job)
        _check_approval(caller, signed, approval, record)
        if await self._database.run(records.release, record.plan_hash):
            record = await self._database.run(_approve_replayed, record, self._clock())
        else:
            epoch = self._nodes.check_connected()
            check_roster(record.dataset, record.registration.SerializeToString(), epoch)
            record = await self._database.run(_approve, record, signed, self._clock())
            if record.state == states.QUEUED:
                self._runner.start(record)
        self._feed.changed(record.job)
        return await self._database.run(shown.describe, record)

    async def refuse(self, caller: Caller, job: str, reason: str) -> Job:
        """Refuse a waiting job; a reason is owed. Raises Problem."""
        if not reason.strip():
            raise Problem(Kind.MALFORMED, "reason", "A refusal carries its reason.", field="reason")
        failure = Failure(code="refused", message=f"{caller.name} refused the job: {reason.strip()}")
        record = await self._database.run(_refuse, job, failure)
        self._feed.changed(job)
        return await self._database.run(shown.describe, record)


def _approve(connection: Connection, record: JobRecord, signed: SignedApproval, now: float) -> JobRecord:
    """Charge and queue a waiting job, or refuse it and say why: one transaction."""
    records.set_approval(connection, record.job, signed)
    if ended := _ended(connection, record, now):
        return ended
    declaration = catalogue.find(connection, record.dataset).declaration
    agreement = agreements.find(connection, record.agreement)
    charge = charge_of(Plan.FromString(record.plan))
    if ledger.reserve(connection, record.job, declaration, record.organisation, charge, agreement):
        return records.move(connection, record.job, states.QUEUED)
    budget = ledger.budget(connection, declaration, record.organisation, agreement)
    failure = records.failure_of(limits.exceeded(budget, charge.rho_units))
    return records.move(connection, record.job, states.REFUSED, failure)


def _ended(connection: Connection, record: JobRecord, now: float) -> JobRecord | None:
    """The waiting job, refused, where its agreement ended while it waited."""
    try:
        agreements.check_still_in_force(connection, record.agreement, now)
    except Problem as problem:
        return records.move(connection, record.job, states.REFUSED, records.failure_of(problem))
    return None


def _approve_replayed(connection: Connection, record: JobRecord, now: float) -> JobRecord:
    if ended := _ended(connection, record, now):
        return ended
    records.set_replayed(connection, record.job)
    return records.move(connection, record.job, states.SUCCEEDED)


def _refuse(connection: Connection, job: str, failure: Failure) -> JobRecord:
    return records.move(connection, job, states.REFUSED, failure)


def _check_approval(caller: Caller, signed: SignedApproval, approval: Approval, record: JobRecord) -> None:
    if record.state != states.WAITING:
        states.check_transition(record.job, record.state, states.QUEUED)
    if approval.plan_hash != record.plan_hash:
        raise Problem(Kind.CONFLICT, "other_plan", f"Job {record.job} has another plan than the one approved.")
    if approval.operator_key != caller.key or not digests.is_signed(
        caller.key, digests.APPROVAL, signed.body, signed.signature
    ):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The approval is not signed with this caller's key.")
