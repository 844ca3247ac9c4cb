"""An enclave's own keys, derived from its root, and what it shows of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import digests
from yingbi.api.eat import Statement
from yingbi.api.suites import DEFAULT, CipherSuite, DecryptionKey
from yingbi.api.v1.attestation_pb2 import Evidence

from enclave_sim.attestation.backend import Backend
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.authority import Policy
from enclave_sim.storage.state import Root, open_root


def _drawn(_: str) -> bytes:
    return secrets.token_bytes(32)


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
    encryption_key: DecryptionKey
    policy: bytes
    backend: Backend = field(repr=False)
    configuration: Configuration = field(repr=False, compare=False)
    # As it is shown when the enclave joins; nobody asked for its nonce.
    evidence: Evidence

    @classmethod
    def of(
        cls,
        backend: Backend,
        policy: bytes = b"",
        derive: Callable[[str], bytes] = _drawn,
        *,
        suite: CipherSuite = DEFAULT,
        configuration: Configuration | None = None,
    ) -> Identity:
        """The identity of an enclave on this platform.

        Args:
            policy: the digest of whose signatures it accepts; empty for an enclave that takes no requests.
            derive: gives the 32-byte secret of each key. By default they are drawn, for an enclave that runs once.
            suite: what is sealed to it with. Each has a key of its own.
            configuration: what confines its process; nothing is said of one that is not confined.
        """
        configuration = configuration or Configuration()
        signing_key = Ed25519PrivateKey.from_private_bytes(derive("signing"))
        encryption_key = suite.key(derive(f"encryption {suite.name}"))
        evidence = _evidence(backend, signing_key, encryption_key, policy, configuration.facts, secrets.token_bytes(32))
        return cls(signing_key, encryption_key, policy, backend, configuration, evidence)

    @classmethod
    def kept(
        cls,
        folder: Path,
        ca_pem: bytes,
        backend: Backend | None = None,
        configuration: Configuration | None = None,
    ) -> tuple[Identity, Root]:
        """The identity of the enclave in `folder`, and its root; on the platform there unless one is given.

        Raises RootError, OSError, and ValueError or KeyError for files that are none of `yingbi init`.
        """
        backend = backend or SimulatedBackend.load(folder / "platform")
        root = open_root(folder, backend, ca_pem)
        policy = Policy.from_json((folder / "policy.json").read_text())
        return cls.of(backend, policy.digest(), root.derive, configuration=configuration), root

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
        """Decrypt what was sealed to this enclave; raises cryptography's InvalidTag."""
        return self.encryption_key.open(ciphertext, info)


def _evidence(
    backend: Backend,
    signing_key: Ed25519PrivateKey,
    encryption_key: DecryptionKey,
    policy: bytes,
    configuration: tuple[str, ...],
    nonce: bytes,
) -> Evidence:
    return backend.evidence(
        Statement(
            nonce=nonce,
            signing_key=signing_key.public_key().public_bytes_raw(),
            encryption_key=encryption_key.public,
            policy=policy,
            suite=encryption_key.suite.name,
            configuration=configuration,
        )
    )
