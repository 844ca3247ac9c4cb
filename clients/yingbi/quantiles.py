"""Quantiles from noisy counts on a tree of ranges.

The tree has no root: level 1 has `branching` nodes, each the root of a subtree of its own. Every node is measured
with independent noise of one deviation, so all formulas below are in units of it.

1. The counts are made consistent by generalised least squares: bottom-up, then top-down (Hay, Rastogi, Miklau,
   Suciu: Boosting the accuracy of differentially private histograms through consistency, VLDB 2010). Among
   linear unbiased estimators of any sum of leaves this has the least variance.
2. D(i) = (count below edge i) - q * (total) is then a normal estimate of known variance for every edge i of a
   leaf; at the quantile its true value crosses 0.
3. The point estimate is where the least-squares *isotonic* fit to D crosses 0. That fit is the slope of the
   greatest convex minorant of the partial sums of D, so it changes sign where the partial sums are least
   (Robertson, Wright, Dykstra: Order restricted statistical inference, 1988, section 1.2).
4. The interval inverts tests, edge by edge; see `Question.answer`.
5. The standard error is half the way that the fit takes from one standard deviation of D below 0 to one above: the
   deviation of D over the density of rows around the quantile. Half the interval over z would be 1.2 to 3 times too
   much, and far more where noise is small beside a leaf, since the interval covers the width of leaves too and ends
   at the outermost edges that noise leaves undecided. By simulation (`tests/clients/test_client_quantile_errors.py`)
   the stated error is 0.85 to 1.33 times the true one where that is below 1 % of the range, and otherwise, where a
   tail may be nearly empty, up to twice.
"""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

from yingbi.api.range_tree import subtree_variances
from yingbi.uncertain import Interval, Z

_EXACT_WHOLE = 2.0**52
"""Up to here doubles tell whole numbers and halves apart."""
_NORMAL = [(step / 10, NormalDist().pdf(step / 10) / 10) for step in range(-40, 41)]
"""The standard normal distribution in steps of a tenth, each with its probability; they add up to 1 within 0.0001."""


@dataclass(frozen=True)
class Tree:
    """[lower, upper] cut into branching^levels leaves of equal width; lower < upper, both finite."""

    lower: float
    upper: float
    branching: int
    levels: int

    @property
    def leaves(self) -> int:
        return int(self.branching**self.levels)

    def edge(self, place: int) -> float:
        """The lower edge of a leaf; edge(leaves) is `upper`."""
        if place >= self.leaves:
            return self.upper
        return self.lower + (self.upper - self.lower) * (place / self.leaves)

    def leaf(self, value: float) -> int:
        """The leaf of a value, computed as engines do."""
        clipped = min(max(value, self.lower), self.upper)
        place = math.floor((clipped - self.lower) / (self.upper - self.lower) * self.leaves)
        return min(place, self.leaves - 1)

    def first_whole(self, leaf: int) -> int:
        """The least whole number within the bounds that lies in this leaf or a later one.

        Edges are rounded and so is `leaf`; what counts is what `leaf` says.
        """
        if leaf >= self.leaves:
            return math.floor(self.upper) + 1
        near = math.ceil(self.edge(leaf))
        within = (whole for whole in (near - 1, near, near + 1) if whole >= self.lower)
        return next((whole for whole in within if self.leaf(whole) >= leaf), near + 1)


class Quantile(NamedTuple):
    value: float
    std_error: float | None
    interval: Interval


def consistent_leaves(tree: Tree, nodes: Sequence[float]) -> list[float]:
    """Least-squares counts of the leaves; every inner node's is the sum of its leaves'.

    Args:
        tree: the shape.
        nodes: level 1 from left to right, then level 2, and so on, with noise of equal variance.
    """
    b = tree.branching
    level, start = [], 0
    for number in range(1, tree.levels + 1):
        level.append(nodes[start : start + b**number])
        start += b**number
    below = [list(level.pop())]
    sums: list[list[float]] = []
    variances = subtree_variances(b, tree.levels)
    for variance in variances[:-1]:
        weight = b * variance / (1 + b * variance)
        sums.append([sum(below[-1][place : place + b]) for place in range(0, len(below[-1]), b)])
        below.append([weight * own + (1 - weight) * total for own, total in zip(level.pop(), sums[-1], strict=True)])
    settled = below.pop()
    while below:
        missing = [(own - total) / b for own, total in zip(settled, sums.pop(), strict=True)]
        children = below.pop()
        settled = [child + missing[place // b] for place, child in enumerate(children)]
    return settled


def with_total(leaves: Sequence[float], total: float) -> list[float]:
    """The least-squares counts once the number of rows is known.

    Level 1 has independent counts of equal variance, so what they lack is shared evenly among them; and what a node
    lacks, evenly among its children.
    """
    missing = (total - math.fsum(leaves)) / len(leaves)
    return [leaf + missing for leaf in leaves]


def rank_deviations(branching: int, levels: int, share: float | None) -> Sequence[float]:
    """The standard deviation of D(i) for each edge i, in units of a node's deviation.

    Without a share, that of the count below edge i where the total is known (`with_total`): what is added to leaves
    makes it the count without a known total, less that total's part i / leaves, whose share is q.

    Let h be a node's least-squares count, b its children, V the variance of a child's bottom-up estimate z.
    A child's count is h/b + (z - mean of its siblings' z), and these parts are uncorrelated with h and with
    everything further down. So the count below an edge inside the node is phi * h + E, with phi the share of
    the node's leaves that lie below the edge and E uncorrelated with h; for an edge inside child m + 1, of
    which the share phi' lies below, Var(E) = V * (m + phi'^2 - (m + phi')^2 / b) + Var(E of that child).
    On level 1 nodes are independent with variance V, and D weighs them with 1 - q, phi - q or -q.
    """
    b = branching
    variances = subtree_variances(b, levels)
    within = [0.0]
    for variance in variances[:-1]:
        shares = [place / len(within) for place in range(len(within))]
        within = [
            variance * (m + phi * phi - (m + phi) ** 2 / b) + rest
            for m in range(b)
            for phi, rest in zip(shares, within, strict=True)
        ]
    top, size = variances[-1], len(within)
    squares = []
    for m in range(b):
        for place in range(size):
            phi = place / size
            q = (m + phi) / b if share is None else share
            squares.append(top * (m * (1 - q) ** 2 + (phi - q) ** 2 + (b - m - 1) * q**2) + within[place])
    squares.append(0.0 if share is None else top * b * (1 - share) ** 2)
    return array("d", (math.sqrt(max(0.0, square)) for square in squares))


def total_deviation(tree: Tree) -> float:
    """The standard deviation of the consistent total, in units of a node's deviation."""
    return math.sqrt(tree.branching * subtree_variances(tree.branching, tree.levels)[-1])


@dataclass(frozen=True)
class Question:
    """Which value has a given share of the rows below it.

    Args:
        tree: the shape.
        share: from 0 to 1.
        integral: the values are whole numbers.
        total: the number of rows, where it is public: leaves are to add up to it (`with_total`).
    """

    tree: Tree
    share: float
    integral: bool = False
    total: float | None = None

    def answer(self, leaves: Sequence[float], deviation: float) -> Quantile | None:
        """The quantile; None where the estimated number of rows is not above 0.

        Inside a leaf rows are taken to be spread evenly; with `integral`, over the leaf's whole numbers.

        The interval holds with 95 % probability over the noise, whatever the rows are: if leaf j has the true
        quantile, D is at most 0 at its lower and at least 0 at its upper edge, so each of these two edges
        passes its one-sided test with 97.5 %. It reaches from one leaf below the first edge that is not
        significantly below 0 to one leaf above the last edge that is not significantly above, and so covers
        the resolution of the leaves too. Not covered: what clipping did to values beyond the bounds and to
        the weight of rows. Where the number of rows is not significantly above 0, or, if it is known, noise may hide
        as many of them as lie on one side of the quantile, it is the whole range, without standard error. Otherwise
        the standard error is that of the noise alone, for rows spread as the fit has them; it does not cover how rows
        lie inside a leaf, as the interval does.

        Args:
            leaves: from `consistent_leaves`.
            deviation: of the noise in a node.
        """
        below = [0.0, *itertools.accumulate(leaves)]
        total = below[-1]
        if not total > 0:
            return None
        ranks = [count - self.share * total for count in below]
        value = self.value(ranks)
        if self._is_lost(total, deviation):
            return Quantile(value, None, (self.tree.lower, self.tree.upper))
        ends = self._ends(*_undecided(ranks, [Z * deviation * each for each in self._deviations]))
        low, high = min(ends[0], value), max(ends[1], value)
        return Quantile(value, self._std_error(ranks, deviation), (low, high))

    def _is_lost(self, total: float, deviation: float) -> bool:
        if self.total is None:
            return total <= Z * deviation * total_deviation(self.tree)
        return min(self.share, 1 - self.share) * total <= Z * deviation * max(self._deviations)

    def value(self, ranks: Sequence[float]) -> float:
        """The point estimate from D, one for each edge."""
        return self._value(*_crossing(ranks, self.share))

    def _std_error(self, ranks: Sequence[float], deviation: float) -> float:
        spread = deviation * self._deviation_at(*_crossing(ranks, self.share))
        fit = _isotonic(ranks)
        width = (self.tree.upper - self.tree.lower) / self.tree.leaves
        error = (_reach(fit, spread) - _reach(fit, -spread)) / 2 * width
        if not self._is_whole or error >= 1:
            return error
        # Whole numbers jump: what matters is how likely each of the few near ones is.
        least = self._at(_reach(fit, -4 * spread))
        steps = [(self._at(_reach(fit, z * spread)) - least, weight) for z, weight in _NORMAL]
        mean = sum(step * weight for step, weight in steps)
        return math.sqrt(max(0.0, sum(step**2 * weight for step, weight in steps) - mean**2))

    def _deviation_at(self, leaf: int, part: float) -> float:
        """The standard deviation of D inside a leaf, where it is linear, in units of a node's."""
        low, high = (self._deviations[edge] ** 2 for edge in (leaf, leaf + 1))
        of_leaf = _leaf_variance(self.tree.branching, self.tree.levels)
        if self.total is not None:
            of_leaf -= (total_deviation(self.tree) / self.tree.leaves) ** 2
        shared = (low + high - of_leaf) / 2
        rest = 1 - part
        return math.sqrt(max(0.0, rest**2 * low + 2 * rest * part * shared + part**2 * high))

    @cached_property
    def _deviations(self) -> Sequence[float]:
        return rank_deviations(self.tree.branching, self.tree.levels, self.share if self.total is None else None)

    @property
    def _is_whole(self) -> bool:
        return self.integral and max(abs(self.tree.lower), abs(self.tree.upper)) < _EXACT_WHOLE

    def _at(self, place: float) -> float:
        leaf = min(math.floor(place), self.tree.leaves - 1)
        return self._value(leaf, place - leaf)

    def _value(self, leaf: int, part: float) -> float:
        tree = self.tree
        start, end = tree.edge(leaf), tree.edge(leaf + 1)
        value = min(max(start + part * (end - start), tree.lower), tree.upper)
        if not self._is_whole:
            return value
        first = tree.first_whole(leaf)
        count = tree.first_whole(leaf + 1) - first
        if count > 0:
            return float(first + min(math.floor(part * count), count - 1))
        return self._within(math.floor(value + 0.5))

    def _ends(self, first: int, last: int) -> Interval:
        """From the lower end of the first leaf to the upper end of the last."""
        if not self._is_whole:
            return self.tree.edge(first), self.tree.edge(last + 1)
        ends = self.tree.first_whole(first), self.tree.first_whole(last + 1) - 1
        return self._within(min(ends)), self._within(max(ends))

    def _within(self, whole: int) -> float:
        """The nearest whole number between the bounds: leaves narrower than 1 may have none of their own."""
        return float(min(max(whole, math.ceil(self.tree.lower)), math.floor(self.tree.upper)))


def _leaf_variance(branching: int, levels: int) -> float:
    """Of a leaf's least-squares count: a b-th of its parent's, and what tells it from its siblings' mean."""
    *below, variance = subtree_variances(branching, levels)
    for own in reversed(below):
        variance = variance / branching**2 + own * (1 - 1 / branching)
    return variance


def _crossing(ranks: Sequence[float], share: float) -> tuple[int, float]:
    """The leaf in which the isotonic fit crosses 0, and how far into it.

    Where the fit is 0 from one edge to another, a place between them: the middle for a median, and where
    rows begin or end for the extremes.
    """
    partial = list(itertools.accumulate(ranks[:-1]))
    least = min(partial)
    place = partial.index(least)
    last = len(partial) - 1 - partial[::-1].index(least)
    if last > place:
        between = last - (last - place - 1) * share
        leaf = math.floor(between) if share < 0.5 else math.ceil(between) - 1
        return leaf, between - leaf
    rise = ranks[place + 1] - ranks[place]
    return place, min(max(-ranks[place] / rise, 0.0), 1.0) if rise > 0 else 0.5


def _isotonic(ranks: Sequence[float]) -> list[float]:
    """The non-decreasing sequence with the least squared distance (pool adjacent violators)."""
    means: list[float] = []
    sizes: list[int] = []
    for rank in ranks:
        mean, size = rank, 1
        while means and means[-1] >= mean:
            before = sizes.pop()
            mean = (means.pop() * before + mean * size) / (before + size)
            size += before
        means.append(mean)
        sizes.append(size)
    return [mean for mean, size in zip(means, sizes, strict=True) for _ in range(size)]


def _reach(fit: Sequence[float], level: float) -> float:
    """Where a fit reaches a level, in leaves from the lower bound; the bound itself where it does not."""
    edge = bisect_left(fit, level)
    if edge == 0:
        return 0.0
    if edge == len(fit):
        return edge - 1.0
    return edge - 1 + (level - fit[edge - 1]) / (fit[edge] - fit[edge - 1])


def _undecided(ranks: Sequence[float], margins: Sequence[float]) -> tuple[int, int]:
    """The first and the last leaf that may have the quantile."""
    last = len(ranks) - 1
    first_edge = next((edge for edge in range(last + 1) if ranks[edge] >= -margins[edge]), last)
    last_edge = next((edge for edge in range(last, -1, -1) if ranks[edge] <= margins[edge]), 0)
    return max(0, first_edge - 1), min(last - 1, last_edge)
