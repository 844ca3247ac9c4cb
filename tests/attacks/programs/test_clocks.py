"""A program cannot tell how much time passes: every clock stands still or is refused."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, without_sandbox

BUSY = """
def busy():
    total = 0
    for number in range(300_000): total += number * number
    return total
"""
PYTHON = {
    name: f"before = {call}\nfor _ in range(5): busy()\nreturn {call} != before"
    for name, call in {
        "time": "time.time()",
        "monotonic": "time.monotonic_ns()",
        "performance counter": "time.perf_counter_ns()",
        "date": "__import__('datetime').datetime.now()",
        "coarse monotonic": "time.clock_gettime(6)",
        "coarse real time": "time.clock_gettime(5)",
        "since boot": "time.clock_gettime(7)",
        "time of the process": "time.process_time_ns()",
        "time of the thread": "time.thread_time_ns()",
        "resource usage": "resource.getrusage(resource.RUSAGE_SELF).ru_utime",
        "times": "os.times()",
        "pandas": "__import__('pandas').Timestamp.now()",
    }.items()
}
SYSTEM_CALLS = {
    name: f"buffer = ctypes.create_string_buffer(200)\nreturn syscall({call}) >= 0"
    for name, call in {
        "clock_gettime": "228, 1, buffer",
        "gettimeofday": "96, buffer, None",
        "time": "201, None",
        "clock_nanosleep": "230, 1, 0, (ctypes.c_long * 2)(0, 1000), None",
        "nanosleep": "35, (ctypes.c_long * 2)(0, 1000), None",
        "times": "100, buffer",
        "getrusage": "98, 0, buffer",
        "sysinfo": "99, buffer",
        "adjtimex": "159, buffer",
        "timerfd": "283, 1, 0",
        "timer": "222, 1, None, buffer",
        "alarm": "37, 0",
        "interval timer": "36, 0, buffer",
        "poll with a timeout": "7, None, 0, 1",
        "select with a timeout": "23, 0, None, None, None, (ctypes.c_long * 2)(0, 1000)",
        "yielding": "24",
    }.items()
}
# vsyscall's gettimeofday, at an address that never changes: the kernel runs it as a system call.
VSYSCALL = """
buffer = (ctypes.c_long * 2)()
ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)(0xFFFFFFFFFF600000)(buffer, None)
return buffer[0] > 0
"""
# The vDSO found through the auxiliary vector, its clock called by address: the coarse clock needs no counter.
AUXILIARY_VECTOR = """
libc.getauxval.restype = ctypes.c_ulong
start = libc.getauxval(33)
image = ctypes.string_at(start, 8192)
table, = struct.unpack_from("<Q", image, 40)
size, count = struct.unpack_from("<HH", image, 58)
sections = [struct.unpack_from("<IIQQQQI", image, table + index * size) for index in range(count)]
symbols = next(section for section in sections if section[1] == 11)
names = sections[symbols[6]][4]
for at in range(symbols[4], symbols[4] + symbols[5], 24):
    name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", image, at)
    if image[names + name:].startswith(b"__vdso_clock_gettime\\0"): break
clock = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(start + value)
result = (ctypes.c_long * 2)()
clock(5, result)
return result[0] > 0
"""
# The data that the vDSO reads lies just before it.
DATA = """
libc.getauxval.restype = ctypes.c_ulong
return len(ctypes.string_at(libc.getauxval(33) - 0x6000, 16)) == 16
"""
# A thread that counts is a clock.
COUNTER = """
counter = [0]
def count():
    for _ in range(10**6): counter[0] += 1
threading.Thread(target=count, daemon=True).start()
busy()
return counter[0] > 0
"""
ALL = PYTHON | SYSTEM_CALLS | {"vsyscall": VSYSCALL, "auxiliary vector": AUXILIARY_VECTOR, "counting thread": COUNTER}


@pytest.mark.parametrize("attempt", ALL.values(), ids=ALL.keys())
def test_clocks(sandbox: Sandbox, attempt: str) -> None:
    source = program(BUSY + attempt)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]


def test_the_clocks_data_is_gone(sandbox: Sandbox) -> None:
    source = program(DATA)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [None]  # it ends where it touches the page
