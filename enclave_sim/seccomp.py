"""seccomp filters as lists of what is allowed, in BPF. Pure; x86-64 Linux only.

A call that is not on a list fails, also whatever later kernels add; a call of another ABI (32 bit, x32) kills.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Only:
    """Argument number `argument`, after `mask`, is one of `values` (its lower 32 bits; the upper are ignored).

    Used only for arguments that the kernel reads as 32 bits, or where the upper bits must be refused by the kernel
    itself, as unknown protection and mapping flags of mmap and mprotect are not: those mean nothing.
    """

    argument: int
    mask: int
    values: tuple[int, ...]


Conditions = Mapping[int, tuple[Only, ...]]
"""System calls by number, each with what must hold of its arguments."""

ANY: tuple[Only, ...] = ()

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X86_64 = 0xC000_003E
_X32 = 0x4000_0000
_ALLOW, _KILL, _FAIL = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_EPERM, _ENOSYS = _FAIL | errno.EPERM, _FAIL | errno.ENOSYS


def allowing(allowed: Conditions, unknown: tuple[int, ...] = ()) -> bytes:
    """The filter as `struct sock_filter` instructions; what is not allowed fails with EPERM.

    `unknown`: calls that fail with ENOSYS, as on a kernel that lacks them: libraries then use older ones.
    """
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, _X86_64, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, 0, 1),
        _instruction(_RETURN, _KILL),
    ]
    for number, conditions in allowed.items():
        body = _body(conditions)
        program += [_instruction(_EQUAL, number, 0, len(body)), *body]
    for number in unknown:
        program += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, _ENOSYS)]
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
