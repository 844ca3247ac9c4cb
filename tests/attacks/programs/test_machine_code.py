"""A program cannot bring machine code of its own, nor use another way into the kernel."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, still_works, without_sandbox

# Machine code: `mov eax, 42; ret`.
CODE = """
code = bytes.fromhex("b82a000000c3")
libc.mmap.restype = ctypes.c_void_p
def pages(protection, flags=0x22):
    return libc.mmap(None, ctypes.c_size_t(4096), protection, flags, -1, ctypes.c_long(0))
def call(address):
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 42
"""
ATTACKS = {
    "writable and executable": """
where = pages(7)
if where == 2**64 - 1: return False
ctypes.memmove(where, code, len(code))
return call(where)""",
    "written, then made executable": """
where = pages(3)
ctypes.memmove(where, code, len(code))
return libc.mprotect(ctypes.c_void_p(where), 4096, 5) == 0 and call(where)""",
    "made executable with a key": """
where = pages(3)
ctypes.memmove(where, code, len(code))
return syscall(329, where, 4096, 5, -1) == 0 and call(where)""",
    "an existing function, overwritten": """
function = ctypes.cast(libc.labs, ctypes.c_void_p).value
page = function & ~4095
if libc.mprotect(ctypes.c_void_p(page), 8192, 7): return False
ctypes.memmove(function, code, len(code))
return call(function)""",
    "reading implies executing": "return syscall(135, 0x0400000) != -1",
    "a shared mapping": "return pages(3, 0x21) != 2**64 - 1",
    "a huge page": "return pages(3, 0x40022) != 2**64 - 1 or ctypes.get_errno() != errno.EPERM",
    "System V shared memory": """
number = syscall(29, 0, 4096, 0o1600)
return number >= 0 and syscall(31, number, 0, None) == 0""",
}
CRASHES = {
    "the calls of 32-bit programs": """
where = pages(7)
ctypes.memmove(where, bytes.fromhex("53b814000000cd805bc3"), 10)
return ctypes.CFUNCTYPE(ctypes.c_int)(where)() > 0""",
    "the time-stamp counter, in code": """
where = pages(7)
ctypes.memmove(where, bytes.fromhex("0f31c3"), 3)
return ctypes.CFUNCTYPE(ctypes.c_uint)(where)() >= 0""",
}


@pytest.mark.parametrize("attempt", ATTACKS.values(), ids=ATTACKS.keys())
def test_machine_code(sandbox: Sandbox, attempt: str) -> None:
    source = program(CODE + attempt)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]


@pytest.mark.parametrize("attempt", CRASHES.values(), ids=CRASHES.keys())
def test_code_needs_a_page_that_is_not_given(sandbox: Sandbox, attempt: str) -> None:
    """The program writes to where its page would be, and dies."""
    source = program(CODE + attempt)
    assert without_sandbox(source) in ([SUCCEEDED], [])  # a kernel may lack the calls of 32-bit programs
    assert inside(sandbox, source) == [None]
    assert still_works(sandbox)


def test_calls_of_the_x32_abi_end_the_process(sandbox: Sandbox) -> None:
    source = program("syscall(0x40000000 + 39)\nreturn True")
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [None]
