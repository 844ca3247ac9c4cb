"""An enclave's own keys, derived from its platform, and what it shows of them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from yingbi.api import digests
from yingbi.api.sealing import SUITE as HPKE
from yingbi.api.v1.attestation_pb2 import Evidence

from enclave_sim.attestation.backend import Backend

__all__ = ["HPKE", "Identity"]


@dataclass(frozen=True)
class Identity:
    """The signing and the decryption key of one enclave, and the evidence that names their public halves."""

    signing_key: Ed25519PrivateKey
    encryption_key: X25519PrivateKey
    evidence: Evidence

    @classmethod
    def of(cls, backend: Backend) -> Identity:
        """The identity that `backend` gives this code, the same at every start."""
        signing_key = Ed25519PrivateKey.from_private_bytes(backend.derive_key("signing"))
        encryption_key = X25519PrivateKey.from_private_bytes(backend.derive_key("encryption"))
        evidence = backend.evidence(
            signing_key.public_key().public_bytes_raw(), encryption_key.public_key().public_bytes_raw()
        )
        return cls(signing_key, encryption_key, evidence)

    @property
    def public_signing_key(self) -> bytes:
        """32 bytes, as in the evidence."""
        return self.signing_key.public_key().public_bytes_raw()

    def sign(self, domain: str, body: bytes) -> bytes:
        """The Ed25519 signature of `body` in `domain`."""
        return digests.sign(self.signing_key, domain, body)

    def unseal(self, ciphertext: bytes, info: bytes) -> bytes:
        """Decrypt what was HPKE-encrypted to this enclave; raises cryptography's InvalidTag and ValueError."""
        return HPKE.decrypt(ciphertext, self.encryption_key, info)
