"""Jobs as lists and histories have them: without their plans and releases. Each function is a step of a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import (
    JobChange,
    JobEvent,
    JobHistory,
    JobState,
    JobSummary,
    ListJobSummariesRequest,
    ListJobSummariesResponse,
)
from yingbi.api.v1.plan_pb2 import Plan

from gateway.governance import policy
from gateway.governance.callers import Caller, Role
from gateway.governance.policy import Action
from gateway.jobs import shown, states
from gateway.jobs.kinds import kind_of_plan
from gateway.jobs.records import unknown
from gateway.storage import approvals, catalogue
from gateway.storage.tables import audit, charges, jobs

MAX_PAGE = 200
PAGE = 50
SHOWN_SQL = 400
"""Characters of the SQL that a row has."""

# Of a charge there are several rows, alike but for the account; that of the dataset is always there.
_CHARGE = and_(charges.c.job == jobs.c.job, charges.c.kind == "dataset")
_SUMMARY = select(
    jobs.c.number,
    jobs.c.job,
    jobs.c.state,
    jobs.c.dataset,
    func.substr(jobs.c.sql, 1, SHOWN_SQL).label("sql"),
    jobs.c.developer,
    jobs.c.organisation,
    jobs.c.agreement,
    jobs.c.created,
    jobs.c.sequence,
    jobs.c.plan,
    jobs.c.replayed,
    charges.c.state.label("charge"),
    charges.c.rho_units,
).join_from(jobs, charges, _CHARGE, isouter=True)

Stage = Callable[[str], str]
"""What the nodes are doing for a job; empty where nothing is known."""


def page(
    connection: Connection, caller: Caller, request: ListJobSummariesRequest, before: int | None, stage: Stage
) -> ListJobSummariesResponse:
    """Up to a page of jobs that the caller may see, newest first; raises Problem."""
    size = min(request.page_size or PAGE, MAX_PAGE)
    wanted = _seen_by(_SUMMARY, caller).order_by(jobs.c.number.desc()).limit(size + 1)
    if request.states:
        wanted = wanted.where(jobs.c.state.in_(list(request.states)))
    if request.dataset:
        wanted = wanted.where(jobs.c.dataset == request.dataset)
    if request.agreement:
        wanted = wanted.where(jobs.c.agreement == request.agreement)
    if before is not None:
        wanted = wanted.where(jobs.c.number < before)
    rows = connection.execute(wanted).all()
    return ListJobSummariesResponse(
        jobs=[_summary(row, caller, stage) for row in rows[:size]],
        next_page_token=str(rows[size - 1].number) if len(rows) > size else "",
    )


def changes(connection: Connection, caller: Caller, changed: Collection[str]) -> list[JobChange]:
    """How those of the changed jobs stand that the caller may see; raises Problem."""
    wanted = select(jobs.c.job, jobs.c.state, jobs.c.sequence).where(jobs.c.job.in_(changed)).order_by(jobs.c.number)
    rows = connection.execute(_seen_by(wanted, caller))
    return [JobChange(job=row.job, state=row.state, sequence=row.sequence) for row in rows]


def history(connection: Connection, caller: Caller, job: str, stage: Stage) -> JobHistory:
    """All that happened to a job that the caller may see; raises Problem for another's, as if it were not there."""
    row = connection.execute(_seen_by(_SUMMARY, caller).where(jobs.c.job == job)).one_or_none()
    if row is None:
        raise unknown(job)
    given = approvals.given(connection, job)
    grade = catalogue.find(connection, row.dataset).declaration.grade
    said = [each for each in shown.needed(grade, given) if each.person or row.state == states.WAITING]
    return JobHistory(
        job=_summary(row, caller, stage),
        events=_events(connection, caller, job),
        needed=said,
        may_not_stop=_may_not_stop(caller, row.job, row.state),
    )


def stop_action(caller: Caller) -> Action:
    """What it takes to stop a job: developers stop their own."""
    return Action.ASK if caller.role is Role.DEVELOPER else Action.STOP_JOB


def _seen_by(wanted: Select[Any], caller: Caller) -> Select[Any]:
    """A developer's own jobs; all of them for who may see jobs. Raises Problem."""
    if caller.role is Role.DEVELOPER:
        return wanted.where(jobs.c.developer == caller.name)
    policy.check(caller, Action.SEE_JOBS)
    return wanted


def _summary(row: Any, caller: Caller, stage: Stage) -> JobSummary:
    plan = Plan.FromString(row.plan)
    message = JobSummary(
        job=row.job,
        state=row.state,
        dataset=row.dataset,
        sql=row.sql,
        developer=row.developer,
        organisation=row.organisation,
        agreement=row.agreement,
        kind=kind_of_plan(plan) or "query",
        sequence=row.sequence,
        epsilon=plan.epsilon,
        delta=plan.delta,
        charge=row.charge or "",
        rho_units=row.rho_units or 0,
        replayed=bool(row.replayed),
        # Whoever runs the gateway sees how long nodes take anyway; it tells nobody else.
        stage=stage(row.job) if caller.role is Role.OPERATOR and row.state == states.RUNNING else "",
    )
    message.created.FromMilliseconds(int(row.created * 1000))
    return message


def _events(connection: Connection, caller: Caller, job: str) -> Sequence[JobEvent]:
    wanted = select(audit).where(audit.c.subject == job).order_by(audit.c.number)
    if not policy.may(caller, Action.AUDIT):
        wanted = wanted.where(audit.c.action.in_(["job.submit", "job.state"]))
    return [_event(row) for row in connection.execute(wanted)]


def _event(row: Any) -> JobEvent:
    details = json.loads(row.details) if row.details else {}
    message = JobEvent(
        action=row.action,
        person=row.person,
        organisation=row.organisation,
        reason=row.reason,
        state=details.get("state", JobState.JOB_STATE_UNSPECIFIED),
    )
    message.at.FromMilliseconds(row.at_millis)
    return message


def _may_not_stop(caller: Caller, job: str, state: states.State) -> str:
    try:
        policy.check(caller, stop_action(caller))
        states.check_transition(job, state, states.CANCELLED)
    except Problem as problem:
        return problem.message
    return ""
