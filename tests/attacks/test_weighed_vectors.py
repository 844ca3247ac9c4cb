"""Weights of classes, and scores in place of steps: a person moves the total by the norm that is claimed, no further.

Weights come before the cut, so that they are no part of the sensitivity, whatever a hostile gateway wrote for them.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import BinnedGradient, Bins, Network, Plan, Score

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from tests.attacks.neighbours import alone, lies, vector, without
from tests.attacks.test_model_vectors import HOSTILE, NORM, UNIT, drawn, step

WEIGHTS = [1.0, 1e-300, 1e6, 1e308]
FAMILIES = ["logit", "multinomial", "counts", "network", "network of three", "boosting"]


def _step(random: Random, kind: str) -> Plan:
    """A step over columns without any bounds, with the worst numbers a plan can be written with."""
    if kind in ("logit", "counts", "multinomial"):
        return step(random, {"logit": 1, "counts": 2, "multinomial": 3}[kind])
    plan = step(random, None)
    made = plan.statistics[0].model_vector
    if kind == "boosting":
        features = [Bins(edges=[0, 5], scores=[-(2**26), 0, 2**26]), Bins(scores=[7])]
        scale = random.choice(HOSTILE)
        family = BinnedGradient.FAMILY_BERNOULLI_LOGIT
        made.binned_gradient.CopyFrom(BinnedGradient(family=family, features=features, scale=scale))
        return plan
    classes = 3 if kind == "network of three" else 0
    made.network.CopyFrom(
        Network(
            family=Network.FAMILY_MULTINOMIAL_LOGIT if classes else Network.FAMILY_BERNOULLI_LOGIT,
            classes=classes,
            hidden=[2],
            parameters=[random.choice([-(2**26), 0, 2**26]) for _ in range(15 if classes else 9)],
            scales=[random.choice(HOSTILE) for _ in range(3)],
            shifts=[random.choice(HOSTILE) for _ in range(3)],
        )
    )
    return plan


def _weighed(random: Random, kind: str) -> Plan:
    plan = _step(random, kind)
    made = plan.statistics[0].model_vector
    made.class_weights[:] = [
        random.choice(WEIGHTS) for _ in range(3 if kind in ("multinomial", "network of three") else 2)
    ]
    return plan


def _scored(random: Random, kind: str) -> Plan:
    plan = _step(random, kind)
    plan.statistics[0].model_vector.score.CopyFrom(Score(limit=random.choice([4.0, 5e-324, 1e308])))
    return plan


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FAMILIES), st.booleans(), st.sampled_from([0, 1, 2, 40]), st.integers(0, 2**32))
def test_a_person_moves_it_by_no_more_than_is_claimed(kind: str, is_score: bool, rows: int, seed: int) -> None:
    """And by exactly what their own rows make: nobody else's vector depends on who is there."""
    random = Random(seed)
    plan = _scored(random, kind) if is_score or kind in ("counts", "boosting") else _weighed(random, kind)
    tables = drawn(random, rows)
    for engine in (DuckDBEngine(), ReferenceEngine()):
        left, right = vector(engine, plan, tables), vector(engine, plan, without(tables, UNIT))
        assert not lies(plan, left, right)
        own = vector(engine, plan, alone(tables, UNIT))
        assert sum(part * part for part in own) <= NORM**2
        assert [one - other for one, other in zip(left, right, strict=True)] == own


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FAMILIES), st.sampled_from([1, 2, 40]), st.integers(0, 2**32))
def test_no_score_is_longer_than_its_norm_before_it_is_cut(kind: str, rows: int, seed: int) -> None:
    """So that a norm of the root of half a unit, or of half a unit, cuts nobody: NORM is far longer."""
    random = Random(seed)
    plan = _scored(random, kind)
    own = vector(DuckDBEngine(), plan, alone(drawn(random, rows), UNIT))
    assert all(abs(part) <= 1 << 15 for part in own)
    assert math.hypot(*own) <= math.ceil(math.sqrt(0.5) * (1 << 16))


def test_the_search_finds_weights_that_nothing_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control: without the cut after weighing, weights move the total as far as they are large."""
    from enclave_sim.engine.models import unit_vectors

    def uncut(vectors: np.ndarray, max_norm: int, fraction_bits: int) -> np.ndarray:
        steps: np.ndarray = np.rint(np.clip(vectors, -(2.0**40), 2.0**40) * (1 << fraction_bits)).astype(np.int64)
        return steps

    def moves_too_far() -> bool:
        for seed in range(12):
            random = Random(seed)
            plan, tables = step(random, 1), drawn(random, 2)
            made = plan.statistics[0].model_vector
            made.generalized_linear.parameters[:] = [0.0, 0.0]
            made.generalized_linear.transform[:] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
            made.generalized_linear.max_length, made.generalized_linear.max_residual = 1.0, 0.5
            made.class_weights[:] = [1000.0, 1000.0]
            if lies(plan, vector(DuckDBEngine(), plan, tables), vector(DuckDBEngine(), plan, without(tables, UNIT))):
                return True
        return False

    assert not moves_too_far()
    monkeypatch.setattr(unit_vectors, "clipped", uncut)
    assert moves_too_far()
