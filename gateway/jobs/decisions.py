"""What whoever decides is shown of a job that waits. Every function is a step of the caller's transaction.

Keeps: APP-04, MON-03
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Connection, bindparam, select
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, OrganisationBudget
from yingbi.api.v1.job_pb2 import Decision, Flag, Job, ListDecisionsResponse
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.columns_read import columns_read
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import charge_of
from gateway.governance import decisions
from gateway.governance.callers import Caller
from gateway.governance.decisions import Given
from gateway.governance.flags import Earlier, Likeness, Spending, flags_of
from gateway.governance.policy import Action, check
from gateway.jobs import approved_programs, records, shown, states
from gateway.jobs.kinds import kind_of_plan
from gateway.jobs.records import JobRecord
from gateway.ledger import accounts as ledger_accounts
from gateway.storage import approvals, catalogue
from gateway.storage.tables import accounts, jobs

MOST_COMPARED = 300
"""Earlier jobs on a dataset that a job is compared with, the newest first."""
MAX_PAGE = 200
# No other evidence than that of simulated enclaves is believed yet: see `yingbi.api.evidence`.
SIMULATED = True

_EARLIER = (
    select(jobs.c.job, jobs.c.organisation, jobs.c.created, jobs.c.plan_hash, jobs.c.plan)
    .where(jobs.c.dataset == bindparam("wanted_dataset"))
    .where(jobs.c.job != bindparam("wanted_job"))
    .where(jobs.c.state.not_in([states.REFUSED, states.CANCELLED]))
    .order_by(jobs.c.number.desc())
    .limit(MOST_COMPARED)
)


def get(connection: Connection, caller: Caller, job: str, nodes: int) -> Decision:
    """All there is to see of a job that waits or waited, and `nodes` compute; raises Problem."""
    record = records.get(connection, job)
    found = _decision(connection, caller, record)
    declaration = catalogue.find(connection, record.dataset).declaration
    found.job.CopyFrom(shown.describe(connection, record))
    plan = Plan.FromString(record.plan)
    found.columns.extend(_columns(plan, declaration))
    found.organisations.extend(_organisations(connection, declaration))
    if record.state == states.WAITING:
        found.flags.extend(_flags(connection, record, found, nodes))
        before = approved_programs.before(connection, record, plan, declaration.grade)
        if before is not None:
            found.approved_program.CopyFrom(before)
    return found


def waiting(connection: Connection, caller: Caller, size: int, after: int) -> ListDecisionsResponse:
    """What waits for the caller, and what for others: oldest first, up to `size` in all, from number `after` on."""
    wanted = select(jobs.c.number, jobs.c.job).where(jobs.c.state == states.WAITING).where(jobs.c.number > after)
    rows = connection.execute(wanted.order_by(jobs.c.number).limit(size + 1)).all()
    answer = ListDecisionsResponse(next_page_token=str(rows[size - 1].number) if len(rows) > size else "")
    for row in rows[:size]:
        found = _decision(connection, caller, records.get(connection, row.job))
        (answer.others if found.may_not else answer.mine).append(found)
    return answer


def _decision(connection: Connection, caller: Caller, record: JobRecord) -> Decision:
    """What costs little: for lists."""
    declaration = catalogue.find(connection, record.dataset).declaration
    plan = Plan.FromString(record.plan)
    given = approvals.given(connection, record.job)
    charge = charge_of(plan)
    refusal = _may_not(caller, record, declaration.grade, given)
    return Decision(
        job=Job(
            job=record.job,
            state=record.state,
            dataset=record.dataset,
            sql=record.message.sql,
            developer=record.developer,
            agreement=record.agreement,
            batch=record.message.batch,
        ),
        needed=shown.needed(declaration.grade, given),
        since=record.message.created,
        rho_units=charge.rho_units,
        delta=plan.delta,
        epsilon=plan.epsilon,
        grade=declaration.grade,
        access_mode="model" if plan.HasField("evaluation") else "query",
        kind=kind_of_plan(plan) or "query",
        organisation=record.organisation,
        may_not=refusal.message if refusal else "",
        may_not_code=refusal.code if refusal else "",
    )


def _may_not(caller: Caller, record: JobRecord, grade: int, given: Sequence[Given]) -> Problem | None:
    try:
        check(caller, Action.DECIDE)
        if record.state != states.WAITING:
            states.check_transition(record.job, record.state, states.QUEUED)
        decisions.check_may_decide(caller, record.organisation, grade, given)
    except Problem as problem:
        return problem
    return None


def _columns(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    try:
        return sorted(columns_read(plan, declaration))
    except PlanError:  # of an earlier version of the dataset, which had other columns
        return []


def _organisations(connection: Connection, declaration: DatasetDeclaration) -> list[OrganisationBudget]:
    """Who spent how much of the dataset's budget, who spent most first."""
    prefix = ledger_accounts.organisations_of(declaration)
    rows = connection.execute(
        select(accounts)
        .where(accounts.c.kind == "organisation")
        .where(accounts.c.name.startswith(prefix, autoescape=True))
    )
    found = [
        OrganisationBudget(
            organisation=row.name.removeprefix(prefix),
            limit_rho_units=row.limit_rho_units,
            spent_rho_units=row.spent_rho_units,
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (-each.spent_rho_units, each.organisation))


def _flags(connection: Connection, record: JobRecord, found: Decision, nodes: int) -> Sequence[Flag]:
    asked = Earlier(
        record.job, record.organisation, record.message.created.ToMicroseconds() / 1e6, _likeness(record.plan)
    )
    rows = connection.execute(_EARLIER, {"wanted_dataset": record.dataset, "wanted_job": record.job})
    earlier = [Earlier(row.job, row.organisation, row.created, _likeness(row.plan)) for row in rows]
    budget = found.job.budget
    spending = Spending(budget.limit_rho_units, budget.spent_rho_units, found.rho_units)
    return flags_of(
        asked,
        [each for each in earlier if each.at <= asked.at],
        spending,
        simulated=SIMULATED,
        nodes=nodes,
    )


# A plan never changes; the same ones are compared with every job that waits.
@lru_cache(maxsize=2 * MOST_COMPARED)
def _likeness(plan: bytes) -> Likeness:
    return Likeness.of(Plan.FromString(plan))
