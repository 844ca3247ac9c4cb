"""Shares of a node's root on their way: from its enclave to their holders, and from them to the enclave that restores.

Both ways a share is encrypted to its recipient alone, under the default suite of `yingbi.api.suites`, bound to the
terms of its split, its index and which way it goes. So a node's host sees no share, neither when they are made nor when
they come back.
"""

from __future__ import annotations

from typing import Literal

from cryptography.exceptions import InvalidTag

from yingbi.api import digests
from yingbi.api.suites import DEFAULT, DecryptionKey
from yingbi.api.v1.storage_pb2 import EscrowShare, EscrowTerms

Way = Literal["to its holder", "back to an enclave"]


def sealed(value: bytes, terms: EscrowTerms, index: int, encryption_key: bytes, way: Way) -> bytes:
    """The share's value for the holder of this key; raises ValueError for bytes that are no key."""
    return DEFAULT.seal(value, encryption_key, _info(terms, index, way))


def opened(share: EscrowShare, key: DecryptionKey, way: Way) -> bytes:
    """The value of a share that was encrypted to this key; raises ValueError where it was not, or was changed."""
    try:
        return key.open(share.ciphertext, _info(share.terms, share.index, way))
    except InvalidTag as error:
        raise ValueError("it was changed, or is not encrypted to this key") from error


def share_check(split: bytes, index: int, value: bytes) -> bytes:
    """What all shares of a split say of each: a share is uniform over 2^256 values, so its digest gives none away."""
    return digests.digest(digests.ESCROW_SHARE, split, index.to_bytes(4, "big"), value)


def root_check(root: bytes, terms: EscrowTerms) -> bytes:
    """What shows that a root is the one that was split, and on these terms: nobody makes it without the root."""
    return digests.digest(digests.ESCROW_ROOT, root, terms.SerializeToString(deterministic=True))


def recipient_nonce(encryption_key: bytes) -> bytes:
    """What evidence of a key for shares was made for: no other evidence of an enclave has this nonce."""
    return digests.digest(digests.ESCROW_RECIPIENT, encryption_key)


def holder_of(share: EscrowShare) -> str:
    """The name of the share's holder; empty where its terms name none."""
    return share.terms.holders[share.index - 1] if 1 <= share.index <= len(share.terms.holders) else ""


def _info(terms: EscrowTerms, index: int, way: Way) -> bytes:
    body = terms.SerializeToString(deterministic=True)
    return digests.digest(digests.ESCROW_SHARE, body, index.to_bytes(4, "big"), way.encode())
