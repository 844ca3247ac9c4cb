"""Agreements: what one may say, and whether a request may run under one. Pure: the time is given, never read.

An agreement divides a dataset's budget, as an organisation's share does, and proves nothing beyond it: the guarantee is
that of the dataset and its namespace. How it comes to be, and ends, is in `agreement_states`.

Every refusal names the clause that does not hold, by its key in the document: in the message, and as a detail.

Keeps: AGR-02, AGR-03, AGR-06, APP-02, SEC-05
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.columns_read import columns_outside
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.schema import DeclarationError, find_column, find_table
from gateway.governance import agreement_states
from gateway.governance.agreement_states import ACTIVE, Life, name_of, state_at, waits_for
from gateway.governance.callers import MAX_ORGANISATION
from gateway.ledger import accounts

MAX_PURPOSE = 10_000
MAX_COLUMNS = 10_000
TERM_YEARS = 5
"""Of an agreement that does not say when it ends."""
SAID = ("scenario", "responsibility", "supervision", "revocation")
"""What an agreement says in words beside its purpose; needed where the zone is governed."""
JOBS = ("query", "train", "program", "evaluate", "synthesize")
"""Kinds of jobs, as agreements name them."""
STEPS = (
    "`yingbi agreement draft FILE` and `apply` by your signatory, `assess` by the supervisor, `consent` by the"
    " provider, and `sign` by both: docs/agreements.md. `yingbi agreement list` shows how far yours is"
)
"""What to do where nothing is agreed."""
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
    if agreement.HasField("max_uses_a_day") and agreement.max_uses_a_day < 1:
        raise DeclarationError("max_uses_a_day", "must be 1 or more; leave it out where uses are not limited")
    if len(set(agreement.jobs)) != len(agreement.jobs):
        raise DeclarationError("jobs", "name a kind twice")
    _check_columns_form(agreement.columns)
    for field in SAID:
        if len(getattr(agreement, field)) > MAX_PURPOSE:
            raise DeclarationError(field, f"must have at most {MAX_PURPOSE:,} characters")
    if agreement.supersedes == agreement.agreement:
        raise DeclarationError("supersedes", "names the agreement itself; a supplement has an id of its own")
    try:
        zcdp.bought(agreement.budget_epsilon, agreement.budget_delta)
    except zcdp.BadPrivacyParameter as error:
        raise DeclarationError(f"budget.{error.field}", str(error)) from error


def check_complete(agreement: Agreement) -> None:
    """Refuse terms that leave out what both parties are to answer for; raises DeclarationError, as `check_terms`."""
    for field in SAID:
        _check_length(field, getattr(agreement, field), MAX_PURPOSE)


def five_years_after(starts: datetime.datetime) -> datetime.datetime:
    """When an agreement ends that does not say it; of the 29th of February the 28th."""
    try:
        return starts.replace(year=starts.year + TERM_YEARS)
    except ValueError:
        return starts.replace(year=starts.year + TERM_YEARS, day=28)


def check_fits(agreement: Agreement, declaration: DatasetDeclaration) -> None:
    """Raise Problem where an agreement would limit nothing, or allow what is not there.

    Its budget is above its dataset's, or it names a column that the dataset does not have.
    """
    for name in agreement.columns:
        table = find_table(declaration, name.partition(".")[0])
        column = None if table is None else find_column(table, name.partition(".")[2])
        if table is None or column is None or name != f"{table.name}.{column.name}":
            raise Problem(
                Kind.REFUSED,
                "agreement_unknown_column",
                f"Agreement {agreement.agreement} names {name}, and {declaration.dataset} has no such column.",
                field="columns",
                hint=f"`yingbi dataset show {declaration.dataset}` lists them; write table.column",
            )
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
    *,
    job: str,
    governed: bool = False,
) -> Agreement | None:
    """The agreement that a request runs under; None where it needs none.

    Args:
        declaration: of the dataset that is asked.
        organisation: whose developer asks; None for an operator, who only looks.
        named: the agreement that the request names, if it names one.
        own: the agreements of `organisation` about the dataset that are active.
        now: seconds since 1970.
        job: which kind of job is asked for, one of `JOBS`.
        governed: whether the zone requires an agreement for every dataset.

    Raises:
        Problem: none is in force, or several and none is named; it says which clause does not hold.
    """
    if named is not None:
        check_parties(named, declaration.dataset, organisation)
        check_in_force(named, now)
        _check_job(named, job)
        return named
    if not (governed or declaration.agreements_required) or organisation is None:
        return None
    in_force = [agreement for agreement in own if _starts(agreement) <= now < _expires(agreement)]
    if in_force:
        allowing = [agreement for agreement in in_force if _allows(agreement, job)]
        if not allowing:
            _check_job(in_force[0], job)
        in_force = allowing
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
        hint=STEPS if governed else "`yingbi agreement list` shows yours; the zone's operator adds one",
    )


def check_in_force(agreement: Agreement, now: float) -> None:
    """Raise Problem unless `now`, in seconds since 1970, is within the agreement's term."""
    if now < _starts(agreement):
        raise breach(
            "starts",
            "agreement_not_begun",
            f"Agreement {agreement.agreement} begins on {moment(_starts(agreement))}",
            "ask from then on, or under another agreement",
        )
    if now >= _expires(agreement):
        raise breach(
            "expires",
            "agreement_expired",
            f"Agreement {agreement.agreement} expired on {moment(_expires(agreement))}",
            "ask for a new agreement",
        )


def check_active(life: Life, now: float) -> None:
    """Raise Problem unless an agreement is active at `now`: its state first, which says most, then its term."""
    terms, state = life.terms, state_at(life.terms, life.state, now)
    if state not in (ACTIVE, agreement_states.EXPIRED):
        waiting = waits_for(life, now)
        raise breach(
            "state",
            f"agreement_{name_of(state)}",
            f"Agreement {terms.agreement} is {name_of(state)}" + (f"; it waits for {waiting}" if waiting else ""),
            "`yingbi agreement show` says what happened, and whose move it is",
        )
    check_in_force(terms, now)


@dataclass(frozen=True)
class Request:
    """What is asked under an agreement, as far as its clauses go."""

    organisation: str
    dataset: str
    # One of `JOBS`; None where the plan alone does not tell it.
    job: str | None
    plan: Plan
    # As it was signed; empty: the agreement's.
    purpose: str = ""


def check_request(life: Life, request: Request, declaration: DatasetDeclaration, now: float) -> None:
    """Raise Problem, naming the clause, where a request is beyond an agreement, or the agreement not active at `now`.

    What is left of its budget and its uses is the ledger's to say, in the transaction that charges.
    """
    terms = life.terms
    check_parties(terms, request.dataset, request.organisation)
    check_active(life, now)
    if request.job is not None:
        _check_job(terms, request.job)
    if request.job == "train":
        check_may_train(terms)
    check_purpose(terms, request.purpose)
    check_columns(terms, request.plan, declaration)


def check_columns(agreement: Agreement | None, plan: Plan, declaration: DatasetDeclaration) -> None:
    """Raise Problem where a plan reads a column that the agreement does not name."""
    if agreement is None:
        return
    try:
        outside = columns_outside(plan, declaration, agreement.columns)
    except PlanError as error:
        outside = [error.message]
    if not outside:
        return
    raise breach(
        "columns",
        "agreement_other_column",
        f"Agreement {agreement.agreement} does not cover {', '.join(outside)}, which the request reads; it covers"
        f" {', '.join(agreement.columns)}",
        "leave out what it does not cover, also from conditions, joins and sub-queries, or ask for a supplement",
    )


def check_purpose(agreement: Agreement | None, purpose: str) -> None:
    """Raise Problem where a request is signed for another purpose than the agreement's; none said is the same."""
    if not purpose or (agreement is not None and purpose == agreement.purpose):
        return
    if agreement is None:
        raise Problem(
            Kind.REFUSED,
            "purpose_without_agreement",
            "The request names a purpose, and is under no agreement that it could be the purpose of.",
            field="purpose",
            hint="name the agreement, or no purpose",
        )
    raise breach(
        "purpose",
        "agreement_other_purpose",
        f"Agreement {agreement.agreement} is for {agreement.purpose!r}, and the request is signed for another purpose",
        "ask for what was agreed, or apply for an agreement of its own",
    )


def check_parties(agreement: Agreement, dataset: str, organisation: str | None) -> None:
    """Raise Problem where an agreement is about another dataset, or with another organisation than who asks.

    `organisation` is None for who only looks.
    """
    if agreement.dataset != dataset:
        raise breach(
            "dataset",
            "agreement_other_dataset",
            f"Agreement {agreement.agreement} is about another dataset than {dataset}",
            "`yingbi agreement list` shows which agreement is about which dataset",
        )
    if organisation not in (None, agreement.organisation):
        raise breach(
            "organisation",
            "agreement_other_organisation",
            f"Agreement {agreement.agreement} is not with {organisation}",
            "`yingbi agreement list` shows those of your organisation",
        )


def breach(clause: str, code: str, said: str, hint: str) -> Problem:
    """The refusal of what an agreement does not cover; `clause` is a key of its document, `said` has no full stop."""
    return Problem(
        Kind.REFUSED, code, f"{said} (clause: {clause}).", field="agreement", hint=hint, details={"clause": clause}
    )


def _check_columns_form(columns: Sequence[str]) -> None:
    if len(columns) > MAX_COLUMNS:
        raise DeclarationError("columns", f"there are more than {MAX_COLUMNS:,}")
    if len(set(columns)) != len(columns):
        raise DeclarationError("columns", "name a column twice")
    for name in columns:
        if name.count(".") != 1 or not all(name.split(".")):
            raise DeclarationError("columns", f"{name!r} is no column; write table.column")


def _allows(agreement: Agreement, job: str) -> bool:
    return not agreement.jobs or job in agreement.jobs


def _check_job(agreement: Agreement, job: str) -> None:
    if _allows(agreement, job):
        return
    raise breach(
        "jobs",
        "agreement_other_job",
        f"Agreement {agreement.agreement} does not allow {job}; it allows {', '.join(agreement.jobs)}",
        "ask for one of these, or for another agreement",
    )


def check_may_train(agreement: Agreement | None) -> None:
    """Raise Problem where a model's parameters may not leave under this agreement: a job that trains releases them.

    The total that a model follows from is opened in the gateway and is in the receipt. Until it can be opened inside an
    enclave alone, the clause is kept by not training at all.
    """
    if agreement is not None and agreement.HasField("parameters_may_leave") and not agreement.parameters_may_leave:
        raise breach(
            "parameters_may_leave",
            "parameters_stay",
            f"Under agreement {agreement.agreement} a model's parameters may not leave, and training releases them:"
            " whoever has the receipt computes them. Nothing was charged",
            "train under an agreement that lets parameters leave, and deploy the model with rounded answers and a"
            " limit (docs/deployment.md)",
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


def _check_length(field: str, content: str, most: int) -> None:
    if not 1 <= len(content.strip()) <= len(content) <= most:
        raise DeclarationError(field, f"must have 1 to {most:,} characters")


def _starts(agreement: Agreement) -> int:
    return int(agreement.starts.seconds)


def _expires(agreement: Agreement) -> int:
    return int(agreement.expires.seconds)
