"""Cutting units' vectors that are products of factors to a norm, exactly, without forming them.

A gradient of a network's layer is a column times a row: d_j·a_i for each of the layer's sums j and inputs i. A unit's
vector has these products of all layers, so ‖v‖² = Σ over layers of ‖d‖²·‖a‖²; and the sum over units of d ⊗ a is one
product of matrices. What is claimed is a property of integers.

*Claim.* For `d = clipped_factors(d', a, B)`, the vector of all products d_j·a_i is of integers, and of norm B at most,
whatever d' holds.

*Proof.* a is of integers with |a_i| <= `LARGEST_INPUT`, of which there are `MAX_INPUTS` at most (both checked): so
‖a‖² <= 2^38 is exact in floats. Whatever floats make d', it is rounded and cut to integers within [-B, B]. q, the sum
over layers of ‖d‖²·‖a‖², is first added up in floats: sums and products of numbers >= 0, so that it is wrong by less
than one per cent; where it is not at most 2^61, d becomes 0. Elsewhere int64 holds q, and each part of it, exactly.
With s = ⌈√q⌉ >= ‖v‖: if s <= B, nothing changes, and ‖v‖ <= s <= B. Otherwise each d_j becomes d_j·B/s, rounded towards
zero, which makes no coordinate of v larger than B/s of itself, so the norm is (B/s)·‖v‖ <= B at most. |d_j|·B <= B² is
at most 2^52, and exact. ∎

*Units with several rows.* `clipped_units` makes a unit's vector of its rows' vectors over their number, cut in the
same way: row r to B_r, of whole numbers that add up to B at most. So the norm of their sum is no more than B. B_r is B
times n_r over the sum over the unit's rows of n_r, rounded down, n_r being about as long as the row, in whole numbers,
so that their sum is exact; floats that divide are wrong by less than what is taken off before.

*Corollary.* `sums_of_products` adds integers of at most B <= 2^26 each over fewer than 2^27 units: below 2^53, so that
a product of matrices of doubles is exact in whatever order it adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from enclave_sim.privacy.clipping import Integers, ceil_isqrt
from enclave_sim.privacy.vector_clipping import MAX_NORM

Floats: TypeAlias = NDArray[np.float64]

LARGEST_INPUT = 2**14
MAX_INPUTS = 2**10
FEW_ROWS = 16
"""Of a unit. Rows of units with more would be too small to be whole numbers when they are divided."""
_LONGEST = 2.0**40
_MAX_UNITS = 2**26
_SAFE_SQUARE = 2.0**61


def clipped_factors(factors: Sequence[Floats], inputs: Sequence[Floats], max_norm: int) -> list[Floats]:
    """The factors d of units' vectors, a unit in a row, so that no vector of all products is longer than `max_norm`.

    Args:
        factors: of each layer what the units' inputs are to be multiplied with. Where they are whole numbers below
            2^21, or one in each row, a unit's factors are a function of its own, to the last bit.
        inputs: of each layer units' a: whole numbers within ±`LARGEST_INPUT`, `MAX_INPUTS` of a unit at most.
        max_norm: B, from 1 to `vector_clipping.MAX_NORM`.

    Raises:
        ValueError: an input or max_norm is out of range.
    """
    rows = _Rows.of(factors, inputs, max_norm)
    return rows.clipped(np.full(len(rows.lengths), max_norm), np.ones(len(rows.lengths)))


def clipped_units(factors: Sequence[Floats], inputs: Sequence[Floats], starts: Integers, max_norm: int) -> list[Floats]:
    """The factors d of rows' vectors, so that no sum over a unit's rows is longer than `max_norm`.

    Each is over the number of the unit's rows. What is cut is the mean of their lengths: where it is within the norm,
    so is the mean of the rows.

    Args: as of `clipped_factors`, of rows; those of a unit, `FEW_ROWS` at most, begin at one of `starts`.

    Raises:
        ValueError: an input, a unit's rows, or max_norm are out of range.
    """
    rows = _Rows.of(factors, inputs, max_norm)
    counts = np.diff(starts, append=len(rows.lengths))
    if counts.max(initial=0) > FEW_ROWS:
        raise ValueError(f"a unit has more than {FEW_ROWS} rows")
    whole = np.ceil(np.clip(np.nan_to_num(rows.lengths, nan=1.0), 1.0, _LONGEST))
    shares = whole / np.repeat(np.add.reduceat(whole, starts), counts) * (1 - 2.0**-40)
    of_rows = np.repeat(counts, counts)
    norms = np.where(of_rows == 1, max_norm, np.floor(shares * max_norm)).astype(np.int64)
    return rows.clipped(norms, of_rows.astype(np.float64))


@dataclass(frozen=True)
class _Rows:
    """Rows' factors, and the squared lengths of what they are to be multiplied with."""

    factors: Sequence[Floats]
    squares: Sequence[Floats]
    lengths: Floats
    """About those of the vectors."""

    @classmethod
    def of(cls, factors: Sequence[Floats], inputs: Sequence[Floats], max_norm: int) -> _Rows:
        if not 1 <= max_norm <= MAX_NORM:
            raise ValueError(f"the norm {max_norm} is out of range")
        squares = [_input_squares(each) for each in inputs]
        return cls(factors, squares, np.sqrt(_total(factors, squares)))

    def clipped(self, norms: Integers, divisors: Floats) -> list[Floats]:
        """The factors over the divisors, as whole numbers with which no row's vector is longer than its norm."""
        shares = np.minimum(1.0, norms / np.maximum(self.lengths / divisors, norms)) / divisors
        whole = [_whole(each * shares[:, np.newaxis], norms) for each in self.factors]
        safe = _total(whole, self.squares) <= _SAFE_SQUARE
        integers = [np.where(safe[:, np.newaxis], each, 0.0).astype(np.int64) for each in whole]
        found = ceil_isqrt(_integer_total(integers, [each.astype(np.int64) for each in self.squares]))
        over = np.flatnonzero(found > norms)
        for each in integers if len(over) else ():
            magnitudes = np.abs(each[over]) * norms[over, np.newaxis] // found[over, np.newaxis]
            each[over] = np.where(each[over] < 0, -magnitudes, magnitudes)
        return [each.astype(np.float64) for each in integers]


def sums_of_products(clipped: Sequence[Floats], inputs: Sequence[Floats]) -> Integers:
    """Over units the sums of d_j·a_i, for each layer, each j, each i in turn; d being what `clipped_factors` gave.

    Raises:
        ValueError: there are too many units for exact sums.
    """
    if clipped and len(clipped[0]) > _MAX_UNITS:
        raise ValueError("there are too many units")
    sums = [(factor.T @ own).ravel() for factor, own in zip(clipped, inputs, strict=True)]
    return np.concatenate(sums).astype(np.int64)


def _input_squares(inputs: Floats) -> Floats:
    within = np.abs(inputs) <= LARGEST_INPUT
    if inputs.shape[1] > MAX_INPUTS or not (within & (inputs == np.rint(inputs))).all():
        raise ValueError("an input is out of range")
    squares: Floats = np.einsum("ij,ij->i", inputs, inputs)
    return squares


def _whole(factors: Floats, norms: Integers) -> Floats:
    rounded = np.nan_to_num(np.rint(factors), copy=False, nan=0.0)
    most = norms[:, np.newaxis].astype(np.float64)
    whole: Floats = np.clip(rounded, -most, most)
    return whole


def _total(factors: Sequence[Floats], squares: Sequence[Floats]) -> Floats:
    total = np.zeros(len(squares[0]))
    for factor, square in zip(factors, squares, strict=True):
        total += np.einsum("ij,ij->i", factor, factor) * square
    return total


def _integer_total(factors: Sequence[Integers], squares: Sequence[Integers]) -> Integers:
    total = np.zeros(len(squares[0]), np.int64)
    for factor, square in zip(factors, squares, strict=True):
        total += np.einsum("ij,ij->i", factor, factor) * square
    return total
