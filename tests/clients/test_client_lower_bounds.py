"""Stated errors lie as far above the least possible ones as docs/accuracy.md says.

The bound is Chapman and Robbins's for what two states of the data, k units apart, move a number by: k units cost k²ρ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from yingbi.answer import table_of
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cells import Layout
from yingbi.forecasts import predicted_errors

from enclave_sim.plan.sensitivity import total_rho_units
from tests.attacks.neighbours import MAX_LABS, asked, clinic

ONE_ROW = clinic(max_visits=1)
HALF_WIDTH = 5.0
"""Of the bounds of pain, 0 to 10."""
ROWS = 100_000


def plan_of(sql: str) -> tuple[Plan, float]:
    """A plan for one row a unit, and what it is charged."""
    plan = asked(sql, declaration=ONE_ROW)
    return plan, total_rho_units(plan) / 1e12


def least(moved: float, rho: float, units: int = 1) -> float:
    """The least standard error of what so many units move by so much."""
    return moved / math.sqrt(math.expm1(2 * rho * units**2))


def stated(plan: Plan, sums: Sequence[float] = ()) -> float:
    """The error of the first column, where the bounded sums are so large a part of the rows."""
    rest, cells = iter(sums), []
    for statistic in plan.statistics:
        part = next(rest) if statistic.HasField("bounded_sum") else 1.0
        cells.append(round(part * ROWS * 2**plan.fraction_bits))
    error = table_of(plan, cells).std_errors[0][0]
    assert error is not None
    return error


@pytest.mark.parametrize(
    ("what", "moved"), [("COUNT(*)", 1), ("COUNT(pain)", 1), ("SUM(pain)", 10), ("COUNT(DISTINCT person)", 1)]
)
def test_one_number_asked_alone_is_within_two_percent_of_the_bound(what: str, moved: float) -> None:
    plan, rho = plan_of(f"SELECT {what} FROM visits")
    assert 1 <= stated(plan, [0.5]) / least(moved, rho) < 1.02


def test_sums_asked_together_share_what_there_is_without_loss() -> None:
    """Signs v of two columns: v·(sums) moves by 2; on average over v its variance is that of both sums."""
    plan = asked("SELECT SUM(result) AS a, SUM(raw / 1e9) AS b FROM labs")
    layout, rho = Layout.of(plan), total_rho_units(plan) / 1e12
    errors = [layout.deviation(statistic) / MAX_LABS for statistic in range(len(plan.statistics))]
    assert len(errors) == 2
    assert 1 <= math.hypot(*errors) / least(2, rho) < 1.02


@pytest.mark.parametrize("mean", [-1.0, -0.4, 0.0, 0.7, 1.0])
def test_an_average_is_within_the_root_of_two(mean: float) -> None:
    plan, rho = plan_of("SELECT AVG(pain) FROM visits")
    ratio = stated(plan, [mean]) / least(HALF_WIDTH * (1 + abs(mean)) / ROWS, rho)
    assert ratio == pytest.approx(math.sqrt(2 * (1 + mean**2)) / (1 + abs(mean)), rel=0.02)
    assert 0.999 < ratio < 1.43


@pytest.mark.parametrize("mean", [-0.9, -0.5, 0.0, 0.3, 0.8])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.98])
def test_a_variance_is_within_seven_quarters(mean: float, part: float) -> None:
    """`part` of the largest variance that this mean allows."""
    plan, rho = plan_of("SELECT VAR_POP(pain) FROM visits")
    variance = part * (1 - mean**2)
    moved = max((1 + abs(mean)) ** 2 - variance, variance) * HALF_WIDTH**2 / ROWS
    assert 1 <= stated(plan, [mean, 2 * (variance + mean**2) - 1]) / least(moved, rho) < 1.76


def test_counts_of_units_in_many_groups_are_within_the_root_of_two() -> None:
    """One unit in 3 of 101 groups gives way to one in 3 others: of 6 cells with signs, the sum moves by 6.

    Two units cost 4ρ, for which exp(8ρ) - 1 is 8 % above 8ρ here.
    """
    declaration = clinic(max_visits=3)
    plan = asked("SELECT age, COUNT(DISTINCT person) FROM visits GROUP BY age", declaration=declaration)
    rho, groups, most = total_rho_units(plan) / 1e12, 101, 3
    error = table_of(plan, [1000 << plan.fraction_bits] * groups).std_errors[0][1]
    assert error is not None
    bound = least(2 * most, rho, units=2) / math.sqrt(2 * most) * math.sqrt(1 - 1 / groups)
    assert 1 <= error / bound < 1.04 * 1.43


def test_a_median_is_within_six_times_a_weak_bound() -> None:
    """One row more moves it by half a step from row to row."""
    plan, rho = plan_of("SELECT MEDIAN(pain) FROM visits")
    (foretold,) = predicted_errors(plan, [ROWS]).average_errors
    assert foretold.std_error is not None
    assert 4 < foretold.std_error / least(2 * HALF_WIDTH / ROWS / 2, rho) < 6
