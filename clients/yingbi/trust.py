"""What a verifier of receipts brings along."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trust:
    """What a verifier brings along: the zone's CA and, if known, the enclaves' measurement in hexadecimal."""

    ca_pem: str
    measurement: str | None = None
