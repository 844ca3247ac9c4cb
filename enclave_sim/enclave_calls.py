"""The system calls that an enclave's process keeps, as a BPF filter for seccomp. Pure.

An allow-list. What remains is computing with threads, the files that Landlock and the file system's rights leave it,
and the descriptors that it was born with or is sent. It makes no socket, no process, runs no program, looks into no
other process, and asks the kernel for nothing that changes the machine: not mounted, traced, loaded, keyed or measured.
"""

from __future__ import annotations

from enclave_sim.seccomp import ANY, Conditions, Only, allowing

_FILES = {
    **{"read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "pread64": 17},
    **{"pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "dup": 32, "dup2": 33, "fcntl": 72, "flock": 73},
    **{"fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getdents": 78, "getcwd": 79, "chdir": 80},
    **{"rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "readlink": 89, "chmod": 90},
    **{"fchmod": 91, "umask": 95, "statfs": 137, "fstatfs": 138, "readahead": 187, "getdents64": 217},
    **{"fadvise64": 221, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264},
    **{"linkat": 265, "readlinkat": 267, "fchmodat": 268, "faccessat": 269, "sync_file_range": 277, "utimensat": 280},
    **{"fallocate": 285, "dup3": 292, "preadv": 295, "pwritev": 296, "renameat2": 316, "memfd_create": 319},
    **{"copy_file_range": 326, "preadv2": 327, "pwritev2": 328, "statx": 332, "close_range": 436, "faccessat2": 439},
}
_DESCRIPTORS = {
    **{"poll": 7, "pipe": 22, "select": 23, "accept": 43, "sendto": 44, "recvfrom": 45, "sendmsg": 46, "recvmsg": 47},
    **{"shutdown": 48, "getsockname": 51, "getpeername": 52, "setsockopt": 54, "getsockopt": 55, "epoll_wait": 232},
    **{"epoll_ctl": 233, "pselect6": 270, "ppoll": 271, "epoll_pwait": 281, "accept4": 288, "eventfd2": 290},
    **{"epoll_create1": 291, "pipe2": 293},
}
_MEMORY = {
    **{"mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28},
    **{"mlock": 149, "munlock": 150, "mlock2": 325},
}
_THREADS = {
    **{"rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "pause": 34, "nanosleep": 35},
    **{"exit": 60, "rt_sigpending": 127, "rt_sigtimedwait": 128, "sigaltstack": 131, "arch_prctl": 158, "gettid": 186},
    **{"futex": 202, "set_tid_address": 218, "restart_syscall": 219, "clock_nanosleep": 230, "exit_group": 231},
    **{"set_robust_list": 273, "get_robust_list": 274, "membarrier": 324, "rseq": 334},
}
_ASKING = {
    **{"getpid": 39, "uname": 63, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100},
    **{"getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115},
    **{"getresuid": 118, "getresgid": 120, "getpgid": 121, "getsid": 124, "getpriority": 140, "time": 201},
    **{"sched_getparam": 143, "sched_getscheduler": 145, "sched_get_priority_max": 146, "sched_get_priority_min": 147},
    **{"sched_getaffinity": 204, "clock_gettime": 228, "clock_getres": 229, "getcpu": 309, "getrandom": 318},
}
_CLONE, _IOCTL, _PRCTL, _CLONE3 = 56, 16, 157, 435
_KILL, _TGKILL, _PRLIMIT = 62, 234, 302
_WORD = 0xFFFF_FFFF
_CLONE_THREAD, _CLONE_NEW = 0x0001_0000, 0x7E02_0000
# Of a terminal, how it is set; how much there is to read; close on exec; non-blocking.
_IOCTLS = (0x5401, 0x541B, 0x5451, 0x5450, 0x5421)
# GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS.
_PRCTLS = (3, 15, 16, 21, 23, 39)


def allowed(process: int) -> Conditions:
    """What the process with this id may call."""
    return {
        **dict.fromkeys({**_FILES, **_DESCRIPTORS, **_MEMORY, **_THREADS, **_ASKING}.values(), ANY),
        _CLONE: (Only(0, _CLONE_THREAD, (_CLONE_THREAD,)), Only(0, _CLONE_NEW, (0,))),
        _IOCTL: (Only(1, _WORD, _IOCTLS),),
        _PRCTL: (Only(0, _WORD, _PRCTLS),),
        _KILL: (Only(0, _WORD, (process,)),),
        _TGKILL: (Only(0, _WORD, (process,)),),
        _PRLIMIT: (Only(0, _WORD, (0, process)),),
    }


def enclave_calls(process: int) -> bytes:
    """The filter. Of clone3 the kernel shows a filter no flags; without it, libraries make threads by clone."""
    return allowing(allowed(process), unknown=(_CLONE3,))
