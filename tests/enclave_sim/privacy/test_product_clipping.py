"""Products of factors have the norm that is claimed, whatever the factors held; shorter ones stay what they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.privacy.product_clipping import (
    FEW_ROWS,
    LARGEST_INPUT,
    MAX_INPUTS,
    clipped_factors,
    clipped_units,
    sums_of_products,
)
from enclave_sim.privacy.vector_clipping import MAX_NORM

ANYTHING = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-1e5, 1e5))
NORMS = st.one_of(st.integers(1, 70_000), st.integers(MAX_NORM - 3, MAX_NORM))
INPUT = st.one_of(st.integers(-300, 300), st.sampled_from([LARGEST_INPUT, -LARGEST_INPUT, 0]))


def square(factors: list[np.ndarray], inputs: list[np.ndarray], row: int) -> int:
    """Of one unit's vector the squared norm, in whole numbers of any size."""
    return sum(
        (int(one) * int(other)) ** 2
        for factor, own in zip(factors, inputs, strict=True)
        for one in factor[row]
        for other in own[row]
    )


@given(st.lists(st.tuples(*[ANYTHING] * 3, *[INPUT] * 4), min_size=1, max_size=6), NORMS)
def test_no_vector_of_products_is_longer_than_the_norm(rows: list[tuple[float, ...]], norm: int) -> None:
    numbers = np.array(rows, np.float64)
    factors, inputs = [numbers[:, :2], numbers[:, 2:3]], [numbers[:, 3:5], numbers[:, 5:]]
    with np.errstate(all="ignore"):
        found = clipped_factors(factors, inputs, norm)
    for row in range(len(rows)):
        assert square(found, inputs, row) <= norm**2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(*[ANYTHING] * 3, *[INPUT] * 4), min_size=1, max_size=FEW_ROWS), min_size=1, max_size=4),
    NORMS,
)
def test_no_sum_over_a_units_rows_is_longer_than_the_norm_and_none_depends_on_others(
    units: list[list[tuple[float, ...]]], norm: int
) -> None:
    def total(*rows: list[tuple[float, ...]]) -> list[int]:
        numbers = np.array([row for own in rows for row in own], np.float64)
        factors, inputs = [numbers[:, :2], numbers[:, 2:3]], [numbers[:, 3:5], numbers[:, 5:]]
        starts = np.cumsum([0, *map(len, rows)])[:-1]
        with np.errstate(all="ignore"):
            return list(sums_of_products(clipped_units(factors, inputs, starts, norm), inputs).tolist())

    alone = [total(rows) for rows in units]
    for each in alone:
        assert sum(cell * cell for cell in each) <= norm * norm
    assert total(*units) == [sum(cells) for cells in zip(*alone, strict=True)]


@pytest.mark.parametrize("norm", [1, 7, 70_000, MAX_NORM])
@pytest.mark.parametrize("count", [1, 2, 3, 15, FEW_ROWS])
def test_rows_that_all_point_the_same_way_are_no_longer_together_than_the_norm(norm: int, count: int) -> None:
    """The triangle inequality leaves nothing there: what rows are rounded up by would be too much."""
    inputs, factors = [np.full((count, 40), 300.0)], [np.full((count, 30), 12345.0)]
    found = sums_of_products(clipped_units(factors, inputs, np.array([0]), norm), inputs)
    assert sum(cell * cell for cell in found.tolist()) <= norm * norm


def test_a_unit_with_too_many_rows_is_refused() -> None:
    ones = np.ones((FEW_ROWS + 1, 1))
    with pytest.raises(ValueError, match="more than 16 rows"):
        clipped_units([ones], [ones], np.array([0]), 1000)


def test_the_longest_inputs_at_the_longest_norm_are_exact() -> None:
    inputs = [np.full((3, MAX_INPUTS), float(LARGEST_INPUT))] * 2
    factors = [np.full((3, 512), huge) for huge in (1e300, -3e7)]
    found = clipped_factors(factors, inputs, MAX_NORM)
    assert max(square(found, inputs, row) for row in range(3)) <= MAX_NORM**2


@given(st.lists(st.tuples(*[st.integers(-200, 200)] * 4), min_size=1, max_size=5))
def test_vectors_within_the_norm_are_summed_as_they_are(rows: list[tuple[int, ...]]) -> None:
    numbers = np.array(rows, np.float64)
    factors, inputs = [numbers[:, :2]], [numbers[:, 2:]]
    norm = math.isqrt(max(square(factors, inputs, row) for row in range(len(rows)))) + 1
    found = sums_of_products(clipped_factors(factors, inputs, norm), inputs)
    assert found.tolist() == [sum(row[j] * row[2 + i] for row in rows) for j in range(2) for i in range(2)]


def test_a_long_vector_keeps_its_direction() -> None:
    (found,) = clipped_factors([np.array([[3e9, -4e9]])], [np.array([[10.0]])], 100_000)
    assert found.tolist() == [[pytest.approx(6_000, abs=2), pytest.approx(-8_000, abs=2)]]


@pytest.mark.parametrize("inputs", [[[0.5]], [[2.0**14 + 1]], [[math.nan]], [[1.0] * (MAX_INPUTS + 1)]])
def test_inputs_beyond_exact_arithmetic_are_refused(inputs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        clipped_factors([np.ones((1, 1))], [np.array(inputs)], 1000)


@pytest.mark.parametrize("norm", [0, MAX_NORM + 1])
def test_a_norm_beyond_exact_arithmetic_is_refused(norm: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        clipped_factors([np.ones((1, 1))], [np.ones((1, 1))], norm)
