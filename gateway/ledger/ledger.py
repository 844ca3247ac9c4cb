"""The ledger of privacy budgets. Every function is one step of the caller's transaction.

A charge is `reserved` when a job is admitted and `spent` before its plan is sent to any node; only a
reserved one is ever refunded. The enclaves keep their own copy and refuse beyond it, whatever stands here.
"""

from __future__ import annotations

from importlib import resources

from sqlalchemy import Connection, insert, select, text, update
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import Budget, DatasetDeclaration

from gateway.storage.tables import budgets, charges

_RESERVE = text((resources.files(__package__) / "reserve.sql").read_text())
_REFUND = text((resources.files(__package__) / "refund.sql").read_text())


def set_limit(connection: Connection, declaration: DatasetDeclaration) -> None:
    """Open the dataset's budget, or lower it; raises Problem where it would rise. What is spent stays."""
    limit = zcdp.rho_units_for(declaration.budget_epsilon, declaration.budget_delta)
    present = connection.execute(
        select(budgets.c.limit_rho_units).where(budgets.c.dataset == declaration.dataset)
    ).scalar_one_or_none()
    if present is None:
        connection.execute(
            insert(budgets).values(
                dataset=declaration.dataset,
                unit_namespace=declaration.unit_namespace,
                limit_rho_units=limit,
                spent_rho_units=0,
            )
        )
    elif limit > present:
        raise Problem(
            Kind.REFUSED,
            "budget_raised",
            f"The budget of {declaration.dataset} cannot be raised by adding the dataset again.",
            field="budget",
            hint="keep the budget of the first registration, or lower it",
        )
    else:
        connection.execute(
            update(budgets).where(budgets.c.dataset == declaration.dataset).values(limit_rho_units=limit)
        )


def budget(connection: Connection, declaration: DatasetDeclaration) -> Budget:
    """The dataset's budget as it stands; raises NoResultFound for one without."""
    row = connection.execute(select(budgets).where(budgets.c.dataset == declaration.dataset)).one()
    return Budget(
        limit_rho_units=row.limit_rho_units,
        spent_rho_units=row.spent_rho_units,
        delta=declaration.budget_delta,
        epsilon=declaration.budget_epsilon,
    )


def reserve(connection: Connection, job: str, dataset: str, rho_units: int) -> bool:
    """Charge `job`, or return False where the budget does not hold that much: then nothing changed."""
    if connection.execute(_RESERVE, {"dataset": dataset, "rho_units": rho_units}).rowcount != 1:
        return False
    connection.execute(insert(charges).values(job=job, dataset=dataset, rho_units=rho_units, state="reserved"))
    return True


def spend(connection: Connection, job: str) -> None:
    """Make the job's charge final: from now on a node may unseal data for it."""
    connection.execute(update(charges).where(charges.c.job == job).values(state="spent"))


def refund(connection: Connection, job: str) -> None:
    """Give the job's charge back if it is still reserved; otherwise nothing."""
    connection.execute(_REFUND, {"job": job})
    connection.execute(
        update(charges).where(charges.c.job == job, charges.c.state == "reserved").values(state="refunded")
    )


def exceeded(budget: Budget, rho_units: int) -> Problem:
    """What a caller is told who asks for more than is left."""
    left = budget.limit_rho_units - budget.spent_rho_units
    remaining = zcdp.epsilon_of(left, budget.delta) if left > 0 else 0.0
    whole = rho_units > budget.limit_rho_units
    return Problem(
        Kind.BUDGET,
        "budget_exceeded",
        f"The request costs more than the dataset's {'whole budget' if whole else 'budget has left'}: "
        f"an epsilon of at most {remaining:.4g} (delta {budget.delta:g}) can still be asked for.",
        field="epsilon",
        hint=f"ask with --epsilon {remaining * 0.999:.3g} or less" if remaining > 0 else "the budget is used up",
        details={"remaining_epsilon": f"{remaining:.6g}"},
    )
