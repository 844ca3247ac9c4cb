"""Whoever asks much: reconstruction of a secret bit of 200 people, averaging, differencing.

Dinur, Nissim, "Revealing information while preserving privacy" (PODS 2003): counts over random subsets, answered
too accurately and often enough, give every row away. What the ledger allows for a whole budget keeps each bit
near a coin's throw: a release of ρ-zCDP by Gaussian noise is μ-GDP with μ = √(2ρ), so nobody guesses a uniform bit
right with a probability above Φ(μ/2), even knowing all others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr  # type: ignore[import-untyped]
from yingbi.api import zcdp
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim import jobs
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import never
from enclave_sim.plan.sensitivity import delta2_squared, total_rho_units
from enclave_sim.privacy.accounting import BudgetExceededError, Charge, Filter
from enclave_sim.privacy.sampling import sample_share
from tests.attacks.neighbours import DELTA, PARTIES, Tables, asked, clinic, tables_of, vector
from tests.attacks.three_enclaves import Trio, refusal, visits_declaration, visits_of

pytestmark = pytest.mark.xdist_group("reconstruction")

PEOPLE = 200
QUESTIONS, EACH = 5, 50
"""So many questions of so many counts: more than there are people."""
BUDGET = zcdp.rho_units_for(3.0, DELTA)
ROUNDS = 40
"""Of fresh noise, for an average that chance hardly moves."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Attack:
    """Counts over public subsets of people, of those whose secret is true."""

    secrets: NDArray[np.bool_]
    members: Matrix
    plans: list[Plan]
    exact: Matrix

    def success(self, noise: Matrix) -> float:
        """The share of secrets that are guessed from counts with this noise: by the best linear guess."""
        answers = self.exact + noise - self.members.sum(axis=1) / 2
        # A secret is ±1/2 about its middle: a variance of 1/4 beside the noise's.
        ridge = 4 * float(noise.var()) * np.eye(PEOPLE)
        guessed = np.linalg.solve(self.members.T @ self.members + ridge, self.members.T @ answers) > 0
        return float((guessed == self.secrets).mean())


def _people(secrets: NDArray[np.bool_]) -> Tables:
    return tables_of({i: {"visits": [{"stay": i, "night": bool(secret)}]} for i, secret in enumerate(secrets)})


@cache
def attack() -> Attack:
    """Within the budget: every question has an equal part of it, which the filter admits one by one."""
    secrets = np.random.default_rng(2003).random(PEOPLE) < 0.5
    members = np.random.default_rng(7).integers(0, 2, (QUESTIONS * EACH, PEOPLE))
    declaration, tables = clinic(max_visits=1), _people(secrets)
    budget, plans, exact = Filter(Charge(BUDGET)), [], []
    part = zcdp.epsilon_of(BUDGET // QUESTIONS, DELTA) * (1 - 1e-9)
    for question in range(QUESTIONS):
        subsets = [np.flatnonzero(row).tolist() for row in members[EACH * question :][:EACH]]
        counts = ", ".join(f"COUNT_IF(night AND stay IN {tuple(each)}) AS c{i}" for i, each in enumerate(subsets))
        plan = asked(f"SELECT {counts} FROM visits", declaration=declaration, epsilon=part)
        budget = budget.charged(Charge(total_rho_units(plan)))
        plans.append(plan)
        exact += vector(DuckDBEngine(), plan, tables)
    with pytest.raises(BudgetExceededError):
        budget.charged(Charge(total_rho_units(plans[0])))
    return Attack(secrets, members.astype(np.float64), plans, np.array(exact) / 2**16)


def _noise(plans: list[Plan], part: float = 1.0) -> Matrix:
    """One release's, or that of a mechanism with a part of the noise only; each statistic here has one cell."""
    (sigma,) = {statistic.sigma for plan in plans for statistic in plan.statistics}
    count = sum(len(plan.statistics) for plan in plans)
    shares = [sample_share(count, max(2, int(sigma * part))) for _ in range(PARTIES)]
    return np.asarray(np.sum(shares, axis=0) / 2**16, dtype=np.float64)


def test_without_noise_every_bit_is_reconstructed() -> None:
    """So the attack works, and the engine counts what was asked."""
    found = attack()
    assert (found.exact == found.members @ found.secrets).all()
    assert found.success(np.zeros(len(found.exact))) == 1


def test_with_too_little_noise_almost_every_bit_is_reconstructed() -> None:
    found = attack()
    assert found.success(_noise(found.plans, part=1 / 50)) > 0.9


def test_within_the_budget_reconstruction_stays_near_chance() -> None:
    """On average over all noise at most Φ(√(2ρ)/2); here 8,000 guesses are made."""
    found = attack()
    spent = sum(total_rho_units(plan) for plan in found.plans)
    permitted = float(ndtr(math.sqrt(2 * spent / zcdp.RHO_UNITS) / 2))
    assert spent <= BUDGET
    assert 0.6 < permitted < 0.65
    successes = [found.success(_noise(found.plans)) for _ in range(ROUNDS)]
    assert np.mean(successes) <= permitted
    assert max(successes) < 0.8


def test_differencing_two_questions_that_differ_by_one_person_tells_no_more_than_both_cost() -> None:
    """All, and all but one: the difference's noise is that of the price, and not less."""
    declaration = clinic(max_visits=1)
    everybody = asked("SELECT COUNT_IF(night) FROM visits", declaration=declaration)
    others = asked("SELECT COUNT_IF(night AND stay <> 7) FROM visits", declaration=declaration)
    cost = (total_rho_units(everybody) + total_rho_units(others)) / zcdp.RHO_UNITS
    variance = PARTIES * (everybody.statistics[0].sigma ** 2 + others.statistics[0].sigma ** 2)
    step = math.sqrt(delta2_squared(everybody, everybody.statistics[0]))
    assert step / math.sqrt(variance) <= math.sqrt(2 * cost)


def test_a_job_asked_for_again_and_again_is_one_release(trio: Trio) -> None:
    """Averaging a replay averages one number."""
    task = trio.task(trio.plan())
    first = trio.contribute("job-1", task)
    for _ in range(50):
        assert trio.contribute("job-1", task) == first
    receipts = {trio.sign("job-1", trio.open("job-1", first))[0].receipt_body for _ in range(5)}
    assert len(receipts) == 1
    assert trio.records("charge") == [1, 1, 1]


def test_averaging_fresh_releases_ends_with_the_budget(trio: Trio) -> None:
    """Each has fresh noise and is paid for; the average is never better than one release for the whole budget."""
    trio.add(visits_declaration("few", epsilon=1.0), [visits_of(node) for node in range(3)])
    plan = trio.plan("SELECT COUNT(*) FROM visits", dataset="few", epsilon=0.3)
    limit = zcdp.rho_units_for(1.0, DELTA)
    paid = 0
    enclave = trio.enclaves[0]
    while total_rho_units(plan) * (paid + 1) <= limit:
        jobs.contribute(enclave, f"job-{paid}", trio.task(plan, request_id=f"request-{paid}"), never)
        paid += 1
    again = trio.task(plan, request_id="once more")
    assert refusal(jobs.contribute, enclave, "once-more", again, never) == "budget_exceeded"
    assert paid >= 2
    (statistic,) = plan.statistics
    error = statistic.sigma * math.sqrt(PARTIES / paid)
    assert error >= math.sqrt(delta2_squared(plan, statistic) / (2 * limit / zcdp.RHO_UNITS))
