"""A node's own copy of the privacy budgets, read from its journal: whatever the gateway says. Pure.

Budgets belong to the dataset's id within its unit namespace; versions and re-registrations share one.
"""

from __future__ import annotations

from collections.abc import Iterable

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.journal import Record
from enclave_sim.privacy.accounting import BudgetExceededError, Charge, Filter


def limit_of(declaration: DatasetDeclaration) -> int:
    """The budget that the provider declared, in rho units."""
    return zcdp.rho_units_for(declaration.budget_epsilon, declaration.budget_delta)


def budget_of(records: Iterable[Record], dataset: str) -> Filter | None:
    """The budget of `dataset` after all its charges; None before its first shard was sealed."""
    budget = None
    for record in records:
        if record.get("dataset") != dataset:
            continue
        if record["kind"] == "budget":
            spent = budget.spent if budget else Charge(0)
            budget = Filter(Charge(int(record["limit"])), spent)
        elif record["kind"] == "charge" and budget:
            budget = budget.charged(Charge(int(record["rho_units"])))
    return budget


def charged(budget: Filter | None, dataset: str, rho_units: int) -> Filter:
    """The budget after a charge; raises Problem where there is none or too little is left."""
    if budget is None:
        raise Problem(Kind.REFUSED, "unknown_dataset", f"This provider has no budget for {dataset}.")
    try:
        return budget.charged(Charge(rho_units))
    except BudgetExceededError as error:
        raise Problem(
            Kind.BUDGET, "budget_exceeded", f"This provider's own budget for {dataset} is used up: {error}."
        ) from error


def check_limit(records: Iterable[Record], declaration: DatasetDeclaration) -> int:
    """The limit to record for a dataset that is sealed again; raises Problem where it would rise."""
    limit = limit_of(declaration)
    present = budget_of(records, declaration.dataset)
    if present and limit > present.limit.rho_units:
        raise Problem(
            Kind.REFUSED,
            "budget_raised",
            f"The budget of {declaration.dataset} cannot be raised by adding the dataset again.",
            field="budget",
            hint="keep the budget of the first registration, or lower it",
        )
    return limit
