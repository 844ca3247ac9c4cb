"""Joint clipping: whatever a unit adds to whichever statistics, its whole vector stays within the norm."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from enclave_sim.privacy.clipping import (
    MAX_JOINT_NORM,
    MAX_UNIT_ROWS,
    ClippingInputError,
    ClippingRangeError,
    ceil_isqrt,
    sixteenths,
    weigh_down_jointly,
)

BITS = st.sampled_from([0, 3, 4, 16])
ROWS = st.one_of(st.integers(-5, 5), st.integers(-MAX_UNIT_ROWS // 64, MAX_UNIT_ROWS // 64))


def ints(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def norm_of(values: NDArray[np.int64], bits: int) -> int:
    """⌈√(Σ q²)⌉ in Python's integers."""
    square = sum(int(q) ** 2 for q in sixteenths(values, bits))
    return isqrt(square - 1) + 1 if square else 0


@given(
    vector=st.lists(st.tuples(ROWS, st.fractions(-1, 1)), min_size=1, max_size=64),
    bound=st.one_of(st.integers(1, 100), st.integers(1, MAX_JOINT_NORM)),
    bits=BITS,
)
def test_no_vector_is_longer_than_the_bound(vector: list[tuple[int, float]], bound: int, bits: int) -> None:
    values = ints([int(rows * share * 2**bits) for rows, share in vector])
    norm = norm_of(values, bits)
    clipped = weigh_down_jointly(values, np.full(len(values), norm, np.int64), bound, bits)
    assert sum(int(v) ** 2 for v in clipped) * 256 <= (bound << bits) ** 2
    if norm <= bound:
        assert (clipped == values).all()
    assert (np.sign(clipped) * np.sign(values) >= 0).all()


@given(st.integers(-MAX_UNIT_ROWS, MAX_UNIT_ROWS), BITS)
def test_sixteenths_are_rounded_away_from_zero(value: int, bits: int) -> None:
    assert sixteenths(ints([value]), bits)[0] == -(-16 * abs(value) // 2**bits)


def test_at_the_largest_of_everything_nothing_wraps() -> None:
    """64 statistics of a unit with all the rows that one may have."""
    values = np.full(64, MAX_UNIT_ROWS << 16, np.int64)
    norm = int(ceil_isqrt(ints([int(sum(int(q) ** 2 for q in sixteenths(values, 16)))]))[0])
    assert norm == norm_of(values, 16)
    clipped = weigh_down_jointly(values, np.full(64, norm, np.int64), MAX_JOINT_NORM, 16)
    assert [int(v) for v in clipped] == [int(values[0]) * MAX_JOINT_NORM // norm] * 64


def test_a_norm_that_is_rounded_down_lets_a_vector_through_that_is_too_long() -> None:
    """What the argument rests on: rounding away from zero. √2 rows is 22.6 sixteenths; 22 would be within 22."""
    values = ints([1 << 16, 1 << 16])
    assert norm_of(values, 16) == 23
    kept = weigh_down_jointly(values, ints([23, 23]), 22, 16)
    assert sum(int(v) ** 2 for v in kept) * 256 <= (22 << 16) ** 2 < sum(int(v) ** 2 for v in values) * 256


@pytest.mark.parametrize(
    ("values", "norms", "bound", "bits"),
    [
        ([1], [16], 0, 4),
        ([1], [16], MAX_JOINT_NORM + 1, 4),
        ([1], [2**31 + 1], 1, 4),
        ([(MAX_UNIT_ROWS + 1) << 16], [2**30], 1, 16),
        ([-(2**63)], [2**30], 1, 16),
        ([1], [16], 1, 17),
    ],
)
def test_what_could_overflow_is_refused(values: list[int], norms: list[int], bound: int, bits: int) -> None:
    with pytest.raises(ClippingRangeError):
        weigh_down_jointly(ints(values), ints(norms), bound, bits)


@pytest.mark.parametrize(("values", "norms"), [([32], [1]), ([1, 1], [16]), ([-17], [16])])
def test_a_value_beyond_its_norm_is_refused(values: list[int], norms: list[int]) -> None:
    with pytest.raises(ClippingInputError):
        weigh_down_jointly(ints(values), ints(norms), 1, 4)
