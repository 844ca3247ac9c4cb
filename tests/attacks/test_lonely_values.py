"""Attack on COUNT(DISTINCT x): is a value that one person alone has seen in the count?

With the planner's own plan and threshold, the noise that enclaves draw, and the count that a client reads off. What
protects that person is the noise in the released cells, whatever is computed of them; this is about the count that
people look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom  # type: ignore[import-untyped]
from yingbi.answer import table_of
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.privacy.sampling import sample_share
from gateway.planning.distinct import FALSE_VALUES
from tests.gateway.planning.reference_answers import question_of
from tests.gateway.planning.reference_clinic import opened

TRIALS = 500
ALARM = 1e-6
"""How seldom a test here fails by chance."""
SQL = "SELECT COUNT(DISTINCT stay) AS n FROM visits"
"""Of 31 values."""


def exact_cells(plan: Plan, stays: Sequence[int]) -> list[int]:
    """What a plan would open without noise of people with one visit each, of so many days."""
    rows = {"visits": pa.table({"person": list(range(len(stays))), "stay": pa.array(stays, pa.int64())})}
    return list(ReferenceEngine().contribution(plan, lambda name, columns: opened(rows, name, columns)))


def counts(plan: Plan, cells: Sequence[int]) -> list[float]:
    """The count in many independent answers, with three enclaves' noise."""
    shares = [sample_share(len(cells) * TRIALS, plan.statistics[0].sigma) for _ in range(plan.noise.parties)]
    noisy = np.sum(np.array(shares), axis=0).reshape(TRIALS, -1) + np.array(cells)
    return [float(table_of(plan, row).rows[0][0]) for row in noisy.tolist()]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return question_of(SQL).plan


def test_a_value_of_one_person_hardly_ever_raises_the_count(plan: Plan) -> None:
    common = [1, 2, 3] * 200
    exact = exact_cells(plan, [*common, 30])
    assert exact[30] == 1 << plan.fraction_bits
    found = counts(plan, exact)
    raised = sum(count > 3 for count in found)
    assert binom.sf(raised - 1, TRIALS, FALSE_VALUES) > ALARM
    assert sum(count == 3 for count in found) > 0.9 * TRIALS


def test_not_even_if_every_value_is_one_persons(plan: Plan) -> None:
    """Then the count is the values that noise lifts: 0.05 on average, where a naive count would be 31."""
    found = counts(plan, exact_cells(plan, range(31)))
    lifted = sum(found)
    assert binom.sf(lifted - 1, 31 * TRIALS, FALSE_VALUES / 31) > ALARM


def test_the_test_would_see_a_threshold_that_is_too_low(plan: Plan) -> None:
    """Of one standard deviation above 0: the same attack finds values all the time."""
    lowered = Plan()
    lowered.CopyFrom(plan)
    lowered.outputs[0].measure.distinct_values.threshold /= 3
    assert sum(counts(lowered, exact_cells(plan, range(31)))) > TRIALS


def test_a_value_is_told_the_more_surely_the_more_people_have_it(plan: Plan) -> None:
    enough = round(plan.outputs[0].measure.distinct_values.threshold)
    shares = [
        sum(counts(plan, exact_cells(plan, [7] * people))) / TRIALS for people in (1, enough // 2, enough, 2 * enough)
    ]
    assert all(less < more for less, more in pairwise(shares))
    assert shares[2] == pytest.approx(0.5, abs=0.1)
    assert shares[3] > 0.99
