"""The ledger of privacy budgets. Every function is one step of the caller's transaction.

A charge is against the dataset's budget and that of its unit namespace, which all datasets about the same people
share: both hold it, or nothing is charged. It is `reserved` when a job is admitted and `spent` before its plan
is sent to any node; only a reserved one is ever refunded. The enclaves keep their own copy and refuse beyond
it, whatever stands here.
"""

from __future__ import annotations

from importlib import resources

from sqlalchemy import Connection, TextClause, insert, select, text, update
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration, NamespaceBudget

from enclave_sim.privacy.accounting import Charge
from gateway.storage.tables import budgets, charges, namespaces


def _statement(name: str) -> TextClause:
    return text((resources.files(__package__) / name).read_text())


_BUDGET = _statement("budget.sql")
_RESERVE = (_statement("reserve.sql"), _statement("reserve_namespace.sql"))
_REFUND = (_statement("refund.sql"), _statement("refund_namespace.sql"))
_CHARGE = insert(charges)


def set_limit(connection: Connection, declaration: DatasetDeclaration) -> None:
    """Open the dataset's budget, or lower it. What is spent stays.

    The first dataset of a unit namespace fixes the namespace's limit, as its own budget, for good.

    Raises:
        Problem: the budget would rise, or the dataset would leave its namespace and what is spent there.
    """
    dataset = declaration.dataset
    limit = Charge(*zcdp.bought(declaration.budget_epsilon, declaration.budget_delta))
    present = connection.execute(select(budgets).where(budgets.c.dataset == dataset)).one_or_none()
    if present is None:
        _open(connection, dataset, _namespace(declaration), limit)
    elif present.unit_namespace != _namespace(declaration):
        raise Problem(
            Kind.REFUSED,
            "namespace_changed",
            f"{dataset} belongs to the unit namespace {present.unit_namespace!r} and cannot leave it.",
            field="unit_namespace",
            hint="keep the namespace of the first registration; what was spent was spent on the same people",
        )
    elif not limit.within(Charge(present.limit_rho_units, present.limit_delta0_units)):
        raise Problem(
            Kind.REFUSED,
            "budget_raised",
            f"The budget of {dataset} cannot be raised by adding the dataset again.",
            field="budget",
            hint="keep the budget of the first registration, or lower it",
        )
    else:
        connection.execute(update(budgets).where(budgets.c.dataset == dataset).values(_limit(limit)))


def budget(connection: Connection, declaration: DatasetDeclaration) -> Budget:
    """The dataset's budget as it stands, and its namespace's where it differs.

    Raises NoResultFound for a dataset without a budget.
    """
    row = connection.execute(_BUDGET, {"dataset": declaration.dataset}).one()
    shared = NamespaceBudget(
        unit_namespace=row.unit_namespace, limit_rho_units=row.shared_limit, spent_rho_units=row.shared_spent
    )
    differs = (row.shared_limit, row.shared_spent) != (row.limit_rho_units, row.spent_rho_units)
    return Budget(
        limit_rho_units=row.limit_rho_units,
        spent_rho_units=row.spent_rho_units,
        delta=declaration.budget_delta,
        epsilon=declaration.budget_epsilon,
        namespace=shared if differs else None,
    )


def reserve(connection: Connection, job: str, dataset: str, charge: Charge) -> bool:
    """Charge `job` to dataset and namespace, or return False where one does not hold it: then nothing changed."""
    amount = {"dataset": dataset, "rho_units": charge.rho_units, "delta0_units": charge.delta0_units}
    with connection.begin_nested() as both:
        if not all(connection.execute(statement, amount).rowcount == 1 for statement in _RESERVE):
            both.rollback()
            return False
        connection.execute(_CHARGE, {"job": job, **amount, "state": "reserved"})
    return True


def spend(connection: Connection, job: str) -> None:
    """Make the job's charge final: from now on a node may unseal data for it."""
    connection.execute(update(charges).where(charges.c.job == job).values(state="spent"))


def refund(connection: Connection, job: str) -> None:
    """Give the job's charge back if it is still reserved; otherwise nothing."""
    for statement in _REFUND:
        connection.execute(statement, {"job": job})
    connection.execute(
        update(charges).where(charges.c.job == job, charges.c.state == "reserved").values(state="refunded")
    )


def exceeded(budget: Budget, rho_units: int) -> Problem:
    """What a caller is told who asks for more than is left: which limit says no, and what can still be asked."""
    left, limit, words = _narrowest(budget, rho_units)
    if rho_units <= left:
        return Problem(
            Kind.BUDGET,
            "key_selections_exceeded",
            "The part of the budget's delta that is kept for selecting group keys is used up.",
            field="sql",
            hint="group by columns with declared values, or by numbers with bounds",
        )
    remaining = zcdp.asked_epsilon(left, budget.delta)
    return Problem(
        Kind.BUDGET,
        "budget_exceeded",
        f"The request costs more than {words}: "
        f"an epsilon of at most {remaining:.4g} (delta {budget.delta:g}) can still be asked for.",
        field="epsilon",
        hint=f"ask with --epsilon {remaining * 0.999:.3g} or less" if remaining > 0 else "the budget is used up",
        details={"remaining_epsilon": f"{remaining:.6g}", "limit": limit},
    )


def _open(connection: Connection, dataset: str, namespace: str, limit: Charge) -> None:
    values = {"unit_namespace": namespace, **_limit(limit), "spent_rho_units": 0, "spent_delta0_units": 0}
    shared = select(namespaces).where(namespaces.c.unit_namespace == namespace)
    if connection.execute(shared).one_or_none() is None:
        connection.execute(insert(namespaces).values(values))
    connection.execute(insert(budgets).values(dataset=dataset, **values))


def _limit(limit: Charge) -> dict[str, int]:
    return {"limit_rho_units": limit.rho_units, "limit_delta0_units": limit.delta0_units}


def _namespace(declaration: DatasetDeclaration) -> str:
    return declaration.unit_namespace or declaration.dataset


def _narrowest(budget: Budget, rho_units: int) -> tuple[int, str, str]:
    """What can still be charged, which limit leaves no more, and in words."""
    left = budget.limit_rho_units - budget.spent_rho_units
    shared = budget.namespace
    left_to_all = shared.limit_rho_units - shared.spent_rho_units if budget.HasField("namespace") else left
    least = min(left, left_to_all)
    if rho_units > budget.limit_rho_units:
        return least, "dataset", "the dataset's whole budget"
    if left_to_all < left:
        return least, "namespace", f"what all datasets of the unit namespace {shared.unit_namespace} have left together"
    return least, "dataset", "the dataset's budget has left"
