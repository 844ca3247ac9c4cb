"""What rows make for a step of training: a kernel in one file for each kind of model, from terms to vectors.

A kernel is made of a `ModelVector`, whose numbers it reads once: a pure function of numbers, a row's terms in a row of
an array, that gives a row of `yingbi.api.model_vectors.width` floats for each. It may make anything of them: what is
not finite counts as 0, and units' means are cut to a norm afterwards. `unit_vectors` calls it for some rows at a time.
Products of terms have no kernel: `second_moments.Products` sums them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.engine.models.binned_gradient import binned_gradients, binned_sums
from enclave_sim.engine.models.generalized_linear import gradients
from enclave_sim.engine.models.nearest_centre import around_nearest
from enclave_sim.engine.models.network import network_gradients, network_sums
from enclave_sim.engine.models.second_moments import second_moments
from enclave_sim.privacy.clipping import Integers

Floats: TypeAlias = NDArray[np.float64]
Kernel: TypeAlias = Callable[[ModelVector], Callable[[Floats], Floats]]

KERNELS: Mapping[str, Kernel] = {
    "generalized_linear": gradients,
    "nearest_centre": around_nearest,
    "second_moments": second_moments,
    "network": network_gradients,
    "binned_gradient": binned_gradients,
}

SUMS: Mapping[str, Callable[[ModelVector], Callable[[Floats, Integers], Integers]]] = {
    "network": network_sums,
    "binned_gradient": binned_sums,
}
"""Of kinds whose vectors need not be formed: the sum over units with few rows of their clipped vectors in steps of
2^-16, from terms and from where units begin. Each unit's is of norm max_norm at most
(`enclave_sim.privacy.product_clipping`)."""
