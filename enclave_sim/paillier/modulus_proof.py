"""Proof that a modulus fits Paillier: n and phi(n) have no common factor, and n no small one.

Goldberg, Reyzin, Sagga & Baldimtsi, "Efficient Noninteractive Certification of RSA Moduli and Beyond", Asiacrypt 2019,
IACR ePrint 2018/057, section 3.2. Eight numbers are hashed from n, and the maker of n shows an n-th root of each.

Soundness. If a prime f divides both n and phi(n), at most one in f units modulo n has an n-th root. n has no prime
factor up to 2**16 (one gcd tells), so f is larger, and eight hashed numbers all have roots with probability below
2**-128. In particular n is not divisible by a square. Where gcd(n, phi(n)) = 1, every ciphertext has one plaintext and
one randomness. Zero knowledge: choose the roots at random and set the hashes.

What it does not prove: that n has two prime factors, that they are safe primes, that they are large, and that nobody
kept them. These are the attested dealer's word. A modulus with small factors was enough to extract key shares from
protocols that did not look (CVE-2023-33241); here the bound is 2**16, while proofs of openings and shares assume prime
factors longer than 129 bits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gmpy2

from enclave_sim.paillier.challenge import number_below, seed
from enclave_sim.paillier.exponent import powers, powers_to_secret
from enclave_sim.paillier.keys import is_unit

LARGEST_SMALL_PRIME_BITS = 16
"""No prime factor of a modulus is below two to this power."""

ROOTS = 128 // LARGEST_SMALL_PRIME_BITS
"""Roots in a proof: each convinces by as many bits as the smallest possible factor has."""


class BadModulusError(ValueError):
    """A modulus that is not proven to be fit for Paillier."""


@dataclass(frozen=True)
class ModulusProof:
    """Eight n-th roots modulo n, each in (0, n)."""

    roots: tuple[int, ...]


def prove_modulus(p: int, q: int) -> ModulusProof:
    """Prove n = p q, for different primes p and q with n prime to (p - 1)(q - 1): the dealer does, while it knows them.

    Raises `BadModulusError` where n is not prime to (p - 1)(q - 1).
    """
    n, phi = p * q, (p - 1) * (q - 1)
    if gmpy2.gcd(n, phi) != 1:
        raise BadModulusError("n and phi(n) have a common factor")
    return ModulusProof(tuple(powers_to_secret(_targets(n), int(gmpy2.invert(n, phi)), n)))


def check_modulus(n: int, proof: ModulusProof, bits: int) -> None:
    """Raise `BadModulusError` unless n is odd, composite, of exactly `bits` bits, and proven to fit."""
    if n.bit_length() != bits:
        raise BadModulusError(f"the modulus has {n.bit_length()} bits, not {bits}")
    if gmpy2.gcd(n, _small_primes()) != 1:
        raise BadModulusError(f"the modulus has a prime factor below 2**{LARGEST_SMALL_PRIME_BITS}")
    if gmpy2.is_prime(n):
        raise BadModulusError("the modulus is a prime")
    if len(proof.roots) != ROOTS or not all(is_unit(root, n) for root in proof.roots):
        raise BadModulusError(f"a proof has {ROOTS} roots, each a unit modulo n")
    if powers(proof.roots, n, n) != _targets(n):
        raise BadModulusError("a root is none: the modulus may have a factor in common with phi(n)")


def _targets(n: int) -> list[int]:
    return [number_below(seed("modulus", n, number), n) for number in range(ROOTS)]


@lru_cache(maxsize=1)
def _small_primes() -> Any:
    """The product of all primes below 2**16: 2 is one of them."""
    return gmpy2.primorial(1 << LARGEST_SMALL_PRIME_BITS)
