"""Sensitivities, against every way that one unit can be present."""

from __future__ import annotations

from itertools import product
from math import isqrt

import pytest
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Clipping,
    DistinctUnits,
    GroupKey,
    Noise,
    NonNullCount,
    Plan,
    RowCount,
    Statistic,
    Value,
)

from enclave_sim.plan.sensitivity import cells, delta2_squared, groups, slot_bits_needed, total_rho_units


def small_plan(max_rows: int, max_groups: int, keys: int, parties_per_unit: int = 1) -> Plan:
    values = [Value(int64_value=number) for number in range(keys)]
    return Plan(
        group_by=[GroupKey(values=values)],
        clipping=Clipping(max_rows=max_rows, max_groups=max_groups),
        fraction_bits=4,
        noise=Noise(parties=3, parties_per_unit=parties_per_unit),
    )


def test_groups_are_all_combinations(plan: Plan) -> None:
    assert (groups(plan), cells(plan)) == (2, 8)
    plan.group_by.add(values=[Value(bool_value=True)] * 3)
    assert (groups(plan), cells(plan)) == (6, 24)
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
