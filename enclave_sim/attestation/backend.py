"""The interface to a trusted execution environment; a hardware TEE is one more class behind it."""

from __future__ import annotations

from typing import Protocol

from yingbi.api.v1.attestation_pb2 import Evidence


class Backend(Protocol):
    """One enclave's view of its platform."""

    def measurement(self) -> bytes:
        """32 bytes that name the running code."""
        ...

    def evidence(self, signing_key: bytes, encryption_key: bytes) -> Evidence:
        """Signed evidence that an enclave with this measurement holds these two public keys (32 bytes each)."""
        ...

    def derive_key(self, purpose: str) -> bytes:
        """A 32-byte secret that only this enclave on this platform can derive."""
        ...
