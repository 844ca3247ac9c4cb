"""Cipher suites: what an enclave signs with, and how something is sealed to it. One row for each, by its name.

A token names its enclave's suite, and the suite decides lengths and forms of keys. Sealing is HPKE (RFC 9180), base
mode; its key schedule has the suite's identifiers in it, so that what was sealed under one suite opens under no other.

X-Wing (draft-connolly-cfrg-xwing-kem) is ML-KEM-768 (FIPS 203) and X25519 side by side, their secrets hashed together:
whoever is to read what was sealed has to break both. Its private key is a 32-byte seed, which SHAKE256 expands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

SEED_BYTES: Final = 32
_TAG_BYTES = 16
_X25519_BYTES, _MLKEM_PUBLIC_BYTES, _MLKEM_SEED_BYTES = 32, 1184, 64


@dataclass(frozen=True)
class CipherSuite:
    """One row of the table. Keys are bytes, as in a token; lengths are in bytes."""

    name: str
    signing_key_bytes: int
    encryption_key_bytes: int
    # How much longer something is when it is sealed.
    overhead: int
    _hpke: Suite = field(repr=False)
    # The library's keys: of a public one's bytes; of a seed, the private one and the bytes of its public one.
    _read: Callable[[bytes], Any] = field(repr=False)
    _expand: Callable[[bytes], tuple[Any, bytes]] = field(repr=False)

    def seal(self, plaintext: bytes, encryption_key: bytes, info: bytes) -> bytes:
        """`plaintext` for the holder of this key alone, bound to `info`.

        Raises ValueError where the key is none of this suite's, or `cryptography` was built without the algorithm.
        """
        if len(encryption_key) != self.encryption_key_bytes:
            raise ValueError(f"an encryption key of {self.name} has {self.encryption_key_bytes} bytes")
        try:
            return self._hpke.encrypt(plaintext, self._read(encryption_key), info)
        except UnsupportedAlgorithm as error:
            raise ValueError(f"cryptography is built without {self.name} here") from error

    def key(self, seed: bytes) -> DecryptionKey:
        """The key of a secret of 32 bytes, always the same; raises ValueError as `seal` does."""
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes")
        try:
            private, public = self._expand(seed)
        except UnsupportedAlgorithm as error:
            raise ValueError(f"cryptography is built without {self.name} here") from error
        return DecryptionKey(self, public, seed, private)


@dataclass(frozen=True)
class DecryptionKey:
    """The private half, which stays with its owner, and the public one, as it is in an enclave's token."""

    suite: CipherSuite
    public: bytes
    # What it was made of, and can be made of again.
    seed: bytes = field(repr=False)
    _private: Any = field(repr=False, compare=False)

    def open(self, ciphertext: bytes, info: bytes) -> bytes:
        """What was sealed to this key under its suite and bound to `info`; raises InvalidTag for anything else."""
        try:
            return self.suite._hpke.decrypt(ciphertext, self._private, info)
        except ValueError as error:  # a point of small order, a ciphertext that is too short
            raise InvalidTag from error


def _expand_x25519(seed: bytes) -> tuple[X25519PrivateKey, bytes]:
    private = X25519PrivateKey.from_private_bytes(seed)
    return private, private.public_key().public_bytes_raw()


def _read_hybrid(data: bytes) -> MLKEM768X25519PublicKey:
    lattice = MLKEM768PublicKey.from_public_bytes(data[:_MLKEM_PUBLIC_BYTES])
    return MLKEM768X25519PublicKey(lattice, X25519PublicKey.from_public_bytes(data[_MLKEM_PUBLIC_BYTES:]))


def _expand_hybrid(seed: bytes) -> tuple[MLKEM768X25519PrivateKey, bytes]:
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + _X25519_BYTES)
    lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
    curve, curve_public = _expand_x25519(expanded[_MLKEM_SEED_BYTES:])
    return MLKEM768X25519PrivateKey(lattice, curve), lattice.public_key().public_bytes_raw() + curve_public


HYBRID: Final = CipherSuite(
    name="Ed25519;X-Wing(ML-KEM-768,X25519);HKDF-SHA256;AES-256-GCM",
    signing_key_bytes=32,
    encryption_key_bytes=_MLKEM_PUBLIC_BYTES + _X25519_BYTES,
    overhead=1088 + _X25519_BYTES + _TAG_BYTES,
    _hpke=Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    _read=_read_hybrid,
    _expand=_expand_hybrid,
)
# Before there was a hybrid one. Whoever keeps what is sealed under it can read it once X25519 is broken.
CLASSICAL: Final = CipherSuite(
    name="Ed25519;DHKEM(X25519,HKDF-SHA256);HKDF-SHA256;AES-256-GCM",
    signing_key_bytes=32,
    encryption_key_bytes=_X25519_BYTES,
    overhead=_X25519_BYTES + _TAG_BYTES,
    _hpke=Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
    _read=X25519PublicKey.from_public_bytes,
    _expand=_expand_x25519,
)

SUITES: Final = {suite.name: suite for suite in (HYBRID, CLASSICAL)}
"""All that are known here: a token of another one cannot be read."""

DEFAULT: Final = HYBRID
"""Of enclaves that start now."""

ACCEPTED: Final = frozenset({HYBRID.name})
"""What may be sealed to, where nobody says otherwise: evidence of another suite is a downgrade."""
