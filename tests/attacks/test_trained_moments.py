"""What one person can do to a model: move its moments by what is claimed, whatever their rows hold, and no further."""

from __future__ import annotations

import os
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from gateway.planning.training import plan_training
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
FORMULAS = [
    "pain ~ age",
    "pain ~ age + night + ward",
    "pain ~ age * night + ward:age - 1",
    "pain ~ result + C(code)",
    "result ~ raw + (LEAST(GREATEST(stay, 0), 30))",
    "age ~ pain + (CASE WHEN note LIKE '1%' THEN 1 ELSE 0 END)",
]


def trained(formula: str) -> Plan:
    query = TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula=formula)
    return plan_training(query, CLINIC, dataset_version=bytes(32), parties=PARTIES, epsilon=1.0, delta=DELTA).plan


def drawn(random: Random, rows: int) -> Tables:
    """A person with so many rows of the worst that columns can hold, among others with a few."""
    others = {unit: extreme_unit(random, random.randrange(4), random.randrange(3)) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, rows, random.choice([0, 1, 8]))})


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FORMULAS), st.sampled_from([0, 1, 2, 40]), st.sampled_from([0, 20]), st.integers(0, 2**32))
def test_a_person_moves_the_moments_by_no_more_than_is_claimed(formula: str, rows: int, joint: int, seed: int) -> None:
    """And by exactly what their own rows make: no other person's weight depends on them."""
    plan, tables = trained(formula), drawn(Random(seed), rows)
    plan.clipping.joint_norm = joint
    engine = DuckDBEngine()
    left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
    assert not lies(plan, left, right)
    assert [a - b for a, b in zip(left, right, strict=True)] == vector(engine, plan, alone(tables, UNIT))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FORMULAS), st.sampled_from([0, 1, 2, 12]), st.integers(0, 2**32))
def test_a_person_counts_once_and_each_moment_of_theirs_is_a_mean(formula: str, rows: int, seed: int) -> None:
    """Of the number of units exactly one, of every other moment 1 at most; and both engines say the same."""
    plan, tables = trained(formula), drawn(Random(seed), rows)
    own = vector(DuckDBEngine(), plan, alone(tables, UNIT))
    assert own == vector(ReferenceEngine(), plan, alone(tables, UNIT))
    assert own[0] in (0, STEP)
    assert all(abs(cell) <= own[0] for cell in own)


def _found(engine: Contributes) -> bool:
    plan = trained("pain ~ age + night")
    neighbours = (drawn(Random(seed), 40) for seed in range(10))
    return any(lies(plan, vector(engine, plan, each), vector(engine, plan, without(each, UNIT))) for each in neighbours)


def test_the_search_finds_an_engine_that_adds_up_all_rows_of_a_person() -> None:
    assert _found(Unclipped(DuckDBEngine()))
    assert not _found(DuckDBEngine())


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_row_makes_training_fail(formula: str) -> None:
    """Nobody at all, and people whose rows are NaN, infinite, NULL or beyond every bound."""
    plan = trained(formula)
    nobody = vector(DuckDBEngine(), plan, tables_of({}))
    assert nobody == [0] * len(plan.statistics)
    for seed in range(5):
        assert len(vector(DuckDBEngine(), plan, drawn(Random(seed), 30))) == len(plan.statistics)
