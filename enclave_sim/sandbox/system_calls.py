"""The system calls that a program keeps, as a BPF filter for seccomp. Pure.

An allow-list: what is not named here fails with EPERM, also whatever later kernels add. A call of another ABI (32 bit,
x32) kills. What remains is memory of one's own that is never executable, writing to the one descriptor of the result,
random bytes, waiting for one's own locks, and ending. So there is nothing to open, no socket, no other process or
thread, no signal to others, no identity, no clock, no counter of the machine.
"""

from __future__ import annotations

from enclave_sim.seccomp import ANY, Conditions, Only, allowing

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


ALLOWED: Conditions = {
    1: (Only(0, 0xFFFF_FFFF, (OUTPUT,)),),  # write
    9: (  # mmap
        Only(2, _PROT_EXEC, (0,)),
        Only(3, _MAP_NEEDED, (_MAP_NEEDED,)),
        Only(3, 0xFFFF_FFFF & ~_MAP_ALLOWED, (0,)),
    ),
    10: (Only(2, _PROT_EXEC, (0,)),),  # mprotect
    11: ANY,  # munmap
    12: ANY,  # brk
    13: ANY,  # rt_sigaction
    14: ANY,  # rt_sigprocmask
    15: ANY,  # rt_sigreturn
    25: ANY,  # mremap
    28: (Only(2, 0xFFFF_FFFF, _MADV_ALLOWED),),  # madvise
    60: ANY,  # exit
    131: ANY,  # sigaltstack
    202: (Only(1, 0xFFFF_FFFF, _FUTEX_ALLOWED),),  # futex
    231: ANY,  # exit_group
    318: ANY,  # getrandom
}


def allow_list() -> bytes:
    """The filter."""
    return allowing(ALLOWED)
