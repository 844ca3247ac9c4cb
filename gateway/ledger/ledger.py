"""The ledger of privacy budgets. Every function is one step of the caller's transaction.

A charge is against several accounts at once: the dataset's, that of its unit namespace, which all datasets about the
same people share, the organisation's that asks, and that of the agreement which it asks under: all hold it, and the
agreement has a use left, or nothing is charged. It is `reserved` when a job is admitted and `spent` before its plan is
sent to any node; only a reserved one is ever refunded, and its use, to the accounts that it was against. The enclaves
keep their own copy of the first two and refuse beyond it, whatever stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from sqlalchemy import Connection, Row, text
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import (
    AgreementBudget,
    Budget,
    DatasetDeclaration,
    NamespaceBudget,
    OrganisationBudget,
)

from enclave_sim.privacy.accounting import Charge
from gateway.ledger import accounts, limits
from gateway.ledger.accounts import Account
from gateway.storage.prepared import Prepared


def _statement(name: str) -> Prepared:
    return Prepared(text((resources.files(__package__) / f"{name}.sql").read_text()))


_FIND = _statement("find")
_OPEN = _statement("open")
_LOWER = _statement("lower")
_LOWER_ORGANISATIONS = _statement("lower_organisations")
_RESERVE = _statement("reserve")
_CHARGE = _statement("charge")
_SPEND = _statement("spend")
_REFUND = (_statement("refund_use"), _statement("refund"), _statement("refunded"))
_USE = _statement("use")
_USE_DAY = _statement("use_day")
_CARRY_OVER = (_statement("carry_over"), _statement("carry_over_uses"), _statement("carry_over_days"))
_DAY_SECONDS = 86_400
_FIND_AGREEMENT = _statement("find_agreement")
_BEGUN_UNDER = _statement("begun_under")


def set_limits(connection: Connection, declaration: DatasetDeclaration) -> None:
    """Open the dataset's account and its namespace's where they are not, or lower what stands; spent stays spent.

    No limit is ever raised here: `accounts.check_successor` says so to whoever tries. The first dataset of a unit
    namespace fixes the namespace's limit, as its own budget, for good.
    """
    limit = accounts.limit(declaration)
    _open(connection, {accounts.of_dataset(declaration): limit, accounts.of_namespace(declaration): limit})
    _LOWER.execute(connection, accounts.of_dataset(declaration)._asdict() | _amount(limit))
    each = {"prefix": accounts.organisations_of(declaration), **_amount(accounts.limit_of_each(declaration))}
    _LOWER_ORGANISATIONS.execute(connection, each)


def open_agreement(connection: Connection, agreement: Agreement) -> None:
    """Open a new agreement's account."""
    _open(connection, {accounts.of_agreement(agreement): accounts.limit_of_agreement(agreement)})


def carry_over(connection: Connection, agreement: Agreement) -> None:
    """What was spent and used under the agreement that this one supersedes counts for it, up to its limits.

    To be called once, when it comes in the other's place, before anything is charged under it.
    """
    for statement in _CARRY_OVER:
        statement.execute(connection, {"agreement": agreement.agreement, "before": agreement.supersedes})


def agreement_budget(connection: Connection, agreement: Agreement) -> AgreementBudget:
    """What may be spent under a registered agreement, as it stands."""
    row = _FIND_AGREEMENT.execute(connection, {"agreement": agreement.agreement}).one()
    return AgreementBudget(
        agreement=agreement.agreement,
        limit_rho_units=row.limit_rho_units,
        spent_rho_units=row.spent_rho_units,
        epsilon=agreement.budget_epsilon,
        delta=agreement.budget_delta,
        uses=row.uses,
        max_uses=agreement.max_uses if agreement.HasField("max_uses") else None,
        expires=agreement.expires,
    )


def budget(
    connection: Connection,
    declaration: DatasetDeclaration,
    organisation: str | None = None,
    agreement: Agreement | None = None,
) -> Budget:
    """The dataset's budget as it stands, and its namespace's where it differs.

    That of `organisation` is told where the dataset limits what one may spend, and that of `agreement` where one is
    given.

    Raises KeyError for a dataset without a budget.
    """
    names = {
        "dataset": accounts.of_dataset(declaration).name,
        "namespace": accounts.of_namespace(declaration).name,
        "organisation": accounts.of_organisation(declaration, organisation or "").name,
    }
    found = {row.kind: row for row in _FIND.execute(connection, names)}
    own, shared = found["dataset"], found["namespace"]
    amounts = (own.limit_rho_units, own.spent_rho_units)
    message = Budget(
        limit_rho_units=amounts[0],
        spent_rho_units=amounts[1],
        delta=declaration.budget_delta,
        epsilon=declaration.budget_epsilon,
    )
    if (shared.limit_rho_units, shared.spent_rho_units) != amounts:
        message.namespace.CopyFrom(
            NamespaceBudget(
                unit_namespace=shared.name,
                limit_rho_units=shared.limit_rho_units,
                spent_rho_units=shared.spent_rho_units,
            )
        )
    if organisation is not None and declaration.HasField("budget_each_organisation_epsilon"):
        message.organisation.CopyFrom(_organisation(found.get("organisation"), declaration, organisation))
    if agreement is not None:
        message.agreement.CopyFrom(agreement_budget(connection, agreement))
    return message


def reserve(
    connection: Connection,
    job: str,
    declaration: DatasetDeclaration,
    organisation: str,
    charge: Charge,
    agreement: Agreement | None = None,
    *,
    now: float,
) -> bool:
    """Charge `job` to all its accounts, or return False where one does not hold it: then nothing changed.

    Args:
        declaration: the dataset's present one, as this transaction sees it.
        organisation: who asks.
        agreement: what it asks under; one of its uses is counted.
        now: in seconds since 1970.

    Keeps: SEC-07
    """
    against = accounts.charged(declaration, organisation, agreement)
    rows = [{"job": job, **account._asdict(), **_amount(charge), "charged": now} for account in against]
    if _charge(connection, rows, agreement):
        return True
    # An organisation's first charge finds no account.
    return _open(connection, against) > 0 and _charge(connection, rows, agreement)


def use_of_day(connection: Connection, agreement: Agreement | None, now: float) -> None:
    """Count one more job of this day (UTC) under the agreement; `now` in seconds since 1970.

    In the transaction that charges the job, after the charge: where the day has none left, all of it is rolled back. A
    charge that is given back stays counted: it is the rate of requests that is agreed on.

    Raises:
        Problem: BUDGET "agreement_used_up_today".
    """
    if agreement is None or not agreement.HasField("max_uses_a_day"):
        return
    day = {"agreement": agreement.agreement, "day": int(now // _DAY_SECONDS), "most": agreement.max_uses_a_day}
    if _USE_DAY.execute(connection, day).rowcount != 1:
        raise limits.used_up_today(agreement)


def spend(connection: Connection, job: str) -> None:
    """Make the job's charge final: from now on a node may unseal data for it."""
    _SPEND.execute(connection, {"job": job})


def begun_under(connection: Connection, agreement: str) -> bool:
    """Whether any job under the agreement was begun, so that nodes have seen its terms."""
    return bool(_BEGUN_UNDER.execute(connection, {"agreement": agreement}).first())


def refund(connection: Connection, job: str) -> None:
    """Give the job's charge back if it is still reserved; otherwise nothing."""
    for statement in _REFUND:
        statement.execute(connection, {"job": job})


def _open(connection: Connection, missing: Mapping[Account, Charge]) -> int:
    """Open the accounts that are not there, with these limits; returns how many."""
    rows = [account._asdict() | _amount(limit) for account, limit in missing.items()]
    return _OPEN.execute(connection, rows).rowcount


def _charge(connection: Connection, rows: Sequence[Mapping[str, object]], agreement: Agreement | None) -> bool:
    """All or nothing. The accounts come in one order for everybody, so that no two writers wait for each other."""
    # As SQL: `begin_nested` would compile each savepoint anew, which takes longer than the charge.
    connection.exec_driver_sql("SAVEPOINT charge")
    fits = _RESERVE.execute(connection, rows).rowcount == len(rows) and _use(connection, agreement)
    if fits:
        _CHARGE.execute(connection, rows)
    else:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT charge")
    connection.exec_driver_sql("RELEASE SAVEPOINT charge")
    return fits


def _use(connection: Connection, agreement: Agreement | None) -> bool:
    """Count one use, or return False where none is left."""
    return agreement is None or _USE.execute(connection, {"agreement": agreement.agreement}).rowcount == 1


def _amount(charge: Charge) -> dict[str, int]:
    return {"rho_units": charge.rho_units, "delta0_units": charge.delta0_units}


def _organisation(
    row: Row[tuple[int, int]] | None, declaration: DatasetDeclaration, organisation: str
) -> OrganisationBudget:
    """The account as it stands, or as it would be opened."""
    return OrganisationBudget(
        organisation=organisation,
        limit_rho_units=row.limit_rho_units if row else accounts.limit_of_each(declaration).rho_units,
        spent_rho_units=row.spent_rho_units if row else 0,
    )
