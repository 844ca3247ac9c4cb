"""The error that a quantile will have, before it is asked: by simulation, for rows spread evenly over the range. Pure.

Noise moves a quantile by about the deviation of the counts over the density of rows, but only where few leaves are
within reach: for rows spread evenly the true deviation is 0.7 to 1.4 times that. So the released value is drawn many
times, as an answer computes it. Seed and shape are public and fixed: a preview says the same whenever it is asked,
and nothing of it depends on data.
"""

from __future__ import annotations

import itertools
import random
import statistics
from array import array
from collections.abc import Sequence
from functools import lru_cache

from yingbi.quantiles import Question, Tree, consistent_leaves, total_deviation
from yingbi.uncertain import Z

DRAWS = 600
"""They tell a standard deviation with an error of 3 %; of quantiles near 0 and 1, whose tails are long, 10 %."""
_FEWEST_DRAWS = 50
_MOST_WORK = 3_000_000
"""Leaves times draws, for all errors of a preview: a second or two."""


def draws_for(leaves: int) -> int:
    """How many draws an error may take where one draw of all errors of a preview goes through so many leaves."""
    return min(DRAWS, _MOST_WORK // max(1, leaves))


def expected_error(question: Question, rows: int, deviation: float, draws: int = DRAWS) -> float | None:
    """The standard deviation of the released quantile over noise, for `rows` rows spread evenly over the range.

    None where so few rows are lost in noise: an answer has no error then, either.

    Args:
        deviation: of the noise in a node; 0 or more.
        draws: from `draws_for`. With too few of them, the error that such an answer would state without noise,
            which is 0.7 to 1.5 times the true one.
    """
    tree = question.tree
    if rows <= Z * deviation * total_deviation(tree):
        return None
    each = rows / tree.leaves
    if draws < _FEWEST_DRAWS:
        found = question.answer([each] * tree.leaves, deviation)
        return None if found is None else found.std_error
    values = []
    for noise in _noise(tree.branching, tree.levels, draws):
        below = [place * each + deviation * moved for place, moved in enumerate(noise)]
        total = below[-1]
        if total > 0:
            values.append(question.value([count - question.share * total for count in below]))
    return statistics.pstdev(values) if values else None


@lru_cache(maxsize=4)
def _noise(branching: int, levels: int, draws: int) -> Sequence[Sequence[float]]:
    """What noise of deviation 1 in each node adds to the consistent count below each edge."""
    tree, source = Tree(0.0, 1.0, branching, levels), random.Random(20_100_913)  # noqa: S311 - a forecast, no noise of an answer
    nodes = sum(branching**level for level in range(1, levels + 1))
    drawn = (consistent_leaves(tree, [source.gauss(0.0, 1.0) for _ in range(nodes)]) for _ in range(draws))
    return [array("d", itertools.accumulate(leaves, initial=0.0)) for leaves in drawn]
