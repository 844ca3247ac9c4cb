"""The simulated platform: a folder that plays the part of a CPU's fused secrets.

Whoever can read the folder can forge its evidence and unseal what it sealed; whoever can write there
can turn its counters back. Every token says `simulated: true`.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from yingbi.api import cose, eat
from yingbi.api.eat import Claims, Statement
from yingbi.api.v1.attestation_pb2 import Evidence

from enclave_sim.attestation.backend import SealError
from enclave_sim.attestation.measurement import measure

# How long evidence may be shown as new.
VALID_SECONDS = 24 * 3600
_GCM_NONCE = 12
_COUNTER_BYTES = 8
_COUNTER_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class SimulatedBackend:
    """The platform of one node: `name`, a 32-byte secret, a certified Ed25519 key."""

    name: str
    secret: bytes
    key: Ed25519PrivateKey
    # DER: the platform's certificate, then the attestation root's.
    certificates: tuple[bytes, bytes]
    # Holds a file for each counter.
    folder: Path
    # What it measures, where that is not this code: for trying what happens when code changes.
    code: bytes | None = None

    @classmethod
    def load(cls, folder: Path) -> SimulatedBackend:
        """Read the platform that `yingbi init` made in `folder`; raises OSError or ValueError."""
        if not folder.exists():
            raise FileNotFoundError("this node has lost its platform; `yingbi escrow request` begins with another one")
        return cls(
            name=(folder / "name").read_text().strip(),
            secret=(folder / "secret").read_bytes(),
            key=Ed25519PrivateKey.from_private_bytes((folder / "key").read_bytes()),
            certificates=((folder / "platform.der").read_bytes(), (folder / "root.der").read_bytes()),
            folder=folder,
        )

    def measure(self) -> bytes:
        """See Backend."""
        return self.code or measure()

    def evidence(self, statement: Statement) -> Evidence:
        """See Backend."""
        now = int(time.time())
        claims = Claims(
            node=self.name,
            measurement=self.measure(),
            simulated=True,
            issued=now,
            expires=now + VALID_SECONDS,
            statement=statement,
        )
        return Evidence(token=cose.sign(eat.encode(claims), self.certificates, self.key.sign))

    def seal(self, plaintext: bytes, purpose: str, measurement: bytes | None = None) -> bytes:
        """See Backend. AES-256-GCM with a nonce drawn for each sealing, under a key of the measurement's own."""
        nonce = secrets.token_bytes(_GCM_NONCE)
        return nonce + self._sealing_key(measurement or self.measure()).encrypt(nonce, plaintext, purpose.encode())

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """See Backend."""
        try:
            return self._sealing_key(self.measure()).decrypt(sealed[:_GCM_NONCE], sealed[_GCM_NONCE:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise SealError("this was not sealed by this code on this platform for this purpose") from error

    def counter(self, name: str) -> int:
        """See Backend. Raises ValueError where the name is no word of small letters, OSError."""
        descriptor = os.open(self._counter_file(name), os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            value = int.from_bytes(file.read(_COUNTER_BYTES), "big") + 1
            file.seek(0)
            file.write(value.to_bytes(_COUNTER_BYTES, "big"))
            file.flush()
            os.fsync(file.fileno())
        return value

    def count(self, name: str) -> int:
        """See Backend. Raises ValueError as `counter` does, OSError."""
        path = self._counter_file(name)
        return int.from_bytes(path.read_bytes(), "big") if path.exists() else 0

    def _counter_file(self, name: str) -> Path:
        if not _COUNTER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a counter")
        return self.folder / f"counter-{name}"

    def _sealing_key(self, measurement: bytes) -> AESGCM:
        """HMAC-SHA256 as the expansion of HKDF (RFC 5869, section 2.3) for one block."""
        info = b"yingbi/v1/platform/seal " + measurement.hex().encode() + b"\x01"
        return AESGCM(hmac.new(self.secret, info, hashlib.sha256).digest())
