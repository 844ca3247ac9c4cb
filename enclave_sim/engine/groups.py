"""Which group each row is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import GroupKey, Plan

from enclave_sim.engine.plan_reading import scalar, value_type
from enclave_sim.engine.protocol import Scalar
from enclave_sim.engine.scan import PHYSICAL_TYPES, to_numpy
from enclave_sim.engine.scratch import Scratch
from enclave_sim.privacy.clipping import Integers

Codes: TypeAlias = NDArray[np.integer]

_LONGEST_LOOK_UP = 1 << 16
_scratch = Scratch()


@dataclass(frozen=True)
class Groups:
    """Each row's group: `numbers[code]` of its code, which is an index of them; -1 for none."""

    codes: Codes
    numbers: Integers

    def __len__(self) -> int:
        return len(self.codes)

    def of_rows(self) -> Integers:
        """The group of each row, -1 for none."""
        return self.numbers.take(self.codes)

    def cells(self, none: int, stride: int, offset: int) -> Integers:
        """group · stride + offset of each row, `none` being the group of those that have none.

        In memory that this thread's next call uses again.
        """
        of_codes = self.starts(none, stride) + offset
        result: Integers = _scratch.array("cells", len(self.codes), np.int64)
        # No code is out of range, so nothing is clipped; but only so numpy writes to `out` at once.
        return of_codes.take(self.codes, out=result, mode="clip")

    def starts(self, none: int, stride: int) -> Integers:
        """group · stride of each code, `none` being the group of those that have none."""
        return np.where(self.numbers < 0, none, self.numbers) * stride

    def where(self, kept: NDArray[np.bool_]) -> Groups:
        """The same, and none for rows that are not kept."""
        none = np.array(len(self.numbers), np.min_scalar_type(len(self.numbers)))
        return Groups(np.where(kept, self.codes, none), np.append(self.numbers, -1))

    def part(self, rows: slice | Integers) -> Groups:
        """Those of some of the rows."""
        return Groups(self.codes[rows], self.numbers)


class GroupNumbers:
    """Finds the rows' groups. A look-up gives a row one group at most, so no list of values multiplies rows."""

    def __init__(self, plan: Plan) -> None:
        self._values = [_values(key) for key in plan.group_by]

    def of(self, keys: Sequence[pa.ChunkedArray], rows: int) -> Groups:
        """The groups; `keys` are the values of the plan's keys in each row."""
        if not keys:
            return Groups(np.zeros(rows, np.uint8), np.zeros(1, np.int64))
        first = _places(keys[0], self._values[0])
        if len(keys) == 1:
            return first
        groups = first.of_rows()
        for column, values in zip(keys[1:], self._values[1:], strict=True):
            place = _places(column, values).of_rows()
            missing = (place < 0) | (groups < 0)
            groups *= len(values)
            groups += place
            groups[missing] = -1
        return _numbered(groups)


def _numbered(groups: Integers) -> Groups:
    """Groups that are their own codes, but for none, whose code is the last."""
    highest = int(groups.max(initial=-1))
    return Groups(np.where(groups < 0, highest + 1, groups), np.append(np.arange(highest + 1), -1))


def _values(key: GroupKey) -> pa.Array:
    constants = [_unsigned_zero(scalar(value)) for value in key.values]
    return pa.array(constants, PHYSICAL_TYPES[value_type(key.expression)])


def _unsigned_zero(constant: Scalar) -> Scalar:
    """Arrow tells -0.0 from 0.0."""
    return constant + 0.0 if isinstance(constant, float) else constant


def _places(column: pa.ChunkedArray, values: pa.Array) -> Groups:
    """Where each value of `column` is among `values` first; none for NULL and where it is not."""
    if pa.types.is_dictionary(column.type):
        return _coded(column, values)
    if pa.types.is_integer(column.type) and not column.null_count:
        lowest, highest = (bound.as_py() for bound in pc.min_max(values).values())
        if lowest is not None and highest - lowest < _LONGEST_LOOK_UP:
            return _near(column, values, lowest, highest)
    if pa.types.is_floating(column.type):
        column = pc.add(column, 0.0)
    return _numbered(_found(column, values))


def _coded(column: pa.ChunkedArray, values: pa.Array) -> Groups:
    """By the places of the dictionary's values."""
    if column.num_chunks != 1:
        column = column.unify_dictionaries()
    if not column.num_chunks:
        return _numbered(np.zeros(0, np.int64))
    places = _found(column.chunk(0).dictionary, values)
    codes = pa.chunked_array([chunk.indices for chunk in column.chunks])
    if not codes.null_count:
        return Groups(to_numpy(codes), places)
    return Groups(to_numpy(pc.fill_null(codes.cast(pa.int64()), len(places))), np.append(places, -1))


def _near(column: pa.ChunkedArray, values: pa.Array, lowest: int, highest: int) -> Groups:
    """By a table of all numbers from `lowest` to `highest`; its last place is for what is not between."""
    between = pa.array(range(lowest, highest + 1), values.type)
    # Numbers below the lowest wrap to the largest ones.
    distances = to_numpy(column).astype(np.int64).view(np.uint64) - np.uint64(lowest % 2**64)
    codes = np.minimum(distances, np.uint64(len(between))).view(np.int64)
    return Groups(codes, np.append(_found(between, values), -1))


def _found(column: pa.Array | pa.ChunkedArray, values: pa.Array) -> Integers:
    places = pc.fill_null(pc.index_in(column, value_set=values, skip_nulls=True), -1)
    found: NDArray[np.int32] = places.to_numpy()
    return found.astype(np.int64)
