"""Membership inference in one run: many canaries, each in the data or not by a coin, guessed from one step of training.

As Steinke, Nasr and Jagielski audit in one run (Privacy Auditing with One (1) Training Run, 2023), with what only the
strongest attacker has: each canary is a person with a direction of the gradient to themselves, moves it by the whole
norm that clipping leaves, and the attacker sees the opened, noised vector itself. A model, and whatever anybody
computes of it, says less.

One canary is told by one coordinate, which is ±half its norm around a threshold plus Gaussian noise. In μ-Gaussian
differential privacy, μ = √(2ρ), nobody guesses a fair coin with more than Φ(μ/2) of being right (Dong, Roth, Su 2019);
here coordinates and coins are independent, and so are guesses: the number of right ones is below a binomial quantile.

At `ALARM` each, the audits of what is right fail with probability below 10⁻⁷.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import ndtr  # type: ignore[import-untyped]
from scipy.stats import binom  # type: ignore[import-untyped]
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    ColumnReference,
    Expression,
    GeneralizedLinear,
    ModelVector,
    Noise,
    Plan,
    Relation,
    Scan,
    Statistic,
)
from yingbi.api.zcdp import RHO_UNITS

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.models import MAX_TERMS
from enclave_sim.plan.sensitivity import delta2_squared
from enclave_sim.privacy.gaussian import rho_units_of, sigma_for
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import opener

ALARM = 1e-8
CANARIES = MAX_TERMS - 1
PARTIES = 2
NORM = 1 << 16
RHO = RHO_UNITS // 2
"""μ = 1: Φ(1/2) = 0.69 of the guesses are right at most."""
ROWS_OF_ONE = 3
RUNS = 4


def step() -> Plan:
    """Least squares at parameters of 0, where a row's gradient is -y · z."""
    names = [*(f"z{index}" for index in range(CANARIES)), "y"]
    terms = [Expression(column=ColumnReference(name=name, type=COLUMN_TYPE_FLOAT64)) for name in names]
    model = GeneralizedLinear(
        family=GeneralizedLinear.FAMILY_IDENTITY,
        parameters=[0.0] * CANARIES,
        # No constant: a canary has its own direction and no other.
        transform=np.hstack([np.zeros((CANARIES, 1)), np.eye(CANARIES)]).ravel().tolist(),
        max_length=math.inf,
        max_residual=math.inf,
    )
    vector = ModelVector(terms=terms, max_norm=NORM, generalized_linear=model)
    return Plan(
        relation=Relation(scan=Scan(table="people")),
        statistics=[Statistic(model_vector=vector)],
        fraction_bits=16,
        noise=Noise(parties=PARTIES, parties_per_unit=1),
    )


def rows_of(present: np.ndarray, far: float) -> pa.Table:
    """Several rows for each canary in the data, far beyond every norm."""
    canaries = np.repeat(np.flatnonzero(present), ROWS_OF_ONE)
    columns = {f"z{index}": (canaries == index) * far for index in range(CANARIES)}
    return pa.table({UNIT_COLUMN: canaries.astype(np.int64), **columns, "y": np.full(len(canaries), -1.0)})


def right_guesses(plan: Plan, sigma: int, seed: int, far: float = 1e9) -> int:
    """How many of the canaries are guessed, when each party's share of the noise has this sigma."""
    present = np.random.default_rng(seed).random(CANARIES) < 0.5
    total = np.array(DuckDBEngine().contribution(plan, opener({"people": rows_of(present, far)})))
    for _ in range(PARTIES):
        total = total + np.array(sample_share(CANARIES, sigma))
    return int(((total > NORM / 2) == present).sum())


def guessed(plan: Plan, sigma: int) -> int:
    return sum(right_guesses(plan, sigma, seed) for seed in range(RUNS))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return step()


@pytest.fixture(scope="module")
def sigma(plan: Plan) -> int:
    squared = delta2_squared(plan, plan.statistics[0])
    found = sigma_for(squared, RHO, PARTIES, CANARIES)
    assert rho_units_of(squared, found, PARTIES, CANARIES) <= RHO
    return found


def most_right(mu: float) -> int:
    return int(binom.isf(ALARM, RUNS * CANARIES, ndtr(mu / 2)))


def test_no_more_canaries_are_told_than_the_price_allows(plan: Plan, sigma: int) -> None:
    """And hardly fewer, so that the audit could have failed."""
    found = guessed(plan, sigma)
    assert binom.ppf(ALARM, RUNS * CANARIES, ndtr(0.45)) <= found <= most_right(1.0)


def test_noise_of_half_the_size_is_caught(plan: Plan, sigma: int) -> None:
    assert guessed(plan, sigma // 2) > most_right(1.0)


def test_a_step_that_cuts_no_vector_is_caught(plan: Plan, sigma: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from enclave_sim.engine.models import unit_vectors

    def uncut(vectors: np.ndarray, max_norm: int, fraction_bits: int) -> np.ndarray:
        whole: np.ndarray = np.rint(vectors * (1 << fraction_bits)).astype(np.int64)
        return whole

    monkeypatch.setattr(unit_vectors, "clipped", uncut)
    found = sum(right_guesses(plan, sigma, seed, far=10.0) for seed in range(RUNS))
    assert found > most_right(1.0)
