"""Uses of verification: counted before they are passed on. Each function is a step of a transaction.

The gateway cannot read what an enclave answers, so that an answer is a use, whatever it says. What no enclave took is
taken back.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.verification_pb2 import VerificationUse
from yingbi.api.verification import Refusal

from gateway.governance.callers import Caller
from gateway.storage.tables import verifications

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Use:
    """One use of a consent, known by its digest, at one node."""

    consent: bytes
    dataset: str
    node: str


def count(connection: Connection, use: Use, declaration: DatasetDeclaration, caller: Caller, now: float) -> None:
    """Count a use at `now`, in seconds since 1970.

    Raises Problem "consent_used", or BUDGET "developer_limit".
    """
    known = select(verifications.c.consent).where(verifications.c.consent == use.consent)
    if connection.execute(known).first() is not None:
        raise Refusal("consent_used").problem()
    limit = declaration.verification.each_developer_a_day
    if _today(connection, use.dataset, caller, now) >= limit:
        raise Problem(
            Kind.BUDGET,
            "developer_limit",
            f"{caller.name} has had {limit} answers about {use.dataset} today, and a day has no more.",
            field="dataset",
            hint="ask again after midnight, UTC. The consent is not used",
        )
    connection.execute(
        insert(verifications).values(
            consent=use.consent,
            dataset=use.dataset,
            developer=caller.name,
            organisation=caller.organisation,
            node=use.node,
            price=declaration.verification.price,
            used=now,
        )
    )


def take_back(connection: Connection, use: Use) -> None:
    """A use that no enclave answered costs nothing, and the consent may be tried again."""
    connection.execute(delete(verifications).where(verifications.c.consent == use.consent))


def used(connection: Connection, dataset: str, caller: Caller, now: float) -> VerificationUse:
    """What the caller's organisation has used of a dataset's verification, and the caller today."""
    counted = select(func.count(), func.coalesce(func.sum(verifications.c.price), 0)).where(
        verifications.c.dataset == dataset, verifications.c.organisation == caller.organisation
    )
    uses, owed = connection.execute(counted).one()
    return VerificationUse(uses=uses, owed=owed, today=_today(connection, dataset, caller, now))


def _today(connection: Connection, dataset: str, caller: Caller, now: float) -> int:
    midnight = now - now % DAY_SECONDS
    counted = select(func.count()).where(
        verifications.c.dataset == dataset,
        verifications.c.developer == caller.name,
        verifications.c.used >= midnight,
    )
    return int(connection.execute(counted).scalar_one())
