"""docs/accuracy.md: its figures are those of plans, in units of one count that has the whole budget."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.forecasts import predicted_errors

from .conftest import Planner

PAGE = Path(__file__).parents[3] / "docs" / "accuracy.md"


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is called so."""
    lines = PAGE.read_text(encoding="utf-8").split(f"| {heading} |")[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in itertools.takewhile(bool, lines)]


def by_set(plan: Plan) -> Mapping[int, float]:
    """The error of a cell, by how many keys its row has; one key more or less is the same for keys alike."""
    forecast = predicted_errors(plan)
    keys = [sum(key is not None for key in row) for row in forecast.groups]
    return {count: errors[-1] or 0.0 for count, errors in zip(keys, forecast.std_errors, strict=True)}


@pytest.fixture(scope="module")
def unit(planned: Planner) -> float:
    return predicted_errors(planned("SELECT COUNT(*) AS n FROM labs")).std_errors[0][0] or 0.0


def ranges(planned: Planner, count: int, kind: str) -> Plan:
    lows = range(0, 10 * count, 10)
    conditions = [
        f"days < {low + 10}" if kind.startswith("all") else f"days BETWEEN {low} AND {low + 9}" for low in lows
    ]
    return planned(f"SELECT {', '.join(f'COUNT_IF({each}) AS c{i}' for i, each in enumerate(conditions))} FROM labs")


@pytest.mark.parametrize("row", table("k"), ids=lambda row: f"{row[0]} {row[1][:8]}")
def test_the_figures_of_ranges(planned: Planner, unit: float, row: Sequence[str]) -> None:
    count = int(row[0])
    plan = ranges(planned, count, row[1])
    (statistic,) = plan.statistics
    tree = statistic.range_counts
    described = [int(number) for number in re.findall(r"\d+", row[2])]
    assert [tree.branching**level for level in range(1, tree.levels + 1)] == described
    errors = [error or 0.0 for error in predicted_errors(plan).std_errors[0]]
    assert f"{math.sqrt(sum(error**2 for error in errors) / count) / unit:.1f}" == row[3]
    # k statistics have a k-th of ρ each.
    assert f"{math.sqrt(count):.1f}" == row[4]


def cube(planned: Planner, values: int) -> Plan:
    """Three keys of so many values each, from 2 on."""
    keys = [f"CASE {' '.join(f'WHEN {x} < {i} THEN {i}' for i in range(1, values))} ELSE 0 END AS {name}"
            for x, name in (("days", "a"), ("weeks", "b"), ("value", "c"))]  # fmt: skip
    return planned(f"SELECT {', '.join(keys)}, COUNT(*) AS n FROM labs GROUP BY CUBE (a, b, c)")


@pytest.mark.parametrize("row", table("Values of each key"), ids=lambda row: row[0])
def test_the_figures_of_totals(planned: Planner, unit: float, row: Sequence[str]) -> None:
    plan = cube(planned, int(row[0]))
    found = by_set(plan)
    assert [f"{round(found[keys] / unit, 1):g}" for keys in (3, 2, 1, 0)] == row[1:5]
    assert f"{math.sqrt(len(plan.grouping_sets)):.1f}" == row[5]


def variances(plan: Plan, unit: float) -> Iterator[tuple[tuple[bool, ...], float]]:
    """Of every row: which keys it has, and its variance."""
    forecast = predicted_errors(plan)
    for keys, errors in zip(forecast.groups, forecast.std_errors, strict=True):
        yield tuple(key is not None for key in keys), ((errors[-1] or 0.0) / unit) ** 2


@pytest.mark.parametrize("values", [2, 3, 4, 5])
def test_which_way_has_the_lesser_variance(planned: Planner, unit: float, values: int) -> None:
    plan = cube(planned, values)
    found, sets = list(variances(plan, unit)), len(plan.grouping_sets)
    over_cells = sum(variance for _, variance in found)
    assert over_cells == pytest.approx(sets * values**3, rel=1e-4)
    assert over_cells < sets * len(found)
    over_sets = sum(dict(found).values())
    assert over_sets == pytest.approx((1 + values) ** 3, rel=1e-4)
    assert (over_sets < sets * sets * (1 - 1e-4)) == (values <= 2)
    assert (over_sets > sets * sets * (1 + 1e-4)) == (values >= 4)


def test_groups_that_are_not_shown_cost_as_those_that_are(planned: Planner, unit: float) -> None:
    a, b = "FLOOR(value / 30.1)", "DAY(seen) % 10"
    plan = planned(f"SELECT {a} AS a, {b} AS b, COUNT(*) AS n FROM labs GROUP BY GROUPING SETS ((a), (b))")
    assert by_set(plan) == {1: pytest.approx(unit * 10**0.5, rel=1e-4)}
    assert len(predicted_errors(plan).groups) == 20
