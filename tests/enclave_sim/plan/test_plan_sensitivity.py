"""Sensitivities, against every way that one unit can be present."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import isqrt
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Clipping,
    DistinctUnits,
    GroupKey,
    Noise,
    NonNullCount,
    Plan,
    RangeCounts,
    RowCount,
    Statistic,
    Value,
)

from enclave_sim.plan.sensitivity import (
    cells,
    delta2_squared,
    groups,
    slot_bits_needed,
    total_rho_units,
    width,
)
from enclave_sim.privacy.clipping import ClippingInputError, ClippingRangeError, clip_weighted, unit_norms, weigh_down


def small_plan(max_rows: int, max_groups: int, keys: int, parties_per_unit: int = 1) -> Plan:
    values = [Value(int64_value=number) for number in range(keys)]
    return Plan(
        group_by=[GroupKey(values=values)],
        clipping=Clipping(max_rows=max_rows, max_groups=max_groups),
        fraction_bits=4,
        noise=Noise(parties=3, parties_per_unit=parties_per_unit),
    )


def test_groups_are_all_combinations(plan: Plan) -> None:
    # Four statistics of one cell, and a tree of 2 + 4 + 8 nodes.
    assert (groups(plan), cells(plan)) == (2, 2 * 18)
    plan.group_by.add(values=[Value(bool_value=True)] * 3)
    assert (groups(plan), cells(plan)) == (6, 6 * 18)
    assert groups(Plan()) == 1


@pytest.mark.parametrize("statistic", [Statistic(row_count=RowCount()), Statistic(bounded_sum=BoundedSum())])
@pytest.mark.parametrize("max_rows", [1, 2, 3])
def test_no_unit_moves_a_sum_further_than_claimed(statistic: Statistic, max_rows: int) -> None:
    plan = small_plan(max_rows, 1, keys=3)
    limit = delta2_squared(plan, statistic)
    for rows in product(range(5), repeat=3):
        # The worst unit: every row adds the most that it can.
        norm = isqrt(max(sum(m * m for m in rows) - 1, 0)) + 1
        weighed = [m * 16 if norm <= max_rows else m * 16 * max_rows // norm for m in rows]
        assert sum(cell * cell for cell in weighed) <= limit
    # And one unit reaches it: all its rows in one group.
    assert (16 * max_rows) ** 2 == limit


@pytest.mark.parametrize("max_groups", [1, 2, 3])
def test_no_unit_moves_a_distinct_count_further_than_claimed(max_groups: int) -> None:
    plan = small_plan(9, max_groups, keys=3)
    limit = delta2_squared(plan, Statistic(distinct_units=DistinctUnits()))
    for touched in (1, 2, 3):
        weight = 16 if touched <= max_groups else isqrt(256 * max_groups // touched)
        assert touched * weight**2 <= limit
    assert max_groups * 256 == limit


def tree(branching: int, levels: int) -> Statistic:
    return Statistic(range_counts=RangeCounts(branching=branching, levels=levels))


@pytest.mark.parametrize(("branching", "levels", "nodes"), [(2, 1, 2), (2, 3, 14), (10, 2, 110), (1024, 1, 1024)])
def test_a_tree_has_a_cell_for_each_node(branching: int, levels: int, nodes: int) -> None:
    assert width(tree(branching, levels)) == nodes
    assert width(Statistic(row_count=RowCount())) == 1


class Row(NamedTuple):
    """One row of a unit: its group, and the leaf that its value is in; None for NULL or a false filter."""

    group: int
    leaf: int | None


BRANCHING, LEVELS, BITS = 3, 2, 4
rows_of_a_unit = st.lists(
    st.builds(Row, st.integers(0, 2), st.none() | st.integers(0, BRANCHING**LEVELS - 1)), max_size=30
)


def node_counts(rows: list[Row]) -> dict[tuple[int, int, int], int]:
    """How many of the rows are in each (group, level, node)."""
    return Counter(
        (row.group, level, row.leaf // BRANCHING ** (LEVELS - level))
        for row in rows
        for level in range(1, LEVELS + 1)
        if row.leaf is not None
    )


def tree_of(rows: list[Row], max_rows: int) -> list[int]:
    """The cells of a unit at one provider, as an engine weighs them."""
    counts = Counter(row.group for row in rows)
    ones = np.zeros(len(counts), np.int64)
    norms = unit_norms(ones, np.array(list(counts.values()), np.int64))
    nodes = node_counts(rows)
    places = [
        (group, level, node) for group in range(3) for level in range(1, LEVELS + 1) for node in range(BRANCHING**level)
    ]
    values = np.array([nodes.get(place, 0) << BITS for place in places], np.int64)
    norm = int(norms[0]) if len(norms) else 0
    return [int(value) for value in weigh_down(values, np.full(len(values), norm, np.int64), max_rows)]


@given(providers=st.lists(rows_of_a_unit, min_size=1, max_size=3), max_rows=st.integers(1, 12))
def test_no_unit_moves_a_tree_further_than_claimed(providers: list[list[Row]], max_rows: int) -> None:
    plan = small_plan(max_rows, 1, keys=3, parties_per_unit=len(providers))
    vectors = [tree_of(rows, max_rows) for rows in providers]
    assert len(vectors[0]) == groups(plan) * width(tree(BRANCHING, LEVELS))
    moved = [sum(cell) for cell in zip(*vectors, strict=True)]
    assert sum(cell * cell for cell in moved) <= delta2_squared(plan, tree(BRANCHING, LEVELS))


@pytest.mark.parametrize("parties_per_unit", [1, 3])
def test_a_unit_whose_rows_lie_in_one_leaf_moves_a_tree_as_far(parties_per_unit: int) -> None:
    plan = small_plan(5, 1, keys=3, parties_per_unit=parties_per_unit)
    cells_at_one = tree_of([Row(1, 7)] * 5, max_rows=5)
    assert sum((parties_per_unit * cell) ** 2 for cell in cells_at_one) == delta2_squared(plan, tree(BRANCHING, LEVELS))


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    shares=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    max_rows=st.integers(1, 40),
)
def test_a_filter_only_takes_away_from_what_a_unit_adds(counts: list[int], shares: list[float], max_rows: int) -> None:
    # Any part of each group's rows, of either sign, weighed by all of its rows.
    plan = small_plan(max_rows, 1, keys=3)
    filtered = [int(share * (count << BITS)) for count, share in zip(counts, shares, strict=False)]
    ones = np.zeros(len(counts), np.int64)
    weighed = clip_weighted(ones, np.array(counts, np.int64), np.array(filtered, np.int64), max_rows, BITS)
    limit = delta2_squared(plan, Statistic(bounded_sum=BoundedSum()))
    assert sum(int(cell) ** 2 for cell in weighed) <= limit


@pytest.mark.parametrize(
    ("values", "norms"), [([1 << 40], [2**24]), ([(3 << 16) + 1], [3]), ([-(3 << 16) - 1], [3]), ([1, 1], [3])]
)
def test_values_beyond_their_norm_are_not_weighed(values: list[int], norms: list[int]) -> None:
    with pytest.raises((ClippingRangeError, ClippingInputError)):
        weigh_down(np.array(values, np.int64), np.array(norms, np.int64), 2)


def test_a_tree_needs_the_room_of_a_count() -> None:
    plan = small_plan(5, 1, keys=3)
    plan.statistics.add(row_count=RowCount(), sigma=100)
    bits = slot_bits_needed(plan, max_units=1000)
    plan.statistics[0].CopyFrom(tree(2, 3))
    plan.statistics[0].sigma = 100
    assert slot_bits_needed(plan, max_units=1000) == bits


def test_a_unit_at_several_providers_counts_squared() -> None:
    statistic = Statistic(non_null_count=NonNullCount())
    at_one = delta2_squared(small_plan(5, 1, keys=3), statistic)
    assert delta2_squared(small_plan(5, 1, keys=3, parties_per_unit=4), statistic) == 16 * at_one


def test_slots_hold_the_largest_sum_and_its_noise() -> None:
    plan = small_plan(5, 1, keys=3)
    plan.statistics.add(row_count=RowCount(), sigma=100)
    largest = 3 * (1000 * 5 * 16 + 64 * 100)
    bits = slot_bits_needed(plan, max_units=1000)
    assert 2 ** (bits - 2) <= largest <= 2 ** (bits - 1) - 1


def test_distinct_units_need_no_room_for_rows() -> None:
    plan = small_plan(5, 1, keys=3)
    plan.statistics.add(distinct_units=DistinctUnits(), sigma=2)
    assert slot_bits_needed(plan, max_units=1000) == (3 * (1000 * 16 + 128)).bit_length() + 1


def test_prices_add() -> None:
    assert total_rho_units(Plan(statistics=[Statistic(rho_units=2), Statistic(rho_units=3)])) == 5
