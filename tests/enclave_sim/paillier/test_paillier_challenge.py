"""Hashes bind every part: what differs anywhere gives another seed."""

from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.paillier.challenge import number_below, seed, short_numbers

number = st.integers(0, 1 << 70)
part = number | st.binary(max_size=9) | st.lists(number, max_size=3)
statement = st.lists(part, max_size=4)


@given(statement, statement)
def test_different_statements_have_different_seeds(first: list[object], second: list[object]) -> None:
    assert (seed("s", *first) == seed("s", *second)) == (first == second)  # type: ignore[arg-type]


def test_parts_do_not_run_into_each_other() -> None:
    statements = [
        (1, 2), (12,), ([1, 2],), ([1], 2), (1, [2]), ([1], [2]), (b"\1", b"\2"), (b"\1\2",), (b"", b"\1\2"),
        (0,), ([0],), ([],), (), (b"",), (256,), (1, 0), (b"\1\0",),
    ]  # fmt: skip
    assert len({seed("s", *parts) for parts in statements}) == len(statements)


def test_every_subject_is_a_world_of_its_own() -> None:
    assert len({seed("a", b"bc"), seed("ab", b"c"), seed("abc", b"")}) == 3


def test_a_known_answer() -> None:
    """A proof made today verifies tomorrow: the encoding and the expansion do not change."""
    start = seed("subject", 77, b"bytes", [0, 1 << 64])
    assert start.hex() == "0791450bd7f591bd7a592c587d545b95f4620396d259cad886554e835cb99506"
    assert [hex(value) for value in short_numbers(start, 2)] == [
        "0x58f3d9c19079ce24c297257aa1c55987",
        "0xbbbb12a28ff076b21243823a20342ae8",
    ]
    assert number_below(start, 10**12) == 136090912168


@given(st.binary(min_size=32, max_size=32), st.integers(0, 20), st.integers(1, 1 << 600))
def test_expansions_are_in_range_and_extend_each_other(start: bytes, count: int, modulus: int) -> None:
    values = short_numbers(start, count)
    assert len(values) == count
    assert all(0 <= value < 1 << 128 for value in values)
    assert short_numbers(start, count + 1)[:count] == values
    assert 0 <= number_below(start, modulus) < modulus


def test_short_numbers_are_as_long_as_they_should_be() -> None:
    values = short_numbers(seed("s"), 200)
    assert len(set(values)) == 200
    assert max(values).bit_length() == 128
