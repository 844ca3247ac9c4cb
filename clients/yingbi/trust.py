"""What a verifier of receipts and evidence brings along."""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api.suites import ACCEPTED


@dataclass(frozen=True)
class Trust:
    """The zone's CA, and what is known of its enclaves.

    Measurement and policy are hexadecimal, None where there is no value to compare with. `allow_simulation` makes
    fresh evidence of a simulated enclave a warning instead of a reason to refuse it. `earlier` are the measurements
    that were the zone's before its upgrades: for receipts of that time alone. `suites` are the cipher suites, by name,
    that something secret may be sealed with.
    """

    ca_pem: str
    measurement: str | None = None
    policy: str | None = None
    allow_simulation: bool = False
    earlier: tuple[str, ...] = ()
    suites: frozenset[str] = ACCEPTED
