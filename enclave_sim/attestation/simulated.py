"""The simulated platform: a folder that plays the part of a CPU's fused secrets.

Whoever can read the folder can forge its evidence and derive its keys; every token says `simulated: true`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import digests
from yingbi.api.v1.attestation_pb2 import Evidence, EvidenceBody

from enclave_sim.attestation.measurement import measure


@dataclass(frozen=True)
class SimulatedBackend:
    """The platform of one node: `name`, a 32-byte secret, a certified Ed25519 key."""

    name: str
    secret: bytes
    key: Ed25519PrivateKey
    # DER: the platform's certificate, then the attestation root's.
    certificates: tuple[bytes, bytes]

    @classmethod
    def load(cls, folder: Path) -> SimulatedBackend:
        """Read the platform that `yingbi init` made in `folder`; raises OSError or ValueError."""
        return cls(
            name=(folder / "name").read_text().strip(),
            secret=(folder / "secret").read_bytes(),
            key=Ed25519PrivateKey.from_private_bytes((folder / "key").read_bytes()),
            certificates=((folder / "platform.der").read_bytes(), (folder / "root.der").read_bytes()),
        )

    def measurement(self) -> bytes:
        """See Backend."""
        return measure()

    def evidence(self, signing_key: bytes, encryption_key: bytes) -> Evidence:
        """See Backend."""
        body = EvidenceBody(
            format="simulated",
            simulated=True,
            node=self.name,
            measurement=self.measurement(),
            signing_key=signing_key,
            encryption_key=encryption_key,
        ).SerializeToString(deterministic=True)
        return Evidence(
            body=body,
            signature=digests.sign(self.key, digests.EVIDENCE, body),
            certificates=self.certificates,
        )

    def derive_key(self, purpose: str) -> bytes:
        """See Backend. HMAC-SHA256 as the expansion of HKDF (RFC 5869, section 2.3) for one block."""
        info = b"yingbi/v1/platform/" + purpose.encode() + b"\x01"
        return hmac.new(self.secret, info, hashlib.sha256).digest()
