"""What gradients of any kind may have: weights of classes, and a score in their place."""

from __future__ import annotations

import math

from yingbi.api.model_vectors import predicts_classes
from yingbi.api.v1.plan_pb2 import BinnedGradient, ModelVector

from enclave_sim.plan.errors import require

_WEIGHED = ("generalized_linear", "network")
_SCORED = (*_WEIGHED, "binned_gradient")


def check_class_weights(vector: ModelVector, path: str) -> None:
    """Refuse weights that are not one for each class, or above 1.

    No proof needs them to be at most 1: a unit's vector is cut to `max_norm` after rows were weighed, so that a unit
    adds no more than without weights, whatever these are. Above 1 they would only have it cut more.
    """
    if not vector.class_weights:
        return
    own = f"{path}.class_weights"
    has_classes = vector.WhichOneof("kind") in _WEIGHED and predicts_classes(vector)
    require(has_classes, own, "go with responses that are classes")
    model = vector.network if vector.HasField("network") else vector.generalized_linear
    require(len(vector.class_weights) == max(int(model.classes), 2), own, "must be one for each class")
    require(all(0 < each <= 1 for each in vector.class_weights), own, "must be above 0 and at most 1")


def check_score(vector: ModelVector, path: str) -> None:
    """Refuse a score of what predicts nothing, or without a limit."""
    if not vector.HasField("score"):
        return
    own = f"{path}.score"
    counts = vector.binned_gradient.family == BinnedGradient.FAMILY_COUNT
    require(vector.WhichOneof("kind") in _SCORED and not counts, own, "goes with a model that predicts")
    require(0 < vector.score.limit < math.inf, f"{own}.limit", "must be above 0")
