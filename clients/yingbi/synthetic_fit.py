"""A joint distribution of levels that agrees with noised marginals, and rows drawn from it.

The fit is that of the `mbi` package (McKenna, Sheldon, Miklau 2019): of all Markov random fields over the pairs, the
one nearest to what was released, by mirror descent. It sees released numbers alone: post-processing. With many columns
the exact distribution over all pairs is too large to hold, so pairs that tell most, by what was released, come first.

A fitted field is a product of a factor for each pair, so it is drawn from column by column: columns are summed out one
after another, and drawn in the opposite order.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yingbi.api.problem import Kind, Problem
from yingbi.synthetic_marginals import Marginal, Measured

MOST_CELLS = 2**19
"""Of all tables that a fit sums columns out of: some tens of seconds."""

ITERATIONS = 1000
TOLERANCE = 0.02
"""The share of the loss that 50 iterations have to take off it, or the fit ends: what is left is noise, which is better
not fitted to."""

Floats = NDArray[np.float64]
Levels = NDArray[np.int64]


@dataclass(frozen=True)
class Bucket:
    """One column and those that it depends on once the columns before it are summed out."""

    column: int
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Joint:
    """Conditional distributions of columns, in an order that they can be drawn in."""

    sizes: tuple[int, ...]
    buckets: tuple[Bucket, ...]
    tables: tuple[Floats, ...]
    """Of each bucket: shares, the column as the last axis."""
    used: int
    """How many of the marginals the distribution was fitted to."""

    def draw(self, rows: int, seed: bytes) -> Levels:
        """Levels of so many rows, a column for each: the same for the same seed.

        Within the rows that have the same parents a column's levels are drawn in even steps, so that they are as
        frequent as they should be within one row or so.
        """
        random = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
        found = np.zeros((rows, len(self.sizes)), np.int64)
        for bucket, table in zip(self.buckets, self.tables, strict=True):
            shape = [self.sizes[parent] for parent in bucket.parents]
            group = np.zeros(rows, np.int64)
            for parent, size in zip(bucket.parents, shape, strict=True):
                group = group * size + found[:, parent]
            found[:, bucket.column] = _drawn(table.reshape(-1, self.sizes[bucket.column]), group, random)
        return found[random.permutation(rows)]


def check_installed() -> None:
    """Refuse, before anything is paid for, where there is nothing to fit with; UNAVAILABLE "mbi_missing"."""
    if importlib.util.find_spec("mbi") is None:
        raise Problem(Kind.UNAVAILABLE, "mbi_missing", "mbi is not installed.", hint="pip install 'yingbi[synthesize]'")


def fit(measured: Measured) -> Joint:
    """The distribution nearest to the fitted marginals; the same for the same numbers."""
    sizes, kept = measured.sizes, chosen(measured)
    potentials = _potentials(sizes, kept, measured.units)
    buckets = _buckets(sizes, [each.columns for each in kept])
    assert buckets is not None
    return Joint(sizes, buckets[::-1], _conditionals(sizes, buckets, potentials)[::-1], len(kept))


def chosen(measured: Measured) -> list[Marginal]:
    """As many of the marginals as a fit can hold, those first whose columns depend on each other most.

    What a pair tells is how far it is from the product of its columns' own marginals, less what noise makes of that.
    """
    told = sorted(measured.fitted, key=lambda each: -_dependence(each, measured.units))
    kept: list[Marginal] = []
    covered: set[int] = set()
    # Every column first: pairs of a tree fit always.
    for each in told:
        if not set(each.columns) <= covered and _buckets(measured.sizes, [*_columns(kept), each.columns]):
            kept.append(each)
            covered |= set(each.columns)
    for each in told:
        if each not in kept and _buckets(measured.sizes, [*_columns(kept), each.columns]):
            kept.append(each)
    return kept


def _columns(marginals: Sequence[Marginal]) -> list[tuple[int, ...]]:
    return [each.columns for each in marginals]


def _dependence(marginal: Marginal, units: float) -> float:
    counts = np.array(marginal.counts).reshape(marginal.sizes)
    total = max(float(counts.sum()), 1.0)
    product = np.multiply.outer(counts.sum(axis=1), counts.sum(axis=0)) / total if counts.ndim == 2 else counts
    return float(np.abs(counts - product).sum()) / 2 / units - marginal.noise_distance(units)


def _buckets(sizes: Sequence[int], cliques: Sequence[tuple[int, ...]]) -> tuple[Bucket, ...] | None:
    """The columns in the order in which they are summed out, the cheapest first; None where that takes too much."""
    scopes, left, cells = [set(each) for each in cliques], set(range(len(sizes))), 0
    found: list[Bucket] = []
    while left:
        around = {column: set().union(*(scope for scope in scopes if column in scope), {column}) for column in left}
        cost, column = min((math.prod(sizes[each] for each in around[column]), column) for column in left)
        cells += cost
        if cells > MOST_CELLS:
            return None
        parents = around[column] - {column}
        found.append(Bucket(column, tuple(sorted(parents))))
        scopes = [scope for scope in scopes if column not in scope] + [parents]
        left.remove(column)
    return tuple(found)


def _potentials(
    sizes: Sequence[int], marginals: Sequence[Marginal], units: float
) -> list[tuple[tuple[int, ...], Floats]]:
    """The fitted factors' logarithms, by their columns."""
    jax, mbi = _load()
    with jax.enable_x64(True):
        domain = mbi.Domain(tuple(range(len(sizes))), tuple(sizes))
        measurements = [
            mbi.LinearMeasurement(np.array(each.counts), each.columns, stddev=each.deviation) for each in marginals
        ]
        estimator = mbi.estimation.MirrorDescent()
        model = estimator.estimate(domain, measurements, known_total=units, iters=ITERATIONS, tol=TOLERANCE)
        tables = model.potentials.tables
        return [(tuple(clique), np.asarray(tables[clique].values, np.float64)) for clique in model.potentials.cliques]


def _load() -> tuple[Any, Any]:
    """mbi, which warns of numbers of 32 bits and of a cache when it is imported: it is used with 64, in blocks that
    leave the setting of everybody else as it is, and the cache is theirs to choose."""
    check_installed()
    jax: Any = importlib.import_module("jax")
    with warnings.catch_warnings(), jax.enable_x64(True):
        warnings.filterwarnings("ignore", category=UserWarning)
        return jax, importlib.import_module("mbi")


def _conditionals(
    sizes: Sequence[int], buckets: Sequence[Bucket], potentials: Sequence[tuple[tuple[int, ...], Floats]]
) -> tuple[Floats, ...]:
    """Of each bucket: the shares of its column given its parents."""
    factors, found = list(potentials), []
    for bucket in buckets:
        axes = (*bucket.parents, bucket.column)
        table = np.zeros([sizes[axis] for axis in axes])
        for columns, values in factors:
            if bucket.column in columns:
                table = table + _spread(values, columns, axes)
        factors = [each for each in factors if bucket.column not in each[0]]
        highest = table.max(axis=-1, keepdims=True)
        weights = np.exp(table - highest)
        total = weights.sum(axis=-1, keepdims=True)
        found.append(weights / total)
        factors.append((bucket.parents, (highest + np.log(total))[..., 0]))
    return tuple(found)


def _spread(values: Floats, columns: Sequence[int], axes: Sequence[int]) -> Floats:
    """A table with the axes in this order, of length 1 where it has none."""
    order = sorted(range(len(columns)), key=lambda place: axes.index(columns[place]))
    lengths = {columns[place]: values.shape[place] for place in order}
    return values.transpose(order).reshape([lengths.get(axis, 1) for axis in axes])


def _drawn(shares: Floats, group: Levels, random: np.random.Generator) -> Levels:
    """A level for each row by the shares of its group, in even steps within each group."""
    rows = len(group)
    order = np.lexsort((random.random(rows), group))
    in_order = group[order]
    starts = np.searchsorted(in_order, in_order, side="left")
    ends = np.searchsorted(in_order, in_order, side="right")
    steps = (np.arange(rows) - starts + random.random(rows)) / (ends - starts)
    # One ascending list for all groups that occur: group number plus cumulated share.
    present, place = np.unique(in_order, return_inverse=True)
    cumulated = np.cumsum(shares[present], axis=1)
    cumulated = cumulated / cumulated[:, -1:] + np.arange(len(present))[:, None]
    found = np.searchsorted(cumulated.ravel(), place + steps, side="right") - place * shares.shape[1]
    levels = np.empty(rows, np.int64)
    levels[order] = np.clip(found, 0, shares.shape[1] - 1)
    return levels


def shares_of(levels: Levels, marginal: Marginal) -> list[float]:
    """How often rows have each combination of a marginal's levels."""
    place = np.zeros(len(levels), np.int64)
    for column, merged, size in zip(marginal.columns, marginal.merged, marginal.sizes, strict=True):
        place = place * size + levels[:, column] // merged
    counts = np.bincount(place, minlength=marginal.cells)
    return [float(count) / len(levels) for count in counts]


def spread_within(rows: int, seed: bytes, columns: int) -> Floats:
    """Numbers from 0 to below 1 for each row and column: where within its range a number lies."""
    random = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big") + 1))
    return random.random((rows, columns))
