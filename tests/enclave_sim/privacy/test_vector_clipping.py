"""A unit's vector has the norm that is claimed, whatever it held; and where it is shorter, it stays what it was."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.privacy.vector_clipping import MAX_NORM, MAX_SQUARES, clipped, finite

ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
NORMS = st.one_of(st.integers(1, 70_000), st.integers(MAX_NORM - 3, MAX_NORM))


@given(st.lists(st.lists(ANYTHING, min_size=3, max_size=3), min_size=1, max_size=8), NORMS, st.sampled_from([0, 16]))
def test_no_vector_is_longer_than_the_norm(rows: list[list[float]], norm: int, fraction_bits: int) -> None:
    with np.errstate(all="ignore"):
        found = clipped(finite(np.array(rows)), norm, fraction_bits)
    assert all(sum(part * part for part in row) <= norm * norm for row in found.tolist())


@given(st.lists(ANYTHING, min_size=1, max_size=40), st.integers(1, 1000))
def test_even_what_nobody_made_finite_is_cut(row: list[float], norm: int) -> None:
    with np.errstate(all="ignore"):
        (found,) = clipped(np.array([row]), norm, 16).tolist()
    assert sum(part * part for part in found) <= norm * norm


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=20))
def test_a_vector_within_the_norm_is_its_own_in_grid_steps(row: list[int]) -> None:
    norm = math.isqrt(sum(part * part for part in row)) + 2
    (found,) = clipped(np.array([row], np.float64) / 16, norm, 4).tolist()
    assert found == row


def test_a_long_vector_keeps_its_direction() -> None:
    (found,) = clipped(np.array([[3e9, -4e9]]), 100_000, 16).tolist()
    assert found == [pytest.approx(60_000, abs=2), pytest.approx(-80_000, abs=2)]


@pytest.mark.parametrize(("norm", "width"), [(0, 2), (MAX_NORM + 1, 2), (MAX_NORM, MAX_SQUARES // MAX_NORM**2 + 1)])
def test_a_norm_beyond_exact_arithmetic_is_refused(norm: int, width: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        clipped(np.zeros((1, width)), norm, 16)
