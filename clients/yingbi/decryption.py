"""Checking offline, with a modulus and nothing secret, that opened cells are what an encrypted total holds.

Whoever shows the randomness r of a Paillier ciphertext c shows its plaintext m: c = (1 + m n) r^n mod n^2 holds for one
m in [0, n) (Paillier, Eurocrypt 1999). For a vector the product of all equations is compared, each raised to a random
128-bit power that this checker draws (Bellare, Garay & Rabin, Eurocrypt 1998, the small exponents test): the argument
is that of enclave_sim/paillier/opening.py, and a wrong cell passes with probability 2^-128 at most.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence

try:
    from gmpy2 import powmod
except ImportError:  # Python's own power takes ten times as long
    powmod: Callable[[int, int, int], int] = pow  # type: ignore[no-redef]

_SPARE_BITS = 2
_EXPONENT_BITS = 128


def holds(n: int, total: Sequence[int], cells: Sequence[int], slot_bits: int, randomness: Sequence[int]) -> bool:
    """Whether the total's ciphertexts hold exactly these cells, packed `slot_bits` apart.

    Args:
        n: the Paillier modulus.
        total: ciphertexts modulo n^2.
        cells: signed integers, as opened.
        slot_bits: bits of one cell, at least 2.
        randomness: of every ciphertext, modulo n.
    """
    slots = (n.bit_length() - _SPARE_BITS) // slot_bits
    if slots < 1:
        return False
    plaintexts = _packed(cells, slot_bits, slots)
    if not len(total) == len(plaintexts) == len(randomness):
        return False
    if not all(0 < number < n * n and math.gcd(number, n) == 1 for number in total):
        return False
    if not all(0 < root < n and math.gcd(root, n) == 1 for root in randomness):
        return False
    exponents = [secrets.randbits(_EXPONENT_BITS) for _ in total]
    plaintext = sum(e * m for e, m in zip(exponents, plaintexts, strict=True)) % n
    left = _product(total, exponents, n * n)
    root = _product(randomness, exponents, n)
    return bool(left == (1 + plaintext * n) * powmod(root, n, n * n) % (n * n))


def _packed(cells: Sequence[int], slot_bits: int, slots: int) -> list[int]:
    """The plaintexts: cell i of each is the coefficient of 2^(slot_bits i)."""
    plaintexts = []
    for first in range(0, len(cells), slots):
        plaintext = 0
        for cell in reversed(cells[first : first + slots]):
            plaintext = (plaintext << slot_bits) + cell
        plaintexts.append(plaintext)
    return plaintexts


def _product(bases: Sequence[int], exponents: Sequence[int], modulus: int) -> int:
    product = 1
    for base, exponent in zip(bases, exponents, strict=True):
        product = product * powmod(base, exponent, modulus) % modulus
    return product
