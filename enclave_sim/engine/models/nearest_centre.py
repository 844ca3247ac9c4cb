"""Where rows lie around the nearest of some centres."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ModelVector

Floats: TypeAlias = NDArray[np.float64]


def around_nearest(vector: ModelVector) -> Callable[[Floats], Floats]:
    """See NearestCentre in plan.proto."""
    centres = np.array(vector.nearest_centre.centres, np.float64).reshape(-1, len(vector.terms))
    return partial(_around, centres, vector.nearest_centre.max_distance)


def _around(centres: Floats, max_distance: float, terms: Floats) -> Floats:
    rows, columns = terms.shape
    squares = np.zeros((rows, len(centres)))
    # Column by column, as the reference engine adds: which centre is nearest is the same to the last bit.
    for column in range(columns):
        apart = terms[:, column, np.newaxis] - centres[np.newaxis, :, column]
        squares += apart * apart
    nearest, places = np.argmin(squares, axis=1), np.arange(rows)
    lengths = np.sqrt(squares[places, nearest])
    found = np.zeros((rows, len(centres), columns + 2))
    found[places, nearest, 0] = 0.5
    factors = 1.0 / np.maximum(lengths, max_distance)
    found[places, nearest, 1:-1] = (terms - centres[nearest]) * factors[:, np.newaxis]
    inside = np.minimum(1.0, lengths / max_distance)
    found[places, nearest, -1] = 0.25 * inside * inside
    return found.reshape(rows, -1)
