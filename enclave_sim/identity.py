"""An enclave's own keys, derived from its platform, and what it shows of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from yingbi.api import digests
from yingbi.api.eat import Statement
from yingbi.api.sealing import SUITE as HPKE
from yingbi.api.v1.attestation_pb2 import Evidence

from enclave_sim.attestation.backend import Backend

__all__ = ["HPKE", "Identity"]


class Configuration:
    """What holds of this process, as its evidence says; more is known once a sandbox has proven itself.

    See `yingbi.api.configuration`. Nothing that held is taken back: nothing here can be undone.
    """

    def __init__(self, held: Iterable[str] = ()) -> None:
        self._facts = tuple(sorted(held))

    @property
    def facts(self) -> tuple[str, ...]:
        """Sorted, each once."""
        return self._facts

    def add(self, fact: str) -> None:
        """For all evidence that is made from now on."""
        self._facts = tuple(sorted({*self._facts, fact}))


@dataclass(frozen=True)
class Identity:
    """The signing and the decryption key of one enclave, and the evidence that names their public halves."""

    signing_key: Ed25519PrivateKey
    encryption_key: X25519PrivateKey
    policy: bytes
    backend: Backend = field(repr=False)
    configuration: Configuration = field(repr=False, compare=False)
    # As it is shown when the enclave joins; nobody asked for its nonce.
    evidence: Evidence

    @classmethod
    def of(cls, backend: Backend, policy: bytes = b"", configuration: Configuration | None = None) -> Identity:
        """The identity that `backend` gives this code, the same at every start but for its evidence.

        Args:
            policy: the digest of whose signatures it accepts; empty for an enclave that takes no requests.
            configuration: what confines its process; nothing is said of one that is not confined.
        """
        configuration = configuration or Configuration()
        signing_key = Ed25519PrivateKey.from_private_bytes(backend.derive_key("signing"))
        encryption_key = X25519PrivateKey.from_private_bytes(backend.derive_key("encryption"))
        evidence = _evidence(backend, signing_key, encryption_key, policy, configuration.facts, secrets.token_bytes(32))
        return cls(signing_key, encryption_key, policy, backend, configuration, evidence)

    def attest(self, nonce: bytes) -> Evidence:
        """Evidence made now for `nonce`, which has 8 to 64 bytes."""
        facts = self.configuration.facts
        return _evidence(self.backend, self.signing_key, self.encryption_key, self.policy, facts, nonce)

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


def _evidence(
    backend: Backend,
    signing_key: Ed25519PrivateKey,
    encryption_key: X25519PrivateKey,
    policy: bytes,
    configuration: tuple[str, ...],
    nonce: bytes,
) -> Evidence:
    return backend.evidence(
        Statement(
            nonce=nonce,
            signing_key=signing_key.public_key().public_bytes_raw(),
            encryption_key=encryption_key.public_key().public_bytes_raw(),
            policy=policy,
            configuration=configuration,
        )
    )
