"""The system calls that a program keeps, as a BPF filter for seccomp. Pure.

An allow-list: what is not named here fails with EPERM, also whatever later kernels add. A call of another ABI (32 bit,
x32) kills. What remains is memory of one's own that is never executable, writing to the one descriptor of the result,
random bytes, waiting for one's own locks, and ending. So there is nothing to open, no socket, no other process or
thread, no signal to others, no identity, no clock, no counter of the machine.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

# Where a block's process finds its input, and where it writes its result. 0, 1 and 2 stay closed, so that what a
# library prints goes nowhere.
INPUT, OUTPUT = 3, 4

_PROT_EXEC = 4
# PRIVATE and ANONYMOUS must be set; FIXED, NORESERVE, STACK and FIXED_NOREPLACE may be. Not HUGETLB: whether there is
# a huge page depends on others. Not POPULATE or LOCKED, which nothing here needs.
_MAP_NEEDED = 0x22
_MAP_ALLOWED = _MAP_NEEDED | 0x10 | 0x4000 | 0x2_0000 | 0x10_0000
_MADV_ALLOWED = (0, 4, 8, 14, 15)  # NORMAL, DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE
# WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET, without priority inheritance or robust lists.
_FUTEX_ALLOWED = tuple(command | flags for command in (0, 1, 3, 4, 5, 9, 10) for flags in (0, 128, 256, 384))


@dataclass(frozen=True)
class Only:
    """Argument number `argument`, after `mask`, is one of `values` (its lower 32 bits; the upper are ignored).

    Used only for arguments that the kernel reads as 32 bits, or where the upper bits must be refused by the kernel
    itself, as unknown protection and mapping flags of mmap and mprotect are not: those mean nothing.
    """

    argument: int
    mask: int
    values: tuple[int, ...]


_ANY: tuple[Only, ...] = ()

ALLOWED: Mapping[int, tuple[Only, ...]] = {
    1: (Only(0, 0xFFFF_FFFF, (OUTPUT,)),),  # write
    9: (  # mmap
        Only(2, _PROT_EXEC, (0,)),
        Only(3, _MAP_NEEDED, (_MAP_NEEDED,)),
        Only(3, 0xFFFF_FFFF & ~_MAP_ALLOWED, (0,)),
    ),
    10: (Only(2, _PROT_EXEC, (0,)),),  # mprotect
    11: _ANY,  # munmap
    12: _ANY,  # brk
    13: _ANY,  # rt_sigaction
    14: _ANY,  # rt_sigprocmask
    15: _ANY,  # rt_sigreturn
    25: _ANY,  # mremap
    28: (Only(2, 0xFFFF_FFFF, _MADV_ALLOWED),),  # madvise
    60: _ANY,  # exit
    131: _ANY,  # sigaltstack
    202: (Only(1, 0xFFFF_FFFF, _FUTEX_ALLOWED),),  # futex
    231: _ANY,  # exit_group
    318: _ANY,  # getrandom
}

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X86_64 = 0xC000_003E
_X32 = 0x4000_0000
_ALLOW, _KILL, _EPERM = 0x7FFF_0000, 0x8000_0000, 0x0005_0001


def allow_list() -> bytes:
    """The filter: `struct sock_filter` instructions."""
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, _X86_64, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _KILL),
    ]
    for number, conditions in ALLOWED.items():
        body = _body(conditions)
        program += [_instruction(_EQUAL, number, 0, len(body)), *body]
    return b"".join([*program, _instruction(_RETURN, _EPERM)])


def _body(conditions: tuple[Only, ...]) -> list[bytes]:
    """Allow if all conditions hold, else refuse: it always ends in a return."""
    body: list[bytes] = []
    for only in conditions:
        body += [_instruction(_LOAD, _ARGUMENTS + 8 * only.argument), _instruction(_AND, only.mask)]
        for index, value in enumerate(only.values):
            # Past the comparisons that are left, and past the refusal.
            body.append(_instruction(_EQUAL, value, len(only.values) - index, 0))
        body.append(_instruction(_RETURN, _EPERM))
    return [*body, _instruction(_RETURN, _ALLOW)]


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)
