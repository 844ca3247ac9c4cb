"""The filter allows what the list says and nothing else: decided here by a reading of BPF of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.sandbox.system_calls import ALLOWED, OUTPUT, allow_list
from tests.enclave_sim import bpf
from tests.enclave_sim.bpf import ALLOW, EPERM, I386, KILL, X86_64

PROGRAM = allow_list()


def decide(number: int, *arguments: int, architecture: int = X86_64) -> int:
    """What the kernel would say to a program."""
    return bpf.decide(PROGRAM, number, *arguments, architecture=architecture)


@given(st.integers(0, 0x3FFFFFFF) | st.integers(0, 500), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_what_is_not_on_the_list_is_refused(number: int, arguments: list[int]) -> None:
    if number not in ALLOWED:
        assert decide(number, *arguments) == EPERM


@given(st.integers(0, 2**32 - 1))
def test_other_abis_end_the_process(number: int) -> None:
    assert decide(number, architecture=I386) == KILL
    assert decide(number | 0x40000000) == KILL


@given(st.integers(0, 2**32 - 1))
def test_only_the_result_is_written_to(descriptor: int) -> None:
    assert decide(1, descriptor, 0, 8) == (ALLOW if descriptor == OUTPUT else EPERM)


@given(st.integers(0, 2**64 - 1))
def test_nothing_becomes_executable(protection: int) -> None:
    wanted = EPERM if protection & 4 else ALLOW
    assert decide(9, 0, 4096, protection, 0x22) == wanted
    assert decide(10, 0, 4096, protection) == wanted


@pytest.mark.parametrize("flags", [0x02, 0x01, 0x21, 0x03, 0x40022, 0x8022, 0x2022, 0x20])
def test_memory_is_private_and_anonymous(flags: int) -> None:
    assert decide(9, 0, 4096, 3, flags) == EPERM


def test_the_list_is_as_short_as_it_was() -> None:
    """Whoever adds a call changes this, and says why it lets nothing out."""
    assert sorted(ALLOWED) == [1, 9, 10, 11, 12, 13, 14, 15, 25, 28, 60, 131, 202, 231, 318]
