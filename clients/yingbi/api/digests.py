"""Digests and signatures over messages, each kind in a domain of its own.

A digest is SHA-256 over `"yingbi/v1/" + domain`, a zero byte, and the parts, each after its length as
eight big-endian bytes: so no two domains and no two lists of parts share an input. Signatures are Ed25519
(RFC 8032) over such a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PLAN = "plan"
DECLARATION = "declaration"
DATASET_VERSION = "dataset-version"
CIPHERTEXTS = "ciphertexts"
MANIFEST = "manifest"
AUTHORIZATION = "authorization"
ASKED_FOR = "asked-for"
APPROVAL = "approval"
STANDING_APPROVAL = "standing-approval"
TEMPLATE = "template"
SHARD = "shard"
CONTRIBUTION = "contribution"
PLAINTEXTS = "plaintexts"
OPENING_SHARE = "opening-share"
RECEIPT = "receipt"
BATCH = "batch"
KEY_EPOCH = "key-epoch"
ROSTER = "roster"
STANDING = "standing"
HEADS = "heads"
POLICY = "policy"
PROGRAM = "program"
UPGRADE = "upgrade"
ESCROW_ORDER = "escrow-order"
ESCROW_SHARE = "escrow-share"
ESCROW_ROOT = "escrow-root"
ESCROW_RECIPIENT = "escrow-recipient"
CONSENT = "consent"
AGREEMENT = "agreement"
OPERATING_AGREEMENT = "operating-agreement"
INVITATION = "invitation"
CERTIFICATE = "certificate"
STOP = "stop"
LIFT = "lift"
STOP_PROOF = "stop-proof"
CONSENT_TERMS = "consent-terms"
VERIFICATION_ORDER = "verification-order"
VERIFICATION_REQUEST = "verification-request"
VERIFICATION_ANSWER = "verification-answer"
WITNESS = "verification-witness"
VERDICT = "verdict"


def digest(domain: str, *parts: bytes) -> bytes:
    """The 32-byte digest of `parts` in `domain`."""
    return digest_all(domain, parts)


def digest_all(domain: str, parts: Iterable[bytes]) -> bytes:
    """As `digest`, for parts that come one after another."""
    running = Running(domain)
    for part in parts:
        running.add(part)
    return running.digest()


class Running:
    """A digest in `domain` whose parts are added one after another."""

    def __init__(self, domain: str) -> None:
        self._state = hashlib.sha256(b"yingbi/v1/" + domain.encode() + b"\0")

    def add(self, part: bytes) -> None:
        """Add the next part."""
        self._state.update(len(part).to_bytes(8, "big"))
        self._state.update(part)

    def digest(self) -> bytes:
        """Of all parts so far, 32 bytes."""
        return self._state.digest()


def sign(key: Ed25519PrivateKey, domain: str, body: bytes) -> bytes:
    """The 64-byte signature of `body` in `domain`."""
    return key.sign(digest(domain, body))


def is_signed(public_key: bytes, domain: str, body: bytes, signature: bytes) -> bool:
    """Whether `signature` is that of `body` by the holder of the 32-byte `public_key`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, digest(domain, body))
    except (InvalidSignature, ValueError):
        return False
    return True
