"""Why discrete Gaussian noise and Gaussian thresholds: at one charge, against the alternatives.

`python -m benchmarks.mechanisms` prints three tables; docs/accuracy.md says what follows from them, and
`tests/enclave_sim/privacy/test_mechanism_choice.py` checks it over the range in which questions are asked.

The ledger counts ρ of (approximate) zCDP, so mechanisms are compared at the same ρ (and δ₀), by what they cost at
least. A lower bound of the charge is enough to show that a mechanism is the worse one: D_α(P‖Q)/α at any single α,
with α → 1 (the Kullback-Leibler divergence) among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction

from rich.console import Console
from rich.table import Table
from yingbi.api import zcdp

from enclave_sim.privacy.gaussian import sigma_for
from enclave_sim.privacy.key_selection import lowest_threshold

FRACTION_BITS = 16
GRID = 1 << FRACTION_BITS
"""Steps that one row with its full weight moves a count by, as plans have it."""
DELTA = 1e-7

_DIGITS = Context(prec=50)
_ORDERS_GROW_BY = Decimal("1.005")
FIRST_ORDER = Decimal("1.0001")


@dataclass(frozen=True)
class Laplace:
    """Noise P[x] ∝ exp(-ε|x|/Δ) over the integers, for a number that a unit moves by Δ steps: ε-DP, exactly."""

    epsilon: float
    steps: int = GRID

    @property
    def variance(self) -> float:
        """In units of Δ²: 2q/(1-q)², q = exp(-ε/Δ)."""
        rate = self.epsilon / self.steps
        return 2 * math.exp(-rate) / math.expm1(-rate) ** 2 / self.steps**2

    def divergence(self, order: Decimal) -> Decimal:
        """The Rényi divergence of order α > 1 between noise and noise moved by Δ, to 30 digits or more.

        The sum of P(x)^α P(x-Δ)^(1-α) has three geometric parts: x <= 0, 0 < x < Δ and x >= Δ.
        """
        with localcontext(_DIGITS):
            epsilon = Decimal(self.epsilon)
            rate, twice = epsilon / self.steps, 2 * order - 1
            q = (-rate).exp()
            middle = (1 - q) * ((-rate * twice).exp() - (-twice * epsilon).exp()) / (1 - (-rate * twice).exp())
            total = (((order - 1) * epsilon).exp() * (1 + middle) + (-order * epsilon).exp()) / (1 + q)
            return total.ln() / (order - 1)

    def charge(self) -> tuple[float, float]:
        """Bounds of its zCDP constant, the supremum of D_α/α over α > 1.

        D_α grows with α, so between two orders a < b it is at most D_b/a. Beyond α = ε/ρ it is at most ε/α < ρ.
        """
        low = high = Decimal(0)
        before = Decimal(1)
        for order in self._orders():
            if before * low > Decimal(self.epsilon):
                break
            divergence = self.divergence(order)
            low = max(low, divergence / order)
            high = max(high, divergence / before)
            before = order
        return math.nextafter(float(low), 0.0), math.nextafter(float(high), math.inf)

    def least_charge(self) -> float:
        """A lower bound of the charge that is quick to compute: from one order, near 1."""
        return math.nextafter(float(self.divergence(FIRST_ORDER) / FIRST_ORDER), 0.0)

    def _orders(self) -> Iterator[Decimal]:
        order = FIRST_ORDER
        while True:
            yield order
            order *= _ORDERS_GROW_BY


def gaussian_variance(rho: float, steps: int = GRID) -> float:
    """Of our noise for a number that a unit moves by Δ steps, at most, in units of Δ²: σ²/Δ², σ being whole."""
    sigma = sigma_for(steps**2, math.floor(Fraction(rho) * zcdp.RHO_UNITS), 1, 1)
    return (sigma / steps) ** 2


def laplace_at(rho: float, steps: int = GRID) -> Laplace:
    """The Laplace noise that ρ may pay for at best: its charge is ρ, or a little more (0.5 %)."""
    low, high = 0.0, 2 * rho + 2 * math.sqrt(rho) + 1
    for _ in range(30):
        middle = (low + high) / 2
        if Laplace(middle, steps).charge()[0] < rho:
            low = middle
        else:
            high = middle
    return Laplace(high, steps)


def geometric_units(epsilon: float, delta0: float) -> int:
    """Units with a key that release it with probability 1/2, under the optimal (ε, δ₀)-DP rule for one key a unit.

    The probability π(n) of a key that n units have is the largest that (ε, δ₀)-DP allows after π(n - 1):
    Desfontaines, Voss, Gipson, Mandayam, "Differentially private partition selection" (PoPETs 2022, arXiv
    2006.03684), Theorem 1; truncated geometric thresholding comes very near to it.
    """
    return next(units for units, kept in enumerate(_kept(epsilon, delta0)) if kept >= 0.5)


def geometric_charge(epsilon: float, delta0: float) -> float:
    """A lower bound of ρ, if that rule is to be δ₀-approximate ρ-zCDP.

    Conditioning on an event of probability 1 - δ₀ takes at most δ₀ from the probability that a key is kept, or
    divides it by 1 - δ₀. What is left of the Kullback-Leibler divergence between n units and n - 1 is paid for at
    α → 1.
    """
    found, before = 0.0, None
    for kept in _kept(epsilon, delta0):
        if before is not None:
            found = max(found, _divergence(kept, before, delta0), _divergence(1 - before, 1 - kept, delta0))
        if kept >= 0.9:
            break
        before = kept
    return found


def gaussian_units(rho: float, delta0: float, most_keys: int, keys: int) -> int:
    """Units with a key that release it with probability 1/2, under our rule, where each of them has so many keys."""
    sigma = sigma_for(GRID**2, math.floor(Fraction(rho) * zcdp.RHO_UNITS), 1, 1)
    threshold = lowest_threshold(sigma, most_keys, math.floor(delta0 * zcdp.DELTA0_UNITS), FRACTION_BITS)
    return math.ceil(threshold / math.isqrt(GRID**2 // keys))


def main() -> None:
    """Print the tables."""
    console = Console()
    console.print(_noise_table())
    console.print(_keys_table())
    console.print(_single_table())


def _noise_table() -> Table:
    table = Table(
        title="Noise of a number that one unit moves by 1, at the same charge ρ", caption=f"ε is at δ = {DELTA:g}"
    )
    for heading in ("ρ", "ε that asks for it", "Gaussian: deviation", "Laplace: its own ε", "deviation", "ratio"):
        table.add_column(heading, justify="right")
    for rho in (1e-6, 1e-4, 0.01, 0.02, 0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0):
        other = laplace_at(rho)
        ours, theirs = math.sqrt(gaussian_variance(rho)), math.sqrt(other.variance)
        asked = zcdp.asked_epsilon(math.ceil(rho * zcdp.RHO_UNITS), DELTA)
        cells = (rho, asked, ours, other.epsilon, theirs, theirs / ours)
        table.add_row(*(f"{cell:.4g}" for cell in cells))
    return table


def _keys_table() -> Table:
    table = Table(title="Units that a key needs to be found (probability 1/2), at the same charge (ρ, δ₀)")
    for heading in ("ρ", "δ₀", "most keys a unit", "geometric", "Gaussian: units with all", "with one key"):
        table.add_column(heading, justify="right")
    for epsilon in (0.01, 0.1, 0.3, 1.0, 3.0):
        for delta0, keys in ((1e-10, 1), (1e-10, 6), (1e-10, 60), (1e-6, 1)):
            rho = keys * geometric_charge(epsilon, delta0 / keys)
            geometric = geometric_units(epsilon, delta0 / keys)
            gaussian = [gaussian_units(rho, delta0, keys, each) for each in (keys, 1)]
            table.add_row(f"{rho:.3g}", f"{delta0:g}", f"{keys}", f"{geometric:,}", *(f"{each:,}" for each in gaussian))
    return table


def _single_table() -> Table:
    table = Table(
        title="One question alone, and how many until ρ pays",
        caption=f"Gaussian: (ε, {DELTA:g})-DP; Laplace: ε-DP, ε being divided among the questions",
    )
    for heading in ("ε", "Gaussian: deviation", "Laplace: deviation", "ratio", "equal at so many questions"):
        table.add_column(heading, justify="right")
    for epsilon in (0.1, 0.5, 1.0, 3.0, 10.0):
        rho = zcdp.bought(epsilon, DELTA)[0] / zcdp.RHO_UNITS
        ours, theirs = math.sqrt(gaussian_variance(rho)), math.sqrt(Laplace(epsilon).variance)
        table.add_row(*(f"{cell:.3g}" for cell in (epsilon, ours, theirs, ours / theirs, epsilon**2 / (4 * rho))))
    return table


def _kept(epsilon: float, delta0: float) -> Iterator[float]:
    """π(0), π(1), ... without end."""
    kept, more = 0.0, math.exp(epsilon)
    while True:
        yield kept
        kept = min(more * kept + delta0, 1 - (1 - kept - delta0) / more, 1.0)


def _divergence(likely: float, unlikely: float, delta0: float) -> float:
    """The least Kullback-Leibler divergence of two Bernoulli variables after conditioning."""
    p, q = (likely - delta0) / (1 - delta0), unlikely / (1 - delta0)
    if not 0 < q < p:
        return 0.0
    if p >= 1:
        return -math.log(q)
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


if __name__ == "__main__":
    main()
