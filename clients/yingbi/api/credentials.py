"""What follows from a caller's token.

A token is 32 random bytes in URL-safe base64 and never leaves its holder. Two independent secrets are
derived from it by HKDF-SHA256 (RFC 5869): the bearer credential, which the gateway sees at each call and
stores hashed, and the seed of an Ed25519 key, which signs requests towards the enclaves. Knowing the first
does not help to find the second, so a gateway cannot sign in a caller's name.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def bearer(token: str) -> str:
    """The credential that is sent as `authorization: Bearer ...`."""
    return base64.urlsafe_b64encode(_derive(token, b"bearer")).decode().rstrip("=")


def bearer_hash(credential: str) -> str:
    """What a gateway stores of a bearer credential: SHA-256, hexadecimal.

    The credential has 256 bits of entropy, so a fast hash is as safe as a slow one.
    """
    return hashlib.sha256(credential.encode()).hexdigest()


def signing_key(token: str) -> Ed25519PrivateKey:
    """The key that signs this caller's authorizations and approvals."""
    return Ed25519PrivateKey.from_private_bytes(_derive(token, b"signing key"))


def _derive(token: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"yingbi/v1/token/" + purpose).derive(token.encode())
