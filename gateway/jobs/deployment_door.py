"""Whether a model may be deployed, approved and used: asked in the transaction that records, counts or releases it.

A deployed model is no job. It is under what the jobs were under whose releases its parameters follow from, and under
the organisation that deployed it; a model from elsewhere under that alone. To withdraw one no door is asked: what ends
use is never refused.

Keeps: AGR-05, MON-01
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from sqlalchemy import Connection

from gateway.governance.callers import Caller
from gateway.governance.stops import AGREEMENT, DATASET, ORGANISATION, SUSPENSION, Scope
from gateway.storage import agreements, people, stops
from gateway.storage import deployments as store
from gateway.storage.deployments import StoredDeployment


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


def under(connection: Connection, found: StoredDeployment) -> Under:
    """What the deployment is under now; raises Problem for one of a job that is not known."""
    sources = store.sources(connection, found)
    return Under(
        {each.dataset for each in sources},
        {each.organisation for each in sources} | {found.organisation},
        {tuple(agreements.successors(connection, each.agreement)) for each in sources if each.agreement},
    )


def check(connection: Connection, found: StoredDeployment, caller: Caller, now: float) -> None:
    """Raise Problem where a stop in force covers the deployment or whoever asks, or an agreement of it is not active.

    `now`: seconds since 1970.
    """
    present = under(connection, found)
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
    return [each.name for each in store.list_live(connection) if under(connection, each).is_hit(scope, subject)]
