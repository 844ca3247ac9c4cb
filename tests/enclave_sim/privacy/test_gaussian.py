"""The sum of discrete Gaussian shares: the claim against exact distributions, and its arithmetic."""

import itertools
from collections.abc import Mapping
from decimal import Decimal, localcontext
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.zcdp import RHO_UNITS

from enclave_sim.privacy import sampling
from enclave_sim.privacy.gaussian import (
    MAX_SIGMA,
    SigmaTooLargeError,
    deviation,
    mechanism_name,
    rho_units_of,
    sigma_for,
)
from enclave_sim.privacy.sampling import sample_share

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")

parties_ = st.integers(min_value=1, max_value=12)
sigmas = st.integers(min_value=2, max_value=MAX_SIGMA)
cells_ = st.integers(min_value=1, max_value=10**7)
sensitivities = st.integers(min_value=1, max_value=2**80)

Pmf = Mapping[int, Decimal]


def exact_tau(sigma: Decimal, parties: int) -> Decimal:
    return 10 * sum(((-2 * PI**2 * sigma**2 * k / (k + 1)).exp() for k in range(1, parties)), Decimal(0))


def discrete_gaussian(variance: Decimal, reach: int) -> Pmf:
    weights = {x: (-(Decimal(x) ** 2) / (2 * variance)).exp() for x in range(-reach, reach + 1)}
    total = sum(weights.values())
    return {x: weight / total for x, weight in weights.items()}


def convolve(left: Pmf, right: Pmf) -> Pmf:
    sums: dict[int, Decimal] = {}
    for (x, p), (y, q) in itertools.product(left.items(), right.items()):
        sums[x + y] = sums.get(x + y, Decimal(0)) + p * q
    return sums


def sum_of_shares(variance: Decimal, parties: int, reach: int) -> Pmf:
    share = discrete_gaussian(variance, reach)
    total = share
    for _ in range(parties - 1):
        total = convolve(total, share)
    return total


# Theorem 1 of arXiv 2102.06387 holds from σ = ½; there the deviation is large enough to see how tight it is.
@pytest.mark.parametrize("variance", [Decimal("0.25"), Decimal("0.5"), Decimal(1), Decimal(4)])
@pytest.mark.parametrize("parties", [2, 3, 4])
def test_the_sum_deviates_from_one_discrete_gaussian_by_no_more_than_half_tau(variance: Decimal, parties: int) -> None:
    with localcontext(prec=60):
        # Cut where a share's tail is below e^-112 (relative), looked at where it cannot matter.
        reach = int(15 * variance.sqrt()) + 1
        actual = sum_of_shares(variance, parties, reach)
        ideal = discrete_gaussian(parties * variance, parties * reach)
        worst = max(abs((actual[z] / ideal[z]).ln()) for z in range(-reach // 2, reach // 2 + 1))
        half_tau = exact_tau(variance.sqrt(), parties) / 2
        assert worst <= half_tau
        # From three shares on the theorem's induction gives much away; for two it may not be loosened.
        assert parties > 2 or worst > half_tau / 3


@pytest.mark.parametrize("parties", [2, 3])
@pytest.mark.parametrize("sigma_squared", [Decimal("0.25"), Decimal("0.5"), Decimal(4)])
@pytest.mark.parametrize("shift", [1, 2])
def test_renyi_divergence_of_the_sum_is_within_the_claim_at_every_order_tried(
    parties: int, sigma_squared: Decimal, shift: int
) -> None:
    with localcontext(prec=50):
        reach = int(15 * sigma_squared.sqrt()) + 2
        noise = sum_of_shares(sigma_squared, parties, reach)
        tau = exact_tau(sigma_squared.sqrt(), parties)
        rho = (shift / (parties * sigma_squared).sqrt() + tau) ** 2 / 2
        for order in (Decimal("1.01"), Decimal("1.5"), Decimal(2), Decimal(4)):
            moments = (
                noise[z] ** order * noise[z + shift] ** (1 - order)
                for z in range(-parties * reach, parties * reach - shift + 1)
            )
            moment = sum(moments, Decimal(0))
            assert moment.ln() / (order - 1) <= order * rho


@given(sigma=st.integers(min_value=2, max_value=40), parties=parties_)
def test_deviation_is_above_tau_and_below_twice_tau_or_the_cap(sigma: int, parties: int) -> None:
    with localcontext(prec=60):
        bound = deviation(sigma, parties)
        claimed = Decimal(bound.numerator) / Decimal(bound.denominator)
        tau = exact_tau(Decimal(sigma), parties)
        cap = 10 * (parties - 1) * Decimal(2) ** -1024
        assert tau <= claimed <= 2 * tau * Decimal("1.001") + cap


def test_the_deviation_at_the_smallest_sigma_is_what_the_design_counts_on() -> None:
    assert deviation(2, 1) == 0
    assert deviation(2, 5) < Fraction(2, 10**16)


@given(delta2_squared=sensitivities, sigma=sigmas, cells=cells_)
def test_one_party_is_the_plain_discrete_gaussian(delta2_squared: int, sigma: int, cells: int) -> None:
    exact = Fraction(delta2_squared * RHO_UNITS, 2 * sigma**2)
    assert exact <= rho_units_of(delta2_squared, sigma, 1, cells) < exact + 1


@pytest.mark.parametrize(("delta2", "sigma"), [(1, 2), (3, 7), (1000, 31)])
def test_one_party_costs_what_opendp_says(delta2: int, sigma: int) -> None:
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="i64")
    theirs = dp.m.make_gaussian(*space, scale=float(sigma)).map(delta2)  # type: ignore[no-untyped-call]
    assert rho_units_of(delta2**2, sigma, 1, 50) == pytest.approx(theirs * RHO_UNITS, rel=1e-12, abs=1)


@given(delta2_squared=sensitivities, sigma=sigmas, parties=parties_, cells=cells_)
def test_the_claim_is_above_the_theorem_and_hardly_above_it(
    delta2_squared: int, sigma: int, parties: int, cells: int
) -> None:
    with localcontext(prec=80):
        tau = exact_tau(Decimal(sigma), parties)
        root = (Decimal(delta2_squared) / (parties * Decimal(sigma) ** 2)).sqrt()
        exact = (root + tau * Decimal(cells).sqrt()) ** 2 / 2 * RHO_UNITS
        loosest = (root + 2 * tau * Decimal(cells).sqrt()) ** 2 / 2 * RHO_UNITS
        claimed = rho_units_of(delta2_squared, sigma, parties, cells)
        assert exact * (1 - Decimal(10) ** -70) <= claimed <= loosest * Decimal("1.000001") + 1


@given(
    delta2_squared=sensitivities,
    rho_units=st.integers(min_value=100, max_value=10**18),
    parties=parties_,
    cells=cells_,
)
def test_sigma_is_the_smallest_that_fits(delta2_squared: int, rho_units: int, parties: int, cells: int) -> None:
    try:
        sigma = sigma_for(delta2_squared, rho_units, parties, cells)
    except SigmaTooLargeError:
        assert rho_units_of(delta2_squared, MAX_SIGMA, parties, cells) > rho_units
        return
    assert rho_units_of(delta2_squared, sigma, parties, cells) <= rho_units
    assert sigma == 2 or rho_units_of(delta2_squared, sigma - 1, parties, cells) > rho_units


def test_more_rho_than_the_smallest_sigma_uses_still_gets_the_smallest_sigma() -> None:
    assert sigma_for(1, 10**18, 3, 10) == 2
    assert rho_units_of(1, 2, 3, 10) < 10**18


@pytest.mark.parametrize("arguments", [(0, 2, 1, 1), (1, 1, 1, 1), (1, 2, 0, 1), (1, 2, 10_001, 1), (1, 2, 1, 0)])
def test_what_the_theorem_does_not_cover_is_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        rho_units_of(*arguments)


def test_a_budget_of_nothing_buys_no_noise() -> None:
    with pytest.raises(ValueError, match="rho_units must be at least 1"):
        sigma_for(1, 0, 1, 1)


@pytest.mark.parametrize(("cells", "sigma"), [(-1, 2), (1, 1), (1, 0), (1, -5), (1, MAX_SIGMA + 1)])
def test_a_share_that_cannot_be_sampled_exactly_is_refused(cells: int, sigma: int) -> None:
    with pytest.raises(ValueError, match="must"):
        sample_share(cells, sigma)


@pytest.mark.parametrize("cells", [0, 1, 4, 5, 9])
def test_a_share_has_a_draw_for_every_cell_across_chunks(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "OPENDP_CELLS", 4)
    noise = sample_share(cells, MAX_SIGMA)
    # Two equal draws at this σ, or a zero, have a probability below 1e-14.
    assert len(noise) == len(set(noise) - {0}) == cells
    assert all(abs(draw) < 2**62 for draw in noise)


def test_every_call_draws_afresh() -> None:
    assert len({*sample_share(3, MAX_SIGMA), *sample_share(3, MAX_SIGMA)}) == 6


def test_a_mechanism_is_named_by_its_shares() -> None:
    assert mechanism_name(1) == "discrete Gaussian"
    assert mechanism_name(3) == "sum of 3 discrete Gaussian shares"
