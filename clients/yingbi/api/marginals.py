"""Tables of several marginals of one table, made consistent by generalised least squares: exact, from public shapes.

A table has a cell for every combination of some keys' values; a marginal adds it up over all keys but some. Several
marginals are measured, each with independent noise of one variance in every cell, and what is wanted is the best
estimate of a marginal, measured or not, that is linear and right on average. Every table here is a list, its last key
varying fastest; keys are indexes into the numbers of their values, ascending.

*Estimate.* Let marginal S be measured with the variance 1/w_S, and let N_S be the number of cells of the whole table
that each of its cells adds up. Write P_T, for each set T of keys, for the projection of whole tables onto those that
depend on the keys in T alone and add up to 0 over each of them. These are orthogonal and together everything, and each
is an eigenspace of the information matrix (the sum of w_S M_S' M_S), of the value

    λ_T = sum of w_S N_S over the measured S that contain T,

since M_S' M_S is the identity over the keys in S and all ones over the others, whose values on P_T are 1 and n_i where
i is outside T, and 1 and 0 inside. So the least-squares estimate is found part by part. That of a marginal U is

    sum over T within U of z_T / (number of cells of U for each cell of T),

where z_T is the mean of what the measured S that contain T say of marginal T, weighed by w_S N_S / λ_T, less its own
means over each key in T. It exists where λ_T > 0 for all T within U: where U is within a measured S.

*Variance.* The parts are independent. A cell of U is the product of the whole table with a vector q that is 1 in N_U
cells. Key by key, ||P_T q||² is (1 - 1/n_i) for i in T, 1/n_i for other i in U, and n_i outside, so its variance is

    N_U · sum over T within U of (1 / λ_T) · Π over T of (1 - 1/n_i) · Π over the rest of U of 1/n_i,

the same for all cells of U. By Gauss and Markov no other linear estimate that is right on average has less.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

Keys = tuple[int, ...]


def subsets(keys: Keys) -> list[Keys]:
    """All sets of some of the keys, the smallest first."""
    return [part for size in range(len(keys) + 1) for part in itertools.combinations(keys, size)]


def count(sizes: Sequence[int], keys: Keys) -> int:
    """Cells of a marginal."""
    return math.prod(sizes[key] for key in keys)


def merged(sizes: Sequence[int], keys: Keys) -> int:
    """N: cells of the whole table that each cell of a marginal adds up."""
    return math.prod(size for key, size in enumerate(sizes) if key not in keys)


def information(sizes: Sequence[int], precisions: Mapping[Keys, float], part: Keys) -> float:
    """λ of a set of keys: how exactly its part of the table is known; 0 where it is not.

    Args:
        precisions: of every marginal that is measured, one over the variance of its cells.
    """
    inside = set(part)
    return math.fsum(weight * merged(sizes, keys) for keys, weight in precisions.items() if inside <= set(keys))


def spread(sizes: Sequence[int], part: Keys, keys: Keys) -> float:
    """What a marginal's variance has of 1/λ of a part of it: ||P_T q||²."""
    of_part = math.prod(1 - 1 / sizes[key] if key in part else 1 / sizes[key] for key in keys)
    return merged(sizes, keys) * of_part


def variance(sizes: Sequence[int], precisions: Mapping[Keys, float], keys: Keys) -> float:
    """Of the least-squares estimate of each cell of a marginal; infinite where there is none."""
    found = 0.0
    for part in subsets(_real(sizes, keys)):
        known = information(sizes, precisions, part)
        if known <= 0:
            return math.inf
        found += spread(sizes, part, keys) / known
    return found


def estimates(
    sizes: Sequence[int],
    tables: Mapping[Keys, Sequence[float]],
    precisions: Mapping[Keys, float],
    wanted: Sequence[Keys],
) -> list[list[float]]:
    """The least-squares estimates of all cells of the wanted marginals, each of which is within a measured one.

    Args:
        tables: what was measured, by keys.
        precisions: see `information`.
    """
    parts: dict[Keys, list[float]] = {}
    found = []
    for keys in wanted:
        total = [0.0] * count(sizes, keys)
        for part in subsets(_real(sizes, keys)):
            if part not in parts:
                parts[part] = _part(sizes, tables, precisions, part)
            share = count(sizes, part) / count(sizes, keys)
            values = [share * value for value in parts[part]]
            total = [before + values[place] for before, place in zip(total, places(sizes, keys, part), strict=True)]
        found.append(total)
    return found


def places(sizes: Sequence[int], keys: Keys, onto: Keys) -> list[int]:
    """Of every cell of a marginal: its place among those by fewer keys."""
    found = [0]
    for key in keys:
        size = sizes[key]
        found = [place * size + value if key in onto else place for place in found for value in range(size)]
    return found


def work(sizes: Sequence[int], measured: Sequence[Keys], wanted: Sequence[Keys]) -> int:
    """Steps that `estimates` takes, about."""
    each = [2 ** len(_real(sizes, keys)) * count(sizes, keys) for keys in (*measured, *wanted)]
    return sum(each)


def _part(
    sizes: Sequence[int], tables: Mapping[Keys, Sequence[float]], precisions: Mapping[Keys, float], part: Keys
) -> list[float]:
    """z of a set of keys."""
    total, known, inside = [0.0] * count(sizes, part), information(sizes, precisions, part), set(part)
    for keys, table in tables.items():
        if inside <= set(keys):
            weight = precisions[keys] * merged(sizes, keys) / known
            sums = [0.0] * len(total)
            for place, value in zip(places(sizes, keys, part), table, strict=True):
                sums[place] += value
            total = [before + weight * value for before, value in zip(total, sums, strict=True)]
    for position in range(len(part)):
        total = _centred(total, [sizes[key] for key in part], position)
    return total


def _centred(table: list[float], sizes: Sequence[int], position: int) -> list[float]:
    """The table less its means over one key."""
    size, stride = sizes[position], math.prod(sizes[position + 1 :])
    found = list(table)
    for start in range(0, len(table), size * stride):
        for offset in range(start, start + stride):
            line = table[offset : offset + size * stride : stride]
            mean = math.fsum(line) / size
            found[offset : offset + size * stride : stride] = [value - mean for value in line]
    return found


def _real(sizes: Sequence[int], keys: Keys) -> Keys:
    """Those that have several values."""
    return tuple(key for key in keys if sizes[key] > 1)
