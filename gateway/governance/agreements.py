"""Agreements: what one may say, and whether a request may run under one. Pure: the time is given, never read.

An agreement divides a dataset's budget, as an organisation's share does, and proves nothing beyond it: the guarantee is
that of the dataset and its namespace. The gateway alone checks agreements; enclaves do not know them yet.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.schema import DeclarationError
from gateway.governance.callers import MAX_ORGANISATION
from gateway.ledger import accounts

MAX_PURPOSE = 10_000
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def check_terms(agreement: Agreement) -> None:
    """Refuse an agreement that breaks a rule by itself; raises DeclarationError with the path in its document."""
    if not _ID.fullmatch(agreement.agreement):
        said = "is no id; it must match [a-z][a-z0-9_-]* and have at most 63 characters"
        raise DeclarationError("agreement", f"{agreement.agreement!r} {said}")
    _check_length("organisation", agreement.organisation, MAX_ORGANISATION)
    _check_length("purpose", agreement.purpose, MAX_PURPOSE)
    if agreement.starts.seconds >= agreement.expires.seconds:
        raise DeclarationError("expires", "must be after starts")
    if agreement.HasField("max_uses") and agreement.max_uses < 1:
        raise DeclarationError("max_uses", "must be 1 or more; leave it out where uses are not limited")
    try:
        zcdp.bought(agreement.budget_epsilon, agreement.budget_delta)
    except zcdp.BadPrivacyParameter as error:
        raise DeclarationError(f"budget.{error.field}", str(error)) from error


def check_fits(agreement: Agreement, declaration: DatasetDeclaration) -> None:
    """Raise Problem where an agreement would limit nothing: its budget is above its dataset's."""
    if accounts.limit_of_agreement(agreement).rho_units > accounts.limit(declaration).rho_units:
        raise Problem(
            Kind.REFUSED,
            "agreement_above_dataset",
            f"The budget of agreement {agreement.agreement} is above that of {declaration.dataset}, which is an epsilon"
            f" of {declaration.budget_epsilon:g} (delta {declaration.budget_delta:g}).",
            field="budget.epsilon",
            hint="lower it: no agreement can spend more than the dataset has",
        )


def check_not_over(agreement: Agreement, now: float) -> None:
    """Raise Problem where an agreement that is to be registered at `now`, in seconds since 1970, is over already."""
    if now >= _expires(agreement):
        raise Problem(
            Kind.REFUSED,
            "agreement_over",
            f"Agreement {agreement.agreement} is over since {moment(_expires(agreement))}: it would allow nothing.",
            field="expires",
            hint="nothing was registered; is `expires` of another year?",
        )


def chosen(
    declaration: DatasetDeclaration,
    organisation: str | None,
    named: Agreement | None,
    own: Sequence[Agreement],
    now: float,
) -> Agreement | None:
    """The agreement that a request runs under; None where it needs none.

    Args:
        declaration: of the dataset that is asked.
        organisation: whose developer asks; None for an operator, who only looks.
        named: the agreement that the request names, if it names one.
        own: the agreements of `organisation` about the dataset.
        now: seconds since 1970.

    Raises:
        Problem: none is in force, or several and none is named; it says which clause does not hold.
    """
    if named is not None:
        _check_parties(named, declaration, organisation)
        check_in_force(named, now)
        return named
    if not declaration.agreements_required or organisation is None:
        return None
    in_force = [agreement for agreement in own if _starts(agreement) <= now < _expires(agreement)]
    if len(in_force) == 1:
        return in_force[0]
    if in_force:
        names = ", ".join(agreement.agreement for agreement in in_force)
        raise Problem(
            Kind.REFUSED,
            "agreement_needed",
            f"{organisation} has several agreements about {declaration.dataset}: {names}.",
            field="agreement",
            hint="name one with --agreement",
        )
    if len(own) == 1:
        check_in_force(own[0], now)
    said = f"none of {organisation}'s is in force" if own else f"{organisation} has none about it"
    raise Problem(
        Kind.REFUSED,
        "agreement_needed",
        f"{declaration.dataset} is asked under an agreement only, and {said}.",
        field="agreement",
        hint="`yingbi agreement list` shows yours; the zone's operator adds one",
    )


def check_in_force(agreement: Agreement, now: float) -> None:
    """Raise Problem unless `now`, in seconds since 1970, is within the agreement's term."""
    if now < _starts(agreement):
        raise Problem(
            Kind.REFUSED,
            "agreement_not_begun",
            f"Agreement {agreement.agreement} begins on {moment(_starts(agreement))}.",
            field="agreement",
            hint="ask from then on, or under another agreement",
        )
    if now >= _expires(agreement):
        raise Problem(
            Kind.REFUSED,
            "agreement_expired",
            f"Agreement {agreement.agreement} expired on {moment(_expires(agreement))}.",
            field="agreement",
            hint="ask the zone's operator for a new agreement",
        )


def unknown(name: str) -> Problem:
    """What is said of an agreement that is not there, or not the caller's to see."""
    return Problem(
        Kind.UNKNOWN,
        "unknown_agreement",
        f"There is no agreement {name!r}.",
        field="agreement",
        hint="`yingbi agreement list` shows yours",
    )


def moment(seconds: int) -> str:
    """A time as people read it: `2026-01-31 16:00 UTC`."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC" if at.second else "%Y-%m-%d %H:%M UTC")


def _check_parties(agreement: Agreement, declaration: DatasetDeclaration, organisation: str | None) -> None:
    if agreement.dataset != declaration.dataset:
        raise Problem(
            Kind.REFUSED,
            "agreement_other_dataset",
            f"Agreement {agreement.agreement} is about another dataset than {declaration.dataset}.",
            field="agreement",
            hint="`yingbi agreement list` shows which agreement is about which dataset",
        )
    if organisation not in (None, agreement.organisation):
        raise Problem(
            Kind.REFUSED,
            "agreement_other_organisation",
            f"Agreement {agreement.agreement} is not with {organisation}.",
            field="agreement",
            hint="`yingbi agreement list` shows those of your organisation",
        )


def _check_length(field: str, content: str, most: int) -> None:
    if not 1 <= len(content.strip()) <= len(content) <= most:
        raise DeclarationError(field, f"must have 1 to {most:,} characters")


def _starts(agreement: Agreement) -> int:
    return int(agreement.starts.seconds)


def _expires(agreement: Agreement) -> int:
    return int(agreement.expires.seconds)
