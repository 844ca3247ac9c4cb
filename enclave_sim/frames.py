"""Length-prefixed frames on a stream socket: eight bytes of length, big-endian, then the message."""

from __future__ import annotations

from typing import BinaryIO

MAX_FRAME = 1 << 30


class FrameError(Exception):
    """The stream ended inside a frame, or a frame is larger than MAX_FRAME."""


def write_frame(stream: BinaryIO, payload: bytes) -> None:
    """Write one frame and flush; raises OSError."""
    stream.write(len(payload).to_bytes(8, "big") + payload)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame's payload, or None where the stream ends between frames; raises FrameError."""
    prefix = _read(stream, 8)
    if not prefix:
        return None
    length = int.from_bytes(prefix, "big")
    if len(prefix) < 8 or length > MAX_FRAME:
        raise FrameError("not a frame")
    payload = _read(stream, length)
    if len(payload) < length:
        raise FrameError(f"the stream ended after {len(payload)} of {length} bytes")
    return payload


def _read(stream: BinaryIO, count: int) -> bytes:
    parts = []
    while count:
        part = stream.read(count)
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
