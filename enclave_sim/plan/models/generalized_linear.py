"""Gradients of generalized linear models."""

from __future__ import annotations

import math

from yingbi.api.model_vectors import parameter_sets
from yingbi.api.v1.plan_pb2 import GeneralizedLinear, ModelVector

from enclave_sim.plan.errors import require

MAX_CLASSES = 64
MAX_TRANSFORM = 2**15
"""Numbers of a transform: what each row is multiplied with."""

MAX_PARAMETERS = 2**12
"""Of all classes: what each row's transformed terms are multiplied with."""

_FAMILIES = frozenset(GeneralizedLinear.Family.values()) - {GeneralizedLinear.FAMILY_UNSPECIFIED}


def check_generalized_linear(vector: ModelVector, path: str) -> None:
    """Refuse a gradient whose parameters and transform do not fit each other; parameters may be any finite numbers."""
    model = vector.generalized_linear
    require(model.family in _FAMILIES, f"{path}.family", "is not known")
    is_multinomial = model.family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT
    allowed = 2 <= model.classes <= MAX_CLASSES if is_multinomial else model.classes == 0
    require(allowed, f"{path}.classes", f"must be from 2 to {MAX_CLASSES} of a multinomial, and 0 elsewhere")
    rows, rest = divmod(len(model.transform), len(vector.terms))
    require(rows >= 1 and rest == 0, f"{path}.transform", "must have a number for each term in each row")
    require(len(model.transform) <= MAX_TRANSFORM, f"{path}.transform", f"has more than {MAX_TRANSFORM:,} numbers")
    require(len(model.parameters) <= MAX_PARAMETERS, f"{path}.parameters", f"are more than {MAX_PARAMETERS:,}")
    fits = len(model.parameters) == rows * parameter_sets(model)
    require(fits, f"{path}.parameters", "must be one for each row of transform")
    require(all(map(math.isfinite, model.parameters)), f"{path}.parameters", "must be finite")
    require(all(map(math.isfinite, model.transform)), f"{path}.transform", "must be finite")
    for name in ("max_length", "max_residual"):
        require(getattr(model, name) > 0, f"{path}.{name}", "must be above 0")
    require(math.isfinite(model.max_exponent), f"{path}.max_exponent", "must be finite")
