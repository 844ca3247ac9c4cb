"""The conversion between ρ and (ε, δ): never too generous, tight, and the same in both directions."""

import math
from fractions import Fraction

import dp_accounting
import numpy as np
import opendp.prelude as dp
import pytest
from dp_accounting.rdp import RdpAccountant
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import log_ndtr  # type: ignore[import-untyped]
from yingbi.api.zcdp import (
    DELTA0_UNITS,
    MIN_RHO_UNITS,
    RHO_UNITS,
    BadPrivacyParameter,
    asked_epsilon,
    bought,
    check_parameters,
    delta_of,
    delta_without,
    epsilon_of,
    kept_delta0_units,
    rho_units_for,
)

epsilons = st.floats(min_value=-4, max_value=6).map(lambda exponent: 10.0**exponent)
deltas = st.one_of(
    st.floats(min_value=-300, max_value=-0.01).map(lambda exponent: 10.0**exponent),
    st.floats(min_value=0.5, max_value=1, exclude_max=True),
)


def gaussian_delta(rho: float, epsilon: float) -> float:
    """The exact δ of the continuous Gaussian mechanism that is ρ-zCDP (Balle, Wang 2018, Theorem 8)."""
    mu = math.sqrt(2 * rho)
    first, second = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(math.exp(first) * -np.expm1(second - first))


@pytest.mark.parametrize("rho", [1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 20.0])
def test_delta_is_never_below_the_exact_curve_of_the_gaussian_mechanism(rho: float, spread: float) -> None:
    epsilon = rho + spread * math.sqrt(2 * rho)
    # The curve itself is computed in floats: a part in 10^6, and nothing of a curve that cancels to noise.
    assert delta_of(rho, epsilon) >= gaussian_delta(rho, epsilon) * (1 - 1e-6) - 1e-300


@pytest.mark.parametrize("rho", [0.01, 0.5, 5.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12])
def test_epsilon_equals_dp_accounting_at_dense_orders(rho: float, delta: float) -> None:
    orders = 1 + np.geomspace(1e-3, 1e4, 20_000)
    accountant = RdpAccountant(orders)
    accountant.compose(dp_accounting.GaussianDpEvent(1 / math.sqrt(2 * rho)))
    theirs = accountant.get_epsilon(delta)
    ours = epsilon_of(round(rho * RHO_UNITS), delta)
    # Theirs is the best of a grid, so ours may be a little smaller, and is never larger.
    assert theirs * (1 - 1e-6) <= ours <= theirs * (1 + 1e-12)


@pytest.mark.parametrize("delta2", [1, 3, 40])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12])
def test_both_directions_equal_opendp(delta2: int, delta: float) -> None:
    dp.enable_features("contrib")
    space = dp.atom_domain(T="i64"), dp.absolute_distance(T="i64")
    mechanism = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(*space, scale=8.0))
    profile = mechanism.map(delta2)  # type: ignore[no-untyped-call]
    rho_units = delta2**2 * RHO_UNITS // 128
    epsilon = profile.epsilon(delta)
    assert epsilon_of(rho_units, delta) == pytest.approx(epsilon, rel=1e-9)
    assert delta_of(delta2**2 / 128, epsilon) == pytest.approx(profile.delta(epsilon), rel=1e-9)


def test_a_thousand_gaussians_of_standard_deviation_fifty() -> None:
    assert epsilon_of(1000 * RHO_UNITS // 5000, 1e-6) == pytest.approx(3.13, abs=0.005)


@given(epsilon=epsilons, delta=deltas)
def test_what_epsilon_buys_costs_no_more_than_epsilon_and_one_unit_more_would(epsilon: float, delta: float) -> None:
    try:
        rho_units = rho_units_for(epsilon, delta)
    except BadPrivacyParameter:
        assume(False)
    assert epsilon_of(rho_units, delta) <= epsilon < epsilon_of(rho_units + 1, delta)
    # One float less of ρ, since the quotient may have been rounded up; δ itself may be subnormal-thin.
    rho = math.nextafter(rho_units / RHO_UNITS, 0)
    assert delta_of(rho, epsilon) <= math.nextafter(delta, 1)


@given(epsilon=epsilons, delta=deltas, other_epsilon=epsilons, other_delta=deltas)
def test_more_epsilon_or_delta_never_buys_less(
    epsilon: float, delta: float, other_epsilon: float, other_delta: float
) -> None:
    low, high = sorted((epsilon, other_epsilon))
    thin, thick = sorted((delta, other_delta))
    try:
        bought = rho_units_for(low, thin)
    except BadPrivacyParameter:
        assume(False)
    assert bought <= rho_units_for(high, thin) <= rho_units_for(high, thick)
    next_epsilon = min(math.nextafter(low, math.inf), 1e6)
    next_delta = min(math.nextafter(thin, 1), 1 - 2**-53)
    assert bought <= rho_units_for(next_epsilon, thin)
    assert bought <= rho_units_for(low, next_delta)


@given(
    rho_units=st.integers(min_value=1, max_value=10**18),
    more=st.integers(min_value=1, max_value=10**18),
    delta=deltas,
)
def test_a_larger_charge_is_never_a_smaller_epsilon(rho_units: int, more: int, delta: float) -> None:
    assert epsilon_of(rho_units, delta) <= epsilon_of(rho_units + more, delta)


@given(
    rho=st.floats(min_value=-12, max_value=6).map(lambda exponent: 10.0**exponent),
    epsilon=st.one_of(st.just(0.0), epsilons),
)
def test_delta_is_a_probability_that_underflow_does_not_make_zero(rho: float, epsilon: float) -> None:
    assert 0 < delta_of(rho, epsilon) <= 1


def test_nothing_charged_is_nothing_lost() -> None:
    assert delta_of(0.0, 1.0) == 0.0
    assert epsilon_of(0, 1e-6) == 0.0


@pytest.mark.parametrize(("rho", "epsilon"), [(-1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)])
def test_delta_of_refuses_what_is_not_a_size(rho: float, epsilon: float) -> None:
    with pytest.raises(ValueError, match="must be from 0 to"):
        delta_of(rho, epsilon)


def test_a_negative_charge_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        epsilon_of(-1, 1e-6)


@pytest.mark.parametrize("epsilon", [math.nan, math.inf, -math.inf, 0.0, -1.0, 1.1e6, 10**400])
def test_a_bad_epsilon_is_named(epsilon: float) -> None:
    with pytest.raises(BadPrivacyParameter, match="above 0 and at most 1e\\+06") as refusal:
        check_parameters(epsilon, 1e-6)
    assert refusal.value.field == "epsilon"


@pytest.mark.parametrize("delta", [math.nan, math.inf, 0.0, -1e-6, 1.0, 2.0, 1e-301])
def test_a_bad_delta_is_named(delta: float) -> None:
    for call in (lambda: check_parameters(1.0, delta), lambda: epsilon_of(10**12, delta)):
        with pytest.raises(BadPrivacyParameter, match="at least 1e-300 and below 1") as refusal:
            call()
        assert refusal.value.field == "delta"


def test_an_epsilon_too_small_for_the_unit_of_account_is_told_the_smallest_that_works() -> None:
    smallest = epsilon_of(MIN_RHO_UNITS, 1e-9)
    assert rho_units_for(smallest, 1e-9) == MIN_RHO_UNITS
    with pytest.raises(BadPrivacyParameter, match=repr(smallest)) as refusal:
        rho_units_for(math.nextafter(smallest, 0), 1e-9)
    assert refusal.value.field == "epsilon"


@given(epsilon=st.floats(0.01, 50), delta=st.floats(1e-12, 1e-3))
def test_what_is_bought_leaves_a_tenth_of_delta_for_key_selection(epsilon: float, delta: float) -> None:
    rho_units, kept = bought(epsilon, delta)
    assert 0 <= kept <= delta / 10 * DELTA0_UNITS
    # Both together are no more than (ε, δ); and for a budget of the same terms the request is the whole.
    assert epsilon_of(rho_units, delta_without(delta, kept)) <= epsilon
    assert asked_epsilon(rho_units, delta) == pytest.approx(epsilon, rel=1e-6)
    assert rho_units >= 0.9 * rho_units_for(epsilon, delta)


@given(delta=st.floats(1e-12, 0.5), share=st.integers(0, 10))
def test_delta_without_delta_0_is_rounded_down(delta: float, share: int) -> None:
    taken = kept_delta0_units(delta) * share // 10
    rest = delta_without(delta, taken)
    assert Fraction(rest) + Fraction(taken, DELTA0_UNITS) <= Fraction(delta)
    assert rest == pytest.approx(delta - taken / DELTA0_UNITS)
