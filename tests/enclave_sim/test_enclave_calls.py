"""The filter of an enclave's process allows what the list says and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.enclave_calls import allowed, enclave_calls
from tests.enclave_sim.bpf import ALLOW, ENOSYS, EPERM, I386, KILL, decide

PROCESS = 4711
PROGRAM = enclave_calls(PROCESS)
CLONE, CLONE3, PRCTL, KILL_CALL, TGKILL, PRLIMIT, IOCTL = 56, 435, 157, 62, 234, 302, 16
# As the C library makes threads: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID.
OF_A_THREAD = 0x3D0F00
REFUSED = {
    **{"socket": 41, "connect": 42, "bind": 49, "listen": 50, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59},
    **{"execveat": 322, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "pidfd_open": 434},
    **{"pidfd_getfd": 438, "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246},
    **{"mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "fsopen": 430, "move_mount": 429, "bpf": 321},
    **{"keyctl": 250, "add_key": 248, "request_key": 249, "perf_event_open": 298, "userfaultfd": 323},
    **{"io_uring_setup": 425, "io_uring_enter": 426, "unshare": 272, "setns": 308, "setuid": 105, "capset": 126},
    **{"seccomp": 317, "mknod": 133, "symlink": 88, "chown": 92, "setxattr": 188, "settimeofday": 164, "reboot": 169},
    **{"personality": 135, "shmget": 29, "msgget": 68, "semget": 64, "open_by_handle_at": 304, "process_madvise": 440},
}


@given(st.integers(0, 0x3FFFFFFF) | st.integers(0, 500), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_what_is_not_on_the_list_of_an_enclave_is_refused(number: int, arguments: list[int]) -> None:
    if number not in allowed(PROCESS):
        assert decide(PROGRAM, number, *arguments) == (ENOSYS if number == CLONE3 else EPERM)


@pytest.mark.parametrize("name", REFUSED)
def test_an_enclave_may_not(name: str) -> None:
    assert decide(PROGRAM, REFUSED[name]) == EPERM


@given(st.integers(0, 2**32 - 1))
def test_an_enclave_has_one_abi(number: int) -> None:
    assert decide(PROGRAM, number, architecture=I386) == KILL
    assert decide(PROGRAM, number | 0x40000000) == KILL


@given(st.integers(0, 2**32 - 1))
def test_an_enclave_makes_threads_and_neither_processes_nor_namespaces(flags: int) -> None:
    # NEWTIME shares its bit with the signal that a child ends with, which a thread has none of.
    new_namespaces = 0x7E02_0000
    makes_a_thread = flags & 0x10000 and not flags & new_namespaces
    assert decide(PROGRAM, CLONE, flags) == (ALLOW if makes_a_thread else EPERM)


def test_an_enclave_makes_a_thread() -> None:
    assert decide(PROGRAM, CLONE, OF_A_THREAD) == ALLOW


@given(st.integers(0, 2**22))
def test_an_enclave_signals_and_limits_itself_alone(process: int) -> None:
    for number in (KILL_CALL, TGKILL):
        assert decide(PROGRAM, number, process) == (ALLOW if process == PROCESS else EPERM)
    assert decide(PROGRAM, PRLIMIT, process) == (ALLOW if process in (0, PROCESS) else EPERM)


@given(st.integers(0, 100))
def test_an_enclave_cannot_become_dumpable_or_outlive_its_node(option: int) -> None:
    harmless = {3, 15, 16, 21, 23, 39}
    assert decide(PROGRAM, PRCTL, option) == (ALLOW if option in harmless else EPERM)


def test_an_enclave_types_into_no_terminal() -> None:
    assert decide(PROGRAM, IOCTL, 0, 0x5412) == EPERM
