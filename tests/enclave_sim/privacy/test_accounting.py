import pytest
from hypothesis import given
from hypothesis import strategies as st

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
