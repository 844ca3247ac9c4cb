"""How noisy an estimate from a tree of counts is: exact, and from the public shape of the tree alone.

The tree is that of `RangeCounts` in plan.proto: no root, level l has branching^l nodes, every node measured with
independent noise of one deviation, which is the unit of everything here. Counts are made consistent by generalised
least squares (Hay, Rastogi, Miklau, Suciu, VLDB 2010; Honaker, 2015); among linear unbiased estimators of any sum of
leaves that has the least variance.
"""

from __future__ import annotations

import math


def subtree_variances(branching: int, levels: int) -> list[float]:
    """Of the bottom-up estimate of a node, which weighs its own count against its children's: leaves (1) first."""
    variances = [1.0]
    for _ in range(levels - 1):
        children = branching * variances[-1]
        variances.append(children / (1 + children))
    return variances


def range_noise(branching: int, levels: int, first: int, end: int) -> dict[int, float]:
    """The noise of the leaves from `first` to the one before `end` together, as a sum over independent sources.

    Returns:
        For each source its part: what one standard deviation of it adds. The squares add up to the variance; two
        ranges of one tree have the products of their parts as covariance. Sources are numbered like the nodes:
        level 1 from left to right, then level 2, and so on; parts that are 0 are left out.

    *Why.* Let z be the bottom-up estimates, of variance V on one level. On level 1 the consistent count of a node is
    its z. Below, a child's is h/b + (z - mean of its siblings' z), where h is its parent's. Siblings' z are independent
    and of equal variance, so their deviations from their mean are uncorrelated with their sum, and h and all that is
    further up depend on them by that sum only. So all these deviations are independent of level 1 and of each other,
    one group of siblings of another. A range with the share s of a node's leaves takes s·h of it; with the shares s_c
    of its children it adds sum of s_c·(z_c - mean z), which is the sum of (s_c - mean s)·z_c: the parts below. Where a
    node lies inside the range, or outside, all s_c are alike and nothing is added, so at most two nodes of a level
    have children in the sum.
    """
    parts: dict[int, float] = {}
    start, size = 0, branching**levels
    for level, variance in enumerate(reversed(subtree_variances(branching, levels))):
        parents = {first // size, (end - 1) // size}
        size //= branching
        for parent in sorted(parents):
            children = range(parent * branching, (parent + 1) * branching)
            shares = [max(0, min(end, (child + 1) * size) - max(first, child * size)) / size for child in children]
            mean = sum(shares) / branching if level else 0.0
            deviations = {start + c: (share - mean) for c, share in zip(children, shares, strict=True)}
            parts |= {source: math.sqrt(variance) * part for source, part in deviations.items() if part}
        start += branching ** (level + 1)
    return parts


def range_variance(branching: int, levels: int, first: int, end: int) -> float:
    """The variance of the least-squares count of these leaves."""
    return math.fsum(part * part for part in range_noise(branching, levels, first, end).values())
