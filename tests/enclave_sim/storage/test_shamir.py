"""Secret sharing: any M of N shares make the secret, and fewer say nothing of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.storage.shamir import combine, inverse, multiply, split


@pytest.mark.parametrize(("a", "b", "product"), [(0x57, 0x83, 0xC1), (0x57, 0x13, 0xFE), (0x57, 0x10, 0x07)])
def test_the_field_is_that_of_fips_197(a: int, b: int, product: int) -> None:
    """The worked examples of its section 4.2."""
    assert multiply(a, b) == multiply(b, a) == product


def test_every_element_but_0_has_an_inverse() -> None:
    assert all(multiply(a, inverse(a)) == 1 for a in range(1, 256))


@given(st.binary(min_size=1, max_size=40), st.integers(2, 6), st.integers(0, 3), st.randoms())
def test_any_threshold_of_shares_makes_the_secret(secret: bytes, threshold: int, more: int, order: object) -> None:
    shares = dict(enumerate(split(secret, threshold + more, threshold), 1))
    chosen = list(shares)
    order.shuffle(chosen)  # type: ignore[attr-defined]
    for taken in (chosen[:threshold], chosen):
        assert combine({x: shares[x] for x in taken}) == secret


def test_one_share_less_fits_every_secret_equally() -> None:
    """Whatever two shares of three say, each secret is made by exactly one third share."""
    known = dict(enumerate(split(b"\x2a", 3, 3)[:2], 1))
    assert {combine({**known, 3: bytes([third])}) for third in range(256)} == {bytes([one]) for one in range(256)}


def test_shares_are_random() -> None:
    assert split(bytes(32), 3, 2)[0] != split(bytes(32), 3, 2)[0]


def test_more_shares_than_the_polynomial_needs_are_used_too() -> None:
    """A wrong one among them is not passed over: the secret is another."""
    shares = dict(enumerate(split(b"secret", 5, 2), 1))
    wrong = {**shares, 4: bytes(6)}
    assert combine(wrong) != b"secret"


@pytest.mark.parametrize(("shares", "threshold"), [(3, 1), (2, 3), (256, 2), (0, 0)])
def test_thresholds_without_sense_are_refused(shares: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="threshold"):
        split(b"secret", shares, threshold)
