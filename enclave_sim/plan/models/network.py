"""Gradients of small networks."""

from __future__ import annotations

import math

from yingbi.api.model_vectors import step_width
from yingbi.api.v1.plan_pb2 import ModelVector, Network

from enclave_sim.plan.errors import require

MAX_LAYERS = 2
MAX_HIDDEN = 512
MAX_CLASSES = 64
MAX_PARAMETER = 2**26
"""In steps of 2^-20: 64. With it every sum of products is below 2^53 (`enclave_sim.engine.models.network`)."""

_FAMILIES = frozenset(Network.Family.values()) - {Network.FAMILY_UNSPECIFIED}


def check_network(vector: ModelVector, path: str) -> None:
    """Refuse a network whose numbers do not fit each other, or are too large for exact sums."""
    network, terms = vector.network, len(vector.terms)
    require(network.family in _FAMILIES, f"{path}.family", "is not known")
    is_multinomial = network.family == Network.FAMILY_MULTINOMIAL_LOGIT
    allowed = 2 <= network.classes <= MAX_CLASSES if is_multinomial else network.classes == 0
    require(allowed, f"{path}.classes", f"must be from 2 to {MAX_CLASSES} of a multinomial, and 0 elsewhere")
    require(terms >= 2, path, "needs a term and a response")
    require(1 <= len(network.hidden) <= MAX_LAYERS, f"{path}.hidden", f"there must be 1 to {MAX_LAYERS} layers")
    fits = all(1 <= each <= MAX_HIDDEN for each in network.hidden)
    require(fits, f"{path}.hidden", f"a layer must have a width of 1 to {MAX_HIDDEN}")
    fits = len(network.parameters) == step_width(vector)
    require(fits, f"{path}.parameters", "must be as many as the layers have")
    within = all(-MAX_PARAMETER <= each <= MAX_PARAMETER for each in network.parameters)
    require(within, f"{path}.parameters", f"must be from -{MAX_PARAMETER:,} to {MAX_PARAMETER:,}")
    for name in ("scales", "shifts"):
        numbers = getattr(network, name)
        require(len(numbers) == terms, f"{path}.{name}", "must be one for each term")
        require(all(map(math.isfinite, numbers)), f"{path}.{name}", "must be finite")
