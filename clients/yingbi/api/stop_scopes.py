"""What a stop is of: its scopes by their names, and those that steps of an agreement's life come with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from yingbi.api.v1.stop_pb2 import StopScope

OF_STEP: Mapping[str, StopScope.ValueType] = MappingProxyType(
    {"suspend": StopScope.STOP_SCOPE_SUSPENSION, "terminate": StopScope.STOP_SCOPE_AGREEMENT}
)
"""The stop that a step of an agreement's life comes with."""


def name_of(scope: StopScope.ValueType) -> str:
    """ "job", "agreement", "dataset", "organisation" or "suspension"."""
    return StopScope.Name(scope).removeprefix("STOP_SCOPE_").lower()


def scope_named(name: str) -> StopScope.ValueType:
    """The scope of which `name_of` says this; raises ValueError where there is none."""
    return StopScope.Value(f"STOP_SCOPE_{name.upper()}")
