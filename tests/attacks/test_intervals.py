"""The stated 95 % intervals hold: over more than 10,000 released cells, for 94 % to 96 % of them.

Everything is real: three nodes, 3072-bit encryption, 10,500 opened totals that are independent of each other
given the data, each having noise of its own. A mean is made of a sum and the count shown beside it; the truth is
what the plan computes, after clipping and before noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.zones import Zone

pytestmark = [pytest.mark.xdist_group("intervals"), pytest.mark.timeout(900)]

WARDS, WEEKS = 70, 50
ROWS = 40 * WARDS * WEEKS
METADATA = f"""
dataset: wards
zone: test
title: {{en: "Wards"}}
grade: 1
source: "made up for tests"
privacy_unit: person
max_units: {ROWS}
units_disjoint: true
budget: {{epsilon: 100, delta: 1.0e-7}}
tables:
  stays:
    file: stays.parquet
    max_rows_per_unit: 1
    columns:
      person: {{type: int64, role: unit}}
      ward:   {{type: int64, values: {list(range(WARDS))}}}
      week:   {{type: int64, values: {list(range(WEEKS))}}}
      days:   {{type: float64, lower: 0, upper: 30}}
      pain:   {{type: float64, lower: -5, upper: 5}}
"""


def test_95_percent_intervals_hold_for_94_to_96_percent_of_10000_cells(fresh_zone: Zone, tmp_path: Path) -> None:
    stays = _stays()
    fresh_zone.add(tmp_path / "data", METADATA, {"stays": stays})
    question = (
        "SELECT ward, week, COUNT(days) AS n, AVG(days) AS mean, SUM(pain) AS pain FROM stays GROUP BY ward, week"
    )
    answer = fresh_zone.json("sql", "wards", question, "--epsilon", "5", timeout=600)
    truth = _truth(stays)
    held: dict[str, list[bool]] = {"n": [], "mean": [], "pain": []}
    for row, intervals in zip(answer["rows"], answer["intervals"], strict=True):
        for name, exact, interval in zip(held, truth[row[0], row[1]], intervals[2:], strict=True):
            # An empty group has no mean; nor has one whose noised count is not positive.
            if interval is not None and exact is not None:
                held[name].append(interval[0] <= exact <= interval[1])
    cells = np.concatenate([np.array(one) for one in held.values()])
    assert cells.size >= 10_000
    assert 0.94 <= cells.mean() <= 0.96
    # Each kind of cell by itself: over 3,400 of them the share has a standard deviation of 0.37 %.
    for name, one in held.items():
        assert abs(np.mean(one) - 0.95) < 0.02, (name, np.mean(one))


def _stays() -> pa.Table:
    """One stay a person; wards and weeks of uneven size; some values outside their bounds."""
    random = np.random.default_rng(7)
    return pa.table(
        {
            "person": np.arange(ROWS),
            "ward": (WARDS * random.beta(2, 2, ROWS)).astype(np.int64),
            "week": random.integers(0, WEEKS, ROWS),
            "days": random.gamma(3, 4, ROWS),
            "pain": random.normal(1, 3, ROWS),
        }
    )


def _truth(stays: pa.Table) -> dict[tuple[int, int], tuple[float, float | None, float]]:
    """Count, mean of the clipped days and sum of the clipped pain of each group; empty groups have no mean."""
    columns = {name: stays[name].to_numpy() for name in stays.column_names}
    group = columns["ward"] * WEEKS + columns["week"]
    counts = np.bincount(group, minlength=WARDS * WEEKS)
    days = np.bincount(group, np.clip(columns["days"], 0, 30), minlength=WARDS * WEEKS)
    pain = np.bincount(group, np.clip(columns["pain"], -5, 5), minlength=WARDS * WEEKS)
    return {
        (number // WEEKS, number % WEEKS): (count, total / count if count else None, pain[number])
        for number, (count, total) in enumerate(zip(counts, days, strict=True))
    }
