"""Small symmetric matrices in plain Python: the SDK needs no numerical library to check a receipt."""

from __future__ import annotations

import math
from collections.abc import Sequence

Vector = Sequence[float]
Matrix = Sequence[Sequence[float]]

_SWEEPS = 60
_SMALL = 1e-15


class SingularError(ValueError):
    """A matrix is not positive definite, as far as doubles tell."""


def multiplied(matrix: Matrix, vector: Vector) -> list[float]:
    return [dot(row, vector) for row in matrix]


def dot(left: Vector, right: Vector) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def inverse(matrix: Matrix) -> list[list[float]]:
    """Of a symmetric positive definite matrix, by Cholesky's factors.

    Raises:
        SingularError: it is none.
    """
    size = len(matrix)
    lower = [[0.0] * size for _ in range(size)]
    for row in range(size):
        for column in range(row + 1):
            rest = matrix[row][column] - dot(lower[row][:column], lower[column][:column])
            if row != column:
                lower[row][column] = rest / lower[column][column]
            elif not rest > 0 or not math.isfinite(rest):
                raise SingularError("the matrix is not positive definite")
            else:
                lower[row][row] = math.sqrt(rest)
    columns = [_solved(lower, unit) for unit in range(size)]
    return [[columns[column][row] for column in range(size)] for row in range(size)]


def eigenvalues(matrix: Matrix) -> list[float]:
    """Of a symmetric matrix, ascending, by Jacobi's rotations: to about 15 digits of the largest."""
    work = [list(row) for row in matrix]
    size = len(work)
    for _ in range(_SWEEPS):
        off = max((abs(work[i][j]) for i in range(size) for j in range(i)), default=0.0)
        if off <= _SMALL * max((abs(work[i][i]) for i in range(size)), default=0.0) or off == 0:
            break
        for column in range(size):
            for row in range(column):
                _rotate(work, row, column)
    return sorted(work[index][index] for index in range(size))


def _solved(lower: Matrix, unit: int) -> list[float]:
    """The column of the inverse: forwards, then backwards."""
    size = len(lower)
    forwards = [0.0] * size
    for row in range(unit, size):
        wanted = 1.0 if row == unit else 0.0
        forwards[row] = (wanted - dot(lower[row][unit:row], forwards[unit:row])) / lower[row][row]
    found = [0.0] * size
    for row in reversed(range(size)):
        below = math.fsum(lower[other][row] * found[other] for other in range(row + 1, size))
        found[row] = (forwards[row] - below) / lower[row][row]
    return found


def _rotate(work: list[list[float]], first: int, second: int) -> None:
    """Make one element off the diagonal 0, in place."""
    element = work[first][second]
    if element == 0:
        return
    theta = (work[second][second] - work[first][first]) / (2 * element)
    tangent = math.copysign(1.0, theta) / (abs(theta) + math.hypot(theta, 1.0))
    cosine = 1 / math.hypot(tangent, 1.0)
    sine = tangent * cosine
    for row in work:
        a, b = row[first], row[second]
        row[first], row[second] = cosine * a - sine * b, sine * a + cosine * b
    for place in range(len(work)):
        a, b = work[first][place], work[second][place]
        work[first][place], work[second][place] = cosine * a - sine * b, sine * a + cosine * b
