"""Jobs as the database knows them. Every function is one step of the caller's transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Authorization, Failure, Job, SealedProgram, SignedApproval, SignedAuthorization
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.jobs import states
from gateway.jobs.states import State
from gateway.storage import audit, programs
from gateway.storage.prepared import Prepared
from gateway.storage.tables import jobs, releases

PAGE_BYTES = 16 << 20
"""A page of jobs ends with the one that makes it longer than this; a message takes four times as much."""


@dataclass(frozen=True)
class NewJob:
    """A request that passed its checks."""

    job: str
    developer: str
    organisation: str
    request_id: str
    request_digest: bytes
    dataset: str
    sql: str
    plan: bytes
    plan_hash: bytes
    authorization: SignedAuthorization
    # The dataset version that the plan names.
    registration: bytes
    # The id of the agreement that it is asked under; empty: under none.
    agreement: str = ""
    # Of a program: itself, sealed to each node's enclave.
    programs: tuple[SealedProgram, ...] = ()
    # Of a program whose developer shows it: itself.
    source: bytes = b""


@dataclass(frozen=True)
class JobRecord:
    """A job as it stands."""

    job: str
    developer: str
    organisation: str
    request_digest: bytes
    dataset: str
    plan: bytes
    plan_hash: bytes
    authorization: SignedAuthorization
    approval: SignedApproval | None
    registration: RegisterDatasetRequest
    state: State
    message: Job
    agreement: str = ""


# Made once: to build a statement takes longer than to execute it.
_CREATE = Prepared(insert(jobs), [column.name for column in jobs.c if column is not jobs.c.number])
_JOB = Prepared(select(jobs).where(jobs.c.job == bindparam("wanted")))
_REQUEST = Prepared(
    select(jobs).where(
        jobs.c.developer == bindparam("wanted_developer"), jobs.c.request_id == bindparam("wanted_request")
    )
)
_RELEASE = Prepared(select(releases.c.receipt).where(releases.c.plan_hash == bindparam("wanted")))


def create(
    connection: Connection, new: NewJob, state: State, *, failure: Failure | None = None, replayed: bool = False
) -> JobRecord:
    """Record a job in its first state."""
    row = {
        "job": new.job,
        "developer": new.developer,
        "organisation": new.organisation,
        "agreement": new.agreement,
        "request_id": new.request_id,
        "request_digest": new.request_digest,
        "dataset": new.dataset,
        "sql": new.sql,
        "plan": new.plan,
        "plan_hash": new.plan_hash,
        "authorization": new.authorization.SerializeToString(),
        "registration": new.registration,
        "approval": None,
        "state": state,
        "sequence": 1,
        "created": time.time(),
        "failure": failure.SerializeToString() if failure else None,
        "replayed": replayed,
    }
    _CREATE.execute(connection, row)
    audit.append(
        connection,
        "job.submit",
        new.job,
        person=new.developer,
        organisation=new.organisation,
        reason=failure.message if failure else "",
        details={
            "state": int(state),
            "dataset": new.dataset,
            "agreement": new.agreement,
            "plan_hash": new.plan_hash.hex(),
            **({"replayed": True} if replayed else {}),
        },
    )
    if state not in states.ENDED:
        programs.keep(connection, new.job, new.programs)
    programs.show(connection, new.job, new.source)
    return _record(connection, SimpleNamespace(**row))


def get(connection: Connection, job: str) -> JobRecord:
    """The job; raises Problem for an unknown one."""
    row = _JOB.execute(connection, {"wanted": job}).one_or_none()
    if row is None:
        raise unknown(job)
    return _record(connection, row)


def unknown(job: str) -> Problem:
    """What is said of a job that is not there, or not the caller's."""
    return Problem(Kind.UNKNOWN, "unknown_job", f"There is no job {job!r}.", hint="`yingbi jobs` lists them")


def find_request(connection: Connection, developer: str, request_id: str) -> JobRecord | None:
    """The job that `developer` asked for under `request_id`."""
    asked = {"wanted_developer": developer, "wanted_request": request_id}
    row = _REQUEST.execute(connection, asked).one_or_none()
    return _record(connection, row) if row else None


def unfinished(connection: Connection) -> list[JobRecord]:
    """The jobs that a restarted gateway takes up again."""
    wanted = jobs.c.state.in_([states.QUEUED, states.RUNNING])
    return [_record(connection, row) for row in connection.execute(select(jobs).where(wanted).order_by(jobs.c.number))]


def page(connection: Connection, developer: str | None, size: int, before: int | None) -> tuple[list[Job], int | None]:
    """Up to `size` jobs, newest first, and where the next page begins; fewer where their receipts are long."""
    wanted = select(jobs).order_by(jobs.c.number.desc()).limit(size + 1)
    if developer is not None:
        wanted = wanted.where(jobs.c.developer == developer)
    if before is not None:
        wanted = wanted.where(jobs.c.number < before)
    rows = connection.execute(wanted).all()
    found: list[Job] = []
    for row in rows[:size]:
        found.append(_record(connection, row).message)
        if sum(message.ByteSize() for message in found) > PAGE_BYTES:
            break
    return found, rows[len(found) - 1].number if len(rows) > len(found) else None


def move(connection: Connection, job: str, state: State, failure: Failure | None = None) -> JobRecord:
    """Bring the job into `state`; raises Problem where it cannot go there from where it is."""
    set_state(connection, job, state, failure)
    return get(connection, job)


def set_state(connection: Connection, job: str, state: State, failure: Failure | None = None) -> None:
    """As `move`, for whoever does not look at the job, which may be long by then."""
    present = connection.execute(select(jobs.c.state).where(jobs.c.job == job)).scalar_one_or_none()
    if present is None:
        raise unknown(job)
    states.check_transition(job, present, state)
    reason = failure.message if failure else ""
    audit.append(connection, "job.state", job, reason=reason, details={"state": int(state)})
    if state in states.ENDED:
        # No node is asked for it any more; who asks again gets the job as it ended.
        programs.remove(connection, job)
    connection.execute(
        update(jobs)
        .where(jobs.c.job == job)
        .values(
            state=state,
            sequence=jobs.c.sequence + 1,
            failure=failure.SerializeToString() if failure else None,
        )
    )


def touch(connection: Connection, job: str) -> JobRecord:
    """The job, changed in something that is not its state: who watches it is told."""
    connection.execute(update(jobs).where(jobs.c.job == job).values(sequence=jobs.c.sequence + 1))
    return get(connection, job)


def set_approval(connection: Connection, job: str, approval: SignedApproval) -> None:
    """Keep the provider's signature for the enclaves."""
    connection.execute(update(jobs).where(jobs.c.job == job).values(approval=approval.SerializeToString()))


def set_replayed(connection: Connection, job: str) -> None:
    """Mark the job as answered from an earlier release."""
    connection.execute(update(jobs).where(jobs.c.job == job).values(replayed=True))


def release(connection: Connection, plan_hash: bytes) -> Receipt | None:
    """The stored release of a plan."""
    stored = _release_bytes(connection, plan_hash)
    return None if stored is None else Receipt.FromString(stored)


def answers_at_once(connection: Connection, new: NewJob, *, waits: bool) -> bool:
    """Whether the stored release of its plan is the answer to a new job.

    `waits`: whether every plan is approved. Then it is one for whose request was: what was approved for others is not.
    """
    if release(connection, new.plan_hash) is None:
        return False
    same = (jobs.c.plan_hash == new.plan_hash) & (jobs.c.organisation == new.organisation)
    own = select(jobs.c.job).where(same, jobs.c.state == states.SUCCEEDED).limit(1)
    return not waits or connection.execute(own).first() is not None


def _release_bytes(connection: Connection, plan_hash: bytes) -> bytes | None:
    stored: bytes | None = _RELEASE.execute(connection, {"wanted": plan_hash}).scalar_one_or_none()
    return stored


def store_release(connection: Connection, record: JobRecord, receipt: Receipt) -> None:
    """Keep the release for this plan; the first one stays."""
    if release(connection, record.plan_hash) is None:
        connection.execute(
            insert(releases).values(
                plan_hash=record.plan_hash, job=record.job, receipt=receipt.SerializeToString(), released=time.time()
            )
        )


def failure_of(problem: Problem) -> Failure:
    """A problem, as the job that failed by it carries it."""
    return Failure(code=problem.code, message=problem.message, hint=problem.hint or "")


def _record(connection: Connection, row: Any) -> JobRecord:
    """`row` has the columns of `jobs` as attributes."""
    authorization = SignedAuthorization.FromString(row.authorization)
    message = Job(
        job=row.job,
        state=row.state,
        dataset=row.dataset,
        sql=row.sql,
        plan=row.plan,
        request_id=row.request_id,
        replayed=bool(row.replayed),
        sequence=row.sequence,
        developer=row.developer,
        agreement=row.agreement,
        batch=Authorization.FromString(authorization.body).batch,
        failure=Failure.FromString(row.failure) if row.failure else None,
        progress=states.name_of(row.state),
    )
    message.created.FromMilliseconds(int(row.created * 1000))
    if row.state == states.SUCCEEDED:
        # Parsed in its place: a copy of a long receipt is worth avoiding.
        message.receipt.ParseFromString(_release_bytes(connection, row.plan_hash) or b"")
    return JobRecord(
        job=row.job,
        developer=row.developer,
        organisation=row.organisation,
        request_digest=row.request_digest,
        dataset=row.dataset,
        plan=row.plan,
        plan_hash=row.plan_hash,
        authorization=authorization,
        approval=SignedApproval.FromString(row.approval) if row.approval else None,
        registration=RegisterDatasetRequest.FromString(row.registration),
        state=row.state,
        message=message,
        agreement=row.agreement,
    )
