"""Products of rows with a matrix in which a row's result is made of that row alone, to the last bit.

A product of matrices of doubles is rounded in an order that depends on how many rows there are and where a row stands,
and a person's vector would differ by a hair with who else is there. Here both sides are whole numbers whose products
add up to less than 2^53, so that every order gives the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

LARGEST_TERM = 16.0
TERM_BITS = 18
"""Terms are within ±16 and in steps of 2^-18: regressors are within ±1 by their declared bounds."""

COEFFICIENT_BITS = 22
"""Of a row of the matrix, beside its largest number: 2^8 columns, 2^22 and 2^22 make 2^52."""

MAX_COLUMNS = 2**8


def products(rows: Floats, matrix: Floats) -> Floats:
    """rows · matrixᵀ, of rows cut and rounded as above and of a matrix whose rows are rounded beside their largest.

    A row that has a number which is not finite has NaN.

    Raises:
        ValueError: there are more than `MAX_COLUMNS` columns.
    """
    return WholeMatrix.of(matrix).products(rows)


@dataclass(frozen=True)
class WholeMatrix:
    """A matrix in whole numbers, to be multiplied with many rows."""

    whole: Floats
    steps: Floats
    """What each of its rows is to be multiplied with, a product being in steps of 2^-TERM_BITS."""

    @classmethod
    def of(cls, matrix: Floats) -> WholeMatrix:
        """See `products`; raises ValueError."""
        if matrix.shape[1] > MAX_COLUMNS:
            raise ValueError(f"{matrix.shape[1]} columns are more than {MAX_COLUMNS}")
        whole, exponents = _whole_rows(matrix)
        return cls(whole, np.ldexp(1.0, exponents - TERM_BITS))

    def products(self, rows: Floats) -> Floats:
        """See `products`."""
        # Column by column in memory, as what follows goes through it.
        steps = rows.T * 2.0**TERM_BITS
        is_sound = bool(np.isfinite(steps.sum()))
        np.clip(steps, -LARGEST_TERM * 2.0**TERM_BITS, LARGEST_TERM * 2.0**TERM_BITS, out=steps)
        np.rint(steps, out=steps)
        if not is_sound:
            steps[np.isnan(steps)] = 0.0
        found = self.whole @ steps
        found *= self.steps[:, np.newaxis]
        if not is_sound:
            found[:, ~np.isfinite(rows).all(axis=1)] = np.nan
        return found.T


def _whole_rows(matrix: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Each row in whole numbers up to 2^22, and the power of two that they are to be multiplied with."""
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    exponents = np.frexp(largest)[1].astype(np.int64) - COEFFICIENT_BITS
    return np.rint(np.ldexp(matrix, -exponents[:, np.newaxis])), exponents


def sums(rows: Floats, weights: Floats) -> Floats:
    """rows · weightsᵀ, added up column by column."""
    found = np.zeros((len(weights), len(rows)))
    for column in range(weights.shape[1]):
        found += weights[:, column, np.newaxis] * rows[:, column]
    return found.T


def squares_of(rows: Floats) -> Floats:
    """The squared length of each row, added up column by column."""
    found = np.zeros(len(rows))
    for column in range(rows.shape[1]):
        found += rows[:, column] * rows[:, column]
    return found
