"""The clocks that need no system call stand still, and the processor's counter ends whoever reads it."""

from __future__ import annotations

import ctypes
import mmap
import signal
import time

import pytest

from enclave_sim.sandbox.frozen_clock import frozen_clock, with_stubs
from tests.forks import forked


def test_all_clocks_stand_at_the_beginning_of_1970() -> None:
    def child() -> bool:
        frozen_clock().install()
        return time.time() == time.monotonic() == time.clock_gettime(time.CLOCK_REALTIME) == 0.0

    assert time.time() > 0
    assert forked(child) == 1


@pytest.mark.parametrize("code", ["0f31c3", "0f01f9c3"], ids=["rdtsc", "rdtscp"])
def test_the_processors_counter_can_be_read_before_and_not_after(code: str) -> None:
    """Machine code that a library could hold anywhere."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    read = ctypes.CFUNCTYPE(ctypes.c_uint)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def before() -> bool:
        return bool(read() or read())

    def after() -> bool:
        frozen_clock().install()
        return bool(read() or read())

    assert forked(before) == 1
    assert forked(after) == -signal.SIGSEGV


def test_what_is_no_vdso_is_refused() -> None:
    with pytest.raises(ValueError, match="ELF"):
        with_stubs(bytes(8192))
