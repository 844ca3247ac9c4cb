"""Encrypt vectors under a Paillier public key and add them without opening."""

import secrets
from collections.abc import Sequence

import gmpy2

from enclave_sim.paillier.exponent import powers
from enclave_sim.paillier.keys import PublicKey, check_ciphertext


class PlaintextRangeError(ValueError):
    """A plaintext that would wrap around the modulus."""


class UnequalLengthsError(ValueError):
    """Vectors that should be of one length are not, or there is none."""


def encrypt(public: PublicKey, plaintexts: Sequence[int]) -> list[int]:
    """Encrypt signed integers -n/2 < m < n/2, each to (1 + m n) r**n mod n**2 with a fresh random r.

    Paillier, Eurocrypt 1999, section 4, with g = n + 1. A negative m stands for m mod n. One ciphertext a
    plaintext, in order, each a plain integer below n**2. Raises `PlaintextRangeError`.
    """
    for position, plaintext in enumerate(plaintexts):
        if not -public.n < 2 * plaintext < public.n:
            raise PlaintextRangeError(f"plaintext {position} is not between -n/2 and n/2")
    n, nsquare = public.n, public.nsquare
    masks = powers([_unit(n) for _ in plaintexts], n, nsquare)
    return [(1 + m * n) * mask % nsquare for m, mask in zip(plaintexts, masks, strict=True)]


def add(public: PublicKey, vectors: Sequence[Sequence[int]]) -> list[int]:
    """Add encrypted vectors, position by position: the product of ciphertexts modulo n**2.

    All vectors have the same length, and there is at least one, else `UnequalLengthsError`. Every ciphertext
    is checked first: `BadCiphertextError`. The result is not blinded afresh: whoever knows all summands can
    recognise it.
    """
    check_equal_lengths(vectors)
    for vector in vectors:
        for ciphertext in vector:
            check_ciphertext(public, ciphertext)
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


def _unit(n: int) -> int:
    while True:
        r = secrets.randbelow(n)
        if gmpy2.gcd(r, n) == 1:
            return r
