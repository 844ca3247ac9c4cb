"""Encrypt vectors under a Paillier public key and add them without opening."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import gmpy2

from enclave_sim.paillier.keys import BadKeyError, PublicKey, check_ciphertexts
from enclave_sim.paillier.masks import MaskPool, make_masks


class PlaintextRangeError(ValueError):
    """A plaintext that would wrap around the modulus."""


class UnequalLengthsError(ValueError):
    """Vectors that should be of one length are not, or there is none."""


@dataclass(frozen=True)
class Encryption:
    """Ciphertexts, each a plain integer below n**2, and the secret exponents of their masks, for `plaintext_proof`.

    `repr` leaves the exponents out: whoever knows one reads its ciphertext.
    """

    ciphertexts: tuple[int, ...]
    exponents: tuple[int, ...] = field(repr=False)


def encrypt(public: PublicKey, plaintexts: Sequence[int], pool: MaskPool | None = None) -> Encryption:
    """Encrypt signed integers -n/2 < m < n/2, each to (1 + m n) H**a mod n**2 with a fresh mask H**a (see `masks`).

    Paillier, Eurocrypt 1999, section 4, with g = n + 1. A negative m stands for m mod n. One ciphertext a
    plaintext, in order. Masks come from `pool` as far as it has any. Raises `PlaintextRangeError`, and
    `BadKeyError` for a pool of another key.
    """
    for position, plaintext in enumerate(plaintexts):
        if not -public.n < 2 * plaintext < public.n:
            raise PlaintextRangeError(f"plaintext {position} is not between -n/2 and n/2")
    if pool is not None and pool.public != public:
        raise BadKeyError("these masks were prepared for another key")
    masks = make_masks(public, len(plaintexts)) if pool is None else pool.take(len(plaintexts))
    n, nsquare = gmpy2.mpz(public.n), gmpy2.mpz(public.nsquare)
    return Encryption(
        tuple(int((1 + m * n) * mask.value % nsquare) for m, mask in zip(plaintexts, masks, strict=True)),
        tuple(mask.exponent for mask in masks),
    )


def add(public: PublicKey, vectors: Sequence[Sequence[int]]) -> list[int]:
    """Add encrypted vectors, position by position: the product of ciphertexts modulo n**2.

    All vectors have the same length, and there is at least one, else `UnequalLengthsError`. Every ciphertext
    is checked first: `BadCiphertextError`. The result is not blinded afresh: whoever knows all summands can
    recognise it.
    """
    check_equal_lengths(vectors)
    for vector in vectors:
        check_ciphertexts(public, vector)
    nsquare = gmpy2.mpz(public.nsquare)
    total = [gmpy2.mpz(1)] * len(vectors[0])
    for vector in vectors:
        total = [so_far * ciphertext % nsquare for so_far, ciphertext in zip(total, vector, strict=True)]
    return [int(ciphertext) for ciphertext in total]


def check_equal_lengths(vectors: Sequence[Sequence[int]]) -> None:
    """Raise `UnequalLengthsError` unless there is a vector and all have the same length."""
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1:
        raise UnequalLengthsError(f"vectors of one length are needed, these have {sorted(lengths)}")
