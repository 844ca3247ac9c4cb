"""Cipher suites: what is sealed opens under its own suite, key and purpose alone; published answers come out."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import suites
from yingbi.api.suites import CLASSICAL, HYBRID, SUITES, CipherSuite

every_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=["hybrid", "classical"])
SEED, OTHER = bytes(32), b"\1" * 32


def test_what_starts_now_is_hybrid_and_nothing_else_is_taken_for_it() -> None:
    assert suites.DEFAULT is HYBRID
    assert {HYBRID.name} == suites.ACCEPTED
    assert list(SUITES) == [HYBRID.name, CLASSICAL.name]


def test_a_seed_becomes_the_key_that_the_draft_says() -> None:
    """Known answer 1 of draft-connolly-cfrg-xwing-kem; its seed is what SHAKE128 makes of nothing."""
    public = HYBRID.key(hashlib.shake_128().digest(32)).public
    assert public.hex().startswith("e2236b35a8c24b39b10aa1323a96a919a2ced884")
    assert public.hex().endswith("859edb06eff389b27dce59844570216223593d4ba32d9abac8cd049040ef6534")


@every_suite
def test_a_key_is_always_the_same_and_as_long_as_the_table_says(suite: CipherSuite) -> None:
    key = suite.key(SEED)
    assert key.public == suite.key(SEED).public != suite.key(OTHER).public
    assert len(key.public) == suite.encryption_key_bytes
    with pytest.raises(ValueError, match="32 bytes"):
        suite.key(bytes(31))


@every_suite
@settings(max_examples=20)
@given(plaintext=st.binary(max_size=200), info=st.binary(max_size=40))
def test_what_is_sealed_comes_back_and_is_longer_by_what_the_table_says(
    suite: CipherSuite, plaintext: bytes, info: bytes
) -> None:
    key = suite.key(SEED)
    sealed = suite.seal(plaintext, key.public, info)
    assert len(sealed) == len(plaintext) + suite.overhead
    assert key.open(sealed, info) == plaintext


@every_suite
def test_it_opens_for_nobody_else_and_for_nothing_else(suite: CipherSuite) -> None:
    sealed = suite.seal(b"secret", suite.key(SEED).public, b"purpose")
    other_suite = next(one for one in SUITES.values() if one is not suite)
    for key, info in (
        (suite.key(OTHER), b"purpose"),
        (suite.key(SEED), b"another"),
        (other_suite.key(SEED), b"purpose"),
    ):
        with pytest.raises(InvalidTag):
            key.open(sealed, info)


@every_suite
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_altered_cut_or_made_up_does_not_open(suite: CipherSuite, data: st.DataObject) -> None:
    """One error for all of it, and no crash."""
    key = suite.key(SEED)
    sealed = suite.seal(b"secret", key.public, b"purpose")
    position = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[:position] + bytes([sealed[position] ^ data.draw(st.integers(1, 255))]) + sealed[position + 1 :]
    for wrong in (flipped, sealed[:position], sealed + b"\0", data.draw(st.binary(max_size=1200)), bytes(len(sealed))):
        with pytest.raises(InvalidTag):
            key.open(wrong, b"purpose")


def test_either_half_alone_opens_nothing() -> None:
    """Hybrid: who breaks X25519 and not ML-KEM, or the other way round, has nothing."""
    lattice, curve = HYBRID.key(SEED).public[:1184], HYBRID.key(SEED).public[1184:]
    other = HYBRID.key(OTHER).public
    for mixed in (lattice + other[1184:], other[:1184] + curve):
        sealed = HYBRID.seal(b"secret", mixed, b"")
        for seed in (SEED, OTHER):
            with pytest.raises(InvalidTag):
                HYBRID.key(seed).open(sealed, b"")


@every_suite
def test_nothing_is_sealed_to_a_key_that_is_none(suite: CipherSuite) -> None:
    """Another length; a lattice's numbers out of range; a point of small order, whose secret everybody knows."""
    public = suite.key(SEED).public
    for wrong in (b"", public[:-1], public + b"\0", b"\xff" * len(public), public[:-32] + bytes(32)):
        if wrong == b"\xff" * 32:
            continue  # a point like any other
        with pytest.raises(ValueError, match=r"."):
            suite.seal(b"secret", wrong, b"")


def test_a_key_in_a_log_shows_no_secret() -> None:
    assert "Private" not in repr(HYBRID.key(SEED))
