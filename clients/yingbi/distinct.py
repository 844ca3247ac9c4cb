"""How many values enough units have, told from a noisy count of units for each value. Pure.

Of value i there is y = n + noise, where n is its clipped count of units and the noise is normal with a known
deviation, independent between values. Asked is D, the number of values with n >= T. Told is the number of values with
y >= T, with an interval for D.

*Claim.* The interval holds D with a probability of 95 % or more, whatever the counts are.

*Proof.* With F of the values told having n < T, and M of the others having n >= T, D is the number told less F plus M.
It is enough to bound each of F and M with 97.5 %. Take M. Given which values have y < T, those among them with
n >= T are a fixed set, and their y are independent. Let p = P(noise < y - T) / P(noise < 0), the chance of so low a y
at n = T when it is below T. Given y < T it is uniform for n = T, and for a larger n stochastically larger, since the
normal family has a monotone likelihood ratio. So -log p of each of the M is stochastically at most exponential, and
their sum at most Gamma(M, 1): it exceeds g(M), that distribution's quantile, in 2.5 % of cases at most (Fisher's
method). The sum over any M values with y < T is at least that over the M with the largest p. So but for these 2.5 %, M
is among the numbers m for which the m largest p have a sum of at most g(m), and the largest such m bounds it. For F
turn y and T around. p is erfc(|y - T| / (deviation * sqrt 2)) on both sides. ∎

So values far from T on either side widen the interval hardly or not at all, and those near T as much as they are many:
whether a value with about T units has one more or less, noise does not let be told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from yingbi.uncertain import Interval, Z

_LEVEL = 1.977
"""Of the normal quantile for 97.5 %, 1.960, so much that Wilson and Hilferty's approximation errs on the safe side."""


class Found(NamedTuple):
    """Numbers of values. The standard error is half of the interval over 1.96."""

    value: float
    std_error: float
    interval: Interval


def values_held(units: Sequence[float], threshold: float, deviation: float) -> Found:
    """How many values have at least `threshold` units.

    Args:
        units: the noisy number of each value.
        threshold: in units.
        deviation: the standard deviation of the noise in each of `units`; at least 0.
    """
    told = [count for count in units if count >= threshold]
    low = len(told) - _most_wrong((count - threshold for count in told), deviation)
    missed = _most_wrong((threshold - count for count in units if count < threshold), deviation)
    high = len(told) + missed
    return Found(float(len(told)), (high - low) / 2 / Z, (float(low), float(high)))


def sum_quantile(count: int) -> float:
    """At least the 97.5 % quantile of the sum of `count` standard exponentials (Wilson and Hilferty 1931)."""
    part = 1 / (9 * count)
    return count * (1 - part + _LEVEL * math.sqrt(part)) ** 3


def _most_wrong(distances: Iterable[float], deviation: float) -> int:
    """How many of the values on one side of the threshold may belong on the other, with 97.5 %."""
    if deviation <= 0:
        return 0
    most, total = 0, 0.0
    for count, distance in enumerate(sorted(distances), start=1):
        chance = math.erfc(distance / deviation / math.sqrt(2))
        if chance <= 0:
            break
        total -= math.log(chance)
        if total <= sum_quantile(count):
            most = count
    return most
