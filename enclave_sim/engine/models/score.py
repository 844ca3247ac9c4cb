"""How well a model's parameters fit rows: see Score in plan.proto. A function of each row alone, number by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.model_vectors import predicts_classes
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.engine.models import binned_gradient, generalized_linear, network
from enclave_sim.engine.models.class_weights import class_indices

Floats: TypeAlias = NDArray[np.float64]

EXPECTED: Mapping[str, Callable[[ModelVector], Callable[[Floats], tuple[Floats, Floats]]]] = {
    "generalized_linear": generalized_linear.expected,
    "network": network.expected,
    "binned_gradient": binned_gradient.expected,
}
"""By kind, of rows: chances of all classes or the number that is expected, and the response as the model sees it."""


def scores(vector: ModelVector) -> Callable[[Floats], Floats]:
    """Of each row the cells of its score, each within ±1/2; of a kind in `EXPECTED`."""
    expected, has_classes = EXPECTED[vector.WhichOneof("kind") or ""](vector), predicts_classes(vector)

    def of_rows(terms: Floats) -> Floats:
        found, response = expected(terms)
        if has_classes:
            return _of_classes(found, response, vector.score.limit)
        errors = np.abs(found[:, 0] - response) / vector.score.limit
        return _or_worst(np.minimum(errors, 1.0) ** 2)[:, np.newaxis] - 0.5

    return of_rows


def _of_classes(chances: Floats, response: Floats, limit: float) -> Floats:
    classes = class_indices(response, chances.shape[1])
    own = np.take_along_axis(chances, classes[:, np.newaxis], axis=1)[:, 0]
    is_right = chances.argmax(axis=1) == classes
    losses = _or_worst(np.clip(-np.log(own) / limit, 0.0, 1.0))
    return np.column_stack([(is_right & ~np.isnan(own)) - 0.5, losses - 0.5])


def _or_worst(found: Floats) -> Floats:
    return np.where(np.isnan(found), 1.0, found)
