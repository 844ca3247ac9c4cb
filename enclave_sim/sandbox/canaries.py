"""The self-test: a program that tries what no program may. Each number is 1 where the attempt failed.

It runs in a block's process like any other, after all layers. The layers behind seccomp, which it cannot see, the
zygote checks one by one when it makes them.
"""

from __future__ import annotations

CANARIES = (
    "open a file",
    "list the root",
    "read another descriptor",
    "write to another descriptor",
    "open a socket",
    "make a process",
    "make a thread",
    "run a program",
    "signal a process",
    "trace a process",
    "make executable memory",
    "make shared memory",
    "make a memory file",
    "make a namespace",
    "learn who it is",
    "read a clock by system call",
    "read a clock by vDSO",
    "read a clock by vsyscall",
    "raise a limit",
)

PROGRAM = b"""
import ctypes, errno, os, time

libc = ctypes.CDLL(None, use_errno=True)

def refused(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return result == -1 and ctypes.get_errno() == errno.EPERM

def run(tables):
    buffer = ctypes.create_string_buffer(64)
    rw, rwx, private, shared = 3, 7, 0x22, 0x21
    page = libc.mmap
    page.restype = ctypes.c_void_p
    mine = page(None, ctypes.c_size_t(4096), rw, private, -1, ctypes.c_long(0))
    vsyscall = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(0xFFFFFFFFFF600400)
    return [
        refused(2, b"/etc/passwd", 0) and refused(257, -100, b"/", 0) and refused(437, -100, b"/", buffer, 24),
        refused(217, 3, buffer, 64) and refused(21, b"/", 0),
        all(refused(0, fd, buffer, 1) for fd in range(16)),
        all(refused(1, fd, buffer, 1) for fd in range(16) if fd != 4),
        all(refused(41, family, 1, 0) for family in range(46)) and refused(53, 1, 1, 0, buffer),
        refused(57) and refused(58) and refused(56, 17, 0, 0, 0, 0) and refused(435, buffer, 88),
        refused(56, 0x50F00, mine, 0, 0, 0),
        refused(59, b"/bin/sh", None, None) and refused(322, 3, b"", None, None, 0x1000),
        refused(62, 0, 0) and refused(234, 1, 1, 0) and refused(129, 1, 1, buffer),
        refused(101, 16, 0, 0, 0) and refused(310, 1, None, 0, None, 0, 0),
        refused(9, 0, 4096, rwx, private, -1, 0) and refused(10, mine, 4096, 5) and refused(329, mine, 4096, 5, -1),
        refused(9, 0, 4096, rw, shared, -1, 0) and refused(29, 0, 4096, 0o1600) and refused(68, 0, 0o1600),
        refused(319, b"x", 0) and refused(447, 0),
        refused(272, 0x10000000) and refused(165, b"none", b"/", b"tmpfs", 0, None),
        refused(39) and refused(102) and refused(63, buffer) and refused(98, 0, buffer),
        refused(228, 0, buffer) and refused(96, buffer, None) and refused(201, None) and refused(35, buffer, None),
        time.time() == time.monotonic() == time.perf_counter() == time.clock_gettime(5) == 0,
        vsyscall(None) in (-1, 0),
        refused(160, 7, buffer) and refused(302, 0, 7, buffer, None) and refused(157, 4, 1, 0, 0, 0),
    ]
"""
