"""Between ρ of zero-concentrated differential privacy and the (ε, δ) that people ask for.

ρ is accounted in integers, `RHO_UNITS` to 1.0, so that charges add without rounding; ε and δ are
floats and exist at the user's edge only. The gateway, the enclaves and the SDK all convert with
this module, so they cannot disagree about what a request costs.

Conversion: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy"
(arXiv 2004.00010), Corollary 13. A ρ-zCDP mechanism is (ε, δ)-DP for

    δ = inf over α > 1 of  exp((α − 1)(αρ − ε)) / (α − 1) · (1 − 1/α)^α .

With β = α − 1 the logarithm of the right side is β((1 + β)ρ − ε) − g(β), where

    g(β) = log(1 + β) + β·log(1 + 1/β).

Since *every* β > 0 gives a true statement, the three functions below share one pattern: a float
search finds a β near the optimum, where an error costs tightness only, and the statement for
that β is then evaluated once in 100-digit decimal arithmetic and rounded in the safe direction.
With β in [1e-40, 1e40] and ρ, ε up to 1e12 no term passes 1e55, so the error of that evaluation
is below 1e-40, and `_SLACK` = 1e-30 on the safe side covers it.
"""

import math
from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal

RHO_UNITS = 10**12
"""Units of account in ρ = 1.0."""

DELTA0_UNITS = 10**18
"""Units of account in δ₀ = 1.0, the δ of approximate zCDP that key selection takes."""

MAX_EPSILON = 1e6
MIN_DELTA = 1e-300
MIN_RHO_UNITS = 100
"""Smallest charge a request may come to: below it, rounding to units would be felt."""

_CONTEXT = Context(prec=100, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX)
_SLACK = Decimal("1e-30")
_LARGEST_CONVERTED = 1e12
_SMALLEST_FLOAT = math.ulp(0.0)
# The optimal β lies between e^-92 and e^92 for every request that is accepted. Where it does not
# (a resulting δ of nearly 1, a charge of less than one unit) the edge is a valid β like any other.
_LOG_BETA_RANGE = (-92.0, 92.0)
_SEARCH_STEPS = 70


class BadPrivacyParameter(ValueError):
    """ε or δ is outside what a request may ask for.

    `field` is 'epsilon' or 'delta'; the message says what would be accepted.
    """

    def __init__(self, field: Literal["epsilon", "delta"], message: str) -> None:
        super().__init__(message)
        self.field = field


_EPSILON_SLACK = 1e-9
"""Relative, in `covers`."""


def check_parameters(epsilon: float, delta: float) -> None:
    """Refuse (ε, δ) that no request may carry.

    Accepted: 0 < ε <= 1e6, 1e-300 <= δ < 1, and together at least `MIN_RHO_UNITS` units of ρ.

    Raises:
        BadPrivacyParameter: naming the field at fault.
    """
    _check_epsilon(epsilon)
    _check_delta(delta)
    if _floor_rho_units(epsilon, delta) < MIN_RHO_UNITS:
        raise BadPrivacyParameter(
            "epsilon",
            f"epsilon {epsilon!r} with delta {delta!r} buys less than {MIN_RHO_UNITS} of {RHO_UNITS:,} "
            f"units of ρ; with this delta, epsilon must be at least {epsilon_of(MIN_RHO_UNITS, delta)!r}",
        )


def delta_of(rho: float, epsilon: float) -> float:
    """A δ such that ρ-zCDP implies (ε, δ)-DP: the infimum of Corollary 13, rounded up.

    Args:
        rho: from 0 to 1e12.
        epsilon: from 0 to 1e12.

    Returns:
        A number in (0, 1], or exactly 0.0 when rho is 0. Never 0.0 because of underflow.

    Raises:
        ValueError: rho or epsilon is out of range or NaN.
    """
    for name, value in (("rho", rho), ("epsilon", epsilon)):
        if not 0 <= value <= _LARGEST_CONVERTED:  # false for NaN as well
            raise ValueError(f"{name} must be from 0 to {_LARGEST_CONVERTED:g}, not {value!r}")
    if rho == 0:
        return 0.0
    # The derivative of the exponent in β is (1 + 2β)ρ − ε − log(1 + 1/β), which increases with β.
    beta = _crossing(lambda b: (1 + 2 * b) * rho - epsilon - math.log1p(1 / b))
    log_delta = _log_delta_at(Decimal(beta), Decimal(float(rho)), Decimal(float(epsilon)))
    if log_delta >= 0:
        return 1.0
    if log_delta < -800:  # e^-744 is already below the smallest positive float
        return _SMALLEST_FLOAT
    return min(1.0, _float_above(_CONTEXT.exp(log_delta)))


def epsilon_of(rho_units: int, delta: float) -> float:
    """The smallest ε such that ρ-zCDP implies (ε, δ)-DP by Corollary 13, rounded up.

    With some δ₀ beside ρ, pass `delta_without(delta, delta0_units)`.

    Args:
        rho_units: >= 0, in 1 / `RHO_UNITS`.
        delta: in [1e-300, 1).

    Returns:
        ε >= 0; 0.0 when nothing was charged.

    Raises:
        BadPrivacyParameter: δ is out of range.
        ValueError: rho_units is negative.
    """
    _check_delta(delta)
    if rho_units < 0:
        raise ValueError(f"rho_units must not be negative, not {rho_units}")
    if rho_units == 0:
        return 0.0
    rho, log_delta = rho_units / RHO_UNITS, math.log(delta)
    # Solved for ε the statement reads ε = (1 + β)ρ − (log δ + g(β)) / β; the sign of its
    # derivative in β is that of ρβ² + log(1 + β) + log δ, which increases with β.
    beta = _crossing(lambda b: rho * b * b + math.log1p(b) + log_delta)
    epsilon = _epsilon_at(Decimal(beta), rho_units, Decimal(float(delta)))
    return max(0.0, _float_above(epsilon))


def rho_units_for(epsilon: float, delta: float, delta0_units: int = 0) -> int:
    """The most units of ρ that (ε, δ) buys: `epsilon_of(n, delta) <= epsilon` for this n, not n + 1.

    Monotone in ε and δ. With δ₀ > 0 what is bought is δ₀-approximate ρ-zCDP, which is (ε, δ' + δ₀)-DP where
    ρ-zCDP is (ε, δ')-DP: outside an event of probability δ₀ the latter holds (Bun, Steinke, arXiv 1605.02065,
    Definition 8.1 and Lemma 8.8).

    Args:
        delta0_units: δ₀ in 1 / `DELTA0_UNITS`; below δ.

    Raises:
        BadPrivacyParameter: as `check_parameters`, for δ - δ₀.
    """
    rest = delta_without(delta, delta0_units)
    check_parameters(epsilon, rest)
    return _floor_rho_units(epsilon, rest)


def kept_delta0_units(delta: float) -> int:
    """The part of a δ that is kept for δ₀, in 1 / `DELTA0_UNITS`: a tenth, rounded down.

    Budgets and requests keep the same part, whether they need it or not: so a filter on (ρ, δ₀) has limits that
    are fixed from the first charge on, and a request for the whole budget fits into it. It costs a request about
    1 % of its ρ.
    """
    return math.floor(Fraction(delta) * DELTA0_UNITS / 10)


def bought(epsilon: float, delta: float) -> tuple[int, int]:
    """What (ε, δ) buys for a budget or a request: units of ρ, and units of δ₀ beside them.

    Raises:
        BadPrivacyParameter: as `check_parameters`.
    """
    check_parameters(epsilon, delta)
    kept = kept_delta0_units(delta)
    return rho_units_for(epsilon, delta, kept), kept


# What is spent is shown again and again, and a conversion takes longer than to draw the page around it.
@lru_cache(maxsize=4096)
def asked_epsilon(rho_units: int, delta: float) -> float:
    """The ε that `bought` that much ρ at δ, rounded up; 0.0 for nothing.

    Raises:
        BadPrivacyParameter: δ is out of range.
    """
    return epsilon_of(rho_units, delta_without(delta, kept_delta0_units(delta))) if rho_units > 0 else 0.0


def covers(claimed: float, implied: float) -> bool:
    """Whether a claimed epsilon is no better than what a charge implies; it was rounded on its way into a float."""
    return implied <= claimed * (1 + _EPSILON_SLACK)


def delta_without(delta: float, delta0_units: int) -> float:
    """The largest float that is at most δ - δ₀; δ itself where δ₀ is 0."""
    if not delta0_units or not math.isfinite(delta):
        return delta
    rest = Fraction(delta) - Fraction(delta0_units, DELTA0_UNITS)
    nearest = float(rest)
    return nearest if Fraction(nearest) <= rest else math.nextafter(nearest, -math.inf)


@lru_cache(maxsize=256)
def _floor_rho_units(epsilon: float, delta: float) -> int:
    log_delta = math.log(delta)
    # Solved for ρ the statement reads ρ = (ε + (log δ + g(β)) / β) / (1 + β). The sign of its
    # derivative in β is that of −β²(ε + log(1 + 1/β)) − (1 + 2β)(log δ + log(1 + β)); divided by
    # −(1 + 2β) that increases with β.
    beta = _crossing(lambda b: b * b / (1 + 2 * b) * (epsilon + math.log1p(1 / b)) + log_delta + math.log1p(b))
    rho = _rho_at(Decimal(beta), Decimal(float(epsilon)), Decimal(float(delta)))
    return max(0, math.floor(_CONTEXT.multiply(rho, RHO_UNITS)))


def _log_delta_at(beta: Decimal, rho: Decimal, epsilon: Decimal) -> Decimal:
    c = _CONTEXT
    exponent = c.multiply(beta, c.subtract(c.multiply(c.add(1, beta), rho), epsilon))
    return c.add(c.subtract(exponent, _g(beta)), _SLACK)


def _epsilon_at(beta: Decimal, rho_units: int, delta: Decimal) -> Decimal:
    c = _CONTEXT
    rho = c.divide(Decimal(rho_units), RHO_UNITS)
    tail = c.divide(c.add(c.ln(delta), _g(beta)), beta)
    return c.add(c.subtract(c.multiply(c.add(1, beta), rho), tail), _SLACK)


def _rho_at(beta: Decimal, epsilon: Decimal, delta: Decimal) -> Decimal:
    c = _CONTEXT
    tail = c.divide(c.add(c.ln(delta), _g(beta)), beta)
    return c.subtract(c.divide(c.add(epsilon, tail), c.add(1, beta)), _SLACK)


def _g(beta: Decimal) -> Decimal:
    c = _CONTEXT
    return c.add(c.ln(c.add(1, beta)), c.multiply(beta, c.ln(c.add(1, c.divide(1, beta)))))


def _crossing(increasing: Callable[[float], float]) -> float:
    """Where an increasing function of β changes sign, by bisection on log β."""
    low, high = _LOG_BETA_RANGE
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        if increasing(math.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    return math.exp(high)


def _float_above(value: Decimal) -> float:
    """The smallest float that is not below `value`."""
    nearest = float(value)
    return nearest if Decimal(nearest) >= value else math.nextafter(nearest, math.inf)


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon <= MAX_EPSILON:  # false for NaN as well
        raise BadPrivacyParameter(
            "epsilon", f"epsilon must be a number above 0 and at most {MAX_EPSILON:g}, not {epsilon!r}"
        )


def _check_delta(delta: float) -> None:
    if not MIN_DELTA <= delta < 1:
        raise BadPrivacyParameter(
            "delta", f"delta must be a number of at least {MIN_DELTA:g} and below 1, not {delta!r}"
        )
