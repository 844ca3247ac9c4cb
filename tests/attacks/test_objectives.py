"""A step with an objective: a person moves its vector by the norm that is claimed, and its score by the score's, no
further, whatever their rows hold, however many they are, and whatever numbers a hostile gateway wrote."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.model_vectors import scored
from yingbi.api.v1.plan_pb2 import GeneralizedLinear, Plan, Statistic

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import delta2_squared
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import Tables, alone, lies, vector, without
from tests.attacks.test_model_vectors import UNIT, drawn, step

PREDICTING = [
    GeneralizedLinear.FAMILY_BERNOULLI_LOGIT,
    GeneralizedLinear.FAMILY_POISSON_LOG,
    GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT,
    GeneralizedLinear.FAMILY_IDENTITY,
]
LIMITS = [4.0, 5e-324, 1e308]


def with_objective(plan: Plan, limit: float) -> Plan:
    """The same with a second statistic, as the gateway makes it of a step."""
    own = scored(plan.statistics[0].model_vector, limit, plan.fraction_bits)
    plan.statistics.append(Statistic(model_vector=own))
    return plan


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PREDICTING), st.sampled_from([0, 1, 2, 40]), st.sampled_from(LIMITS), st.integers(0, 2**32))
def test_a_person_moves_a_step_and_its_score_by_what_each_claims(
    family: int, rows: int, limit: float, seed: int
) -> None:
    random = Random(seed)
    plan, tables = with_objective(step(random, family), limit), drawn(random, rows)
    for engine in (DuckDBEngine(), ReferenceEngine()):
        left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
        assert not lies(plan, left, right)
        own = vector(engine, plan, alone(tables, UNIT))
        assert [one - other for one, other in zip(left, right, strict=True)] == own


@pytest.mark.parametrize("family", PREDICTING)
def test_a_person_with_a_million_rows_counts_once_in_both(family: int) -> None:
    rows = 1_000_000
    plan = with_objective(step(Random(1), family), 4.0)
    pains = np.resize([1e308, -1e308, math.inf, -0.0, math.nan, 9.0], rows)
    ages, stays = np.resize([2**62, 1], rows), np.resize([1, 0, 2], rows)
    one = {UNIT_COLUMN: np.full(rows, UNIT), "pain": pains, "age": ages, "stay": stays}
    found = vector(DuckDBEngine(), plan, {"visits": pa.table(one)})
    assert not lies(plan, found, [0] * len(found))


def test_what_the_two_claim_is_what_is_charged() -> None:
    """Two releases: of the gradient its norm, of the score the root of a half; neither depends on the other."""
    plan = with_objective(step(Random(1), GeneralizedLinear.FAMILY_BERNOULLI_LOGIT), 4.0)
    alone_, score = plan.statistics
    assert delta2_squared(plan, alone_) == alone_.model_vector.max_norm**2
    assert delta2_squared(plan, score) == math.ceil(math.sqrt(0.5) * 2**16) ** 2


def test_the_search_finds_an_engine_that_adds_up_rows() -> None:
    """A control: every row counts as if it were somebody's own."""

    def apart(tables: Tables) -> Tables:
        table = tables["visits"]
        place = table.column_names.index(UNIT_COLUMN)
        return {"visits": table.set_column(place, UNIT_COLUMN, pa.array(np.arange(len(table), dtype=np.int64)))}

    def moves_too_far(broken: bool) -> bool:
        plan = step(Random(2), GeneralizedLinear.FAMILY_BERNOULLI_LOGIT)
        plan.statistics[0].model_vector.generalized_linear.parameters[:] = [1.0, 1.0]
        plan, tables = with_objective(plan, 4.0), drawn(Random(2), 40)
        # Of the score alone.
        del plan.statistics[0]
        left, right = tables, without(tables, UNIT)
        if broken:
            left, right = apart(left), apart(right)
        return lies(plan, vector(DuckDBEngine(), plan, left), vector(DuckDBEngine(), plan, right))

    assert not moves_too_far(broken=False)
    assert moves_too_far(broken=True)
