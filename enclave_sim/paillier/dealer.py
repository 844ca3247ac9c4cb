"""The trusted dealer: make a modulus from two safe primes and split the exponent that opens.

Whoever runs `generate_modulus` and `deal` can decrypt everything under that key until the primes are gone
from memory. The primes are plain Python integers: they can be dropped but not wiped, copies may stay in freed
memory, swap or a core dump, and they pass through a pipe from the processes that found them. Run the dealer
in a short-lived process inside an enclave, and let that process end.
"""

import multiprocessing
import secrets
from dataclasses import replace
from functools import lru_cache

import gmpy2
import numpy as np
from numpy.typing import NDArray

from enclave_sim.paillier.exponent import powers_to_secret
from enclave_sim.paillier.keys import BadKeyError, KeyShare, ThresholdKey

MODULUS_BITS = 3072
"""128-bit security (NIST SP 800-57 part 1 rev. 5, table 2)."""

_SMALLEST_PRIME_BITS = 64
_ROUNDS = 40
_LIMB_BITS = 32
_SEARCH_TIMEOUT_S = 600.0


def generate_safe_prime(bits: int) -> int:
    """A random prime p of exactly `bits` bits, its two top bits set, with (p - 1) / 2 prime too.

    Sieves a random window for q and 2q + 1 together (Wiener, "Safe Prime Generation with a Combined Sieve",
    IACR ePrint 2003/186), then tests the survivors; an error is less likely than 4**-40. The time to find one
    is close to exponentially distributed, so its standard deviation equals its mean. Randomness: `secrets`.
    Raises `BadKeyError` below 64 bits.
    """
    if bits < _SMALLEST_PRIME_BITS:
        raise BadKeyError(f"safe primes here have {_SMALLEST_PRIME_BITS} bits or more, not {bits}")
    while True:
        start = _random_start(bits - 1)
        candidates = _sieve(start, length=bits**2 // 4, limit=4 * bits**2)
        # In rising order a prime after a long gap would come up more often than its neighbours.
        secrets.SystemRandom().shuffle(candidates)
        for candidate in candidates:
            p = 2 * (start + 6 * candidate) + 1
            if p.bit_length() == bits and _is_safe(p):
                return p


def generate_modulus(bits: int = MODULUS_BITS) -> tuple[int, int]:
    """Two different safe primes (p, q) whose product has exactly `bits` bits, found on two cores.

    Starts fresh interpreters (`spawn`), so the calling program's main module must be importable without
    side effects and the caller must not be a daemonic process. Raises `BadKeyError` for odd or too few
    `bits`, and `multiprocessing.TimeoutError` after 600 s if a searching process died.
    """
    if bits % 2 or bits < 2 * _SMALLEST_PRIME_BITS:
        raise BadKeyError(f"a modulus has an even number of bits from {2 * _SMALLEST_PRIME_BITS}, not {bits}")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        # Three searches for two primes: the process that is lucky first goes on helping instead of idling.
        found = pool.imap_unordered(generate_safe_prime, [bits // 2] * 3)
        p, q = found.next(_SEARCH_TIMEOUT_S), found.next(_SEARCH_TIMEOUT_S)
    while p == q:
        q = generate_safe_prime(bits // 2)
    return p, q


def deal(p: int, q: int, parties: int, threshold: int, epoch: int) -> tuple[ThresholdKey, tuple[KeyShare, ...]]:
    """Split the exponent that takes n-th roots modulo n = p q into shares 1..parties, any `threshold` of which open.

    Shoup, "Practical Threshold Signatures", Eurocrypt 2000, section 3, with the public exponent n: with m =
    (p-1)(q-1)/4, share i is f(i) for a random polynomial f over Z_m of degree threshold - 1 with f(0) = n**-1 mod m.
    The key carries a verification key for every share.

    A new `epoch` over the same primes gives shares that do not combine with earlier ones, yet earlier shares
    still open: only a new modulus retires them. Keeps nothing, but cannot make the caller forget p and q.
    Raises `BadKeyError` for primes that are not safe, equal or of different lengths, and for an impossible
    `threshold` or `epoch`.
    """
    check_primes(p, q)
    key = ThresholdKey(n=p * q, parties=parties, threshold=threshold, epoch=epoch)
    m = (p // 2) * (q // 2)
    shares = share_out(int(gmpy2.invert(key.n, m)), parties, threshold, m)
    verification_keys = (powers_to_secret([key.verification_base], share.value, key.n)[0] for share in shares)
    return replace(key, verification_keys=tuple(verification_keys)), shares


def check_primes(p: int, q: int) -> None:
    """Raise `BadKeyError` unless p and q are different safe primes of one length."""
    if p == q or p.bit_length() != q.bit_length() or not (_is_safe(p) and _is_safe(q)):
        raise BadKeyError("the dealer needs two different safe primes of one length")


def share_out(secret: int, parties: int, threshold: int, modulus: int) -> tuple[KeyShare, ...]:
    """The points 1..parties of a random polynomial over Z_modulus of degree threshold - 1 that is `secret` at 0."""
    coefficients = [secret, *(secrets.randbelow(modulus) for _ in range(threshold - 1))]
    return tuple(KeyShare(index, _evaluate(coefficients, index, modulus)) for index in range(1, parties + 1))


def _evaluate(coefficients: list[int], x: int, modulus: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % modulus
    return value


def _is_safe(p: int) -> bool:
    q = p // 2
    if not (_passes_fermat(q) and _passes_fermat(p)):
        return False
    return bool(gmpy2.is_prime(q, _ROUNDS) and gmpy2.is_prime(p, _ROUNDS))


def _passes_fermat(candidate: int) -> bool:
    return bool(gmpy2.powmod(2, candidate - 1, candidate) == 1)


def _random_start(bits: int) -> int:
    # 5 mod 6 is the only class where neither q nor 2q + 1 is divisible by 2 or 3.
    start = secrets.randbits(bits) | 3 << (bits - 2)
    return start - start % 6 + 5


def _sieve(start: int, length: int, limit: int) -> list[int]:
    """Every k in [0, length) for which neither q = start + 6k nor 2q + 1 has a prime factor below `limit`."""
    primes = _primes_from_five(limit)
    inverse_of_six = np.where(primes % 6 == 1, primes - primes // 6, primes // 6 + 1)
    residue = _residues(start, primes)
    alive = np.ones(length, dtype=np.bool_)
    for forbidden in (np.zeros_like(primes), primes // 2):
        first = (forbidden - residue) % primes * inverse_of_six % primes
        _strike(alive, first, primes)
    return [int(k) for k in np.flatnonzero(alive)]


def _strike(alive: NDArray[np.bool_], first: NDArray[np.int64], primes: NDArray[np.int64]) -> None:
    many = int(np.searchsorted(primes, len(alive)))
    for offset, prime in zip(first[:many].tolist(), primes[:many].tolist(), strict=True):
        alive[offset::prime] = False
    # A prime longer than the window strikes once at most, so all of those go in one step.
    once = first[many:]
    alive[once[once < len(alive)]] = False


def _residues(value: int, primes: NDArray[np.int64]) -> NDArray[np.int64]:
    residue = np.zeros_like(primes)
    for shift in range(value.bit_length() // _LIMB_BITS * _LIMB_BITS, -1, -_LIMB_BITS):
        limb = (value >> shift) & ((1 << _LIMB_BITS) - 1)
        residue = ((residue << _LIMB_BITS) + limb) % primes
    return residue


@lru_cache(maxsize=1)
def _primes_from_five(limit: int) -> NDArray[np.int64]:
    composite = np.zeros(limit, dtype=np.bool_)
    for divisor in range(2, int(limit**0.5) + 1):
        if not composite[divisor]:
            composite[divisor * divisor :: divisor] = True
    return np.flatnonzero(~composite)[4:].astype(np.int64)
