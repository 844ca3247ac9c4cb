"""A search for lies about sensitivity: questions and neighbours whose clipped vectors differ by more than is claimed.

Questions are SQL put together at random, rows are the worst that a column can hold. Beside the norm, what the
proof in `enclave_sim.plan.sensitivity` rests on is asked for itself: a vector is the sum of its units' vectors,
each made of that unit's rows alone. The named faults are those of Casacuberta, Shoemate, Vadhan, Wagaman,
"Widespread Underestimation of Sensitivity in Differentially Private Libraries and How to Fix It" (CCS 2022,
arXiv 2207.10635). `--long` searches a hundred times as long.
"""

import os
from collections.abc import Callable
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Plan, Statistic, UnitNorms

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import OpenTable, never
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import (
    EXTREMES,
    TOP,
    Contributes,
    Tables,
    Unclipped,
    alone,
    asked,
    clinic,
    extreme_unit,
    lies,
    opener,
    tables_of,
    vector,
    without,
)
from tests.attacks.random_questions import SOURCES, questions
from tests.enclave_sim.engine.drawn import bounded_sum, range_counts
from tests.enclave_sim.engine.drawn import plan as planned
from tests.enclave_sim.engine.expressions import operand

EXAMPLES = 10_000 if os.environ.get("YINGBI_LONG") == "1" else 40
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
STEP = 1 << 16
UNIT = 3
"""The one that comes and goes; others are on both sides of it."""


def drawn_tables(random: Random) -> Tables:
    """Some units with few rows, and `UNIT` with many or few."""
    others = {unit: extreme_unit(random, random.randrange(4), random.randrange(3)) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, random.choice([0, 1, 3, 30]), random.choice([0, 1, 8]))})


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(questions(), st.one_of(st.just(0), st.integers(1, 300)), st.integers(0, 2**32))
def test_no_question_in_sql_lies_about_its_sensitivity(sql: str, joint_norm: int, seed: int) -> None:
    """With and without a unit, and what differs is exactly what the unit has alone."""
    try:
        plan = asked(sql)
    except Problem:
        assume(False)
    plan.clipping.joint_norm = joint_norm
    engine, tables = DuckDBEngine(), drawn_tables(Random(seed))
    left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
    assert not lies(plan, left, right), sql
    own = vector(engine, plan, alone(tables, UNIT))
    assert [a - b for a, b in zip(left, right, strict=True)] == own, sql


WIDE = "SELECT ward, COUNT(*), COUNT(DISTINCT person), AVG(pain), MEDIAN(age) FROM visits GROUP BY ward"


def _found(engine: Contributes, sql: str, joint_norm: int = 0) -> bool:
    plan = asked(sql)
    plan.clipping.joint_norm = joint_norm
    neighbours = (drawn_tables(Random(seed)) for seed in range(20))
    return any(lies(plan, vector(engine, plan, each), vector(engine, plan, without(each, UNIT))) for each in neighbours)


@pytest.mark.parametrize(
    "sql", [WIDE, f"SELECT SUM(pain), COUNT(DISTINCT person) FROM {SOURCES[5].text} GROUP BY ward"]
)
def test_the_search_finds_an_engine_that_forgets_to_clip(sql: str) -> None:
    for joint_norm in (0, 20):
        assert _found(Unclipped(DuckDBEngine()), sql, joint_norm)
        assert not _found(DuckDBEngine(), sql, joint_norm)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(
    st.lists(st.sampled_from(["ward:string", "pain:float64", "stay:int64", "seen:timestamp"]), max_size=3),
    st.lists(st.integers(1, 60), min_size=1, max_size=5, unique=True),
    st.integers(0, 2**32),
)
def test_a_unit_moves_one_cell_of_the_norms_by_one(keys: list[str], edges: list[int], seed: int) -> None:
    norms = UnitNorms(keys=[operand(key) for key in keys], edges=sorted(edges))
    plan = planned(Statistic(unit_norms=norms), max_rows=1, fraction_bits=16)
    tables = drawn_tables(Random(seed))
    left, right = (vector(DuckDBEngine(), plan, each) for each in (tables, without(tables, UNIT)))
    assert not lies(plan, left, right)
    has_rows = alone(tables, UNIT)["visits"].num_rows > 0
    assert sorted(a - b for a, b in zip(left, right, strict=True))[-1] == has_rows * STEP


# The named faults. `x` is one float column, and a unit has at most `max_rows` rows of weight 1.


def column(values: list[tuple[int, float | None]]) -> Tables:
    """(unit, x) as a table."""
    units, numbers = zip(*values, strict=True)
    return {"visits": pa.table({UNIT_COLUMN: pa.array(units, pa.int64()), "x": pa.array(numbers, pa.float64())})}


SUM = planned(bounded_sum("x:float64", 0, 1, 0, 1), max_rows=1, fraction_bits=16)


class Adding:
    """A broken engine: clips each value, as it should, and adds them up in its own way."""

    def __init__(self, total: Callable[[NDArray[np.float64]], int]) -> None:
        self._total = total

    def contribution(self, plan: Plan, open_table: OpenTable, cancelled: Callable[[], bool] = never) -> list[int]:
        """See `Engine`; for `SUM` alone."""
        visits: pa.Table = open_table("visits", ["x"])
        return [self._total(np.clip(visits["x"].to_numpy(), 0, 1))]


def _wrapping(values: NDArray[np.float64]) -> int:
    return int(np.sum(values * STEP).astype(np.int64).astype(np.int32))


def _float32(values: NDArray[np.float64]) -> int:
    """One after another, as the shortest floats that show the fault: each addition rounds."""
    total = np.float32(0)
    for value in values.astype(np.float32):
        total += value
    return int(np.float64(total) * STEP)


HALF_ULP = 2.0**-24 * 1.01
"""Of 1 in float32, and a little: beside 1 each rounds up to a whole one, alone they add up as they are."""

FAULTS: dict[str, tuple[Callable[[NDArray[np.float64]], int], Tables]] = {
    "overflow": (_wrapping, column([(unit, 1.0) for unit in range(2**15)])),
    "repeated rounding": (_float32, column([(0, 1.0), *((unit, HALF_ULP) for unit in range(1, 2000))])),
    "rounding of what is large": (_float32, column([*((unit, 1.0) for unit in range(2**8)), (2**9, 1 - 2.0**-24)])),
}


@pytest.mark.parametrize("name", ["overflow", "repeated rounding"])
def test_a_sum_that_wraps_or_rounds_on_its_way_lies_and_ours_does_not(name: str) -> None:
    total, tables = FAULTS[name]
    fewer = without(tables, 0)
    broken = Adding(total)
    assert lies(SUM, broken.contribution(SUM, opener(tables)), broken.contribution(SUM, opener(fewer)))
    assert vector(DuckDBEngine(), SUM, tables)[0] - vector(DuckDBEngine(), SUM, fewer)[0] == STEP


@pytest.mark.parametrize("name", FAULTS)
def test_rounding_a_value_knows_no_other_value(name: str) -> None:
    """Each row is on the grid before anything is added: the whole is the sum of its units, one by one."""
    tables = FAULTS[name][1]
    units = tables["visits"][UNIT_COLUMN].to_pylist()
    chosen = [units[0], units[len(units) // 2], units[-1]]
    for unit in chosen:
        whole, rest, own = (vector(DuckDBEngine(), SUM, each)[0] for each in _split(tables, unit))
        assert whole == rest + own


def _split(tables: Tables, unit: int) -> tuple[Tables, Tables, Tables]:
    return tables, without(tables, unit), alone(tables, unit)


def test_reordering_the_units_changes_nothing() -> None:
    """In floats the order of a sum is a neighbour of its own; codes of units are drawn at random."""
    forwards = FAULTS["repeated rounding"][1]["visits"]
    backwards = {"visits": pa.table({UNIT_COLUMN: forwards[UNIT_COLUMN], "x": forwards["x"].to_numpy()[::-1]})}
    broken = Adding(_float32)
    totals = {broken.contribution(SUM, opener(each))[0] for each in ({"visits": forwards}, backwards)}
    assert len(totals) == 2
    assert vector(DuckDBEngine(), SUM, {"visits": forwards}) == vector(DuckDBEngine(), SUM, backwards)


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=SLOW)
@given(questions(), st.integers(0, 2**32))
def test_renumbering_the_units_of_any_question_changes_nothing(sql: str, seed: int) -> None:
    try:
        plan = asked(sql)
    except Problem:
        assume(False)
    random = Random(seed)
    units = {unit: extreme_unit(random, random.randrange(6), random.randrange(4)) for unit in range(5)}
    codes = random.sample(range(10), len(units))
    renumbered = {codes[unit]: rows for unit, rows in units.items()}
    expected = vector(DuckDBEngine(), plan, tables_of(units))
    assert vector(DuckDBEngine(), plan, tables_of(renumbered)) == expected, sql


def test_rows_that_each_round_up_stay_within_the_norm() -> None:
    """A unit of many rows just above half a step: each becomes a whole step, which is still below the row's bound."""
    many = column([*((UNIT, 0.5001 / STEP) for _ in range(5000)), (9, 0.5)])
    for max_rows in (1, 7, 5000):
        plan = planned(bounded_sum("x:float64", 0, 1, 0, 1), max_rows=max_rows, fraction_bits=16)
        assert not lies(plan, vector(DuckDBEngine(), plan, many), vector(DuckDBEngine(), plan, without(many, UNIT)))


@pytest.mark.parametrize("bounds", [(0, 2.0**53), (-1e300, 1e300), (0, 5e-324), (2.0**53, 2.0**53 + 2), (0.1, 0.3)])
def test_whatever_the_bounds_a_value_between_floats_stays_within_them(bounds: tuple[float, float]) -> None:
    """Edges of 2^53, the largest and the smallest: what is not representable is rounded inside ±2^f."""
    lower, upper = bounds
    centre = lower / 2 + upper / 2
    half_range = np.nextafter(max(upper - centre, centre - lower), np.inf)
    values = [
        *EXTREMES["visits"]["pain"],
        lower,
        upper,
        centre,
        float(np.nextafter(upper, 0)),
        2.0**53 - 1,
        2.0**53 + 2,
    ]
    tables = column([(unit, value) for unit, value in enumerate(values)])
    plan = planned(
        bounded_sum("x:float64", lower, upper, centre, half_range),
        range_counts("x:float64", lower, upper, 3, 2),
        max_rows=1,
        fraction_bits=16,
    )
    for unit in range(len(values)):
        assert not lies(plan, vector(DuckDBEngine(), plan, alone(tables, unit)), [0] * 13)


def test_integers_at_the_ends_of_their_type_are_one_value_a_row() -> None:
    plan = asked("SELECT SUM(raw * raw + raw), SUM(raw - raw * raw), COUNT(*) FROM labs")
    unit = {"labs": [{"code": "a", "raw": value, "result": 1.0} for value in (TOP, -TOP, -TOP - 1, 2**53 + 1)]}
    tables = tables_of({UNIT: unit, 5: {"labs": unit["labs"][:1]}})
    assert not lies(plan, vector(DuckDBEngine(), plan, tables), vector(DuckDBEngine(), plan, without(tables, UNIT)))


def test_a_plan_whose_total_could_wrap_is_refused_before_it_costs_anything() -> None:
    """Overflow of the packed cells: 10^9 units of 2^20 rows on a grid of 2^-16 need 67 bits, of which there are 62."""
    with pytest.raises(Problem) as raised:
        asked("SELECT COUNT(*) FROM visits", declaration=clinic(max_units=10**9, max_visits=2**20))
    assert raised.value.code == "too_wide"
