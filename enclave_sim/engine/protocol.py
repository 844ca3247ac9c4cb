"""What an engine is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.privacy.clipping import Integers

Scalar: TypeAlias = bool | int | float | str | None
"""A value of a row or a plan; a date as days and a timestamp as microseconds since 1970; NULL as None."""


class RowGroups(Protocol):
    """Rows of a stored table in groups that several threads may read at once; no unit's rows are in two of them."""

    @property
    def schema(self) -> pa.Schema:
        """Of every group."""
        ...

    def __len__(self) -> int:
        """How many groups there are."""
        ...

    def read(self, group: int, /) -> pa.RecordBatch:
        """The rows of one group, by units, which are above all of the group before."""
        ...


OpenTable: TypeAlias = Callable[[str, Sequence[str]], pa.Table | RowGroups]
"""(table, columns) to rows sorted by `sealed.schema.UNIT_COLUMN`, int32 or int64, fewer than 2^24 of each unit.

Strings may be dictionary encoded. Raises LookupError for a column that the table does not have. The reference
engine takes tables only.
"""


class Cancelled(Exception):
    """The job was cancelled while the engine worked; there is no contribution."""


class EngineError(Exception):
    """The engine could not run the plan. Depends on the plan, the schema and the machine, on no value."""


@dataclass(frozen=True)
class UnitKeys:
    """Which units have which keys: pairs, each once, by unit and within one by key, ascending, NULL last.

    Attributes:
        units: of each pair, non-decreasing.
        key_of_pair: an index of `keys`, each of which occurs.
        keys: combinations of values.
    """

    units: Integers
    key_of_pair: Integers
    keys: list[tuple[Scalar, ...]]


class Engine(Protocol):
    """Computes a shard's part of the bounded sum that a plan asks for, exactly."""

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = ...) -> list[int]:
        """The clipped cells, summed over the shard's units, in grid steps of 2^-fraction_bits.

        The statistics' cells follow one another, `groups x width` each: node j of group g at g·width + j. The
        plan was validated against the shard's declaration. Raises Cancelled soon after `cancelled()` turns
        true, EngineError, and what `open_table` raises.
        """
        ...

    def unit_keys(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = ...) -> UnitKeys:
        """The combinations of values of `plan.key_selection.keys` that units have; raises as `contribution`."""
        ...


def never() -> bool:
    """The answer of a job that nobody can cancel."""
    return False
