"""Registered agreements. Each function is a step of a transaction."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, insert, select
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement, RegisteredAgreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from gateway.governance import agreements as rules
from gateway.ledger import ledger
from gateway.storage import catalogue
from gateway.storage.tables import agreements

# Made once: to build a statement takes longer than to execute it.
_ONE = select(agreements.c.terms).where(agreements.c.agreement == bindparam("wanted"))
_OWN = (
    select(agreements.c.terms)
    .where(agreements.c.dataset == bindparam("wanted_dataset"))
    .where(agreements.c.organisation == bindparam("wanted_organisation"))
    .order_by(agreements.c.agreement)
)


def register(connection: Connection, new: Agreement, now: float) -> RegisteredAgreement:
    """Keep a new agreement that is not over at `now`, and open its account; raises Problem.

    The same one again changes nothing, whenever that is.
    """
    rules.check_fits(new, catalogue.find(connection, new.dataset).declaration)
    present = _read(connection, new.agreement)
    if present is None:
        rules.check_not_over(new, now)
        _insert(connection, new, now)
        ledger.open_agreement(connection, new)
    elif present != new:
        raise Problem(
            Kind.REFUSED,
            "agreement_exists",
            f"Agreement {new.agreement} is registered with other terms, which cannot be changed.",
            field="agreement",
            hint="give the new terms an id of their own",
        )
    return describe(connection, new)


def find(connection: Connection, name: str) -> Agreement | None:
    """The agreement called `name`; None for the empty name, which stands for none. Raises Problem."""
    if not name:
        return None
    found = _read(connection, name)
    if found is None:
        raise rules.unknown(name)
    return found


def chosen(
    connection: Connection, declaration: DatasetDeclaration, organisation: str | None, name: str, now: float
) -> Agreement | None:
    """The agreement that a request runs under: see `gateway.governance.agreements.chosen`. Raises Problem."""
    own: list[Agreement] = []
    if declaration.agreements_required and not name and organisation is not None:
        asked = {"wanted_dataset": declaration.dataset, "wanted_organisation": organisation}
        own = [Agreement.FromString(terms) for terms in connection.execute(_OWN, asked).scalars()]
    return rules.chosen(declaration, organisation, find(connection, name), own, now)


def check_still_in_force(connection: Connection, name: str, now: float) -> None:
    """Raise Problem where the agreement `name` is no longer in force; none is, always."""
    agreement = find(connection, name)
    if agreement is not None:
        rules.check_in_force(agreement, now)


def describe(connection: Connection, agreement: Agreement) -> RegisteredAgreement:
    """The agreement, with what is spent under it."""
    return RegisteredAgreement(agreement=agreement, budget=ledger.agreement_budget(connection, agreement))


def show(connection: Connection, name: str, organisation: str | None = None) -> RegisteredAgreement:
    """The agreement called `name`; another organisation's does not exist for `organisation`. Raises Problem."""
    found = _read(connection, name)
    if found is None or organisation not in (None, found.organisation):
        raise rules.unknown(name)
    return describe(connection, found)


def list_all(connection: Connection, dataset: str, organisation: str | None = None) -> list[RegisteredAgreement]:
    """The agreements about a dataset (empty: all) with an organisation (None: all), by their ids."""
    wanted = select(agreements.c.terms).order_by(agreements.c.agreement)
    if dataset:
        wanted = wanted.where(agreements.c.dataset == dataset)
    if organisation is not None:
        wanted = wanted.where(agreements.c.organisation == organisation)
    return [describe(connection, Agreement.FromString(terms)) for terms in connection.execute(wanted).scalars().all()]


def _read(connection: Connection, name: str) -> Agreement | None:
    terms = connection.execute(_ONE, {"wanted": name}).scalar_one_or_none()
    return None if terms is None else Agreement.FromString(terms)


def _insert(connection: Connection, new: Agreement, now: float) -> None:
    connection.execute(
        insert(agreements).values(
            agreement=new.agreement,
            dataset=new.dataset,
            organisation=new.organisation,
            terms=new.SerializeToString(deterministic=True),
            uses=0,
            max_uses=new.max_uses if new.HasField("max_uses") else None,
            registered=now,
        )
    )
