"""A block: the tables of some units, as one Arrow IPC file each, one after another.

Layout, little-endian: the number of tables (u32); then for each the length of its name in UTF-8 (u32), the name, zero
bytes up to a multiple of 64, the length of its file (u64), zero bytes up to a multiple of 64, the file. Files start at
multiples of 64, so that columns are used where they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pyarrow as pa

ALIGNMENT = 64
_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


class BlockError(ValueError):
    """These bytes are not a block."""


def pack_tables(tables: Mapping[str, pa.Table]) -> bytes:
    """The block that `unpack` reads."""
    packed = bytearray(_COUNT.pack(len(tables)))
    for name, table in tables.items():
        encoded = name.encode()
        packed += _COUNT.pack(len(encoded)) + encoded
        _pad(packed)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        file = sink.getvalue()
        packed += _LENGTH.pack(len(file))
        _pad(packed)
        packed += file
    return bytes(packed)


def unpack(block: bytes | memoryview) -> dict[str, pa.Table]:
    """The tables of `pack_tables`, whose columns lie in `block` itself; raises BlockError."""
    data = memoryview(block)
    try:
        return _unpack(data)
    except (struct.error, UnicodeDecodeError, pa.ArrowException) as error:
        raise BlockError("not a block") from error


def _unpack(data: memoryview) -> dict[str, pa.Table]:
    tables: dict[str, pa.Table] = {}
    (count,) = _COUNT.unpack_from(data, 0)
    position = _COUNT.size
    # In this thread alone: in the sandbox there are no others, and none can be made.
    options = pa.ipc.IpcReadOptions(use_threads=False)
    for _ in range(count):
        (name_length,) = _COUNT.unpack_from(data, position)
        position += _COUNT.size
        name = bytes(data[position : position + name_length]).decode()
        position = _aligned(position + name_length)
        (length,) = _LENGTH.unpack_from(data, position)
        position = _aligned(position + _LENGTH.size)
        if position + length > len(data) or name in tables:
            raise BlockError("not a block")
        file = pa.py_buffer(data[position : position + length])
        tables[name] = pa.ipc.open_file(file, options=options).read_all()
        position += length
    if position != len(data):
        raise BlockError("not a block")
    return tables


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


def _pad(packed: bytearray) -> None:
    packed.extend(bytes(_aligned(len(packed)) - len(packed)))
