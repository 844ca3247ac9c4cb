"""What one person can do to naive Bayes and principal components: move sums by what is claimed, and no further."""

from __future__ import annotations

import os
from math import ceil, sqrt
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit, Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from gateway.planning.model_designs import LINEAR_PART, SQUARE_CENTRE
from gateway.planning.training import plan_training
from tests.attacks.neighbours import (
    CLINIC,
    DELTA,
    PARTIES,
    Contributes,
    Tables,
    Unclipped,
    alone,
    clinic,
    extreme_unit,
    lies,
    tables_of,
    vector,
    without,
)

EXAMPLES = 5_000 if os.environ.get("YINGBI_LONG") == "1" else 10
UNIT = 3
BAYES, COMPONENTS = Fit.MODEL_GAUSSIAN_NAIVE_BAYES, Fit.MODEL_PRINCIPAL_COMPONENTS
MODELS = [
    (BAYES, "night ~ pain + age"),
    (BAYES, "ward ~ pain * age + night"),
    (BAYES, "C(code) ~ result + raw"),
    (BAYES, "night ~ pain + ward + ward:age"),
    (COMPONENTS, "~ pain + age + night"),
    (COMPONENTS, "~ pain + ward + age:ward"),
    (COMPONENTS, "~ result + raw"),
]
ONE_VISIT = clinic(max_visits=1)
"""A person has one row of visits: all moments are one vector, whose length is known."""


def trained(model: tuple[Fit.Model.ValueType, str], declaration: DatasetDeclaration = CLINIC) -> Plan:
    query = TrainQuery(model=model[0], formula=model[1])
    return plan_training(query, declaration, dataset_version=bytes(32), parties=PARTIES, epsilon=1.0, delta=DELTA).plan


def drawn(random: Random, rows: int) -> Tables:
    """A person with so many rows of the worst that columns can hold, among others with a few."""
    others = {unit: extreme_unit(random, random.randrange(4), random.randrange(3)) for unit in (0, 1, 7, 8)}
    return tables_of({**others, UNIT: extreme_unit(random, rows, random.choice([0, 1, 8]))})


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(MODELS), st.sampled_from([CLINIC, ONE_VISIT]), st.sampled_from([0, 1, 2, 40]), st.integers(0, 2**32)
)
def test_a_person_moves_the_sums_by_no_more_than_is_claimed(
    model: tuple[Fit.Model.ValueType, str], declaration: DatasetDeclaration, rows: int, seed: int
) -> None:
    """Also one who has more rows than are declared; and nobody else's part depends on them."""
    plan, tables = trained(model, declaration), drawn(Random(seed), rows)
    engine = DuckDBEngine()
    left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
    assert not lies(plan, left, right)
    own = vector(engine, plan, alone(tables, UNIT))
    assert [a - b for a, b in zip(left, right, strict=True)] == own
    assert own == vector(ReferenceEngine(), plan, alone(tables, UNIT))


@settings(max_examples=EXAMPLES * 2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([each for each in MODELS if "raw" not in each[1]]), st.integers(0, 2**32))
def test_nobody_with_one_row_weighs_less_than_one(model: tuple[Fit.Model.ValueType, str], seed: int) -> None:
    """The known length is that of the longest vector: were the constants of its pairs wrong, people would be cut."""
    plan, tables = trained(model, ONE_VISIT), drawn(Random(seed), 1)
    assert plan.clipping.joint_norm
    kept = vector(DuckDBEngine(), plan, alone(tables, UNIT))
    plan.clipping.joint_norm *= 4
    assert kept == vector(DuckDBEngine(), plan, alone(tables, UNIT))


@pytest.mark.parametrize("square", [1.0, 0.999, 0.5, 0.04, 0.0711, 0.01, 0.0])
def test_the_parts_of_a_known_length_are_what_they_can_be(square: float) -> None:
    """Whatever z is, its pair and that of columns apart are within the parts that are counted for them."""
    z = sqrt(square)
    pair = (ceil(16 * LINEAR_PART * z - 1e-9), ceil(16 * abs(square - SQUARE_CENTRE) / SQUARE_CENTRE - 1e-9))
    assert sum(each * each for each in pair) <= 272
    apart = (ceil(16 * z / sqrt(2)), ceil(16 * square / sqrt(2)))
    assert sum(each * each for each in apart) <= 288


def test_a_known_length_is_shorter_than_that_of_sums_clipped_by_themselves() -> None:
    plan = trained((BAYES, "night ~ pain + age"), ONE_VISIT)
    assert plan.clipping.joint_norm < 16 * len(plan.statistics) ** 0.5


def _found(engine: Contributes, model: tuple[Fit.Model.ValueType, str]) -> bool:
    plan = trained(model)
    neighbours = (drawn(Random(seed), 40) for seed in range(10))
    return any(lies(plan, vector(engine, plan, each), vector(engine, plan, without(each, UNIT))) for each in neighbours)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[4]])
def test_the_search_finds_an_engine_that_adds_up_all_rows_of_a_person(model: tuple[Fit.Model.ValueType, str]) -> None:
    assert _found(Unclipped(DuckDBEngine()), model)
    assert not _found(DuckDBEngine(), model)
