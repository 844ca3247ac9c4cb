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

    def seal(self, plaintext: bytes, purpose: str) -> bytes:
        """Encrypt for this measurement on this platform, authenticated, for this purpose."""
        ...

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed; raises SealError where it was sealed by other code or elsewhere, for another purpose."""
        ...

    def derive_key(self, purpose: str) -> bytes:
        """A 32-byte secret that only this enclave on this platform can derive."""
        ...

    def counter(self, name: str) -> int:
        """Count this counter up by one, durably, and say its value, from 1: it never says one value twice."""
        ...


class SealError(Exception):
    """What is to be unsealed was sealed by other code, on another platform or for another purpose, or was changed."""
