"""Keys that nobody declared: released with enough units behind them, and never for one unit alone."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.zcdp import DELTA0_UNITS

from enclave_sim.privacy.key_selection import key_weights, lowest_threshold, select_keys, weight

BITS = 8
ONE = 1 << BITS


def weights(pairs: list[tuple[int, int]], count: int, max_keys: int = 10) -> list[int]:
    units, keys = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    return [int(w) for w in key_weights(units, keys, count, max_keys=max_keys, fraction_bits=BITS)]


def selected(pairs: list[tuple[int, int]], noise: list[int], threshold: int, max_keys: int = 10) -> list[int]:
    found = np.array(weights(pairs, len(noise), max_keys), dtype=np.int64)
    return [int(key) for key in select_keys(found, np.array(noise, dtype=np.int64), threshold)]


def test_a_key_is_released_when_the_weights_of_its_units_reach_the_threshold() -> None:
    pairs = [(unit, 0) for unit in range(5)] + [(9, 1)]
    assert selected(pairs, [0, 0], 5 * ONE) == [0]
    assert selected(pairs, [0, 0], 5 * ONE + 1) == []
    assert selected(pairs, [-1, 0], 5 * ONE) == []
    assert selected(pairs, [0, 4 * ONE], 5 * ONE) == [0, 1]


def test_a_unit_with_several_keys_shares_its_weight_among_them() -> None:
    assert selected([(0, 0), (0, 1), (0, 2), (0, 3)], [0, 0, 0, 0], ONE // 2) == [0, 1, 2, 3]
    assert selected([(0, 0), (0, 1), (0, 2), (0, 3)], [0, 0, 0, 0], ONE // 2 + 1) == []


def test_keys_beyond_a_units_first_count_nothing_and_are_never_released() -> None:
    assert selected([(0, 0), (0, 1)], [0, 10**9], ONE, max_keys=1) == [0]


def test_nothing_comes_of_nothing() -> None:
    assert selected([], [], 1) == []


@given(st.integers(1, 4095), st.integers(6, 16))
def test_the_weights_of_a_unit_have_a_norm_of_one_at_most(keys: int, bits: int) -> None:
    assert keys * weight(keys, bits) ** 2 <= 4**bits


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), unique=True, min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_without_a_unit_the_weights_move_by_a_norm_of_one_at_most(pairs: list[tuple[int, int]], most: int) -> None:
    pairs.sort()
    without = [pair for pair in pairs if pair[0] != pairs[0][0]]
    before, after = weights(pairs, 9, most), weights(without, 9, most)
    assert sum((a - b) ** 2 for a, b in zip(before, after, strict=True)) <= ONE**2


@pytest.mark.parametrize("sigma", [20, 300])
@pytest.mark.parametrize("max_keys", [1, 3, 50])
@pytest.mark.parametrize("delta0", [1e-3, 1e-9])
def test_keys_of_one_unit_pass_the_threshold_with_probability_delta_0_at_most(
    sigma: int, max_keys: int, delta0: float
) -> None:
    threshold = lowest_threshold(sigma, max_keys, round(delta0 * DELTA0_UNITS), BITS)
    for keys in range(1, max_keys + 1):
        passes = tail(sigma, threshold - weight(keys, BITS))
        assert keys * passes <= delta0
        # A union bound and a subgaussian tail are not far from the truth.
    assert threshold <= ONE + sigma * 1.05 * math.sqrt(2 * math.log(max_keys / delta0)) + 3


def tail(sigma: int, least: int) -> float:
    """P[N_Z(0, σ²) >= least], by adding up."""
    mass = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-12 * sigma, 12 * sigma + 1)]
    above = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(least, least + 12 * sigma)]
    return math.fsum(above) / math.fsum(mass)


def test_the_threshold_is_never_below_the_formulas() -> None:
    for sigma in (1, 7, 10**6, 2**53):
        exact = Fraction(weight(1, 16)) + sigma * Fraction(math.sqrt(2 * math.log(1e9)))
        assert lowest_threshold(sigma, 1, DELTA0_UNITS // 10**9, 16) >= math.floor(exact * (1 - Fraction(1, 10**12)))


@pytest.mark.parametrize(
    ("sigma", "max_keys", "delta0"), [(0, 1, 1), (1, 0, 1), (1, 4096, 1), (1, 1, 0), (1, 1, DELTA0_UNITS)]
)
def test_arguments_out_of_range_are_refused(sigma: int, max_keys: int, delta0: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        lowest_threshold(sigma, max_keys, delta0, BITS)


@given(st.integers(1, 2**20), st.integers(1, 300), st.integers(1, DELTA0_UNITS // 4), st.integers(6, 16))
def test_the_most_demanding_number_of_keys_is_one_or_all(sigma: int, most: int, delta0: int, bits: int) -> None:
    threshold = lowest_threshold(sigma, most, delta0, bits)
    needed = [
        weight(keys, bits) + sigma * math.sqrt(2 * math.log(keys * DELTA0_UNITS / delta0))
        for keys in range(1, most + 1)
    ]
    assert max(needed) * (1 - 1e-12) <= threshold <= max(needed) * (1 + 1e-12) + 5
