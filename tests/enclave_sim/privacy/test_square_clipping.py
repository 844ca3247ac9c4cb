"""Sums of squares and products have the norm that is claimed, whatever was squared; shorter ones stay as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_sim.privacy.square_clipping import FEW_ROWS, LARGEST, LongUnit, clipped_squares
from enclave_sim.privacy.vector_clipping import MAX_NORM

NUMBER = st.one_of(st.integers(-300, 300), st.sampled_from([int(LARGEST), -int(LARGEST), 0, 1]))
ROWS = st.lists(st.tuples(*[NUMBER] * 3), min_size=1, max_size=12)
NORMS = st.one_of(st.integers(5, 70_000), st.integers(5 << 16, 60 << 16), st.just(MAX_NORM))


def few(rows: list[tuple[int, ...]], norm: int) -> list[int]:
    """One unit's cells, of few rows."""
    found: list[int] = clipped_squares(np.array(rows, np.float64).T.copy(), np.array([0]), norm).tolist()
    return found


def many(rows: list[tuple[int, ...]], norm: int) -> list[int]:
    """One unit's cells, as if it had many rows, one after another."""
    unit = LongUnit(len(rows[0]), norm)
    for row in rows:
        unit.add(np.array([row], np.float64).T)
    found: list[int] = unit.clipped().tolist()
    return found


def exact(rows: list[tuple[int, ...]], norm: int) -> list[float]:
    """What both are near to."""
    squares = sum(part * part for row in rows for part in row)
    share = min(1 / len(rows), norm / 5 / squares) if squares else 0.0
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    return [share * (5 if i == j else 7) * sum(row[i] * row[j] for row in rows) for i, j in pairs]


@settings(max_examples=60, deadline=None)
@given(ROWS, NORMS)
def test_no_unit_is_longer_than_the_norm(rows: list[tuple[int, ...]], norm: int) -> None:
    for found in (few(rows, norm), many(rows, norm)):
        assert sum(cell * cell for cell in found) <= norm * norm


@pytest.mark.parametrize(("columns", "count"), [(1, 1), (1, FEW_ROWS), (60, 2), (60, 63), (256, FEW_ROWS)])
def test_the_largest_numbers_at_any_norm_are_cut_to_it(columns: int, count: int) -> None:
    """All cells are at their largest: of a unit all of whose numbers are equal, and of one with one number in a row."""
    full = np.full((columns, count), LARGEST)
    lonely = np.zeros((columns, count))
    lonely[0] = LARGEST
    for whole in (full, lonely, -full):
        for norm in (5, MAX_NORM - 1, MAX_NORM):
            found = clipped_squares(whole.copy(), np.array([0]), norm)
            assert sum(cell * cell for cell in found.tolist()) <= norm * norm
            unit = LongUnit(columns, norm)
            unit.add(whole)
            assert sum(cell * cell for cell in unit.clipped().tolist()) <= norm * norm


@given(ROWS)
def test_one_row_within_the_norm_is_squared_as_it_is(rows: list[tuple[int, ...]]) -> None:
    (row, *_) = rows
    if 5 * sum(part * part for part in row) <= MAX_NORM:
        assert few([row], MAX_NORM) == [round(cell) for cell in exact([row], MAX_NORM)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(-2000, 2000)] * 3), min_size=1, max_size=12), st.integers(1 << 20, MAX_NORM))
def test_a_units_cells_are_near_to_the_mean_of_its_rows_or_to_what_the_norm_leaves(
    rows: list[tuple[int, ...]], norm: int
) -> None:
    """Of few rows each number is rounded once, by a half; of a cut one by one at most."""
    bound = exact(rows, norm)
    length = math.sqrt(norm / 5)
    for found in (few(rows, norm), many(rows, norm)):
        for one, other in zip(found, bound, strict=True):
            assert abs(one - other) <= 7 * (2 * length * math.sqrt(len(rows)) + len(rows)) + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6), NORMS)
def test_a_sum_over_units_is_the_sum_of_what_each_adds_alone(units: list[list[tuple[int, ...]]], norm: int) -> None:
    starts = np.cumsum([0, *map(len, units)])[:-1]
    together = clipped_squares(np.array([row for rows in units for row in rows], np.float64).T.copy(), starts, norm)
    assert together.tolist() == np.sum([few(rows, norm) for rows in units], axis=0).tolist()


@pytest.mark.parametrize("number", [LARGEST + 1, -LARGEST - 1, math.nan, math.inf])
def test_a_number_beyond_exact_arithmetic_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        clipped_squares(np.array([[number]]), np.array([0]), 1000)
    with pytest.raises(ValueError, match="out of range"):
        LongUnit(1, 1000).add(np.array([[number]]))


@pytest.mark.parametrize("norm", [4, MAX_NORM + 1])
def test_a_norm_of_which_nothing_is_left_or_that_is_too_long_is_refused(norm: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        clipped_squares(np.ones((1, 1)), np.array([0]), norm)


def test_too_many_rows_of_a_unit_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 64 rows"):
        clipped_squares(np.ones((1, FEW_ROWS + 1)), np.array([0]), 1000)
