"""What is known of a model's tensors before a row is seen, and the constants that decide shapes."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api.v1.onnx_pb2 import OnnxTensor

FLOAT, INT32, INT64, STRING, BOOL, DOUBLE = 1, 6, 7, 8, 9, 11
TYPES = {FLOAT: "float32", INT32: "int32", INT64: "int64", STRING: "string", BOOL: "bool", DOUBLE: "float64"}
"""ONNX's numbers of the types that a model may use."""

FLOATS = (FLOAT, DOUBLE)
NUMBERS = (FLOAT, DOUBLE, INT32, INT64)
_BYTES = {FLOAT: 4, INT32: 4, INT64: 8, BOOL: 1, DOUBLE: 8}

MAX_RANK = 8
MAX_DECODED = 10_000
"""Whole numbers of a constant that are read, as shapes, axes and places."""


class NotRowWise(Exception):
    """Why a node, or a part of the model, may not be there."""


@dataclass(frozen=True)
class Tensor:
    """A constant, or `rows`: one entry of `shape` for each row, along an axis 0 that `shape` leaves out.

    Attributes:
        kind: of `TYPES`.
        shape: sizes of the axes; of rows those from axis 1 on.
        rows: whether axis 0 is the batch.
        ints: of a constant of whole numbers, where they are few: its values, flat.
    """

    kind: int
    shape: tuple[int, ...]
    rows: bool
    ints: tuple[int, ...] | None = None

    @property
    def rank(self) -> int:
        """Axes, that of the batch included."""
        return len(self.shape) + self.rows

    @property
    def size(self) -> int:
        """Numbers; of rows those of one row."""
        return math.prod(self.shape)

    def words(self) -> str:
        """The type and shape, as a user would write them."""
        sizes = [*(["rows"] if self.rows else []), *map(str, self.shape)]
        return f"{TYPES[self.kind]}[{', '.join(sizes)}]"


def rows(kind: int, *shape: int) -> Tensor:
    """A tensor with an entry for each row."""
    return Tensor(kind, shape, rows=True)


def constant_of(tensor: OnnxTensor, max_size: int) -> Tensor:
    """What an initializer or a constant's value is.

    Raises:
        NotRowWise: it lies in another file, is of a type that may not be used, or does not have the numbers that its
            shape says.
    """
    if tensor.data_location or tensor.external_data:
        raise NotRowWise("its values are in another file")
    if tensor.HasField("segment") or tensor.string_data or tensor.uint64_data:
        raise NotRowWise("its values are texts, segments or unsigned numbers")
    kind, shape = tensor.data_type, tuple(tensor.dims)
    if kind not in _BYTES:
        raise NotRowWise(f"its type (ONNX number {kind}) is none of {', '.join(TYPES[each] for each in _BYTES)}")
    check_shape(shape, max_size)
    size = math.prod(shape)
    if _count(tensor, kind) != size:
        raise NotRowWise("it has another number of values than its shape says")
    return Tensor(kind, shape, rows=False, ints=_ints(tensor) if kind in (INT32, INT64) else None)


def check_shape(shape: Sequence[int], max_size: int) -> None:
    """Refuse (NotRowWise) sizes below 0, too many axes, or more numbers than may be."""
    if len(shape) > MAX_RANK:
        raise NotRowWise(f"a tensor has more than {MAX_RANK} axes")
    if any(size < 0 for size in shape):
        raise NotRowWise("a size is below 0")
    if math.prod(shape) > max_size:
        raise NotRowWise(f"a tensor has more than {max_size:,} numbers")


def _count(tensor: OnnxTensor, kind: int) -> int:
    """How many values there are; -1 where they are in more than one place, or in the wrong one."""
    held = {
        "float_data": len(tensor.float_data),
        "int32_data": len(tensor.int32_data),
        "int64_data": len(tensor.int64_data),
        "double_data": len(tensor.double_data),
    }
    own = {FLOAT: "float_data", INT32: "int32_data", BOOL: "int32_data", INT64: "int64_data", DOUBLE: "double_data"}
    if tensor.HasField("raw_data"):
        whole, rest = divmod(len(tensor.raw_data), _BYTES[kind])
        return -1 if rest or any(held.values()) else whole
    return -1 if any(count for name, count in held.items() if name != own[kind]) else held[own[kind]]


def _ints(tensor: OnnxTensor) -> tuple[int, ...] | None:
    if math.prod(tensor.dims) > MAX_DECODED:
        return None
    if not tensor.HasField("raw_data"):
        return tuple(tensor.int64_data if tensor.data_type == INT64 else tensor.int32_data)
    code = "q" if tensor.data_type == INT64 else "i"
    return struct.unpack(f"<{len(tensor.raw_data) // _BYTES[tensor.data_type]}{code}", tensor.raw_data)
