"""Sealing something to an enclave: HPKE (RFC 9180), base mode, to the encryption key in its evidence."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from yingbi.api import digests
from yingbi.api.v1.job_pb2 import SealedProgram

# DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def program_info(plan_hash: bytes) -> bytes:
    """What a sealed program is bound to: the plan that it is for."""
    return digests.digest(digests.PROGRAM, plan_hash)


def seal_program(program: bytes, node: str, encryption_key: bytes, plan_hash: bytes) -> SealedProgram:
    """The program, for the enclave with this X25519 key alone, and for this plan alone; raises ValueError."""
    recipient = X25519PublicKey.from_public_bytes(encryption_key)
    return SealedProgram(node=node, ciphertext=SUITE.encrypt(program, recipient, program_info(plan_hash)))
