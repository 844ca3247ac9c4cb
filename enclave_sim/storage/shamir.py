"""Shamir's secret sharing of bytes, over the field of 256 elements.

A. Shamir, "How to share a secret", Communications of the ACM 22 (1979). Each byte is the value at 0 of a random
polynomial of degree M - 1 of its own; share x has the values at x. Any M values determine the polynomial; of fewer,
every secret is the value at 0 of equally many polynomials, so that they tell nothing. The field is that of AES
(FIPS 197, section 4.2): addition is XOR, multiplication modulo x^8 + x^4 + x^3 + x + 1.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

MAX_SHARES = 255
_MODULUS = 0x11B


def split(secret: bytes, shares: int, threshold: int) -> list[bytes]:
    """`shares` shares of the length of `secret`, for x from 1, any `threshold` of which restore it.

    Raises ValueError unless 2 <= threshold <= shares <= 255.
    """
    if not 2 <= threshold <= shares <= MAX_SHARES:
        raise ValueError(f"a threshold has 2 to {MAX_SHARES} shares, and no more than there are")
    polynomials = [bytes([byte]) + secrets.token_bytes(threshold - 1) for byte in secret]
    return [bytes(_value(polynomial, x) for polynomial in polynomials) for x in range(1, shares + 1)]


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret of at least the threshold of shares, by their x; of fewer, or of a wrong one, other bytes."""
    factors = {x: _at_zero(x, [other for other in shares if other != x]) for x in shares}
    secret = 0
    for x, values in shares.items():
        part = bytes(multiply(factors[x], value) for value in values)
        secret ^= int.from_bytes(part, "big")
    return secret.to_bytes(len(next(iter(shares.values()))), "big")


def multiply(a: int, b: int) -> int:
    """The product of two elements, each from 0 to 255."""
    product = 0
    while b:
        product ^= a * (b & 1)
        a, b = (a << 1) ^ (_MODULUS * (a >> 7)), b >> 1
    return product


def inverse(a: int) -> int:
    """The element whose product with `a`, which is not 0, is 1: a^254, since a^255 = 1."""
    power = 1
    for _ in range(254):
        power = multiply(power, a)
    return power


def _value(polynomial: bytes, x: int) -> int:
    """By Horner's rule, coefficients from the constant on."""
    value = 0
    for coefficient in reversed(polynomial):
        value = multiply(value, x) ^ coefficient
    return value


def _at_zero(x: int, others: list[int]) -> int:
    """At 0, the polynomial that is 1 at x and 0 at the others (Lagrange)."""
    factor = 1
    for other in others:
        factor = multiply(factor, multiply(other, inverse(other ^ x)))
    return factor
