"""Attack on the noise itself: is the sum of the shares as private as it is said to be?

An attacker who sees a release of one of two neighbouring totals guesses which it was by a threshold
fixed in advance. Its true and false positive rates bound the mechanism's μ of Gaussian differential
privacy (Dong, Roth, Su, arXiv 1905.02383) from below: μ >= Φ⁻¹(TPR) − Φ⁻¹(FPR). With one-sided
Clopper–Pearson bounds for both rates (exact for binomials) the result exceeds the true μ with
probability at most `ALARM`. A claim of ρ-zCDP by Gaussian noise is a claim of μ = √(2ρ); a discrete
Gaussian's half-line tests meet it up to a relative 1/(24σ²), below 1e-4 here and far within the margin.

All draws are fresh: a right mechanism fails each of these tests with probability at most 1e-6.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]
from scipy.stats import beta, binom, chi2, chisquare  # type: ignore[import-untyped]
from yingbi.api.zcdp import RHO_UNITS

from enclave_sim.privacy.gaussian import rho_units_of
from enclave_sim.privacy.sampling import sample_share

ALARM = 1e-6
PARTIES = 3
SIGMA = 20
DELTA = 50
"""Neighbouring totals differ by this in one cell, all of the sensitivity: the worst pair."""
SAMPLES = 100_000
"""Releases of each of the two totals."""

Draws = NDArray[np.int64]


@dataclass(frozen=True)
class Audit:
    claimed_mu: float
    at_least_mu: float

    @property
    def caught(self) -> bool:
        """Whether the mechanism is less private than claimed, beyond chance."""
        return self.at_least_mu > self.claimed_mu


def audit(releases: Draws, neighbours: Draws, threshold: int, claimed_rho_units: int) -> Audit:
    """Bound μ from below by telling `neighbours` (which are the larger) from `releases`."""
    hits, false_alarms = int((neighbours > threshold).sum()), int((releases > threshold).sum())
    true_positives = beta.ppf(ALARM / 2, hits, len(neighbours) - hits + 1)
    false_positives = beta.ppf(1 - ALARM / 2, false_alarms + 1, len(releases) - false_alarms)
    return Audit(
        claimed_mu=math.sqrt(2 * claimed_rho_units / RHO_UNITS),
        at_least_mu=float(ndtri(true_positives) - ndtri(false_positives)),
    )


def audit_noise(noise: Draws) -> Audit:
    """Audit noise for a total of 0 against the same mechanism's for a total of `DELTA`."""
    releases, neighbours = np.split(noise, 2)
    claim = rho_units_of(DELTA**2, SIGMA, PARTIES, cells=1)
    return audit(releases, neighbours + DELTA, DELTA // 2, claim)


def draw(sigma: int, samples: int) -> Draws:
    """Shares packed as cells of one vector."""
    return np.array(sample_share(samples, sigma), dtype=np.int64)


@pytest.fixture(scope="module")
def shares() -> list[Draws]:
    return [draw(SIGMA, 2 * SAMPLES) for _ in range(PARTIES)]


def test_the_sum_of_all_shares_keeps_the_claim_and_no_more_noise_than_that(shares: list[Draws]) -> None:
    found = audit_noise(np.sum(shares, axis=0))
    assert not found.caught
    assert found.at_least_mu >= 0.8 * found.claimed_mu


def test_a_missing_share_is_caught(shares: list[Draws]) -> None:
    assert audit_noise(np.sum(shares[1:], axis=0)).caught


def test_half_the_noise_is_caught() -> None:
    assert audit_noise(np.sum([draw(SIGMA // 2, 20_000) for _ in range(PARTIES)], axis=0)).caught


def discrete_gaussian(sigma: int, reach: int) -> list[float]:
    """P[x] for x from −reach to reach, and what lies outside at the end; the cut at 20σ is below e^-200."""
    weights = {x: math.exp(-(x**2) / (2 * sigma**2)) for x in range(-20 * sigma, 20 * sigma + 1)}
    total = math.fsum(weights.values())
    inside = [weights[x] / total for x in range(-reach, reach + 1)]
    return [*inside, math.fsum(w for x, w in weights.items() if abs(x) > reach) / total]


def frequencies(noise: Draws, reach: int) -> list[int]:
    counts = [int((noise == x).sum()) for x in range(-reach, reach + 1)]
    return [*counts, len(noise) - sum(counts)]


@pytest.fixture(scope="module")
def small_share() -> Draws:
    return draw(2, 100_000)


def test_every_value_of_a_share_is_as_frequent_as_the_exact_distribution_says(small_share: Draws) -> None:
    """Exact binomial intervals, `ALARM` divided among all values: no approximation in the alarm rate."""
    expected = discrete_gaussian(2, reach=7)
    alarm = ALARM / len(expected)
    for count, probability in zip(frequencies(small_share, reach=7), expected, strict=True):
        low, high = binom.ppf([alarm / 2, 1 - alarm / 2], len(small_share), probability)
        assert low <= count <= high


def test_chi_square_of_a_share(small_share: Draws) -> None:
    """The least expected count is 100, so the limit law is good; what is left of `ALARM` is for its error."""
    expected = np.array(discrete_gaussian(2, reach=6)) * len(small_share)
    assert expected.min() > 100
    assert chisquare(frequencies(small_share, reach=6), expected).pvalue > ALARM / 10


def test_variance_of_a_share(small_share: Draws) -> None:
    """(Σx²)/σ² against χ² with N degrees: the fourth moment at σ = 2 is the normal one to 1e-30."""
    squares = float((small_share**2).sum()) / 4
    low, high = chi2.ppf([ALARM / 20, 1 - ALARM / 20], len(small_share))
    assert low < squares < high


def test_a_float_gaussian_cut_to_integers_is_caught() -> None:
    cut = np.random.default_rng(7).normal(0, 2, 100_000).astype(np.int64)
    expected = np.array(discrete_gaussian(2, reach=6)) * len(cut)
    assert chisquare(frequencies(cut, reach=6), expected).pvalue < ALARM / 10


def test_the_audited_claim_is_the_one_that_is_charged() -> None:
    exact = Fraction(DELTA**2, 2 * PARTIES * SIGMA**2) * RHO_UNITS
    assert 0 <= rho_units_of(DELTA**2, SIGMA, PARTIES, cells=1) - exact <= 1
