import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import zcdp

from enclave_sim.privacy.accounting import BudgetExceededError, Charge, Filter

sizes = st.integers(min_value=0, max_value=100)
charges = st.builds(Charge, sizes, sizes)


@given(limit=charges, asked=st.lists(charges))
def test_what_is_admitted_never_passes_the_limit_and_what_fits_is_never_refused(
    limit: Charge, asked: list[Charge]
) -> None:
    budget, spent = Filter(limit), Charge(0)
    for charge in asked:
        rho, delta0 = spent.rho_units + charge.rho_units, spent.delta0_units + charge.delta0_units
        if rho <= limit.rho_units and delta0 <= limit.delta0_units:
            budget, spent = budget.charged(charge), Charge(rho, delta0)
        else:
            with pytest.raises(BudgetExceededError) as refusal:
                budget.charged(charge)
            error = refusal.value
            assert (error.limit, error.spent, error.asked) == (limit, spent, charge)
        assert budget.spent == spent
        assert spent.within(limit)


def test_a_budget_can_be_spent_to_the_last_unit() -> None:
    empty = Filter(Charge(10)).charged(Charge(10))
    with pytest.raises(BudgetExceededError, match="asked for 1 units of ρ, but only 0 of 10 are left"):
        empty.charged(Charge(1))


def test_delta_is_counted_beside_rho() -> None:
    with pytest.raises(BudgetExceededError, match="asked for 1 units of δ₀"):
        Filter(Charge(10)).charged(Charge(1, delta0_units=1))


def test_a_negative_charge_would_be_a_refund() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        Charge(-1)


def test_nine_hundred_small_gaussian_queries_fit_where_basic_composition_allows_thirty() -> None:
    """Counts with σ = 50.2, each (0.1, 1e-9) by itself, within (3, 1e-6): the table of docs/privacy.md."""
    query = Charge(math.ceil(zcdp.RHO_UNITS / (2 * 50.2**2)))
    budget = Filter(Charge(zcdp.rho_units_for(3.0, 1e-6)))
    admitted = 932
    for _ in range(admitted):
        budget = budget.charged(query)
    with pytest.raises(BudgetExceededError):
        budget.charged(query)
    assert zcdp.epsilon_of(budget.spent.rho_units, 1e-6) <= 3.0
    curve = dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(50.2), admitted)
    assert pld_privacy_accountant.PLDAccountant().compose(curve).get_epsilon(1e-6) < 3.0
    assert round(3 / 0.1) == 30


def test_with_the_part_of_delta_that_is_kept_925_fit() -> None:
    """A tenth of the budget's δ is kept for selecting keys, so this is what a real budget of (3, 1e-6) admits."""
    limit, kept = zcdp.bought(3.0, 1e-6)
    budget = Filter(Charge(limit, kept))
    query = Charge(math.ceil(zcdp.RHO_UNITS / (2 * 50.2**2)))
    for _ in range(925):
        budget = budget.charged(query)
    with pytest.raises(BudgetExceededError):
        budget.charged(query)


def test_calibrated_by_our_own_conversion_1043_fit() -> None:
    """What `epsilon=0.1, delta=1e-9` buys from us has a little more noise: σ = 53.3, as docs/privacy.md says."""
    price = zcdp.bought(0.1, 1e-9)[0]
    assert zcdp.bought(3.0, 1e-6)[0] // price == 1043
    assert math.sqrt(zcdp.RHO_UNITS / (2 * price)) == pytest.approx(53.3, abs=0.05)
