"""Rules for vectors that steps of training take from units: one file for each kind of model.

Nothing of the privacy proof depends on what is checked of a kind: a unit's vector is cut to `max_norm` whatever its
kernel makes (`sensitivity.delta2_squared`). Checked is that the vector's length is bounded, and so what it costs for a
row, and that it means something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from yingbi.api.model_vectors import width
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.models.binned_gradient import check_binned_gradient
from enclave_sim.plan.models.generalized_linear import check_generalized_linear
from enclave_sim.plan.models.nearest_centre import check_nearest_centre
from enclave_sim.plan.models.network import check_network
from enclave_sim.plan.models.outcomes import check_class_weights, check_score
from enclave_sim.plan.models.second_moments import check_second_moments
from enclave_sim.privacy.vector_clipping import MAX_NORM, MAX_SQUARES

MAX_TERMS = 256
MAX_WIDTH = 100_000

_CHECKS: Mapping[str, Callable[[ModelVector, str], None]] = {
    "generalized_linear": check_generalized_linear,
    "nearest_centre": check_nearest_centre,
    "second_moments": check_second_moments,
    "network": check_network,
    "binned_gradient": check_binned_gradient,
}


def check_model_vector(vector: ModelVector, path: str) -> None:
    """Refuse a vector of no known kind, or whose numbers are out of range; its terms' types are another matter.

    Raises:
        PlanError: with the path of the part at fault.
    """
    require(1 <= len(vector.terms) <= MAX_TERMS, f"{path}.terms", f"there must be 1 to {MAX_TERMS}")
    require(1 <= vector.max_norm <= MAX_NORM, f"{path}.max_norm", f"must be from 1 to {MAX_NORM:,}")
    kind = vector.WhichOneof("kind") or "none"
    if kind not in _CHECKS:
        raise PlanError(path, "is of no known kind")
    _CHECKS[kind](vector, f"{path}.{kind}")
    check_class_weights(vector, path)
    check_score(vector, path)
    cells = width(vector)
    require(1 <= cells <= MAX_WIDTH, path, f"must have 1 to {MAX_WIDTH:,} cells, not {cells:,}")
    if vector.second_moments.products:
        return
    # What the exact sum of squares holds; products need none (`privacy.square_clipping`).
    message = f"is too long for so many cells: {cells:,} times its square is above 2^62"
    require(cells * vector.max_norm**2 <= MAX_SQUARES, f"{path}.max_norm", message)
