"""Many draws of N_Z(0, σ²), P[z] ∝ exp(−z² / 2σ²), exactly, at a fraction of a microsecond each.

The algorithm, for an integer σ:

1. block x >= 0 with P[x] ∝ exp(−x²/2); offset u uniform in {0, …, σ − 1}; a fair sign; all independent.
2. Accept with probability exp(−u(u + 2σx) / 2σ²), else start again.
3. With m = σx + u, the result is m or −m by the sign; the negative of m = 0 starts again.

Why it is exact. Every m >= 0 is σx + u for one (x, u), and m² = σ²x² + u(u + 2σx), so a candidate is
accepted as m with probability exp(−m²/2σ²) / (σ·Σ_x exp(−x²/2)), whatever its sign; step 3 counts 0 once.
No x is left out, so there is no cut tail. About 0.71 of the candidates are accepted, and which ones are
is independent of the accepted values. The split is that of C. Karney, "Sampling exactly from the
normal distribution" (ACM TOMS 42(1), 2016, arXiv 1303.6257), section 7. Why discrete Gaussians, and for
exact sampling by rejection: C. Canonne, G. Kamath, T. Steinke (arXiv 2004.00010), section 5.

How it is decided. x is the number of k with U >= F(k), and step 2 accepts if V < exp(−…); U and V are
uniform reals of which 64 bits are drawn. `decide` looks at all candidates at once and marks a comparison
*open* unless those bits settle it: for U by integer bounds of F, for V by a float that is within
2^-41 of the true value (`exp_minus`), compared with a margin of 2^-36. An open candidate goes to
`settle`, which decides in unbounded integers and draws further bits for as long as needed
(`exact_uniform`). Floats thus never make noise: they only pick which way a comparison is made.

What the float argument needs: IEEE 754 binary64 with +, −, ×, ÷ rounded to nearest, each numpy operation
rounding by itself; no math library. A NaN would leave the comparison open, hence be settled exactly.

Bits come from AES-256-CTR under a fresh random key for each call. "Exact" is meant for uniform bits: n
blocks of a keystream differ from uniform ones by the security of AES plus n²/2^129.

Time: the number of rejections is independent of the values, as said. Settling is not constant-time, but
fewer than one candidate in 2^34 needs it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import factorial

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from enclave_sim.privacy.exact_uniform import WORD, LazyUniform, exp_bounds, half_gaussian_bounds
from enclave_sim.privacy.gaussian import check_sigma

Bits = NDArray[np.uint64]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

Words = Callable[[int], Bits]
"""From a count to so many fresh uniform 64-bit words."""

MARGIN = 2.0**-36
"""How far V must be from the float estimate of its threshold to count as settled; 2^-40 would do."""

_BATCH = 1 << 15
"""Candidates at a time: the working arrays stay in the processor's cache."""
_CANDIDATES_PER_DRAW = 1.45
"""A little above 1 / 0.71. Only speed depends on it."""
_DEGREE = 12
_SQUARINGS = 5
_TAYLOR = [1 / factorial(k) for k in range(_DEGREE + 1)]


@dataclass(frozen=True)
class Candidates:
    """Four uniform words for each candidate, shape (candidates,) each."""

    block: Bits
    """The first 64 bits of U."""
    offset: Bits
    sign: Bits
    """The lowest bit is the sign."""
    coin: Bits
    """The first 64 bits of V."""


@dataclass(frozen=True)
class Decided:
    """What 64 bits settle, shape (candidates,) each. Values count only where they are accepted."""

    values: Integers
    accepted: Flags
    open: Flags


@dataclass(frozen=True)
class BlockTable:
    """For each k from 0: F(k)·2^64 is in [low[k], last[k] + 1]. A word of [low[k], last[k]] leaves k open.

    The largest word is the last one of the last k, so that all words above low[-1] are open.
    """

    low: Bits
    last: Bits


def sample_vector(cells: int, sigma: int, words: Words | None = None) -> list[int]:
    """`cells` independent draws of N_Z(0, σ²).

    These are the first accepted ones of a sequence of independent candidates; how many are looked at in
    one go depends on counts only.

    Args:
        cells: >= 0.
        sigma: `MIN_SIGMA` to `MAX_SIGMA`.
        words: where bits come from; a fresh `keystream` unless a test replays its own.
    """
    check_sigma(sigma)
    words = words or keystream()
    noise: list[int] = []
    while len(noise) < cells:
        count = min(_BATCH, int((cells - len(noise)) * _CANDIDATES_PER_DRAW) + 64)
        candidates = Candidates(*words(4 * count).reshape(4, count))
        noise += accepted(candidates, decide(candidates, sigma), sigma, words)
    return noise[:cells]


def keystream() -> Words:
    """AES-256 in counter mode, key and first counter from the operating system."""
    encryptor = Cipher(AES(os.urandom(32)), CTR(os.urandom(16))).encryptor()

    def words(count: int) -> Bits:
        return np.frombuffer(encryptor.update(bytes(8 * count)), dtype="<u8")

    return words


def decide(candidates: Candidates, sigma: int, margin: float = MARGIN) -> Decided:
    """Accept, reject or leave open each of the candidates.

    V is in [c, c + 2^-53) with c the float of its first 53 bits, and |gap − (V − p)| <= 2^-53 (those bits)
    + 2^-53 (rounding of the difference) + 2^-41 (the estimate of p) < 2^-40. So beyond a margin of 2^-40
    the sign of the gap is the sign of V − p.

    Integers cannot overflow: a block is at most the table's length, and σ at most 2^53.
    """
    block, block_open = blocks(candidates.block)
    step = np.uint64(sigma)
    offset = candidates.offset - candidates.offset // step * step
    fits = candidates.offset <= np.uint64(_last_fitting(sigma))
    magnitude = (block * sigma + offset.astype(np.int64)).astype(np.int64)
    negative = candidates.sign & np.uint64(1) == 1
    # Where the block is open the magnitude is not known yet.
    possible = fits & ~(negative & (magnitude == 0) & ~block_open)
    coin = (candidates.coin >> np.uint64(11)).astype(np.float64) * 2.0**-53
    gap = coin - acceptance(block, offset, sigma)
    is_open = possible & (block_open | ~((gap < -margin) | (gap > margin)))
    return Decided(
        values=np.where(negative, -magnitude, magnitude),
        accepted=possible & ~is_open & (gap < -margin),
        open=is_open,
    )


def accepted(candidates: Candidates, decided: Decided, sigma: int, words: Words) -> list[int]:
    """The values of the accepted candidates in their order, open ones settled in their places."""

    def more() -> int:
        return int(words(1)[0])

    keep = decided.accepted.copy()
    settled: dict[int, int] = {}
    for i in map(int, np.flatnonzero(decided.open)):
        value = settle(_candidate(candidates, i), sigma, more)
        if value is not None:
            keep[i], settled[i] = True, value
    noise: list[int] = decided.values[keep].tolist()
    for i, value in settled.items():
        # Put as a Python integer: far in the tail it may not fit an int64.
        noise[int(np.count_nonzero(keep[:i]))] = value
    return noise


def settle(candidate: tuple[int, int, int, int], sigma: int, more: Callable[[], int]) -> int | None:
    """Decide one candidate exactly, in unbounded integers: its value, or None if it is rejected.

    Args:
        candidate: its words in the order of `Candidates`.
        more: gives the next uniform word.
    """
    first, word, sign, coin = candidate
    if word > _last_fitting(sigma):
        return None
    offset, negative = word % sigma, sign & 1
    uniform, block = LazyUniform(first, more), 0
    while not uniform.is_below(partial(half_gaussian_bounds, block)):
        block += 1
    magnitude = block * sigma + offset
    if negative and not magnitude:
        return None
    exponent = offset * (offset + 2 * sigma * block)
    if not LazyUniform(coin, more).is_below(partial(exp_bounds, exponent, 2 * sigma**2)):
        return None
    return -magnitude if negative else magnitude


def blocks(word: Bits) -> tuple[Integers, Flags]:
    """For each word of U: the number of k with U >= F(k), and whether that is open."""
    table = block_table()
    certain = np.searchsorted(table.last, word, side="left")
    possible = np.searchsorted(table.low, word, side="right")
    return certain.astype(np.int64), certain != possible


@lru_cache(maxsize=1)
def block_table() -> BlockTable:
    """F at 64 bits, until the interval of a k reaches 1."""
    bounds = [half_gaussian_bounds(0, WORD)]
    while bounds[-1][1] < 1 << WORD:
        bounds.append(half_gaussian_bounds(len(bounds), WORD))
    low, high = zip(*bounds, strict=True)
    return BlockTable(np.array(low, dtype=np.uint64), np.array([h - 1 for h in high], dtype=np.uint64))


def acceptance(block: Integers, offset: Bits, sigma: int) -> Floats:
    """exp(−u(u + 2σx) / 2σ²) = exp(−r(r/2 + x)) with r = u/σ, at most 2^-41 off, for x <= 9.

    u < σ <= 2^53 are floats and halving is exact, so the division, the sum and the product leave a relative
    error of at most (1 + 2^-53)^4 − 1 in an exponent of at most 9.5: less than 2^-47, and no more in exp.
    `exp_minus` adds less than 2^-42.
    """
    ratio = offset.astype(np.float64) / float(sigma)
    exponent = ratio * 0.5
    exponent += block
    exponent *= ratio
    return exp_minus(exponent)


def exp_minus(exponent: Floats) -> Floats:
    """exp(−g) for 0 <= g <= 9.5, less than 2^-42 off.

    t = g/32 < 0.3 is exact. Taylor's remainder of degree 12 is below 0.3^13/13! < 2^-54. Horner's rule is
    off by at most 2n·2^-53/(1 − 2n·2^-53)·Σ t^k/k! <= 24.01·2^-53·e^0.3 (N. Higham, "Accuracy and Stability
    of Numerical Algorithms", 2nd ed., section 5.1), the rounded coefficients by 2^-53·e^0.3 more: together
    less than 35·2^-53, relative to e^-0.3 less than 48·2^-53. Five squarings turn a relative error of e
    into less than 1.01·32·(e + 2^-53) < 1600·2^-53 < 2^-42. Nothing comes near underflow.
    """
    t = exponent * -(2.0**-_SQUARINGS)
    result = np.full_like(t, _TAYLOR[_DEGREE])
    for coefficient in reversed(_TAYLOR[:_DEGREE]):
        result *= t
        result += coefficient
    for _ in range(_SQUARINGS):
        result *= result
    return result


def _last_fitting(sigma: int) -> int:
    """The last of the words that come in whole rounds of σ, so that word mod σ is uniform."""
    return (1 << WORD) - (1 << WORD) % sigma - 1


def _candidate(candidates: Candidates, i: int) -> tuple[int, int, int, int]:
    of = candidates
    return int(of.block[i]), int(of.offset[i]), int(of.sign[i]), int(of.coin[i])
