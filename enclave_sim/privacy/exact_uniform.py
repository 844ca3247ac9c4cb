"""Comparing a uniform real number with exp(−x), exactly, in integers.

A uniform U of [0, 1) is known only by its first bits; where they do not settle a comparison, more are
drawn (J. von Neumann, "Various techniques used in connection with random digits", 1951). The other side
is known by two integers that enclose it at any precision asked for. A decision is then the one that the
real numbers would give: nothing is rounded, and nothing is cut off.
"""

from collections.abc import Callable
from functools import lru_cache

WORD = 64
"""Bits of U that are drawn at a time."""

Bounds = Callable[[int], tuple[int, int]]
"""From b to integers (low, high) such that low <= p·2^b <= high for one real p, ever closer as b grows."""

_GUARD = 32
"""Extra bits of the intermediate results: roundings add up to less than 2^24 units, see `exp_bounds`."""


class LazyUniform:
    """A uniform real number of [0, 1), of which no more bits are drawn than decisions need."""

    def __init__(self, first: int, more: Callable[[], int]) -> None:
        """`first` holds the first `WORD` bits; `more()` gives the next `WORD` bits."""
        self._known, self._bits, self._more = first, WORD, more

    def is_below(self, bounds: Bounds) -> bool:
        """Whether U < p.

        With b known bits v, U is uniform in [v, v + 1)·2^-b: below p for certain if v + 1 <= low, at or
        above it if v >= high. Each further word leaves it open with a probability of about 2^-64.
        """
        while True:
            low, high = bounds(self._bits)
            if self._known < low:
                return True
            if self._known >= high:
                return False
            self._known, self._bits = self._known << WORD | self._more(), self._bits + WORD


def exp_bounds(numerator: int, denominator: int, bits: int) -> tuple[int, int]:
    """Integers (low, high) with low <= exp(−numerator / denominator)·2^bits <= high.

    With t = x / 2^h < ½, e^t lies between Taylor sums of positive terms, all rounded down in one and up in
    the other; e^(−x) = (1 / e^t)^(2^h) keeps both directions. In units of 2^-w the two ends of 1 / e^t are
    less than 4w + 8 apart (each has fewer than w terms, each off by less than two, and an end of t is off
    by one); squaring numbers <= 1 at most doubles that and adds two. Hence high − low is at most 2 as long
    as (4w + 10)·2^h < 2^(w − bits), which w = bits + h + `_GUARD` gives for w < 2^29.

    Args:
        numerator: >= 0.
        denominator: >= 1.
        bits: >= 1.
    """
    halvings = (numerator // denominator).bit_length() + 1
    work = bits + halvings + _GUARD
    t = (numerator << work) // (denominator << halvings)
    low = (1 << 2 * work) // _exp_above(t + 1, work)
    high = -(-(1 << 2 * work) // _exp_below(t, work))
    for _ in range(halvings):
        low = low * low >> work
        high = _ceil_shift(high * high, work)
    return low >> work - bits, _ceil_shift(high, work - bits)


@lru_cache(maxsize=1024)
def half_gaussian_bounds(k: int, bits: int) -> tuple[int, int]:
    """Bounds of F(k)·2^bits, F(k) = Σ_{0<=j<=k} e^(−j²/2) / Σ_{j>=0} e^(−j²/2).

    F = A / (A + R), with A up to k and R beyond, grows with A and falls with R. Terms are added until one
    is at most a unit; from there on the ratio of neighbours is below ½, so two units cover the rest.
    """
    work = bits + _GUARD
    inside_low = inside_high = outside_low = outside_high = j = 0
    high = 2
    while j <= k or high > 1:
        low, high = exp_bounds(j * j, 2, work)
        if j <= k:
            inside_low, inside_high = inside_low + low, inside_high + high
        else:
            outside_low, outside_high = outside_low + low, outside_high + high
        j += 1
    below = (inside_low << bits) // (inside_low + outside_high + 2)
    above = -((-inside_high << bits) // (inside_high + outside_low))
    return below, above


def _exp_below(t: int, work: int) -> int:
    """At most e^(t / 2^work)·2^work: every term is rounded down, the rest left out."""
    total, term, k = 0, 1 << work, 0
    while term:
        total, k = total + term, k + 1
        term = term * t // (k << work)
    return total


def _exp_above(t: int, work: int) -> int:
    """At least e^(t / 2^work)·2^work for t <= 2^work / 2 + 1: terms rounded up, two units for the rest."""
    total, term, k = 0, 1 << work, 0
    while term > 1:
        total, k = total + term, k + 1
        term = -(-term * t // (k << work))
    return total + 2


def _ceil_shift(value: int, bits: int) -> int:
    """⌈value / 2^bits⌉."""
    return -(-value >> bits)
