"""What an engine is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import Plan

OpenTable: TypeAlias = Callable[[str, Sequence[str]], pa.Table]
"""(table, columns) to rows sorted by `sealed.schema.UNIT_COLUMN`, fewer than 2^24 of each unit."""


class Cancelled(Exception):
    """The job was cancelled while the engine worked; there is no contribution."""


class EngineError(Exception):
    """The engine could not run the plan. Depends on the plan, the schema and the machine, on no value."""


class Engine(Protocol):
    """Computes a shard's part of the bounded sum that a plan asks for, exactly."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = ...) -> list[int]:
        """The clipped cells, summed over the shard's units: `statistics x groups` integers.

        Cell (statistic, group) is at statistic·groups + group, in grid steps of 2^-fraction_bits. The plan
        was validated against the shard's declaration. Raises Cancelled soon after `cancelled()` turns true,
        EngineError, and what `open_table` raises.
        """
        ...


def never() -> bool:
    """The answer of a job that nobody can cancel."""
    return False
