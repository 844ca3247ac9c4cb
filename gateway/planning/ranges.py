"""How finely the range of a quantile is cut: a tree of counts, chosen from public numbers alone.

A cell costs about a millisecond to encrypt and two to open at every provider, so a statistic aims at `CELLS` cells
over all groups, with at least 64 leaves for each group. Two levels are the trade between noise and fineness: a quantile
is found from the sum of at most `levels * branching` noisy counts, where a flat histogram of as many leaves adds
up hundreds, and every level more divides the budget further.
"""

from __future__ import annotations

import math

from yingbi.api.v1.plan_pb2 import RangeCounts

from gateway.planning.subjects import Subject

CELLS = 600
_BRANCHINGS = (16, 8)
_LEVELS = 2
_FLAT_VALUES = 8
"""So few values need no second level: adding up half of them is as good."""
_EXACT_INTEGERS = 2.0**50
"""Whole numbers and their halves are doubles up to here, with room."""


def range_counts(subject: Subject, groups: int) -> RangeCounts:
    """The tree for the quantiles of an expression with bounds.

    Of whole numbers, each leaf holds as many, and no edge is one: [lower - 1/2, upper + 1/2], widened above
    where the leaves do not come out even.
    """
    branching = _branching(groups)
    if not is_integral(subject):
        return _tree(subject, subject.lower, subject.upper, branching, _LEVELS)
    values = int(subject.upper) - int(subject.lower) + 1
    levels = _LEVELS
    if values <= _FLAT_VALUES:
        branching, levels = max(2, values), 1
    elif values <= branching**_LEVELS:
        branching = math.isqrt(values - 1) + 1
    leaves = branching**levels
    whole_numbers = -(-values // leaves)
    lower = subject.lower - 0.5
    return _tree(subject, lower, lower + whole_numbers * leaves, branching, levels)


def is_integral(subject: Subject) -> bool:
    """Whether the expression's values are whole numbers that leaves can be aligned to."""
    return subject.integral and max(abs(subject.lower), abs(subject.upper)) < _EXACT_INTEGERS


def resolution(tree: RangeCounts) -> float:
    """The width of a leaf."""
    return float((tree.upper - tree.lower) / tree.branching**tree.levels)


def _branching(groups: int) -> int:
    for branching in _BRANCHINGS:
        if groups * (branching + branching**_LEVELS) <= CELLS:
            return branching
    return _BRANCHINGS[-1]


def _tree(subject: Subject, lower: float, upper: float, branching: int, levels: int) -> RangeCounts:
    return RangeCounts(term=subject.expression, lower=lower, upper=upper, branching=branching, levels=levels)
