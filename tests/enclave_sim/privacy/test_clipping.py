"""Clipping equals plain big-integer arithmetic, and no unit is ever longer than the claim."""

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.privacy import clipping
from enclave_sim.privacy.clipping import (
    MAX_BOUND,
    MAX_FRACTION_BITS,
    MAX_UNIT_ROWS,
    ClippingInputError,
    ClippingRangeError,
    Integers,
    ceil_isqrt,
    clip_indicator,
    clip_weighted,
)


@dataclass(frozen=True)
class Entry:
    unit: int
    group: int
    rows: int
    value: int


def reference_clip(entries: list[Entry], bound: int) -> list[int]:
    clipped = []
    for _, unit in groupby(entries, key=lambda entry: entry.unit):
        own = list(unit)
        squares = sum(entry.rows**2 for entry in own)
        norm = isqrt(squares - 1) + 1
        clipped += [entry.value if norm <= bound else int(Fraction(entry.value * bound, norm)) for entry in own]
    return clipped


def reference_indicator(entries: list[Entry], bound: int, bits: int) -> list[int]:
    weights = []
    for _, unit in groupby(entries, key=lambda entry: entry.unit):
        groups = len(list(unit))
        weights += [2**bits if groups <= bound else isqrt(4**bits * bound // groups)] * groups
    return weights


def ints(values: list[int]) -> Integers:
    return np.array(values, dtype=np.int64)


def clip(entries: list[Entry], bound: int, bits: int) -> list[int]:
    columns = (ints([getattr(entry, name) for entry in entries]) for name in ("unit", "rows", "value"))
    unit_codes, row_counts, values = columns
    return [int(v) for v in clip_weighted(unit_codes, row_counts, values, bound, bits)]


def indicate(entries: list[Entry], bound: int, bits: int) -> list[int]:
    return [int(v) for v in clip_indicator(ints([entry.unit for entry in entries]), bound, bits)]


def squared_norms(entries: list[Entry], values: list[int]) -> dict[int, int]:
    norms: dict[int, int] = defaultdict(int)
    for entry, value in zip(entries, values, strict=True):
        norms[entry.unit] += value**2
    return norms


def totals(entries: list[Entry], values: list[int]) -> dict[int, int]:
    sums: dict[int, int] = defaultdict(int)
    for entry, value in zip(entries, values, strict=True):
        sums[entry.group] += value
    return sums


def squared_distance(one: dict[int, int], other: dict[int, int]) -> int:
    return sum((one.get(group, 0) - other.get(group, 0)) ** 2 for group in one.keys() | other.keys())


bits_ = st.integers(min_value=0, max_value=MAX_FRACTION_BITS)
bounds = st.one_of(st.integers(1, 12), st.integers(1, MAX_BOUND))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Entry], int]:
    """A table of up to six units in up to eight groups, with values up to and at their limits."""
    bits = draw(bits_)
    entries = []
    for unit in range(draw(st.integers(0, 6))):
        groups = draw(st.sets(st.integers(0, 7), min_size=1))
        most = draw(st.sampled_from([1, 3, 1000, MAX_UNIT_ROWS // len(groups)]))
        for group in sorted(groups):
            rows = draw(st.one_of(st.just(most), st.integers(1, most)))
            limit = rows << bits
            value = draw(st.one_of(st.sampled_from([limit, -limit]), st.integers(-limit, limit)))
            entries.append(Entry(unit, group, rows, value))
    return entries, bits


@given(table=tables(), bound=bounds)
def test_clipping_equals_big_integer_arithmetic(table: tuple[list[Entry], int], bound: int) -> None:
    entries, bits = table
    assert clip(entries, bound, bits) == reference_clip(entries, bound)
    assert indicate(entries, bound, bits) == reference_indicator(entries, bound, bits)


@given(table=tables(), bound=bounds)
def test_no_unit_is_longer_than_the_claim(table: tuple[list[Entry], int], bound: int) -> None:
    entries, bits = table
    weighted = squared_norms(entries, clip(entries, bound, bits))
    assert all(norm <= (bound << bits) ** 2 for norm in weighted.values())
    indicators = squared_norms(entries, indicate(entries, bound, bits))
    assert all(norm <= bound * 4**bits for norm in indicators.values())


@given(table=tables(), bound=bounds, choice=st.integers(0, 5))
def test_taking_a_unit_out_moves_the_sums_by_no_more_than_the_claim(
    table: tuple[list[Entry], int], bound: int, choice: int
) -> None:
    entries, bits = table
    rest = [entry for entry in entries if entry.unit != choice]
    with_unit, without = totals(entries, clip(entries, bound, bits)), totals(rest, clip(rest, bound, bits))
    assert squared_distance(with_unit, without) <= (bound << bits) ** 2
    with_unit = totals(entries, indicate(entries, bound, bits))
    without = totals(rest, indicate(rest, bound, bits))
    assert squared_distance(with_unit, without) <= bound * 4**bits


def test_a_unit_just_past_the_bound_at_the_largest_sizes() -> None:
    # One unit in 4096 groups with all its rows at full value.
    rows = MAX_UNIT_ROWS // 4096
    entries = [Entry(0, group, rows, -rows << MAX_FRACTION_BITS) for group in range(4096)]
    for bound in (1, rows * 64 - 1, rows * 64, MAX_BOUND):
        clipped = clip(entries, bound, MAX_FRACTION_BITS)
        assert clipped == reference_clip(entries, bound)
        assert squared_norms(entries, clipped)[0] <= (bound << MAX_FRACTION_BITS) ** 2
    alone = [Entry(0, 0, MAX_UNIT_ROWS, MAX_UNIT_ROWS << MAX_FRACTION_BITS)]
    assert clip(alone, MAX_BOUND, MAX_FRACTION_BITS) == [MAX_BOUND << MAX_FRACTION_BITS]


def test_a_broken_clip_is_longer_than_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """The norm is met with so little to spare that rounding the root down already breaks it."""
    entries = [Entry(0, group, 1, 1 << 16) for group in range(2)]
    assert squared_norms(entries, clip(entries, 1, 16))[0] <= 4**16
    monkeypatch.setattr(clipping, "ceil_isqrt", clipping._floor_isqrt)
    assert squared_norms(entries, clip(entries, 1, 16))[0] > 4**16


@given(st.lists(st.one_of(st.integers(0, 2**62), st.integers(1, 2**31).map(lambda r: r * r))))
def test_roots_are_exact(squares: list[int]) -> None:
    assert [int(root) for root in ceil_isqrt(ints(squares))] == [
        isqrt(square - 1) + 1 if square else 0 for square in squares
    ]


def test_roots_are_exact_around_the_largest_squares() -> None:
    for largest in (94_906_265, 2**31):
        roots = np.arange(largest - 50_000, largest, dtype=np.int64)
        assert (ceil_isqrt(roots * roots) == roots).all()
        assert (ceil_isqrt(roots * roots - 1) == roots).all()
        assert (ceil_isqrt(roots * roots + 1) == roots + 1).all()
    assert ceil_isqrt(ints([2**62])) == [2**31]


@pytest.mark.parametrize("square", [-1, 2**62 + 1])
def test_a_root_outside_the_exact_range_is_refused(square: int) -> None:
    with pytest.raises(ClippingRangeError):
        ceil_isqrt(ints([square]))


@pytest.mark.parametrize(
    ("row_counts", "bound", "bits"),
    [
        ([MAX_UNIT_ROWS + 1, 1], 1, 0),
        ([MAX_UNIT_ROWS, 1], 1, 0),
        ([2**62, 2**62], 1, 0),
        ([1, 1], 0, 0),
        ([1, 1], MAX_BOUND + 1, 0),
        ([1, 1], 1, MAX_FRACTION_BITS + 1),
        ([1, 1], 1, -1),
    ],
)
def test_what_could_overflow_is_refused(row_counts: list[int], bound: int, bits: int) -> None:
    with pytest.raises(ClippingRangeError):
        clip_weighted(ints([5, 5]), ints(row_counts), ints([0, 0]), bound, bits)


@pytest.mark.parametrize(
    ("unit_codes", "row_counts", "values"),
    [
        ([2, 1], [1, 1], [0, 0]),
        ([1, 2], [0, 1], [0, 0]),
        ([1, 2], [1], [0, 0]),
        ([1, 2], [1, 1], [0]),
        ([1, 2], [1, 1], [0, 17]),
        ([1, 2], [1, 1], [-17, 0]),
        ([1, 2], [1, 1], [-(2**63), 0]),
    ],
)
def test_a_table_without_a_norm_is_refused(unit_codes: list[int], row_counts: list[int], values: list[int]) -> None:
    with pytest.raises(ClippingInputError):
        clip_weighted(ints(unit_codes), ints(row_counts), ints(values), 1, 4)


def test_floats_are_refused() -> None:
    with pytest.raises(ClippingInputError, match="int64"):
        clip_weighted(ints([1]), ints([1]), np.array([0.5]), 1, 4)


def test_units_that_are_not_sorted_have_no_indicator() -> None:
    with pytest.raises(ClippingInputError, match="sorted"):
        clip_indicator(ints([1, 2, 1]), 1, 4)
