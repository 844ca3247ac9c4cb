"""Frames: what is written is read, and a stream that ends or lies is an error of its own."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.frames import MAX_FRAME, FrameError, read_frame, write_frame


class Dripping(io.BytesIO):
    """A stream that gives few bytes at a time, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 3) if size is not None and size > 0 else size)


def framed(payloads: list[bytes]) -> bytes:
    stream = io.BytesIO()
    for payload in payloads:
        write_frame(stream, payload)
    return stream.getvalue()


@given(payloads=st.lists(st.binary(max_size=50), max_size=5))
def test_frames_come_back_whole_and_in_order(payloads: list[bytes]) -> None:
    """However the stream cuts them, the empty ones too."""
    stream = Dripping(framed(payloads))
    assert [read_frame(stream) for _ in payloads] == payloads
    assert read_frame(stream) is None


@given(payload=st.binary(max_size=50), cut=st.integers(0, 100))
def test_a_stream_that_ends_within_a_frame_is_an_error(payload: bytes, cut: int) -> None:
    """And not an empty or a shorter frame; only between frames it is an end."""
    data = framed([payload])
    cut %= len(data)
    stream = Dripping(data[:cut])
    if cut == 0:
        assert read_frame(stream) is None
    else:
        with pytest.raises(FrameError):
            read_frame(stream)


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 2**63, 2**64 - 1])
def test_a_length_beyond_the_largest_is_refused_before_anything_is_read(length: int) -> None:
    """A peer cannot make the reader wait for, or hold, what it never sends."""
    with pytest.raises(FrameError):
        read_frame(io.BytesIO(length.to_bytes(8, "big")))
