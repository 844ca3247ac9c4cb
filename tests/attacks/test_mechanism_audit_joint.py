"""Attack on the joint vector: several statistics with one clipping, one noise and one price.

As in `test_mechanism_audit_v2`, with a unit that moves every cell of the vector as far as the clipping lets it. One
audit of a right mechanism at `ALARM`.
"""

from functools import cache

import numpy as np
import pytest
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.releases import check_prices, releases
from enclave_sim.plan.sensitivity import groups
from enclave_sim.privacy.gaussian import sigma_for
from tests.attacks.neighbours import Contributes, Unclipped, vector
from tests.attacks.test_mechanism_audit_v2 import (
    BLOCK,
    BLOCKS,
    FEW,
    PARTIES,
    RHO,
    ROUNDS,
    Audit,
    audit,
    drawn_noise,
    visits,
)
from tests.enclave_sim.engine.drawn import ROW_COUNT, bounded_sum, key, plan

PARTS = 2
JOINT_NORM = 45
"""In sixteenths: about one row in each of the unit's 2 x BLOCK cells, where it has four."""


@cache
def question() -> Plan:
    """A count and a sum over as many groups as there are places."""
    asked = plan(
        ROW_COUNT,
        bounded_sum("x:float64", 0, 1, 0.5, 0.5),
        by=[key("place:int64", *range(BLOCKS * BLOCK))],
        joint_norm=JOINT_NORM,
        fraction_bits=16,
    )
    asked.noise.parties = PARTIES
    (release,) = releases(asked)
    for statistic in asked.statistics:
        statistic.sigma = sigma_for(release.delta2_squared, RHO, PARTIES, release.cells)
    asked.statistics[0].rho_units = release.rho_units(asked.statistics[0].sigma, PARTIES)
    check_prices(asked)
    return asked


def audited(engine: Contributes, rounds: int, share_of_noise: float = 1.0) -> Audit:
    """Every cell that the unit moves, added up: the best score, since all move alike."""
    asked = question()
    exact = np.array(vector(engine, asked, visits())).reshape(PARTS, BLOCKS, BLOCK)
    sigma = int(asked.statistics[0].sigma * share_of_noise)
    scores = []
    for _ in range(rounds):
        drawn = drawn_noise(PARTS * groups(asked), sigma).reshape(exact.shape)
        scores.append((exact + drawn).sum(axis=(0, 2)))
    with_unit = np.tile(np.arange(BLOCKS) % 2 == 1, rounds)
    signal = (JOINT_NORM << asked.fraction_bits) / 16 * (PARTS * BLOCK) ** 0.5
    return audit(np.concatenate(scores), with_unit, signal / 2, asked.statistics[0].rho_units)


def test_the_joint_vector_is_as_private_as_its_one_price_says() -> None:
    assert audited(DuckDBEngine(), ROUNDS).kept


@pytest.mark.parametrize(
    ("engine", "share"), [(DuckDBEngine(), 0.5), (Unclipped(DuckDBEngine()), 1.0)], ids=["half the noise", "no clip"]
)
def test_half_the_noise_and_a_missing_clip_are_caught(engine: Contributes, share: float) -> None:
    assert audited(engine, FEW, share).caught


def test_a_price_for_one_statistic_where_two_are_released_is_caught() -> None:
    """The temptation: to share a noise that was calibrated to one of the parts, by a factor of √2 too little."""
    assert audited(DuckDBEngine(), ROUNDS, 0.5**0.5).caught
