"""Least squares over marginals, against numpy's over the whole table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from yingbi.api import marginals
from yingbi.api.marginals import Keys

Matrix = NDArray[np.float64]


def adding_up(sizes: Sequence[int], keys: Keys) -> Matrix:
    """From the whole table to a marginal."""
    found: Any = np.ones((1, 1))
    for key, size in enumerate(sizes):
        found = np.kron(found, np.eye(size) if key in keys else np.ones((1, size)))
    return np.asarray(found, np.float64)


@st.composite
def measurements(draw: st.DrawFn) -> tuple[list[int], dict[Keys, float], dict[Keys, list[float]], list[Keys]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    every = marginals.subsets(tuple(range(len(sizes))))
    measured = draw(st.lists(st.sampled_from(every), min_size=1, max_size=5, unique=True))
    precisions = {keys: draw(st.floats(0.01, 100.0)) for keys in measured}
    numbers = st.integers(-1000, 1000)
    tables: dict[Keys, list[float]] = {}
    for keys in measured:
        cells = marginals.count(sizes, keys)
        tables[keys] = list(map(float, draw(st.lists(numbers, min_size=cells, max_size=cells))))
    wanted = [keys for keys in every if any(set(keys) <= set(each) for each in measured)]
    return sizes, precisions, tables, wanted


@given(measurements())
def test_estimates_and_variances_are_those_of_least_squares(made: Any) -> None:
    sizes, precisions, tables, wanted = made
    rows = np.concatenate([np.sqrt(w) * adding_up(sizes, keys) for keys, w in precisions.items()])
    seen = np.concatenate([np.sqrt(w) * np.array(tables[keys]) for keys, w in precisions.items()])
    inverse = np.linalg.pinv(rows.T @ rows, rcond=1e-12)
    table = inverse @ rows.T @ seen
    for keys, found in zip(wanted, marginals.estimates(sizes, tables, precisions, wanted), strict=True):
        own = adding_up(sizes, keys)
        assert found == pytest.approx(list(own @ table), rel=1e-6, abs=1e-5)
        expected = np.diag(own @ inverse @ own.T)
        assert list(expected) == pytest.approx([marginals.variance(sizes, precisions, keys)] * len(expected), rel=1e-6)


@given(measurements())
def test_totals_are_the_sums_of_their_parts(made: Any) -> None:
    sizes, precisions, tables, wanted = made
    found = dict(zip(wanted, marginals.estimates(sizes, tables, precisions, wanted), strict=True))
    for fine, coarse in itertools.product(wanted, wanted):
        if set(coarse) <= set(fine):
            sums = [0.0] * len(found[coarse])
            for place, value in zip(marginals.places(sizes, fine, coarse), found[fine], strict=True):
                sums[place] += value
            assert sums == pytest.approx(found[coarse], rel=1e-9, abs=1e-6)


def test_what_no_measured_marginal_contains_cannot_be_estimated() -> None:
    assert marginals.variance([2, 3], {(0,): 1.0, (1,): 1.0}, (0, 1)) == float("inf")


def test_a_table_that_is_measured_alone_is_left_as_it_is() -> None:
    assert marginals.estimates([2, 2], {(0, 1): [1.0, 2.0, 3.0, 4.0]}, {(0, 1): 0.5}, [(0, 1), (0,), ()]) == [
        pytest.approx([1, 2, 3, 4]), pytest.approx([3, 7]), pytest.approx([10]),
    ]  # fmt: skip
    assert [marginals.variance([2, 2], {(0, 1): 0.5}, keys) for keys in ((0, 1), (0,), ())] == [
        pytest.approx(2), pytest.approx(4), pytest.approx(8),
    ]  # fmt: skip
