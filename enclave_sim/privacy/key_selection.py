"""Private selection of group keys that nobody declared: which keys may be named at all.

Input: pairs (unit, key), each once. A unit keeps at most B keys (its first ones, in ascending order);
with k of them it adds w_k = ⌊√(4^f / k)⌋ to the weight of each, on a grid of 2^-f. Every key that has a
weight gets noise N_Z(0, σ²) of its own, and is released if weight + noise >= T. Keys nobody has are never
looked at. This is the weighted Gaussian mechanism of Gopi, Gulhane, Kulkarni, Shen, Shokouhi, Yekhanin,
"Differentially Private Set Union" (ICML 2020, arXiv 2002.09745), section 4, on integers.

*Claim.* With T >= w_k + σ·√(2·ln(k/δ₀)) for every k from 1 to B, the set of released keys (and their noisy
weights) is δ₀-approximately ρ-zCDP for ρ = ½·(2^f/σ)², between data with and without one unit.

*Proof.* Let u be the unit, D' the data without it, and E the event that no key which only u has is released
from D. u adds w_k <= 2^f/√k to each of its k keys, so it moves the vector of weights over the keys that D'
has too by at most √(k·w_k²) <= 2^f. Outside u's own keys, what is released is a post-processing of that
vector plus N_Z(0, σ²) in every cell, which is ½·(2^f/σ)²-zCDP (Canonne, Kamath, Steinke, arXiv 2004.00010,
Theorem 4). From D, given E — which is independent of the noise at shared keys — the release is that same
post-processing; and from D' it is, too. So conditioning on E gives ρ-zCDP in both directions, and it is left
to show P[not E] <= δ₀ (approximate zCDP: Bun, Steinke, arXiv 1605.02065, Definition 8.1). Each of u's own
keys has weight exactly w_k, so it is released with P[N_Z(0, σ²) >= T − w_k] <= exp(−(T − w_k)²/2σ²), N_Z
being subgaussian with parameter σ² (arXiv 2004.00010, Corollary 17's E[e^{tX}] <= e^{t²σ²/2}). With at most
k such keys, P[not E] <= k·exp(−(T − w_k)²/2σ²) <= δ₀. ∎

A unit at p providers is selected at each by itself: ρ and δ₀ times p.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal
from math import isqrt

import numpy as np
from yingbi.api.zcdp import DELTA0_UNITS

from enclave_sim.privacy.clipping import Integers, clip_indicator

MAX_KEYS_PER_UNIT = 4095

_UP = Context(prec=60, rounding=ROUND_CEILING)


def weight(keys: int, fraction_bits: int) -> int:
    """w_k: what a unit with `keys` >= 1 keys adds to each, in grid steps."""
    return isqrt((1 << (2 * fraction_bits)) // keys)


def lowest_threshold(sigma: int, max_keys: int, delta0_units: int, fraction_bits: int) -> int:
    """The least integer T of the claim, in grid steps; at most a few steps more, never less.

    Only k = 1 and k = B need to be looked at: g(k) = 2^f/√k + σ·√(2·ln(k/δ₀)) first falls and then rises, since
    √k·g'(k)·k = σ·√k/√(2·ln(k/δ₀)) − 2^f/2 grows with k where ln(k/δ₀) > 1, as it is for δ₀ <= 1/4. At k = B
    rounding w_k may lose a step, which is added.

    Args:
        sigma: σ >= 1, in grid steps.
        max_keys: B, from 1 to `MAX_KEYS_PER_UNIT`.
        delta0_units: δ₀ in units of 1 / `DELTA0_UNITS`, above 0 and at most 1/4.

    Raises:
        ValueError: an argument is out of range.
    """
    if not (sigma >= 1 and 1 <= max_keys <= MAX_KEYS_PER_UNIT and 0 < delta0_units <= DELTA0_UNITS // 4):
        raise ValueError("sigma, max_keys or delta0 is out of range")
    return max(
        _threshold(sigma, 1, delta0_units, fraction_bits), _threshold(sigma, max_keys, delta0_units, fraction_bits) + 1
    )


def key_weights(units: Integers, keys: Integers, count: int, *, max_keys: int, fraction_bits: int) -> Integers:
    """The weight of each key, in grid steps; 0 for a key whose every pair was cut.

    Args:
        units: one entry for each pair, non-decreasing; a unit's pairs in the order in which it keeps them.
        keys: from 0 to count - 1.
        max_keys: B.
        fraction_bits: f, from 6, so that no weight is 0.
    """
    kept = _places(units) < max_keys
    totals = np.zeros(count, dtype=np.int64)
    np.add.at(totals, keys[kept], clip_indicator(units[kept], 1, fraction_bits))
    return totals


def select_keys(weights: Integers, noise: Integers, threshold: int) -> Integers:
    """The numbers of the keys that are released, ascending; `noise` has one draw of N_Z(0, σ²) for each."""
    return np.flatnonzero((weights > 0) & (weights + noise >= threshold)).astype(np.int64)


def _threshold(sigma: int, keys: int, delta0_units: int, fraction_bits: int) -> int:
    odds = _UP.divide(_UP.multiply(Decimal(keys), Decimal(DELTA0_UNITS)), Decimal(delta0_units))
    # ln and sqrt are correctly rounded to half a unit in the last of 60 digits; the added step covers it.
    deviations = _UP.sqrt(_UP.multiply(Decimal(2), _UP.ln(odds)))
    return weight(keys, fraction_bits) + int(_UP.multiply(Decimal(sigma), deviations)) + 2


def _places(units: Integers) -> Integers:
    """The place of each entry within its unit, from 0."""
    if not len(units):
        return units.copy()
    starts = np.flatnonzero(np.concatenate([[True], units[1:] != units[:-1]]))
    lengths = np.diff(starts, append=len(units))
    return np.arange(len(units), dtype=np.int64) - np.repeat(starts, lengths)
