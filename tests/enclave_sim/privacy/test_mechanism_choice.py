"""Our two mechanisms are the right ones for a ledger of ρ: at one charge, the alternatives have the larger error.

The range is that of questions: a charge from 1e-10 (the least that a request may come to) to 1.45 (ε = 10.4 at
δ = 1e-7). docs/accuracy.md says where the others win.
"""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api import zcdp

from benchmarks.mechanisms import (
    GRID,
    Laplace,
    gaussian_units,
    gaussian_variance,
    geometric_charge,
    geometric_units,
)

LARGEST_CHARGE = 1.45


@pytest.mark.parametrize("rows", [1, 1023])
def test_gaussian_noise_is_smaller_than_laplace_noise_at_every_charge_in_range(rows: int) -> None:
    """Interval by interval of Laplace's ε: its charge is the least at the lower end, its variance at the upper."""
    steps, epsilon = rows * GRID, 1.4e-5
    assert Laplace(epsilon, steps).charge()[1] < zcdp.MIN_RHO_UNITS / zcdp.RHO_UNITS
    while Laplace(epsilon, steps).least_charge() < LARGEST_CHARGE:
        upper = epsilon * 1.01
        assert gaussian_variance(Laplace(epsilon, steps).least_charge(), steps) < Laplace(upper, steps).variance
        epsilon = upper


def test_far_beyond_the_range_laplace_noise_is_the_smaller() -> None:
    """So the comparison can come out either way."""
    other = Laplace(4.0)
    most = other.charge()[1]
    assert most > 2
    assert other.variance < 0.8 * gaussian_variance(most)


@pytest.mark.parametrize("most_keys", [1, 6, 60, 1023])
@pytest.mark.parametrize("delta0", [1e-15, 1e-10, 1e-6])
def test_a_key_is_found_with_fewer_units_than_the_geometric_rule_needs(delta0: float, most_keys: int) -> None:
    """For units with one key, and with as many as they may have; at the same charge (ρ, δ₀).

    The geometric rule divides both among the keys of a unit.
    """
    for rho in (1e-5, 1e-3, 0.01, 0.1, 0.5, LARGEST_CHARGE):
        epsilon, part = math.sqrt(2 * rho / most_keys), delta0 / most_keys
        charge = most_keys * geometric_charge(epsilon, part)
        assert rho / 3 < charge <= rho
        others = geometric_units(epsilon, part)
        assert gaussian_units(charge, delta0, most_keys, keys=1) < others
        assert gaussian_units(charge, delta0, most_keys, keys=most_keys) < others


def test_for_a_single_pure_question_the_geometric_rule_needs_fewer() -> None:
    """At the same (ε, δ) and not the same charge: what a ledger of ρ gives up. So this comparison can differ, too."""
    rho = zcdp.bought(1.0, 1e-7)[0] / zcdp.RHO_UNITS
    assert geometric_units(1.0, 1e-10) < gaussian_units(rho, 1e-10, 1, keys=1)


@settings(max_examples=50)
@given(st.floats(0.1, 5), st.integers(1, 10), st.floats(1.01, 30))
def test_the_divergence_is_the_sum_over_the_integers(epsilon: float, steps: int, order: float) -> None:
    q = math.exp(-epsilon / steps)
    reach = math.ceil(40 / (epsilon / steps))

    def term(place: int) -> float:
        exponent = order * abs(place) + (1 - order) * abs(place - steps)
        return (1 - q) / (1 + q) * math.exp(-epsilon / steps * exponent)

    total = math.fsum(term(place) for place in range(-reach, reach + steps))
    told = Laplace(epsilon, steps).divergence(Decimal(order))
    assert float(told) == pytest.approx(math.log(total) / (order - 1), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0, 4.0])
def test_a_charge_lies_between_its_bounds_and_below_that_of_any_pure_mechanism(epsilon: float) -> None:
    """ε-DP is ½ε²-zCDP (Bun, Steinke 2016, Proposition 1.4)."""
    low, high = Laplace(epsilon).charge()
    assert Laplace(epsilon).least_charge() <= low <= high < 1.01 * low
    assert low <= epsilon**2 / 2


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_the_geometric_rule_is_at_its_limit(epsilon: float) -> None:
    """Near 1/2 it is like randomised response, whose divergence is ε·tanh(ε/2)."""
    assert 0.85 < geometric_charge(epsilon, 1e-12) / (epsilon * math.tanh(epsilon / 2)) <= 1
