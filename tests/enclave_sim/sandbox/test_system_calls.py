"""The filter allows what the list says and nothing else: decided here by a reading of BPF of its own."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.sandbox.system_calls import ALLOWED, OUTPUT, allow_list

X86_64, I386 = 0xC000003E, 0x40000003
ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050001
PROGRAM = list(struct.iter_unpack("<HBBI", allow_list()))


def decide(number: int, *arguments: int, architecture: int = X86_64) -> int:
    """What the kernel would say."""
    given_arguments = [*arguments, *(0,) * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *given_arguments)
    at = accumulator = 0
    while True:
        code, if_true, if_false, operand = PROGRAM[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x15:
            at += if_true if accumulator == operand else if_false
        elif code == 0x35:
            at += if_true if accumulator >= operand else if_false
        else:
            assert code == 0x06
            return int(operand)


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
