"""Uses of deployed models, and which are withdrawn, as an enclave's journal has them.

Claim: of an organisation no more rows are counted than its limits hold, and no order twice. Argument: `count` reads
every record that there is and appends the new one under one lock; nothing else appends such records; an answer is
given only after `count` returned, when the record is on disk.

Records of uses are in the order of their times, which never go back (`yingbi.api.metering`). So what was used in the
present day is known from an organisation's last day and what was used in it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from yingbi.api import metering
from yingbi.api.metering import DAY_SECONDS, Used
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.deployment_pb2 import DeploymentTerms

from enclave_sim.journal import Check, Journal, Record

USE = "prediction"
WITHDRAWN = "deployment_withdrawn"


@dataclass(frozen=True)
class _Tally:
    """What an organisation used of a deployment: in the last day that it did, counted from 1970, and in all."""

    day: int = -1
    rows: int = 0
    total: int = 0

    def used(self, at: int) -> Used:
        return Used(self.rows if self.day == at // DAY_SECONDS else 0, self.total)


class Uses:
    """What a journal says of uses; each record is read once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._read = 0
        self._latest = 0
        self._orders: set[str] = set()
        self._withdrawn: set[str] = set()
        # By the digest of the deployment's terms, and organisation.
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def check_not_withdrawn(self, name: str, terms_digest: bytes) -> None:
        """Raise Problem for a deployment that is none any more."""
        with self._lock:
            self._check_not_withdrawn(name, terms_digest)

    def count(
        self,
        terms: DeploymentTerms,
        terms_digest: bytes,
        organisation: str,
        rows: int,
        order: bytes,
        now: float,
        check: Check | None = None,
    ) -> Used:
        """Write an order down, and say what is used with it; raises Problem, or JournalError, having counted nothing.

        Args:
            now: seconds since 1970, by this machine's clock.
            check: raises Problem for what the journal has that forbids it, as `Journal.append` asks it.
        """
        with self._lock:
            self._check_not_withdrawn(terms.deployment, terms_digest)
            if order.hex() in self._orders:
                said = "This order was counted before; an answer that was lost is ordered anew."
                raise Problem(Kind.REFUSED, "order_reused", said)
            at = metering.counted_at(now, self._latest)
            before = self._tallies.get((terms_digest.hex(), organisation), _Tally()).used(at)
            used = metering.with_rows(terms, organisation, before, rows, at)
            self._journal.append(
                {
                    "kind": USE,
                    "terms": terms_digest.hex(),
                    "organisation": organisation,
                    "rows": rows,
                    "at": at,
                    "order": order.hex(),
                },
                check,
            )
        return used

    def withdraw(self, terms_digest: bytes) -> None:
        """Nothing is counted for this deployment from now on, and so nothing answered. Durable."""
        with self._lock:
            self._update()
            if terms_digest.hex() not in self._withdrawn:
                self._journal.append({"kind": WITHDRAWN, "terms": terms_digest.hex()})

    def _check_not_withdrawn(self, name: str, terms_digest: bytes) -> None:
        self._update()
        if terms_digest.hex() in self._withdrawn:
            raise Problem(Kind.REFUSED, WITHDRAWN, f"{name} was withdrawn.")

    def _update(self) -> None:
        """Read what was appended since."""
        for record in self._journal.records[self._read :]:
            self._read += 1
            if record["kind"] == WITHDRAWN:
                self._withdrawn.add(str(record["terms"]))
            elif record["kind"] == USE:
                self._take(record)

    def _take(self, record: Record) -> None:
        at, rows = int(record["at"]), int(record["rows"])
        self._latest = max(self._latest, at)
        self._orders.add(str(record["order"]))
        whose = str(record["terms"]), str(record["organisation"])
        before = self._tallies.get(whose, _Tally())
        used = before.used(at)
        self._tallies[whose] = _Tally(at // DAY_SECONDS, used.today + rows, used.total + rows)
