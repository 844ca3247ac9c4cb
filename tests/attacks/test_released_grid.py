"""What is released lies on the declared grid, whatever the rows hold: no bit of a stored float is in it.

Mironov, "On significance of the least significant bits for differential privacy" (CCS 2012): a float plus float
noise is a float that only few inputs can give. Here a row's value becomes a whole number of steps before anything
is added; sums, noise and opening are whole numbers; the answer is a function of plan and opened numbers alone.
"""

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare  # type: ignore[import-untyped]
from yingbi.answer import table_of
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import groups, width
from enclave_sim.privacy.sampling import sample_share
from tests.attacks.neighbours import Tables, asked, extreme_unit, tables_of, vector
from tests.attacks.random_questions import questions
from tests.attacks.three_enclaves import Trio, visits_declaration, visits_table

ALARM = 1e-8
STEP = Fraction(1, 2**16)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
SUMS = (
    "SELECT ward, COUNT(*) AS n, SUM(pain) AS s, AVG(pain) AS a, COUNT(DISTINCT person) AS u FROM visits GROUP BY ward"
)


def release(plan: Plan, exact: list[int]) -> list[int]:
    """What is opened: the total and every party's share."""
    opened = exact
    for _ in range(plan.noise.parties):
        share = [n for s in plan.statistics for n in sample_share(groups(plan) * width(s), s.sigma)]
        opened = [value + noise for value, noise in zip(opened, share, strict=True)]
    return opened


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(questions(), st.integers(0, 2**32))
def test_what_is_opened_is_whole_for_every_question_and_every_row(sql: str, seed: int) -> None:
    """And an answer can be read from it, whatever it is: no NaN or infinity of a row gets there."""
    try:
        plan = asked(sql)
    except Problem:
        assume(False)
    random = Random(seed)
    tables = tables_of({unit: extreme_unit(random, 4, 3) for unit in range(4)})
    exact = vector(DuckDBEngine(), plan, tables)
    opened = release(plan, exact)
    assert {type(cell) for cell in (*exact, *opened)} == {int}
    answer = table_of(plan, opened)
    floats = [cell for row in answer.rows for cell in row if isinstance(cell, float)]
    assert all(math.isfinite(cell) for cell in floats)


def _pains(values: list[float]) -> Tables:
    wards = ("north", "south")
    rows = [{"visits": [{"ward": wards[unit % 2], "pain": value}]} for unit, value in enumerate(values)]
    return tables_of(dict(enumerate(rows)))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=20))
def test_released_values_are_multiples_of_the_step(values: list[float]) -> None:
    """A count is k/2^16, and a sum is what k/2^16 of its half range, and of its centre, come to."""
    plan = asked(SUMS)
    opened = release(plan, vector(DuckDBEngine(), plan, _pains(values)))
    kinds = [statistic.WhichOneof("kind") for statistic in plan.statistics]
    cells = {kind: opened[3 * position :][:3] for position, kind in enumerate(kinds)}
    for group, (_, n, total, mean, units) in enumerate(table_of(plan, opened).rows):
        assert isinstance(n, float)
        assert isinstance(units, float)
        assert Fraction(n) == cells["row_count"][group] * STEP
        assert Fraction(units) == cells["distinct_units"][group] * STEP
        assert total == pytest.approx(float(5 * (cells["bounded_sum"][group] + cells["non_null_count"][group]) * STEP))
        if mean is not None:
            ratio = Fraction(cells["bounded_sum"][group], cells["non_null_count"][group])
            assert mean == pytest.approx(min(max(float(5 + 5 * ratio), 0), 10))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**17), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)), min_size=1, max_size=40))
def test_rows_that_differ_by_less_than_the_grid_give_the_same_vector(rows: list[tuple[int, float, float]]) -> None:
    """2^16 steps to each side of the centre: every bit of a float beyond that is gone before anything is added."""
    plan = asked(SUMS)
    steps = [(k + left, k + right) for k, left, right in rows]
    one, other = ([pair[side] * 10 / 2**17 for pair in steps] for side in (0, 1))
    assert vector(DuckDBEngine(), plan, _pains(one)) == vector(DuckDBEngine(), plan, _pains(other))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 20.0])
def test_the_low_bits_of_a_release_tell_nothing_of_the_total(epsilon: float) -> None:
    """Exact counts are multiples of 2^16: whoever saw that would see the noise. After it all residues are alike."""
    plan = asked("SELECT COUNT(*) FROM visits", epsilon=epsilon, parties=1)
    (exact,) = vector(DuckDBEngine(), plan, _pains([1.0] * 9))
    assert exact == 9 * 2**16
    opened = exact + np.array(sample_share(100_000, plan.statistics[0].sigma))
    for shift in (0, 4, 8):
        residues = np.bincount((opened >> shift) % 16, minlength=16)
        assert chisquare(residues).pvalue > ALARM


def test_every_point_of_the_grid_is_a_release() -> None:
    """No holes, by which Mironov's attack tells two totals: all points within two deviations occur."""
    sigma = 20
    noise = set(sample_share(200_000, sigma))
    assert noise >= set(range(-2 * sigma, 2 * sigma + 1))


def test_a_float_with_float_noise_is_on_no_grid() -> None:
    """The fault that the tests above would see: most of what it gives could have come from one input only."""
    noise = np.random.default_rng(11).laplace(0, 1, 1000)
    on_grid = [Fraction(float(value)).denominator <= 2**16 for value in 9 + noise]
    assert sum(on_grid) < 10
    differences = {Fraction(float(9 + value)) - Fraction(float(8 + value)) for value in noise}
    assert differences != {Fraction(1)}


def test_what_three_enclaves_sign_is_whole(trio: Trio) -> None:
    """Rows as odd as floats can be, through sealed shards and real keys: the receipt holds integers."""
    odd = [math.pi, math.e / 7, 5e-324, 9.999999999999998, math.nan, math.inf, -0.0, 1 / 3, 2**-40, None]
    tables = [
        visits_table(
            person=[100 * node + index for index in range(10)],
            clinic=["north"] * 10,
            pain=odd,
            age=list(range(10)),
            night=[True] * 10,
        )
        for node in range(3)
    ]
    trio.add(visits_declaration("odd"), tables)
    plan = trio.plan("SELECT clinic, COUNT(*), SUM(pain) FROM visits GROUP BY clinic", dataset="odd")
    body = trio.run("job-1", trio.task(plan))
    assert {type(cell) for cell in body.opened} == {int}
    assert {field.name for field in body.DESCRIPTOR.fields if field.cpp_type == field.CPPTYPE_DOUBLE} <= {
        "epsilon",
        "delta",
    }
