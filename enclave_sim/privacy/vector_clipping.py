"""Cutting a unit's vector of floats to a norm, exactly: what is claimed is a property of integers.

*Claim.* `clipped(v, B)` is a vector of integers of Euclidean norm B at most, whatever v holds.

*Proof.* Floats make integers q with |q_i| <= B: each is rounded and then cut to [-B, B]; nothing else is used of them.
Where the squares add up to less than B² in doubles, by a margin that is more than doubles err by, ‖q‖ <= B. Elsewhere:
q·q <= W·B² <= 2^62 for W coordinates (`MAX_SQUARES`), and int64 holds it exactly. With s = ⌈√(q·q)⌉ >= ‖q‖: if
s <= B, q is left as it is, and ‖q‖ <= s <= B. Otherwise each q_i becomes q_i·B/s, rounded towards zero, which makes no
coordinate larger, so the norm is (B/s)·‖q‖ <= B at most. |q_i|·B <= B² <= 2^52 is exact too. ∎

Scaling in floats comes first only so that the second step has next to nothing to do: cutting coordinates of a long
vector one by one would change its direction.

*And it is a function of v alone*, bit for bit, whichever rows stand beside it: lengths are exact sums (`_lengths`),
what else floats do is done number by number, and the last step is of integers. The proof of a sensitivity needs both:
that a unit adds little, and that nobody else adds anything else when it is there.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from enclave_sim.privacy.clipping import Integers, ceil_isqrt

Floats: TypeAlias = NDArray[np.float64]

MAX_NORM = 2**26
"""In grid steps: of 2^-16 that is a norm of 1,024, more than any model's gradient needs; and its square is far from
2^63, so that a coordinate times a norm is exact."""

MAX_SQUARES = 2**62
"""What the number of coordinates times the square of the norm must not be above."""

LARGEST = 2.0**10
_LEAST_EXPONENT = 512

ROW_BITS = 19
"""A row's coordinates are within ±2^10 and in steps of 2^-19, eight of them in one of the grid's: so the sum over fewer
than 2^24 rows of a unit is exact, and a unit's mean is the same in whichever order, and beside whichever other units,
its rows are added up."""


def finite(vectors: Floats) -> Floats:
    """The same, in place, within ±`LARGEST` and in steps of 2^-`ROW_BITS`; 0 for what is not finite."""
    if not np.isfinite(vectors.sum()):
        vectors[~np.isfinite(vectors)] = 0.0
    np.clip(vectors, -LARGEST, LARGEST, out=vectors)
    vectors *= 2.0**ROW_BITS
    np.rint(vectors, out=vectors)
    vectors *= 2.0**-ROW_BITS
    return vectors


def clipped(vectors: Floats, max_norm: int, fraction_bits: int) -> Integers:
    """Vectors of units, a row each, in grid steps of 2^-fraction_bits and with norms of `max_norm` at most.

    Args:
        vectors: rows of finite numbers; changed in place.
        max_norm: B, from 1 to `MAX_NORM`, in grid steps, with W·B² <= `MAX_SQUARES` for W coordinates.

    Raises:
        ValueError: max_norm is out of range.
    """
    width = vectors.shape[1]
    if not 1 <= max_norm <= MAX_NORM or width * max_norm**2 > MAX_SQUARES:
        raise ValueError(f"the norm {max_norm} is out of range for {width} coordinates")
    vectors *= float(1 << fraction_bits)
    _shorten(vectors, max_norm)
    np.rint(vectors, out=vectors)
    # Whatever floats made of it: from here on only whole numbers within the norm count.
    np.clip(vectors, -max_norm, max_norm, out=vectors)
    if np.isnan(vectors.sum()):
        vectors[np.isnan(vectors)] = 0.0
    whole: Integers = vectors.astype(np.int64)
    over = np.flatnonzero(_may_be_over(vectors, max_norm))
    if len(over):
        whole[over] = _cut(whole[over], max_norm)
    return whole


def _shorten(vectors: Floats, max_norm: int) -> None:
    """Scale vectors that are longer than the norm to about the norm, in place."""
    squares: Floats = np.einsum("ij,ij->i", vectors, vectors)
    # In whatever order they were added up, to within a part in 2^30, far less than is left here: others are shorter.
    # What is too long for a square is infinite, or not a number.
    long = np.flatnonzero(~(squares < max_norm**2 * (1 - 2.0**-16)))
    if not len(long):
        return
    own = vectors[long]
    lengths = _lengths(own)
    # Rounding makes a vector longer by half a step for each coordinate at most, so that next to none is cut below.
    within = max(max_norm - math.sqrt(vectors.shape[1]) / 2, max_norm / 2)
    vectors[long] = own * np.where(lengths > max_norm, within / np.maximum(lengths, 1.0), 1.0)[:, np.newaxis]


def _lengths(vectors: Floats) -> Floats:
    """The length of each row, within one part in 2^18, and a function of that row alone to the last bit.

    Squares of doubles are rounded as they are added up, in an order that the layout of the array, its width and the
    number of its rows decide: then a row would be a hair longer beside another one, and where coordinates lie between
    two steps of the grid, all of them would fall to the other side at once. So each is a whole number first, beside the
    largest of its row, such that all orders give the same sum, below 2^53.
    """
    bits = (52 - (vectors.shape[1] - 1).bit_length()) // 2
    largest = np.maximum(vectors.max(axis=1, initial=0.0), -vectors.min(axis=1, initial=0.0))
    # Of what is next to nothing the power of two would be infinite.
    exponents = np.maximum(np.frexp(largest)[1], -_LEAST_EXPONENT) - bits
    # A product with a power of two is exact, and numpy has it in a tenth of ldexp's time.
    whole = vectors * np.ldexp(1.0, -exponents)[:, np.newaxis]
    np.rint(whole, out=whole)
    found: Floats = np.ldexp(np.sqrt(np.einsum("ij,ij->i", whole, whole)), exponents)
    return found


def _may_be_over(whole: Floats, max_norm: int) -> NDArray[np.bool_]:
    """Of all rows that are longer than the norm, and of few others. Whole numbers up to 2^26, as doubles.

    Squares are exact. However W of them are added up, the sum in doubles is within W·2^-53 of the true one, relatively
    and but for terms of W²·2^-106; eight times as much is added to it here.
    """
    squares: Floats = np.einsum("ij,ij->i", whole, whole)
    found: NDArray[np.bool_] = squares * (1 + whole.shape[1] * 2.0**-50) + 1 > float(max_norm) ** 2
    return found


def _cut(whole: Integers, max_norm: int) -> Integers:
    norms = ceil_isqrt(np.einsum("ij,ij->i", whole, whole))
    over = np.flatnonzero(norms > max_norm)
    if len(over):
        magnitudes = np.abs(whole[over]) * max_norm // norms[over, np.newaxis]
        whole[over] = np.where(whole[over] < 0, -magnitudes, magnitudes)
    return whole
