"""What one person can do to made-up rows, and what made-up rows can say of one person."""

from __future__ import annotations

import math
import os
import statistics
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.answer import Cell
from yingbi.api.v1.job_pb2 import SynthesizeQuery
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.synthetic_marginals import measured_of
from yingbi.synthetic_rows import made_up

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.privacy.sampling import sample_share
from gateway.planning.synthesis import plan_synthesis
from tests.attacks.neighbours import (
    CLINIC,
    DELTA,
    PARTIES,
    Contributes,
    Tables,
    Unclipped,
    alone,
    extreme_unit,
    lies,
    tables_of,
    vector,
    without,
)

EXAMPLES = 5_000 if os.environ.get("YINGBI_LONG") == "1" else 10
UNIT = 3
STEP = 1 << 16
COLUMNS = [
    "age, pain, night, ward",
    "pain, ward",
    "code, result, raw",
    "ward, YEAR(day) AS year, CASE WHEN stay > 3 THEN 1 ELSE 0 END AS long",
]
WHERE = {COLUMNS[3]: "YEAR(day) BETWEEN 1960 AND 2024"}


def planned(columns: str, epsilon: float = 1.0, bins: int | None = None) -> Plan:
    asked = SynthesizeQuery(columns=columns, where=WHERE.get(columns, ""), bins=bins)
    version = bytes(32)
    return plan_synthesis(asked, CLINIC, dataset_version=version, parties=PARTIES, epsilon=epsilon, delta=DELTA).plan


def drawn(random: Random, rows: int) -> Tables:
    """A person with so many rows of the worst that columns can hold, among others with a few."""
    others = {unit: extreme_unit(random, random.randrange(4), random.randrange(3)) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, rows, rows)})


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(COLUMNS), st.sampled_from([0, 1, 2, 40]), st.integers(0, 2**32))
def test_a_person_moves_the_marginals_by_no_more_than_is_claimed(columns: str, rows: int, seed: int) -> None:
    """And by exactly what their own rows make: no other person's weight depends on them."""
    plan, tables = planned(columns), drawn(Random(seed), rows)
    engine = DuckDBEngine()
    left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
    assert not lies(plan, left, right)
    assert [a - b for a, b in zip(left, right, strict=True)] == vector(engine, plan, alone(tables, UNIT))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(COLUMNS), st.sampled_from([0, 1, 2, 12]), st.integers(0, 2**32))
def test_a_person_counts_once_in_every_marginal(columns: str, rows: int, seed: int) -> None:
    """The same in all of them, or the marginals were not those of one table; and both engines say the same."""
    plan, tables = planned(columns), drawn(Random(seed), rows)
    own = vector(DuckDBEngine(), plan, alone(tables, UNIT))
    assert own == vector(ReferenceEngine(), plan, alone(tables, UNIT))
    count, start = own[0], 1
    assert count in (0, STEP)
    for statistic in plan.statistics[1:]:
        cells = own[start : start + cells_of(plan, statistic)]
        start += len(cells)
        assert min(cells) >= 0
        # Each cell is rounded down.
        assert count - len(cells) <= sum(cells) <= count


def test_ten_thousand_rows_of_one_person_are_one_person() -> None:
    row = {"age": 50, "pain": 5.0, "night": True, "ward": "north"}
    plan = planned(COLUMNS[0])
    one, many = (vector(DuckDBEngine(), plan, tables_of({UNIT: {"visits": [row] * rows}})) for rows in (1, 10_000))
    assert sum(one) == len(plan.statistics) * STEP
    assert one == many


def _found(engine: Contributes) -> bool:
    plan = planned(COLUMNS[0])
    neighbours = (drawn(Random(seed), 40) for seed in range(10))
    return any(lies(plan, vector(engine, plan, each), vector(engine, plan, without(each, UNIT))) for each in neighbours)


def test_the_search_finds_an_engine_that_adds_up_all_rows_of_a_person() -> None:
    assert _found(Unclipped(DuckDBEngine()))
    assert not _found(DuckDBEngine())


@pytest.mark.parametrize("columns", COLUMNS)
def test_no_row_makes_a_synthesis_fail(columns: str) -> None:
    """Nobody at all, and people whose rows are NaN, infinite, NULL or beyond every bound."""
    plan = planned(columns)
    cells = sum(cells_of(plan, each) for each in plan.statistics)
    assert vector(DuckDBEngine(), plan, tables_of({})) == [0] * cells
    for seed in range(5):
        assert len(vector(DuckDBEngine(), plan, drawn(Random(seed), 30))) == cells


def test_rows_with_a_value_that_nobody_declared_are_left_out() -> None:
    plan = planned("ward, pain")
    held = {"visits": [{"ward": "nowhere", "pain": 3.0}, {"ward": "", "pain": 3.0}]}
    assert sum(vector(DuckDBEngine(), plan, tables_of({UNIT: held}))) == 0
    # NULL is a level of its own; beyond a bound the nearest range counts.
    kept = {"visits": [{"ward": None, "pain": 1e300}]}
    exact = measured_of(plan, vector(DuckDBEngine(), plan, tables_of({UNIT: kept})))
    assert exact.columns[1].bins >= 2
    wards, pains = exact.sizes
    (pair,) = exact.fitted
    assert pair.counts.index(1.0) == (wards - 1) * pains + exact.columns[1].bins - 1


def _rows_of(plan: Plan, tables: Tables, *, noised: bool, seed: int) -> tuple[tuple[Cell, ...], ...]:
    """Made-up rows, of what three parties' shares make of the tables, or of the exact cells."""
    exact, opened = vector(DuckDBEngine(), plan, tables), list[int]()
    for each in plan.statistics:
        cells = exact[len(opened) : len(opened) + cells_of(plan, each)]
        shares = [sample_share(len(cells), each.sigma) for _ in range(PARTIES)] if noised else []
        noises = [sum(noise) for noise in zip(*shares, strict=True)] or [0] * len(cells)
        opened += [cell + noise for cell, noise in zip(cells, noises, strict=True)]
    return made_up(measured_of(plan, opened), 2_000, bytes([seed]) * 32, {}).rows


def test_made_up_rows_have_declared_values_alone_and_do_not_tell_whether_a_person_is_there() -> None:
    """2,000 people in two wards, and one who is alone with what they have: rows like theirs are there either way."""
    plan, random = planned("ward, pain", epsilon=0.5, bins=6), Random(5)
    people = {
        unit: {"visits": [{"ward": random.choice(["north", "south"]), "pain": random.uniform(0, 4)}]}
        for unit in range(2_000)
    }
    person = {"visits": [{"ward": "east", "pain": 9.7}]}
    both = tables_of(people), tables_of({**people, 2_000: person})

    def alike(rows: tuple[tuple[Cell, ...], ...]) -> int:
        return sum(row[0] == "east" and isinstance(row[1], float) and row[1] > 8.4 for row in rows)

    counts = []
    for tables in both:
        made = [_rows_of(plan, tables, noised=True, seed=seed) for seed in range(6)]
        for ward, pain in {row for rows in made for row in rows}:
            assert ward in ("north", "south", "east", None)
            assert pain is None or (isinstance(pain, float) and 0 <= pain <= 10)
        counts.append([alike(rows) for rows in made])
    error = math.sqrt(sum(statistics.variance(each) for each in counts) / 6)
    assert abs(statistics.fmean(counts[0]) - statistics.fmean(counts[1])) <= 8 * error
    # A hundred such people would be told.
    many = tables_of({**people, **dict.fromkeys(range(2_000, 2_100), person)})
    told = [alike(_rows_of(plan, tables, noised=False, seed=1)) for tables in (both[0], many)]
    assert told[0] < 10 < 50 < told[1] < 150
