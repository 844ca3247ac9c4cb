"""Where rows lie around the nearest of some centres."""

from __future__ import annotations

import math

from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.plan.errors import require

MAX_CENTRES = 1000


def check_nearest_centre(vector: ModelVector, path: str) -> None:
    """Refuse centres that have not a number for each term, or are too many; they may be any finite numbers."""
    own = vector.nearest_centre
    count, rest = divmod(len(own.centres), len(vector.terms))
    require(rest == 0, f"{path}.centres", "must have a number for each term")
    require(1 <= count <= MAX_CENTRES, f"{path}.centres", f"must be 1 to {MAX_CENTRES:,} centres")
    require(all(map(math.isfinite, own.centres)), f"{path}.centres", "must be finite")
    require(0 < own.max_distance < math.inf, f"{path}.max_distance", "must be above 0")
