"""The clipping rule by unit and by entry, in any order of entries: equal to the rule on sorted ones."""

from math import isqrt
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.privacy.clipping import (
    MAX_BOUND,
    ClippingInputError,
    ClippingRangeError,
    ceil_isqrt,
    clip_indicator,
    clip_weighted,
    indicator_weights,
    weigh_down,
)

matrices = st.integers(1, 5).flatmap(
    lambda groups: st.lists(
        st.lists(st.one_of(st.just(0), st.integers(0, 4000)), min_size=groups, max_size=groups), min_size=1, max_size=6
    )
)


@given(matrices, st.integers(1, 6000), st.integers(0, 16), st.randoms())
def test_every_unit_with_every_group_is_clipped_as_its_touched_groups_are(
    counts: list[list[int]], bound: int, bits: int, random: Random
) -> None:
    rows = np.array(counts, np.int64)
    values = np.array([[random.randint(-m << bits, m << bits) for m in unit] for unit in counts], np.int64)
    norms = ceil_isqrt((rows * rows).sum(axis=1))
    dense = weigh_down(values.ravel(), np.repeat(norms, rows.shape[1]), bound).reshape(rows.shape)
    units, groups = np.nonzero(rows)
    sparse = clip_weighted(units, rows[units, groups], values[units, groups], bound, bits)
    assert (dense[units, groups] == sparse).all()
    assert not dense[rows == 0].any()


@given(matrices, st.integers(1, 6), st.integers(0, 16))
def test_weights_by_unit_are_those_of_its_touched_groups(counts: list[list[int]], bound: int, bits: int) -> None:
    present = np.array(counts) > 0
    weights = indicator_weights(present.sum(axis=1), bound, bits)
    units = np.nonzero(present)[0]
    assert (weights[units] == clip_indicator(units, bound, bits)).all()


def test_a_unit_over_the_bound_stays_within_the_norm() -> None:
    touched = np.arange(1, 5000)
    for bound in (1, 2, 63, 4096):
        squared = touched * indicator_weights(touched, bound, 16) ** 2
        assert (squared <= bound * 4**16).all()
    assert int(indicator_weights(np.array([3]), 1, 8)[0]) == isqrt(4**8 // 3)


@pytest.mark.parametrize(("bound", "bits"), [(0, 0), (MAX_BOUND + 1, 0), (1, 17), (1, -1)])
def test_bounds_out_of_range_are_refused(bound: int, bits: int) -> None:
    with pytest.raises(ClippingRangeError):
        indicator_weights(np.array([1]), bound, bits)


def test_no_unit_touches_a_negative_or_broken_number_of_groups() -> None:
    with pytest.raises(ClippingInputError):
        indicator_weights(np.array([1, -1]), 1, 4)
    with pytest.raises(ClippingInputError):
        indicator_weights(np.array([1.0]), 1, 4)
