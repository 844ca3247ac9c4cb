"""Numbers that carry their noise through arithmetic: forward-mode differentiation over the noisy cells.

A number knows its value and, for every independent source of noise, the change that one standard deviation of
that source makes in it. Columns that share cells share sources, so their errors add or cancel as they should.

Three kinds, by what can be said of the interval:

- `Linear`: a constant plus a weighted sum of cells. Its noise is normal; value ± z · error is exact.
- `Ratio`: one linear number over another. Fieller's set is exact at every sample size.
- `Smooth`: anything else. Error and interval are of first order (the delta method); images under monotone
  functions of one number (square root, absolute value, scaling) take the image of its interval, which holds
  as well as that does.

Intervals are for 95 % and for noise alone: what clipping changed is no part of them. A quantile's covers the width of
ranges too, and what is computed of it keeps that (`Smooth.slack`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

Interval = tuple[float, float]


DEPENDENT = -1


class Source(NamedTuple):
    """A source of noise: a statistic's cell, a source within its tree, or what its whole tree does to one quantile.

    `part` tells the cells of different rows apart where rows are compared (`cells.Row.parts`); one of `DEPENDENT`
    or less, quantiles of rows that may have cells in common.
    """

    statistic: int
    part: int = 0
    quantile: float | None = None
    node: int | None = None
    """As `range_tree.range_noise` numbers the sources of a tree."""


Noise = Mapping[Source, float]


@dataclass(frozen=True, slots=True)
class Linear:
    value: float
    noise: Noise = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ratio:
    """`value` is numerator over denominator, cut to `limits`: what is publicly known of the true ratio."""

    value: float
    numerator: Linear
    denominator: Linear
    limits: Interval = (-math.inf, math.inf)

    @property
    def noise(self) -> Noise | None:
        if not _significant(self.denominator):
            return None
        part = 1 / self.denominator.value
        ratio = self.numerator.value * part
        return _weighed((part, self.numerator.noise), (-ratio * part, self.denominator.noise))


@dataclass(frozen=True, slots=True)
class Smooth:
    """`noise` and `interval` are None where they cannot be told.

    `slack` is what the interval has to cover beside noise, to each side: where rows lie inside the ranges of a
    quantile. What is computed of several numbers adds up their slacks, since nothing is known of how they depend
    on each other.
    """

    value: float
    noise: Noise | None
    interval: Interval | None
    slack: float = 0.0


Number = Linear | Ratio | Smooth


def deviation(noise: Noise) -> float:
    """The standard deviation of the sum of all sources.

    Cells are independent, and so are the sources within a tree. Two quantiles of one tree, or of trees that have
    cells in common, are not, nor a quantile and those sources, and how they depend on each other is not known; their
    deviations are added, which is what it is at most (the triangle inequality of the L2 norm).
    """
    if all(source.quantile is None for source in noise):
        return math.hypot(*noise.values())
    trees: dict[int, dict[int, float]] = {}
    cells: dict[int, list[float]] = {}
    for source, part in noise.items():
        if source.quantile is None:
            cells.setdefault(source.statistic, []).append(part)
        else:
            of_trees, tree = trees.setdefault(source.statistic, {}), max(source.part, DEPENDENT)
            of_trees[tree] = of_trees.get(tree, 0.0) + abs(part)
    return math.hypot(
        *(
            math.hypot(*cells.get(statistic, ())) + math.hypot(*trees.get(statistic, {}).values())
            for statistic in cells.keys() | trees.keys()
        )
    )


def std_error(number: Number) -> float | None:
    noise = number.noise
    return None if noise is None else deviation(noise)


def interval(number: Number) -> Interval | None:
    """The 95 % interval; None where there is no bounded one."""
    match number:
        case Linear():
            return _around(number.value, number.noise)
        case Smooth():
            return number.interval
    low, high = number.limits
    ends = ratio_interval(number.numerator, number.denominator)
    if ends is None:
        return number.limits if math.isfinite(low) and math.isfinite(high) else None
    return min(max(ends[0], low), high), min(max(ends[1], low), high)


def ratio_interval(numerator: Linear, denominator: Linear) -> Interval | None:
    """Fieller's 95 % confidence set of the ratio of two normal means, if it is an interval.

    The set is {r : (b - r n)^2 <= z^2 Var(b - r n)}, exact at every sample size because b - r n is normal
    with mean zero at the true r (Fieller 1954); noise that the two share is in that variance. None where the
    denominator is not significantly different from zero: the set is then a half-line, the outside of an
    interval, or everything.

    Solved for the distance of r from b / n, in units of n, so that no term under the root is negative.
    """
    if not _significant(denominator):
        return None
    unit = 1 / denominator.value
    ratio = numerator.value * unit
    below = _weighed((unit, denominator.noise))
    residual = _weighed((unit, numerator.noise), (-ratio, below))
    shared = Z * sum(part * below.get(source, 0.0) for source, part in residual.items())
    leading = 1 - (Z * deviation(below)) ** 2
    root = Z * math.hypot(shared, math.sqrt(max(0.0, leading)) * deviation(residual))
    if leading <= 0:
        return None
    return ratio + (-Z * shared - root) / leading, ratio + (-Z * shared + root) / leading


def affine(number: Number, scale: float, shift: float) -> Number:
    """scale · number + shift: of the same kind as the number."""
    if scale == 0:
        return Linear(shift)
    value = scale * number.value + shift
    match number:
        case Linear():
            return Linear(value, _weighed((scale, number.noise)))
        case Ratio():
            low, high = sorted(scale * end + shift for end in number.limits)
            upper = _sum((scale, number.numerator), (shift, number.denominator))
            return Ratio(value, upper, number.denominator, (low, high))
    noise = None if number.noise is None else _weighed((scale, number.noise))
    return Smooth(value, noise, _image(number.interval, lambda end: scale * end + shift), abs(scale) * number.slack)


def add(left: Number, right: Number) -> Number:
    if _constant(right):
        return affine(left, 1, right.value)
    if _constant(left):
        return affine(right, 1, left.value)
    if isinstance(left, Linear) and isinstance(right, Linear):
        return _sum((1, left), (1, right))
    if isinstance(left, Ratio) and isinstance(right, Ratio) and left.denominator == right.denominator:
        limits = (left.limits[0] + right.limits[0], left.limits[1] + right.limits[1])
        upper = _sum((1, left.numerator), (1, right.numerator))
        return Ratio(left.value + right.value, upper, left.denominator, limits)
    return _first_order(left.value + right.value, (1, left), (1, right))


def subtract(left: Number, right: Number) -> Number:
    return add(left, affine(right, -1, 0))


def multiply(left: Number, right: Number) -> Number:
    if _constant(right):
        return affine(left, right.value, 0)
    if _constant(left):
        return affine(right, left.value, 0)
    return _first_order(left.value * right.value, (right.value, left), (left.value, right))


def divide(left: Number, right: Number) -> Number | None:
    """None for a divisor of 0. Without interval where the divisor does not differ significantly from 0."""
    if right.value == 0:
        return None
    value = left.value / right.value
    if _constant(right):
        return replace(affine(left, 1 / right.value, 0), value=value)
    if isinstance(left, Linear) and isinstance(right, Linear):
        return Ratio(value, left, right)
    if not _significant(right):
        return Smooth(value, None, None)
    return _first_order(value, (1 / right.value, left), (-value / right.value, right))


def absolute(number: Number) -> Number:
    if _constant(number):
        return Linear(abs(number.value))
    sign = math.copysign(1, number.value)
    noise = None if number.noise is None else _weighed((sign, number.noise))
    ends = interval(number)
    if ends is not None:
        ends = (max(0.0, ends[0], -ends[1]), max(-ends[0], ends[1]))
    return Smooth(abs(number.value), noise, ends, slack(number))


def square_root(number: Number) -> Number | None:
    """None for a negative number. At 0 the error is not known; the interval is."""
    if number.value < 0:
        return None
    root = math.sqrt(number.value)
    if _constant(number):
        return Linear(root)
    noise = None if number.noise is None or root == 0 else _weighed((0.5 / root, number.noise))
    ends = _image(interval(number), lambda end: math.sqrt(max(0.0, end)))
    return Smooth(root, noise, ends, slack(number) * 0.5 / root if root else 0.0)


def least(numbers: Sequence[Number]) -> Number:
    """The noise is the largest of those that may be the least; the interval has the least of all ends.

    The true least is outside that interval only if one of the numbers' own intervals is missed at that end,
    so for two numbers it holds as often as theirs do; among many that are alike it holds less often.
    """
    return _extreme(numbers, min, lambda ends, value: ends[0] <= value)


def greatest(numbers: Sequence[Number]) -> Number:
    """See `least`."""
    return _extreme(numbers, max, lambda ends, value: ends[1] >= value)


def _extreme(
    numbers: Sequence[Number], choose: Callable[..., float], may_be: Callable[[Interval, float], bool]
) -> Number:
    value = choose(number.value for number in numbers)
    if all(map(_constant, numbers)):
        return Linear(value)
    ends = [interval(number) for number in numbers]
    known = [each for each in ends if each is not None]
    if len(known) < len(ends):
        return Smooth(value, None, None)
    image = (choose(each[0] for each in known), choose(each[1] for each in known))
    noises = [number.noise for number, each in zip(numbers, known, strict=True) if may_be(each, value)]
    certain = [noise for noise in noises if noise is not None]
    if len(certain) < len(noises):
        return Smooth(value, None, image)
    return Smooth(value, max(certain, key=deviation, default={}), image, max(map(slack, numbers)))


def _constant(number: Number) -> bool:
    return isinstance(number, Linear) and not number.noise


def _significant(number: Number) -> bool:
    error = std_error(number)
    return error is not None and abs(number.value) > Z * error + slack(number)


def slack(number: Number) -> float:
    """See `Smooth`; others have none."""
    return number.slack if isinstance(number, Smooth) else 0.0


def _weighed(*parts: tuple[float, Noise]) -> dict[Source, float]:
    (first, sources), *more = parts
    noise = {source: first * part for source, part in sources.items()}
    for scale, sources in more:
        for source, part in sources.items():
            noise[source] = noise.get(source, 0.0) + scale * part
    return noise


def _sum(*parts: tuple[float, Linear]) -> Linear:
    value = sum(scale * number.value for scale, number in parts)
    return Linear(value, _weighed(*((scale, number.noise) for scale, number in parts)))


def first_order(value: float, noise: Noise, slack: float = 0.0) -> Smooth:
    """A number whose noise is known to first order."""
    return Smooth(value, noise, _around(value, noise, slack), slack)


def _first_order(value: float, *parts: tuple[float, Number]) -> Smooth:
    known = []
    for scale, number in parts:
        if number.noise is None:
            return Smooth(value, None, None)
        known.append((scale, number.noise))
    return first_order(value, _weighed(*known), sum(abs(scale) * slack(number) for scale, number in parts))


def _around(value: float, noise: Noise, slack: float = 0.0) -> Interval:
    margin = Z * deviation(noise) + slack
    return value - margin, value + margin


def _image(ends: Interval | None, function: Callable[[float], float]) -> Interval | None:
    if ends is None:
        return None
    first, second = map(function, ends)
    return min(first, second), max(first, second)
