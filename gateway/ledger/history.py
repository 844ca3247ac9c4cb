"""Who spent what of a dataset's budget, and when. A step of the caller's transaction."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, func, select
from yingbi.api.v1.dataset_pb2 import BudgetHistory, BudgetPoint, DatasetDeclaration, OrganisationBudget

from gateway.ledger import accounts as names
from gateway.ledger import ledger
from gateway.storage.tables import accounts, audit, charges, jobs

SPANS = (60, 3_600, 86_400)
MOST_POINTS = 400
"""Spans of time that are told apart: the shortest of `SPANS` in which all charges are within so many, else the last."""

# Of a charge without a time, when its job went on last: it may have waited for long before it was charged. By the
# record, whose rows are short; of a job from before there was one, when it was asked for.
_MOVED = select(func.max(audit.c.at_millis)).where(
    audit.c.subject == charges.c.job, audit.c.action.in_(["job.submit", "job.state"])
)
_ASKED = select(jobs.c.created).where(jobs.c.job == charges.c.job)
_AT = func.coalesce(charges.c.charged, _MOVED.scalar_subquery() / 1000.0, _ASKED.scalar_subquery())
_OTHERS = ""


def of_dataset(connection: Connection, declaration: DatasetDeclaration, organisation: str | None) -> BudgetHistory:
    """What was charged and is not given back; reserved counts as spent.

    Args:
        organisation: the only one that is told apart from all others; None: every one is.
    """
    prefix = names.organisations_of(declaration)
    shown = [charges.c.kind == "organisation", charges.c.name.startswith(prefix, autoescape=True)]
    of_charges = select(charges.c.name, _AT.label("at"), charges.c.rho_units).where(
        *shown, charges.c.state != "refunded"
    )
    rows = connection.execute(of_charges).all()
    times = [row.at for row in rows] or [0.0]
    span = next((each for each in SPANS if (max(times) - min(times)) / each <= MOST_POINTS), SPANS[-1])
    points: dict[tuple[int, str], int] = {}
    for name, at, rho_units in rows:
        key = (int(at / span), _told(name.removeprefix(prefix), organisation))
        points[key] = points.get(key, 0) + rho_units
    return BudgetHistory(
        budget=ledger.budget(connection, declaration, organisation),
        organisations=_organisations(connection, declaration, organisation),
        points=[_point(number * span, whose, amount) for (number, whose), amount in sorted(points.items())],
        span_seconds=span,
    )


def _organisations(
    connection: Connection, declaration: DatasetDeclaration, organisation: str | None
) -> list[OrganisationBudget]:
    """Who spent how much, who spent most first."""
    prefix = names.organisations_of(declaration)
    wanted = select(accounts).where(
        accounts.c.kind == "organisation", accounts.c.name.startswith(prefix, autoescape=True)
    )
    whole = names.limit(declaration).rho_units
    found: dict[str, OrganisationBudget] = {}
    for row in connection.execute(wanted):
        whose = _told(row.name.removeprefix(prefix), organisation)
        each = found.setdefault(whose, OrganisationBudget(organisation=whose))
        each.spent_rho_units += row.spent_rho_units
        each.limit_rho_units = row.limit_rho_units if whose else whole
    return sorted(found.values(), key=lambda each: (-each.spent_rho_units, each.organisation))


def _told(organisation: str, only: str | None) -> str:
    return organisation if only is None or organisation == only else _OTHERS


def _point(at: int, organisation: str, rho_units: int) -> BudgetPoint:
    return BudgetPoint(organisation=organisation, rho_units=rho_units, at=Timestamp(seconds=at))
