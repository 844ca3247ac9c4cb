"""Terms, and their squares or products.

Products are of whole numbers, and of a unit's rows together: `enclave_sim.privacy.square_clipping` cuts and adds them
without forming a unit's vector, so that what a row costs grows with the number of terms and hardly with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.privacy.clipping import Integers
from enclave_sim.privacy.square_clipping import FEW_ROWS, LARGEST, LongUnit, clipped_squares

Floats: TypeAlias = NDArray[np.float64]

ONE = 2.0**8
"""Of terms of products; a product of two is in steps of 2^-16."""


def second_moments(vector: ModelVector) -> Callable[[Floats], Floats]:
    """See SecondMoments in plan.proto; for squares."""
    del vector
    return _squares


def _squares(terms: Floats) -> Floats:
    count = terms.shape[1]
    # Column by column in memory, as terms are.
    found = np.empty((2 * count + 1, len(terms)))
    found[0], found[1 : 1 + count] = 1.0, terms.T
    np.multiply(terms.T, terms.T, out=found[1 + count :])
    return found.T


class Products:
    """The sum over units of their products: see SecondMoments in plan.proto."""

    few_rows = FEW_ROWS

    def __init__(self, vector: ModelVector) -> None:
        self._norm, self._terms = vector.max_norm, len(vector.terms)

    def of_units(self, terms: Floats, starts: Integers) -> Integers:
        """Of units with few rows each, which start here."""
        return clipped_squares(_whole(terms), starts, self._norm)

    def of_long_unit(self, rows: Iterable[Floats]) -> Integers:
        """Of one unit's rows, some at a time."""
        unit = LongUnit(self._terms + 1, self._norm)
        for terms in rows:
            unit.add(_whole(terms))
        return unit.clipped()


def _whole(terms: Floats) -> Floats:
    """Column by column, the constant first. There is no NaN among terms."""
    columns = np.empty((terms.shape[1] + 1, len(terms)))
    columns[0] = ONE
    np.multiply(terms.T, ONE, out=columns[1:])
    np.clip(columns, -LARGEST, LARGEST, out=columns)
    return np.rint(columns, out=columns)
