"""Units' sums of squares, cut to a norm exactly without forming them.

A unit's rows x, one number for each column, make the mean of all products x_i·x_j over its rows: a matrix M, which is
symmetric. Its cells are 5·M_ii and, for i < j, 7·M_ij: as 7² < 2·5², these are no longer than 5·‖M‖. What is claimed
is a property of integers.

*Claim.* What a unit adds to `clipped_squares(A, starts, B)` is a vector of integers of norm B at most, and a function
of the unit's own rows of A and of B alone, bit for bit. So is `LongUnit(.., B).clipped()`.

*Proof.* Let Q = ⌊B / 5⌋. A is of integers within ±`LARGEST`, `MAX_COLUMNS` of them in a row at most (both checked).

Units with few rows: a unit's A becomes integers a with Σ a² <= Q, over all of its rows and columns. Its matrix is the
sum over its rows of a aᵀ; that has no negative eigenvalue, so its norm is its trace Σ a² at most, and that of its
cells 5·Q <= B. Σ a² is exact in doubles, being below 2^53 before anything is cut: the first a are A times a factor of
1 at most, rounded. Where Σ a² > Q they are A·s·(1 - 2^-40) rounded towards zero, s being √(Q / Σ A²) to within 2^-51 of
itself: so none is larger than A·√(Q / Σ A²), and Σ a² <= Q.

Units with many: the sum over the rows G = Σ A Aᵀ is exact, its numbers being below 2^24·2^26. Cells are 5·G or 7·G
times f, rounded towards zero, with f <= (1 - 2^-40)·Q / trace(G) but for what floats err by, which is less than what is
taken off: no larger than B / (5·trace(G)) times 5·G or 7·G, whose norm is 5·trace(G) at most.

Factors are made of sums over the unit's own rows, which are exact; all else is done number by number. Sums over units
are of integers below 2^53, so every order gives the same. ∎
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.model_vectors import PRODUCT, SQUARE

from enclave_sim.privacy.clipping import Integers
from enclave_sim.privacy.vector_clipping import MAX_NORM

Floats: TypeAlias = NDArray[np.float64]

LARGEST = 2.0**13
MAX_COLUMNS = 2**9
FEW_ROWS = 64
"""Of a unit. Rows of units with more would be too small to be whole numbers when they are divided."""

_SAFE = 1.0 - 2.0**-40


def clipped_squares(columns: Floats, starts: Integers, max_norm: int) -> Integers:
    """The sum over units of the cells of their matrices: of i, j with i <= j, i ascending.

    Args:
        columns: A, column by column, each with a number for each row; a unit's rows are one after another.
        starts: where each unit's rows begin; each has `FEW_ROWS` at most.
        max_norm: B, from `SQUARE` to `vector_clipping.MAX_NORM`.

    Raises:
        ValueError: a number, a unit's rows, or max_norm are out of range.
    """
    most = _most(columns, max_norm)
    counts = np.diff(starts, append=columns.shape[1])
    if counts.max(initial=0) > FEW_ROWS:
        raise ValueError(f"a unit has more than {FEW_ROWS} rows")
    squares = np.add.reduceat(_squares(columns), starts)
    shares = np.sqrt(np.minimum(1.0 / counts, most / np.maximum(squares, 1.0)))
    whole = columns * np.repeat(shares, counts)
    np.rint(whole, out=whole)
    over = np.add.reduceat(_squares(whole), starts) > most
    if over.any():
        rows = np.repeat(over, counts)
        factors = np.repeat(np.sqrt(most / squares[over]) * _SAFE, counts[over])
        whole[:, rows] = np.trunc(columns[:, rows] * factors)
    return _cells(whole @ whole.T).astype(np.int64)


class LongUnit:
    """One unit's rows, some at a time: however many it has, fewer than 2^24."""

    def __init__(self, columns: int, max_norm: int) -> None:
        self._norm, self._rows, self._sum = max_norm, 0, np.zeros((columns, columns))

    def add(self, columns: Floats) -> None:
        """Rows of A, as `clipped_squares` takes them; raises ValueError."""
        _most(columns, self._norm)
        self._rows += columns.shape[1]
        self._sum += columns @ columns.T

    def clipped(self) -> Integers:
        """The unit's cells."""
        most = self._norm // SQUARE
        share = min(1.0 / self._rows, most / max(float(np.trace(self._sum)), 1.0))
        return np.trunc(_cells(self._sum) * (share * _SAFE)).astype(np.int64)


def _most(columns: Floats, max_norm: int) -> int:
    """Q."""
    if not SQUARE <= max_norm <= MAX_NORM or len(columns) > MAX_COLUMNS:
        raise ValueError("a norm, or the number of columns, is out of range")
    # What is not a number fails too.
    if columns.size and not (columns.max() <= LARGEST and columns.min() >= -LARGEST):
        raise ValueError("a number is out of range")
    return max_norm // SQUARE


def _squares(columns: Floats) -> Floats:
    """Of each row."""
    squares: Floats = np.einsum("ij,ij->j", columns, columns)
    return squares


def _cells(matrix: Floats) -> Floats:
    weights = np.full(matrix.shape, float(PRODUCT))
    np.fill_diagonal(weights, SQUARE)
    cells: Floats = (matrix * weights)[np.triu_indices(len(matrix))]
    return cells
