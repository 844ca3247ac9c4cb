"""Which accounts a dataset and an organisation have, with what limits. Pure.

The accounts are those of `gateway.storage.tables.accounts`. A charge is against all of them; a budget of another kind
is one more entry here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.privacy.accounting import Charge


class Account(NamedTuple):
    """One account's key."""

    kind: str
    name: str


def of_dataset(declaration: DatasetDeclaration) -> Account:
    """What all may spend on the dataset together."""
    return Account("dataset", declaration.dataset)


def of_namespace(declaration: DatasetDeclaration) -> Account:
    """What all may spend on all datasets about the same people."""
    return Account("namespace", declaration.unit_namespace or declaration.dataset)


def of_organisation(declaration: DatasetDeclaration, organisation: str) -> Account:
    """What one organisation may spend on the dataset."""
    return Account("organisation", organisations_of(declaration) + organisation)


def organisations_of(declaration: DatasetDeclaration) -> str:
    """What the names of the dataset's organisations' accounts begin with. No dataset's id contains a slash."""
    return f"{declaration.dataset}/"


def of_agreement(agreement: Agreement) -> Account:
    """What may be spent under an agreement."""
    return Account("agreement", agreement.agreement)


def limit(declaration: DatasetDeclaration) -> Charge:
    """The declared budget, for all together."""
    return _bought(declaration.budget_epsilon, declaration.budget_delta)


def limit_of_each(declaration: DatasetDeclaration) -> Charge:
    """What one organisation may spend of it: all of it where nothing is declared.

    So its account is kept from the first charge on, and a limit that is declared later finds what was spent.
    """
    if not declaration.HasField("budget_each_organisation_epsilon"):
        return limit(declaration)
    return _bought(declaration.budget_each_organisation_epsilon, declaration.budget_delta)


def limit_of_agreement(agreement: Agreement) -> Charge:
    """What the agreement declares that may be spent under it."""
    return _bought(agreement.budget_epsilon, agreement.budget_delta)


def charged(
    declaration: DatasetDeclaration, organisation: str, agreement: Agreement | None = None
) -> dict[Account, Charge]:
    """The accounts that a charge is against, with the limit that each is opened with."""
    under = {} if agreement is None else {of_agreement(agreement): limit_of_agreement(agreement)}
    return {
        of_dataset(declaration): limit(declaration),
        of_namespace(declaration): limit(declaration),
        of_organisation(declaration, organisation): limit_of_each(declaration),
        **under,
    }


def check_successor(before: DatasetDeclaration, after: DatasetDeclaration) -> None:
    """Raise Problem where a dataset's new declaration would raise a limit, or leave its namespace and its debts."""
    if of_namespace(before) != of_namespace(after):
        raise Problem(
            Kind.REFUSED,
            "namespace_changed",
            f"{after.dataset} belongs to the unit namespace {of_namespace(before).name!r} and cannot leave it.",
            field="unit_namespace",
            hint="keep the namespace of the first registration; what was spent was spent on the same people",
        )
    if not limit(after).within(limit(before)):
        raise _raised(f"The budget of {after.dataset}", "budget")
    if not limit_of_each(after).within(limit_of_each(before)):
        raise _raised(f"What each organisation may spend on {after.dataset}", "budget.each_organisation")


def _raised(what: str, field: str) -> Problem:
    return Problem(
        Kind.REFUSED,
        "budget_raised",
        f"{what} cannot be raised by adding the dataset again.",
        field=field,
        hint="keep the budget of the first registration, or lower it",
    )


@lru_cache(maxsize=1024)
def _bought(epsilon: float, delta: float) -> Charge:
    return Charge(*zcdp.bought(epsilon, delta))
