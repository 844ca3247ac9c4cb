"""Residuals of additive models, by the bin that a row is in."""

from __future__ import annotations

import itertools
import math

from yingbi.api.v1.plan_pb2 import BinnedGradient, ModelVector

from enclave_sim.plan.errors import require

MAX_EDGES = 255
MAX_SCORE = 2**26
"""In steps of 2^-20: 64. Sums of some hundred are exact in a double."""

_FAMILIES = frozenset(BinnedGradient.Family.values()) - {BinnedGradient.FAMILY_UNSPECIFIED}


def check_binned_gradient(vector: ModelVector, path: str) -> None:
    """Refuse bins that are none, and scores that do not fit them."""
    model = vector.binned_gradient
    require(model.family in _FAMILIES, f"{path}.family", "is not known")
    fits = len(model.features) == len(vector.terms) - 1 >= 1
    require(fits, f"{path}.features", "must be one for each term but the response, and one at least")
    for index, feature in enumerate(model.features):
        own = f"{path}.features[{index}]"
        require(len(feature.edges) <= MAX_EDGES, f"{own}.edges", f"there must be {MAX_EDGES} at most")
        require(all(map(math.isfinite, feature.edges)), f"{own}.edges", "must be finite")
        ascend = all(left < right for left, right in itertools.pairwise(feature.edges))
        require(ascend, f"{own}.edges", "must ascend")
        require(len(feature.scores) == len(feature.edges) + 1, f"{own}.scores", "must be one for each bin")
        within = all(-MAX_SCORE <= each <= MAX_SCORE for each in feature.scores)
        require(within, f"{own}.scores", f"must be from -{MAX_SCORE:,} to {MAX_SCORE:,}")
    require(-MAX_SCORE <= model.intercept <= MAX_SCORE, f"{path}.intercept", "is out of range")
    for name in ("scale", "shift"):
        require(math.isfinite(getattr(model, name)), f"{path}.{name}", "must be finite")
