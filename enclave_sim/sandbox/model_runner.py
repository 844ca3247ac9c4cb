"""A model in a block's process: onnxruntime, one batch of rows after another.

Every batch has the same shape and lies at the same place in memory, so that what comes out for a row depends on the
row, and on its place in the batch, alone: kernels round otherwise at a buffer's ends, and choose by its length.

The block, little-endian: the number of batches, of a batch's rows, and of a row's numbers (three u64); for each graph
input how many of the row's numbers are its own and their type's ONNX number (u64 each, after how many inputs there are,
u64); the length of the output's name (u64) and the name; zero bytes up to a multiple of 64; the rows as float64. The
output: the numbers of every row's output, as float64.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

ALIGNMENT = 64
_COUNT = struct.Struct("<Q")
_TYPES = {1: "f4", 6: "i4", 7: "i8", 9: "?", 11: "f8"}


def pack_head(batches: int, batch: int, inputs: Sequence[tuple[int, int]], output: str) -> bytes:
    """What stands before the rows. `inputs`: how many numbers each takes, and of which ONNX type."""
    name = output.encode()
    numbers = [
        batches,
        batch,
        sum(width for width, _ in inputs),
        len(inputs),
        *(each for pair in inputs for each in pair),
    ]
    head = b"".join(map(_COUNT.pack, [*numbers, len(name)])) + name
    return head + bytes(-len(head) % ALIGNMENT)


def run_model(model: bytes, block: memoryview | bytes) -> bytes | memoryview:
    """The output for every row; raises anything."""
    import numpy as np
    import onnxruntime

    batches, batch, columns, inputs, output, given = _read(block)
    rows = np.frombuffer(given, "<f8").reshape(batches, batch, columns)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # What the smallest numbers are must not decide how long a row takes.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    fed, start = {}, 0
    for name, (width, kind) in zip(names, inputs, strict=True):
        fed[name] = (_aligned(batch, width, np.dtype(_TYPES[kind])), slice(start, start + width))
        start += width
    feed = {name: array for name, (array, _) in fed.items()}
    made: Any = None
    with np.errstate(all="ignore"):
        for number in range(batches):
            for array, part in fed.values():
                array[:] = rows[number, :, part]
            (found,) = session.run([output], feed)
            if made is None:
                made = np.empty((batches, batch, found.size // batch))
            made[number] = found.reshape(batch, -1)
    return b"" if made is None else memoryview(made).cast("B")


def _read(block: memoryview | bytes) -> tuple[int, int, int, list[tuple[int, int]], str, memoryview]:
    view, position = memoryview(block), 0

    def number() -> int:
        nonlocal position
        position += _COUNT.size
        (found,) = _COUNT.unpack_from(view, position - _COUNT.size)
        return int(found)

    batches, batch, columns, count = number(), number(), number(), number()
    inputs = [(number(), number()) for _ in range(count)]
    length = number()
    output = bytes(view[position : position + length]).decode()
    return batches, batch, columns, inputs, output, view[-(-(position + length) // ALIGNMENT) * ALIGNMENT :]


def _aligned(batch: int, width: int, kind: Any) -> Any:
    """A batch's input, where the runtime would lay its own buffers: at a multiple of 64."""
    import numpy as np

    size = batch * width * kind.itemsize
    buffer = np.zeros(size + ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size].view(kind).reshape(batch, width)
