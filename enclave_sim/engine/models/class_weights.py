"""What rows count, by the class that their response is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ModelVector

Floats: TypeAlias = NDArray[np.float64]


def weighing(vector: ModelVector) -> Callable[[Floats, Floats], Floats]:
    """What multiplies rows' residuals with the weights of the classes that their responses are.

    A response that is no class has the weight of the nearest. Without weights residuals stay as they are.
    """
    if not vector.class_weights:
        return lambda residuals, responses: residuals
    weights = np.array(vector.class_weights, np.float64)

    def weighed(residuals: Floats, responses: Floats) -> Floats:
        found: Floats = residuals * weights[class_indices(responses, len(weights))][:, np.newaxis]
        return found

    return weighed


def class_indices(responses: Floats, classes: int) -> NDArray[np.int64]:
    """Of each row its class; of a response that is none the nearest, and of NaN the first."""
    return np.nan_to_num(np.clip(responses, 0, classes - 1), nan=0.0).astype(np.int64)
