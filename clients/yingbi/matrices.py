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
    return sorted(eigenvectors(matrix)[0])


def eigenvectors(matrix: Matrix) -> tuple[list[float], list[list[float]]]:
    """The eigenvalues of a symmetric matrix, in any order, and for each of them a row that is its vector."""
    work = [list(row) for row in matrix]
    size = len(work)
    vectors = [[float(row == column) for column in range(size)] for row in range(size)]
    for _ in range(_SWEEPS):
        off = max((abs(work[i][j]) for i in range(size) for j in range(i)), default=0.0)
        if off <= _SMALL * max((abs(work[i][i]) for i in range(size)), default=0.0) or off == 0:
            break
        for column in range(size):
            for row in range(column):
                _rotate(work, vectors, row, column)
    return [work[index][index] for index in range(size)], vectors


def eigenpairs(matrix: Matrix) -> list[tuple[float, list[float]]]:
    """Values and vectors of length 1 of a symmetric matrix, the largest value first.

    Of a vector the first element that is at least half as large as its largest is above 0: where two are nearly
    equally large, as of two correlated columns, noise does not turn it around.
    """
    return sorted(zip(*_turned(eigenvectors(matrix)), strict=True), key=lambda pair: -pair[0])


def _turned(found: tuple[list[float], list[list[float]]]) -> tuple[list[float], list[list[float]]]:
    values, vectors = found
    signs = (next(each for each in vector if abs(each) >= max(map(abs, vector)) / 2) for vector in vectors)
    turned = [[math.copysign(1.0, sign) * each for each in vector] for sign, vector in zip(signs, vectors, strict=True)]
    return values, turned


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


def _rotate(work: list[list[float]], vectors: list[list[float]], first: int, second: int) -> None:
    """Make one element off the diagonal 0, in place, and turn the vectors with it."""
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
    for rows in (work, vectors):
        for place, (a, b) in enumerate(zip(rows[first], rows[second], strict=True)):
            rows[first][place], rows[second][place] = cosine * a - sine * b, sine * a + cosine * b
