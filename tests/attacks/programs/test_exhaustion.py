"""A program that takes all it can ends at its own limits, disturbs nobody, and gives nothing."""

from __future__ import annotations

import time

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import (
    FAILED,
    NO_TABLES,
    SUCCEEDED,
    inside,
    program,
    still_works,
    without_sandbox,
)
from tests.attacks.programs.conftest import LIMITS

# 64 MiB without the sandbox; inside as much as there is: more than the sandbox's 128 + 16 MiB.
MEMORY = """
size = 64 if "YINGBI_VICTIM" in os.environ else 1024
held = [bytearray(b"x") * (1 << 20) for _ in range(size)]
return len(held) == size
"""
MAPPED = """
size = 64 if "YINGBI_VICTIM" in os.environ else 1024
held = [mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(size)]
return len(held) == size
"""
FILES = """
with open(SECRET_FILE + "-flood", "wb") as flood: flood.write(bytes(1 << 20))
os.unlink(SECRET_FILE + "-flood")
return True
"""
# Two seconds without the sandbox, where a clock tells when they are over; inside for ever.
LOOP = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGXCPU, signal.SIG_IGN)
end = time.monotonic() + 2
while time.monotonic() < end: pass
return True
"""


@pytest.mark.parametrize("attempt", [MEMORY, MAPPED, FILES], ids=["memory", "mapped memory", "files"])
def test_floods(sandbox: Sandbox, secret_file: object, attempt: str) -> None:
    source = program(attempt, str(secret_file))
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]
    assert still_works(sandbox)


def test_an_endless_loop_that_ignores_signals_ends_with_its_slot(sandbox: Sandbox) -> None:
    source = program(LOOP)
    assert without_sandbox(source) == [SUCCEEDED]
    started = time.monotonic()
    assert inside(sandbox, source) == [None]
    # Not earlier, so that it was the deadline that ended it.
    assert time.monotonic() - started >= LIMITS.running_seconds
    assert still_works(sandbox)


def test_sleeping_is_refused_rather_than_waited_for(sandbox: Sandbox) -> None:
    source = program("time.sleep(0.1)\nreturn True")
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]


def test_a_crash_is_no_result(sandbox: Sandbox) -> None:
    for attempt in ("ctypes.string_at(0)", "os.abort()", "os._exit(3)"):
        source = program(attempt)
        assert without_sandbox(source) == []
        assert inside(sandbox, source) == [None]
    assert still_works(sandbox)


def test_a_flood_of_output_is_cut_and_worth_nothing(sandbox: Sandbox) -> None:
    """It writes to the result's descriptor as fast as it can."""
    flood = b"import os\ndef run(tables):\n    while True: os.write(4, bytes(1 << 16))\n"
    assert list(sandbox.run(flood, [NO_TABLES], 1, slots=False)) == [None]
    assert still_works(sandbox)


def test_too_large_a_block_is_not_run(sandbox: Sandbox) -> None:
    block = bytes(LIMITS.block_bytes)
    assert list(sandbox.run(b"def run(tables): return [1]", [block], 1, slots=False)) == [None]
