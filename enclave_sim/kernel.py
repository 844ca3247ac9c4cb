"""System calls that Python's standard library lacks, by ctypes. x86-64 Linux only.

Each raises OSError with the name of the call. Only what takes rights away is here, of an enclave's process and of a
sandbox: a program can reach all of it, and gets nothing by it, since the kernel decides.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 3, 4, 8
PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_TSC = 22, 23, 24, 26
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_TSC_SIGSEGV = 2
SECCOMP_MODE_FILTER = 2

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4

CAP_SYS_ADMIN = 21
_CAPABILITY_VERSION_3 = 0x2008_0522

_SYS_CAPGET, _SYS_CAPSET, _SYS_PIVOT_ROOT, _SYS_SETNS = 125, 126, 155, 308
_SYS_LANDLOCK_CREATE_RULESET, _SYS_LANDLOCK_ADD_RULE, _SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_CREATE_RULESET_VERSION, _LANDLOCK_RULE_PATH_BENEATH = 1, 1
# Landlock's rights: to read files and list folders; to run programs; those that a file can have by itself.
_MAY_READ = 1 << 2 | 1 << 3
_MAY_EXECUTE, _OF_FILES = 1, 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15


def syscall(name: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Call the kernel; raises OSError."""
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *given))
    if result == -1:
        raise _failed(name)
    return result


def _failed(name: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{name}: {os.strerror(number)}")


def _checked(name: str, result: int) -> int:
    if result == -1:
        raise _failed(name)
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked("unshare", _libc.unshare(ctypes.c_int(flags)))


def setns(descriptor: int, kind: int) -> None:
    """setns(2)."""
    syscall("setns", _SYS_SETNS, descriptor, kind)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2)."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _checked("mount", _libc.mount(*encoded[:3], ctypes.c_ulong(flags), encoded[3]))


def detach(target: str) -> None:
    """umount2(2), lazily."""
    _checked("umount2", _libc.umount2(target.encode(), ctypes.c_int(MNT_DETACH)))


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    syscall("pivot_root", _SYS_PIVOT_ROOT, new.encode(), old.encode())


def prctl(option: int, *arguments: int) -> int:
    """prctl(2)."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, *(0,) * (4 - len(arguments)))]
    result: int = _libc.prctl(ctypes.c_int(option), *padded)
    return _checked(f"prctl {option}", result)


def capabilities() -> int:
    """Those that this thread has or could take, as a bit mask."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    syscall("capget", _SYS_CAPGET, header, data)
    low, high = (struct.unpack_from("<III", data.raw, at) for at in (0, 12))
    return int((low[0] | low[1] | low[2]) | (high[0] | high[1] | high[2]) << 32)


def keep_capabilities(mask: int) -> None:
    """Give up all capabilities but those in `mask` (below bit 32), inheritable ones too."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    syscall("capset", _SYS_CAPSET, header, struct.pack("<6I", mask, mask, 0, 0, 0, 0))


def drop_bounding_set() -> None:
    """No program run later could gain a capability."""
    capability = 0
    while True:
        try:
            prctl(PR_CAPBSET_READ, capability)
        except OSError:
            return
        prctl(PR_CAPBSET_DROP, capability)
        capability += 1


def landlock_version() -> int:
    """The kernel's Landlock interface; raises OSError where there is none."""
    create = _SYS_LANDLOCK_CREATE_RULESET
    return syscall("landlock_create_ruleset", create, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)


def landlock_deny_all(version: int) -> None:
    """This thread and its children open no file from now on; nor connect, nor signal others, where it can say so."""
    landlock(version, (), ())


def landlock(version: int, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """As `landlock_deny_all`, but for files at or below these paths; none of them is a program that could be run.

    A path that is not there grants nothing.
    """
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    rules = struct.pack("<QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = syscall("landlock_create_ruleset", _SYS_LANDLOCK_CREATE_RULESET, rules[:size], size, 0)
    try:
        for path in readable:
            _grant(ruleset, path, _MAY_READ)
        for path in writable:
            _grant(ruleset, path, rights & ~_MAY_EXECUTE)
        syscall("landlock_restrict_self", _SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _grant(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH)
    except OSError:
        return
    try:
        allowed = rights if stat.S_ISDIR(os.fstat(descriptor).st_mode) else rights & _OF_FILES
        rule = struct.pack("<Qi", allowed, descriptor)
        syscall("landlock_add_rule", _SYS_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def lock_memory(flags: int) -> None:
    """mlockall(2)."""
    _checked("mlockall", _libc.mlockall(ctypes.c_int(flags)))


def seccomp(program: bytes) -> None:
    """Let only system calls through that a BPF program allows, for good."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, padding, their address.
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions))
    _checked("seccomp", _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), header))


def unmap(address: int, length: int) -> None:
    """munmap(2)."""
    _checked("munmap", _libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length)))


def replace_code(address: int, code: bytes) -> None:
    """Put code where other code is mapped, in whole pages; raises OSError."""
    read_write, read_execute, fixed = 3, 5, 0x32  # PRIVATE, ANONYMOUS, FIXED
    _libc.mmap.restype = ctypes.c_void_p
    length = ctypes.c_size_t(len(code))
    where = _libc.mmap(ctypes.c_void_p(address), length, read_write, fixed, -1, ctypes.c_long(0))
    if where != address:
        raise _failed("mmap")
    ctypes.memmove(address, code, len(code))
    _checked("mprotect", _libc.mprotect(ctypes.c_void_p(address), length, read_execute))
