"""Sums of terms and of their squares or products."""

from __future__ import annotations

from yingbi.api.model_vectors import SQUARE
from yingbi.api.v1.plan_pb2 import ModelVector

from enclave_sim.plan.errors import require


def check_second_moments(vector: ModelVector, path: str) -> None:
    """Any terms will do; products need a norm of which something is left when it is divided."""
    if vector.second_moments.products:
        require(vector.max_norm >= SQUARE, path, f"products need a max_norm of {SQUARE} at least")
