"""Deployed models, sealed, and how much of each was used. Each function is a step of a transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from yingbi.api import deployments as rules
from yingbi.api import metering
from yingbi.api.metering import Used
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.deployment_pb2 import (
    DEPLOYMENT_STATE_ACTIVE,
    DEPLOYMENT_STATE_APPROVED,
    DEPLOYMENT_STATE_PENDING,
    DEPLOYMENT_STATE_WITHDRAWN,
    CheckDeploymentTask,
    DeploymentState,
    DeploymentTerms,
    DeploymentUse,
    Provenance,
    SignedDeploymentApproval,
    SignedDeploymentTerms,
    SignedDeploymentWithdrawal,
)
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.governance import deployments as governance
from gateway.governance.callers import Caller
from gateway.storage.tables import deployments, jobs, predictions, releases

# The sealed model is up to 16 MiB.
_COLUMNS = [column for column in deployments.c if column is not deployments.c.sealed_model]


@dataclass(frozen=True)
class StoredDeployment:
    """A deployment as the gateway keeps it, without its sealed model, which is long: `task` reads that."""

    developer: str
    organisation: str
    signed_terms: SignedDeploymentTerms
    provenance: Provenance | None
    approval: SignedDeploymentApproval | None
    withdrawal: SignedDeploymentWithdrawal | None
    state: DeploymentState.ValueType
    enclave_told: bool
    created: float

    @cached_property
    def terms(self) -> DeploymentTerms:
        return DeploymentTerms.FromString(self.signed_terms.body)

    @property
    def name(self) -> str:
        return self.terms.deployment

    @property
    def terms_digest(self) -> bytes:
        """What names it to its enclave."""
        return rules.terms_digest(self.signed_terms.body)

    @property
    def jobs(self) -> list[str]:
        """Whose releases the parameters follow from: as signed, or, of terms of before they were named, as shown."""
        return list(self.terms.jobs) or rules.jobs_of(self.provenance)


@dataclass(frozen=True)
class Live:
    """As much of a deployment that is not withdrawn as says what it is under."""

    organisation: str
    terms: DeploymentTerms


@dataclass(frozen=True)
class Source:
    """What a job was about that the parameters follow from; the agreement is empty where it was under none."""

    dataset: str
    organisation: str
    agreement: str


def add(connection: Connection, new: StoredDeployment, sealed_model: bytes) -> None:
    """Keep a new deployment; raises Problem where its name is taken, by a withdrawn one too."""
    try:
        connection.execute(
            insert(deployments).values(
                deployment=new.name,
                developer=new.developer,
                organisation=new.organisation,
                terms=new.signed_terms.SerializeToString(),
                sealed_model=sealed_model,
                provenance=new.provenance.SerializeToString() if new.provenance else b"",
                state=new.state,
                created=new.created,
            )
        )
    except IntegrityError as error:
        raise Problem(
            Kind.REFUSED,
            "deployment_exists",
            f"There is, or was, a deployment called {new.name!r}.",
            field="name",
            hint="choose another name; a name is used once",
        ) from error


def check_few_pending(connection: Connection, organisation: str) -> None:
    """Raise Problem where as many of the organisation's deployments wait for approval as may."""
    mine = (deployments.c.organisation == organisation) & (deployments.c.state == DEPLOYMENT_STATE_PENDING)
    waiting = connection.execute(select(func.count()).select_from(deployments).where(mine)).scalar_one()
    if waiting >= governance.MAX_PENDING:
        raise governance.too_many_pending(organisation)


def find(connection: Connection, name: str, caller: Caller) -> StoredDeployment:
    """The deployment called `name`, if the caller may know of it; raises Problem."""
    row = connection.execute(select(*_COLUMNS).where(deployments.c.deployment == name)).one_or_none()
    found = None if row is None else _stored(row)
    if found is None or not governance.may_see(caller, found.terms, found.organisation):
        raise governance.unknown(name)
    return found


def list_all(connection: Connection, caller: Caller) -> list[StoredDeployment]:
    """Those that the caller may know of, by their names."""
    found = map(_stored, connection.execute(select(*_COLUMNS).order_by(deployments.c.deployment)))
    return [each for each in found if governance.may_see(caller, each.terms, each.organisation)]


def task(connection: Connection, found: StoredDeployment) -> CheckDeploymentTask:
    """What its enclave checks, whatever it is asked to do with it."""
    wanted = select(deployments.c.sealed_model).where(deployments.c.deployment == found.name)
    sealed_model = connection.execute(wanted).scalar_one()
    return CheckDeploymentTask(terms=found.signed_terms, approval=found.approval, sealed_model=sealed_model)


def list_live(connection: Connection) -> list[Live]:
    """Everybody's that are not withdrawn, by their names."""
    columns = (deployments.c.organisation, deployments.c.terms)
    wanted = select(*columns).where(deployments.c.state != DEPLOYMENT_STATE_WITHDRAWN)
    rows = connection.execute(wanted.order_by(deployments.c.deployment))
    signed = ((row.organisation, SignedDeploymentTerms.FromString(row.terms)) for row in rows)
    return [Live(organisation, DeploymentTerms.FromString(terms.body)) for organisation, terms in signed]


def jobs_of(connection: Connection, found: Live) -> list[str]:
    """As `StoredDeployment.jobs`; raises Problem where its provenance, which alone names them, has no receipts."""
    if found.terms.jobs:
        return list(found.terms.jobs)
    wanted = select(deployments.c.provenance).where(deployments.c.deployment == found.terms.deployment)
    return rules.jobs_of(_provenance(connection.execute(wanted).scalar_one()))


def sources(connection: Connection, named: Collection[str]) -> dict[str, Source]:
    """What each of these jobs was about, of those that are known."""
    columns = (jobs.c.job, jobs.c.dataset, jobs.c.organisation, jobs.c.agreement)
    rows = connection.execute(select(*columns).where(jobs.c.job.in_(named)))
    return {row.job: Source(row.dataset, row.organisation, row.agreement) for row in rows}


def released(connection: Connection, job: str) -> Receipt | None:
    """The receipt with which a job released; None for one that did not, or is not known."""
    of_job = (jobs.c.job == job) & (releases.c.job == job)
    wanted = select(releases.c.receipt).join(jobs, jobs.c.plan_hash == releases.c.plan_hash).where(of_job)
    receipt = connection.execute(wanted).scalar_one_or_none()
    return None if receipt is None else Receipt.FromString(receipt)


def approve(connection: Connection, name: str, approval: SignedDeploymentApproval) -> None:
    """Keep an operator's approval of a pending deployment; raises Problem for one in another state."""
    values = {"state": DEPLOYMENT_STATE_APPROVED, "approval": approval.SerializeToString()}
    if not _move(connection, name, DEPLOYMENT_STATE_PENDING, values):
        raise Problem(Kind.CONFLICT, "deployment_state", f"{name} does not wait for approval any more.")


def activate(connection: Connection, name: str) -> None:
    """Its enclave took it. One that was withdrawn meanwhile stays so."""
    _move(connection, name, DEPLOYMENT_STATE_APPROVED, {"state": DEPLOYMENT_STATE_ACTIVE})


def withdraw(connection: Connection, name: str, withdrawal: SignedDeploymentWithdrawal) -> bool:
    """From now on nothing is predicted with it, and its model is gone. Whether this one is kept: the first one is."""
    values = {"state": DEPLOYMENT_STATE_WITHDRAWN, "withdrawal": withdrawal.SerializeToString(), "sealed_model": b""}
    live = deployments.c.state != DEPLOYMENT_STATE_WITHDRAWN
    wanted = update(deployments).where(deployments.c.deployment == name, live)
    return connection.execute(wanted.values(**values)).rowcount == 1


def enclave_told(connection: Connection, name: str) -> None:
    """The enclave of a withdrawn deployment knows it."""
    connection.execute(update(deployments).where(deployments.c.deployment == name).values(enclave_told=1))


def count(connection: Connection, name: str, caller: Caller, order: bytes, rows: int, now: float) -> Used:
    """Count an order of an active deployment before its enclave is asked; raises Problem, having counted nothing.

    In one transaction, as all here: of callers at once no more are counted than the limit holds.
    """
    found = find(connection, name, caller)
    governance.check_active(name, found.state)
    if connection.execute(select(predictions.c.rows).where(predictions.c.order_digest == order)).first():
        raise Problem(Kind.CONFLICT, "order_reused", "This order was made before.", hint="make a new one")
    latest = connection.execute(select(func.max(predictions.c.counted))).scalar() or 0
    at = metering.counted_at(now, latest)
    before = _used(connection, name, caller.organisation, at)
    after = metering.with_rows(found.terms, caller.organisation, before, rows, at)
    connection.execute(
        insert(predictions).values(
            order_digest=order,
            deployment=name,
            organisation=caller.organisation,
            caller=caller.name,
            rows=rows,
            price_micros=rows * found.terms.price_micros,
            counted=at,
        )
    )
    return after


def take_back(connection: Connection, order: bytes) -> None:
    """The enclave refused the order, and counted nothing. The order stays known, so that it is not made again."""
    wanted = update(predictions).where(predictions.c.order_digest == order)
    connection.execute(wanted.values(rows=0, price_micros=0))


def uses(connection: Connection, found: StoredDeployment, now: float) -> list[DeploymentUse]:
    """What each of the terms' organisations used, in the terms' order."""
    latest = connection.execute(select(func.max(predictions.c.counted))).scalar() or 0
    at = metering.counted_at(now, latest)
    listed = []
    for organisation in found.terms.organisations:
        used = _used(connection, found.name, organisation, at)
        wanted = select(func.sum(predictions.c.price_micros)).where(
            predictions.c.deployment == found.name, predictions.c.organisation == organisation
        )
        price = connection.execute(wanted).scalar() or 0
        listed.append(
            DeploymentUse(
                organisation=organisation, rows_today=used.today, rows_total=used.total, price_micros=int(price)
            )
        )
    return listed


def _used(connection: Connection, name: str, organisation: str, at: int) -> Used:
    own = select(func.sum(predictions.c.rows)).where(
        predictions.c.deployment == name, predictions.c.organisation == organisation
    )
    midnight = at - at % metering.DAY_SECONDS
    today = connection.execute(own.where(predictions.c.counted >= midnight)).scalar() or 0
    return Used(int(today), int(connection.execute(own).scalar() or 0))


def _move(connection: Connection, name: str, before: DeploymentState.ValueType, values: dict[str, object]) -> bool:
    wanted = update(deployments).where(deployments.c.deployment == name, deployments.c.state == before)
    return connection.execute(wanted.values(**values)).rowcount == 1


def _provenance(stored: bytes) -> Provenance | None:
    return Provenance.FromString(stored) if stored else None


def _stored(row: Row[tuple[object, ...]]) -> StoredDeployment:
    return StoredDeployment(
        developer=row.developer,
        organisation=row.organisation,
        signed_terms=SignedDeploymentTerms.FromString(row.terms),
        provenance=_provenance(row.provenance),
        approval=None if row.approval is None else SignedDeploymentApproval.FromString(row.approval),
        withdrawal=None if row.withdrawal is None else SignedDeploymentWithdrawal.FromString(row.withdrawal),
        state=row.state,
        enclave_told=bool(row.enclave_told),
        created=row.created,
    )
