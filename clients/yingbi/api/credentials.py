"""What follows from a caller's token.

A token is 32 random bytes in URL-safe base64 and never leaves its holder. Two independent secrets are
derived from it by HKDF-SHA256 (RFC 5869): the bearer credential, which the gateway sees at each call and
stores hashed, and the seed of an Ed25519 key, which signs requests towards the enclaves. Knowing the first
does not help to find the second, so a gateway cannot sign in a caller's name.

A person's further tokens are of the form TOKEN.KEY: what comes before the point gives a bearer credential of its own,
which can be revoked alone, and the key is the person's. One without a key signs nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from yingbi.api.problem import Kind, Problem

_POINT = "."


def bearer(token: str) -> str:
    """The credential that is sent as `authorization: Bearer ...`."""
    return base64.urlsafe_b64encode(_derive(token.partition(_POINT)[0], b"bearer")).decode().rstrip("=")


def bearer_hash(credential: str) -> str:
    """What a gateway stores of a bearer credential: SHA-256, hexadecimal.

    The credential has 256 bits of entropy, so a fast hash is as safe as a slow one.
    """
    return hashlib.sha256(credential.encode()).hexdigest()


def signing_key(token: str) -> Ed25519PrivateKey:
    """The key that signs this caller's authorizations and approvals; raises Problem for a token that is damaged."""
    secret, point, key = token.partition(_POINT)
    if not point:
        return Ed25519PrivateKey.from_private_bytes(_derive(secret, b"signing key"))
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key + "="))
    except (binascii.Error, ValueError) as error:
        raise Problem(Kind.MALFORMED, "token", "The token is damaged after its point.", field="token") from error


def with_key(token: str, key: Ed25519PrivateKey) -> str:
    """The token TOKEN.KEY, which calls with `token`, one without a key, and signs with `key`."""
    return token + _POINT + base64.urlsafe_b64encode(key.private_bytes_raw()).decode().rstrip("=")


def _derive(token: str, purpose: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"yingbi/v1/token/" + purpose).derive(token.encode())
