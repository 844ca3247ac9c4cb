"""Attack on whole mechanisms: plan, engine, clipping and noise of every kind of statistic, for the worst unit.

As in `test_noise_audit`: who tells two neighbours apart by a threshold shows a lower bound of μ of Gaussian
differential privacy, μ >= Φ⁻¹(TPR) − Φ⁻¹(FPR), here with exact binomial bounds at `ALARM`; the claim of ρ-zCDP by
Gaussian noise is μ = √(2ρ). Trials are packed as blocks of groups of one plan: in every second block there is one
unit with far more rows than count, spread over the block's groups so that every statistic moves by its whole
sensitivity at once.

Six audits of right mechanisms at `ALARM` each: they fail this file with probability below 2·10⁻⁷. `--long` makes
ten times as many trials.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]
from scipy.stats import beta  # type: ignore[import-untyped]
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Plan, Statistic, UnitNorms
from yingbi.api.zcdp import RHO_UNITS

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.expressions import Trait
from enclave_sim.plan.releases import check_prices
from enclave_sim.plan.sensitivity import delta2_squared, groups, width
from enclave_sim.plan.statistics import check_statistic
from enclave_sim.privacy.gaussian import rho_units_of, sigma_for
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import Contributes, Tables, Unclipped, vector
from tests.enclave_sim.engine.drawn import DISTINCT_UNITS, ROW_COUNT, bounded_sum, counted, key, plan, range_counts
from tests.enclave_sim.engine.expressions import compare

ALARM = 3e-8
PARTIES = 2
BLOCK = 4
"""Groups that a unit is in, and `max_groups`; with √4 = 2 = `max_rows` its rows weigh 1 in each of them."""
BLOCKS = 4_000
ROUNDS = 500 if os.environ.get("YINGBI_LONG") == "1" else 50
"""Of fresh noise: 200,000 trials in all, half of them with the unit."""
FEW = 6
"""Rounds for mechanisms that are far from what they claim."""
RHO = RHO_UNITS // 2
"""Of each statistic: μ = 1."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Audit:
    claimed_mu: float
    at_least_mu: float

    @property
    def caught(self) -> bool:
        """Whether the mechanism is less private than claimed, beyond chance."""
        return self.at_least_mu > self.claimed_mu

    @property
    def kept(self) -> bool:
        """Whether it is as private as claimed, and no more: so the audit could have failed."""
        return 0.8 * self.claimed_mu <= self.at_least_mu <= self.claimed_mu


def audit(scores: Integers, with_unit: NDArray[np.bool_], threshold: float, rho_units: int) -> Audit:
    """Tell the trials with the unit, whose scores are the larger ones, from those without."""
    hits, trials = int((scores[with_unit] > threshold).sum()), int(with_unit.sum())
    alarms, others = int((scores[~with_unit] > threshold).sum()), int((~with_unit).sum())
    true_positives = beta.ppf(ALARM / 2, hits, trials - hits + 1)
    false_positives = beta.ppf(1 - ALARM / 2, alarms + 1, others - alarms)
    return Audit(math.sqrt(2 * rho_units / RHO_UNITS), float(ndtri(true_positives) - ndtri(false_positives)))


def priced(asked: Plan) -> Plan:
    """With the noise that `RHO` buys for each statistic, as a node accepts it."""
    asked.noise.parties = PARTIES
    traits = {"place": Trait(COLUMN_TYPE_INT64), "x": Trait(COLUMN_TYPE_FLOAT64)}
    for index, statistic in enumerate(asked.statistics):
        count = groups(asked) * width(statistic)
        square = delta2_squared(asked, statistic)
        statistic.sigma = sigma_for(square, RHO, PARTIES, count)
        statistic.rho_units = rho_units_of(square, statistic.sigma, PARTIES, count)
        check_statistic(asked, statistic, traits, f"statistics[{index}]")
    check_prices(asked)
    return asked


@cache
def question() -> Plan:
    """Every statistic over as many groups as there are places."""
    return priced(
        plan(
            ROW_COUNT,
            counted(DISTINCT_UNITS, compare("x:float64", ">", 0.5)),
            bounded_sum("x:float64", 0, 1, 0.5, 0.5),
            range_counts("x:float64", 0, 1, 2, 2),
            by=[key("place:int64", *range(BLOCKS * BLOCK))],
            max_rows=2,
            max_groups=BLOCK,
            fraction_bits=16,
        )
    )


PARTS = ["row_count", "distinct_units", "bounded_sum", "range_counts"]
MOVED_CELLS = [BLOCK, BLOCK, BLOCK, 2 * BLOCK]
"""By the unit, of each statistic; each by one step of 2^16, of ranges on two levels."""


@cache
def visits() -> Tables:
    """In every second block a unit of its own, with four times as many rows in each group as count in full."""
    units = np.repeat(np.arange(1, BLOCKS, 2), BLOCK * 4)
    places = units * BLOCK + np.tile(np.repeat(np.arange(BLOCK), 4), BLOCKS // 2)
    return {"visits": pa.table({UNIT_COLUMN: units, "place": places, "x": np.ones(len(units))})}


@dataclass(frozen=True)
class Scores:
    """Of every trial, by statistic: the sum of the cells that the unit moves, in rounds of all blocks."""

    by_part: list[Integers]

    @property
    def with_unit(self) -> NDArray[np.bool_]:
        return np.asarray(np.arange(len(self.by_part[0])) % 2 == 1)

    def part(self, index: int) -> Audit:
        signal = MOVED_CELLS[index] << question().fraction_bits
        return audit(self.by_part[index], self.with_unit, signal / 2, question().statistics[index].rho_units)

    def joint(self) -> Audit:
        """All statistics at once, each weighed by its signal over its noise, as the likelihood does."""
        asked = question()
        weights = [1 / statistic.sigma**2 for statistic in asked.statistics]
        scores = sum(weight * part for weight, part in zip(weights, self.by_part, strict=True))
        signal = (
            sum(weight * cells for weight, cells in zip(weights, MOVED_CELLS, strict=True)) * 2**asked.fraction_bits
        )
        return audit(np.asarray(scores), self.with_unit, signal / 2, sum(s.rho_units for s in asked.statistics))


def released(engine: Contributes, rounds: int, noise: float = 1.0) -> Scores:
    """What so many jobs of the plan open, as scores; `noise` is the part of σ that is drawn."""
    asked = question()
    exact = np.array(vector(engine, asked, visits()))
    by_part, start = [], 0
    for statistic in asked.statistics:
        cells = exact[start : start + groups(asked) * width(statistic)]
        start += len(cells)
        sigma = int(statistic.sigma * noise)
        by_part.append(
            np.concatenate([_score(statistic, cells + drawn_noise(len(cells), sigma)) for _ in range(rounds)])
        )
    return Scores(by_part)


def drawn_noise(cells: int, sigma: int) -> Integers:
    shares = [np.array(sample_share(cells, sigma), dtype=np.int64) for _ in range(PARTIES)]
    return np.asarray(np.sum(shares, axis=0), dtype=np.int64)


def _score(statistic: Statistic, cells: Integers) -> Integers:
    """Of ranges, the upper half and the last quarter: there lies x = 1."""
    of_groups = cells.reshape(BLOCKS, BLOCK, width(statistic))
    moved = [1, 5] if statistic.HasField("range_counts") else [0]
    return np.asarray(of_groups[:, :, moved].sum(axis=(1, 2)), dtype=np.int64)


@pytest.fixture(scope="module")
def right() -> Scores:
    return released(DuckDBEngine(), ROUNDS)


@pytest.mark.parametrize("part", PARTS)
def test_each_statistic_is_as_private_as_its_price_says(right: Scores, part: str) -> None:
    assert right.part(PARTS.index(part)).kept


def test_a_whole_plan_is_as_private_as_the_sum_of_its_prices(right: Scores) -> None:
    """One clipping, one unit that moves everything: the prices add up, and none is wasted."""
    assert right.joint().kept


@pytest.fixture(scope="module")
def with_half_the_noise() -> Scores:
    return released(DuckDBEngine(), FEW, noise=1 / 2)


@pytest.fixture(scope="module")
def without_clipping() -> Scores:
    return released(Unclipped(DuckDBEngine()), FEW)


@pytest.mark.parametrize("part", PARTS)
def test_half_the_noise_is_caught(with_half_the_noise: Scores, part: str) -> None:
    assert with_half_the_noise.part(PARTS.index(part)).caught


@pytest.mark.parametrize("part", ["row_count", "bounded_sum", "range_counts"])
def test_an_engine_that_forgets_to_clip_is_caught(without_clipping: Scores, part: str) -> None:
    assert without_clipping.part(PARTS.index(part)).caught


NORM_CELLS = 200
NORM_ROUNDS = 1_000


@cache
def norms() -> Plan:
    return priced(
        plan(
            Statistic(unit_norms=UnitNorms(edges=range(1, NORM_CELLS))),
            max_rows=1,
            fraction_bits=16,
        )
    )


def _norm_scores(tables: Tables, noise: float) -> tuple[Integers, NDArray[np.bool_]]:
    """Every cell is a trial: a unit has so many rows, or nobody has."""
    exact = np.array(vector(DuckDBEngine(), norms(), tables))
    drawn = drawn_noise(NORM_CELLS * NORM_ROUNDS, int(norms().statistics[0].sigma * noise))
    return np.tile(exact, NORM_ROUNDS) + drawn, np.tile(exact > 0, NORM_ROUNDS)


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_the_norms_of_units_are_as_private_as_their_price_says(noise: float) -> None:
    """The unit with k rows is in cell k − 1, for every second k."""
    units = [unit for unit in range(2, NORM_CELLS, 2) for _ in range(unit)]
    tables = {"visits": pa.table({UNIT_COLUMN: pa.array(units, pa.int64()), "x": np.ones(len(units))})}
    scores, with_unit = _norm_scores(tables, noise)
    found = audit(scores, with_unit, 2**15, norms().statistics[0].rho_units)
    assert found.kept == (noise == 1)
    assert found.caught == (noise < 1)
