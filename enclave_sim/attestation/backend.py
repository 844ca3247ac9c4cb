"""The interface to a trusted execution environment; a hardware TEE is one more class behind it."""

from __future__ import annotations

from typing import Protocol

from yingbi.api.eat import Statement
from yingbi.api.v1.attestation_pb2 import Evidence


class Backend(Protocol):
    """One enclave's view of its platform."""

    def measure(self) -> bytes:
        """32 bytes that name the running code."""
        ...

    def evidence(self, statement: Statement) -> Evidence:
        """Signed evidence that an enclave with this measurement makes this statement, now.

        Hardware signs the statement's report data alone, 64 bytes; the statement then travels beside.
        """
        ...

    def seal(self, plaintext: bytes, purpose: str, measurement: bytes | None = None) -> bytes:
        """Encrypt for a measurement on this platform, this code's own by default, authenticated, for this purpose.

        Hardware that seals to its own code alone has this code hand the plaintext to an enclave of that measurement,
        by its evidence, which seals it.
        """
        ...

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed; raises SealError where it was sealed by other code or elsewhere, for another purpose."""
        ...

    def counter(self, name: str) -> int:
        """Count this counter up by one, durably, and say its value, from 1: it never says one value twice."""
        ...

    def count(self, name: str) -> int:
        """What this counter stands at; 0 where it was never counted up."""
        ...


class SealError(Exception):
    """What is to be unsealed was sealed by other code, on another platform or for another purpose, or was changed."""
