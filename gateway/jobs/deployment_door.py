"""Whether a model may be deployed, approved and used: asked in the transaction that records, counts or releases it.

A deployed model is no job. It is under what the jobs were under whose releases its parameters follow from, and under
the organisation that deployed it; a model from elsewhere under that alone. To withdraw one no door is asked: what ends
use is never refused.

Keeps: AGR-05, MON-01
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection
from yingbi.api import deployments as rules
from yingbi.api.problem import Problem
from yingbi.api.v1.deployment_pb2 import Provenance

from gateway.governance.callers import Caller
from gateway.governance.stops import AGREEMENT, DATASET, JOB, ORGANISATION, SUSPENSION, Scope
from gateway.jobs import records
from gateway.storage import agreements, people, stops
from gateway.storage import deployments as store
from gateway.storage.deployments import Live, StoredDeployment


@dataclass(frozen=True)
class Under:
    """What a stop can name of a deployment."""

    datasets: Set[str]
    organisations: Set[str]
    # Of each agreement: itself and what came in its place, the present one last.
    agreements: Set[tuple[str, ...]]

    def is_hit(self, scope: Scope, subject: str) -> bool:
        """Whether a stop of this covers it. One of a job never does: what was released stays released."""
        agreements = {each for chain in self.agreements for each in chain}
        named = {
            DATASET: self.datasets,
            ORGANISATION: self.organisations,
            AGREEMENT: agreements,
            SUSPENSION: agreements,
        }
        return subject in named.get(scope, ())


def under(connection: Connection, organisation: str, jobs: Sequence[str]) -> Under:
    """What an organisation's model of these jobs is under now; raises Problem where one of them is not known."""
    known = store.sources(connection, jobs)
    for job in jobs:
        if job not in known:
            raise records.unknown(job)
    sources = set(known.values())
    return Under(
        {each.dataset for each in sources},
        {each.organisation for each in sources} | {organisation},
        {tuple(agreements.successors(connection, each.agreement)) for each in sources if each.agreement},
    )


def check_released(connection: Connection, provenance: Provenance | None) -> None:
    """Raise Problem where a receipt is not the one with which its job released.

    Whoever names a job of others is told nothing of it without. Who has its receipt may be of another organisation: one
    release is replayed to all that ask the same.
    """
    for receipt in rules.receipts_of(provenance):
        for job in rules.jobs_of(Provenance(receipt=receipt)):
            if store.released(connection, job) != receipt:
                raise records.unknown(job)


def check(connection: Connection, found: StoredDeployment, caller: Caller, now: float) -> None:
    """Raise Problem where a stop in force covers the deployment or whoever asks, or an agreement of it is not active.

    So it does for who was removed since the call was let in.

    `now`: seconds since 1970.
    """
    people.check_has_not_left(connection, caller)
    present = under(connection, found.organisation, found.jobs)
    for organisation in sorted(present.organisations | {caller.organisation}):
        people.check_not_removed(connection, organisation)
        stops.check_not_stopped(connection, dataset="", organisation=organisation, agreement="")
    for dataset in sorted(present.datasets):
        stops.check_not_stopped(connection, dataset=dataset, organisation="", agreement="")
    for chain in sorted(present.agreements):
        for agreement in chain:
            stops.check_not_stopped(connection, dataset="", organisation="", agreement=agreement)
        agreements.check_still_in_force(connection, chain[-1], now)


def hit(connection: Connection, scope: Scope, subject: str) -> list[str]:
    """The deployments that would answer nobody any more after a stop of this, by their names."""
    if scope == JOB:
        return []
    live = store.list_live(connection)
    return [each.terms.deployment for each in live if _is_hit(connection, each, scope, subject)]


def _is_hit(connection: Connection, found: Live, scope: Scope, subject: str) -> bool:
    try:
        present = under(connection, found.organisation, store.jobs_of(connection, found))
    except Problem:
        # Nobody knows what it is of: it answers nobody as it is.
        return False
    return present.is_hit(scope, subject)
