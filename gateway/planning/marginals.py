"""Which marginals of a table are measured, so that the totals of ROLLUP, CUBE and GROUPING SETS are near too.

Totals can be added up from the finest groups; then one over k groups has √k times the error of each. Or some of the
grouping sets are measured by themselves, each with a part of ρ, and all that is measured goes into every estimate
(`yingbi.api.marginals`). What is measured, and with which parts, minimises the variances of all grouping sets, each in
units of what it is from the finest groups alone, added up: so totals, whose variances would be large, do not take all
from the finest groups, whose numbers are small. It follows from the numbers of the keys' values and from the grouping
sets, which are public.

*Found by* the multiplicative algorithm for A-optimal designs (Silvey, Titterington, Torgersen 1978): the sum f of the
variances is convex in the parts w, which add up to 1, and w is multiplied by √(-∂f/∂w) until that is even.

*Only where nothing else changes.* A unit with many rows is weighed down by the norm of its rows over a statistic's own
groups, which are fewer in a marginal. Where that could tell one marginal from another, their totals would differ by
more than noise. So a marginal is measured only where a unit has as many rows in its groups as it has in the finest
ones: because no unit has more rows than are counted in full, or because all keys that the marginal lacks are constant
for each unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from yingbi.api import marginals
from yingbi.api.marginals import Keys
from yingbi.api.v1.plan_pb2 import GroupingSet, Plan, Statistic

from enclave_sim.plan.relations import max_rows_bound
from enclave_sim.plan.sensitivity import JOINABLE, cells
from enclave_sim.plan.statistics import MAX_STATISTICS
from enclave_sim.plan.validation import MAX_CELLS
from gateway.planning.asked import Asked
from gateway.planning.plan_measures import formulas_of

MAX_MARGINAL_KEYS = 6
"""Keys with several values; how many marginals there are grows as 2 to this power."""

LEAST_GAIN = 0.1
"""Of the variance: for less, no further cells are encrypted and opened."""

MAX_WORK = 2_000_000
"""Steps of one table's estimates, which whoever reads the answer takes."""

_LEAST_PART = 0.005
_PARTS = 1000
_STEPS = 300


def measure_totals(draft: Plan, asked: Asked) -> None:
    """Add to a draft the marginals that make its totals more exact, if there are any; its statistics keep their places.

    Args:
        draft: of a query without a first stage. Changed in place.
    """
    if not draft.grouping_sets or asked.selection.keys.unknown or draft.clipping.joint_norm:
        return
    if any(formula.HasField("window") for formula in formulas_of(draft)):
        return  # Windows need to know what the noises of different rows have in common.
    chosen = tuple(parts_of(sizes_of(draft), _sets(draft), _same_norms(draft, asked)))
    measure(draft, {index: chosen for index, each in enumerate(draft.statistics) if has_marginals(each)})


def measure(draft: Plan, chosen: Mapping[int, Sequence[Keys]]) -> bool:
    """Measure tables by these marginals, if a plan holds as many, and say whether it does.

    Args:
        draft: changed in place: the first marginal of each table is where the table was, the others come last.
        chosen: by the indexes of statistics that have no marginals yet.
    """
    found = Plan()
    found.CopyFrom(draft)
    for index, (first, *others) in chosen.items():
        table = draft.statistics[index]
        found.statistics[index].CopyFrom(_marginal(table, first, len(draft.group_by)))
        found.statistics.extend(_marginal(table, keys, len(draft.group_by)) for keys in others)
    holds = len(found.statistics) <= MAX_STATISTICS and cells(found) <= MAX_CELLS
    if holds:
        draft.CopyFrom(found)
    return holds


def has_marginals(statistic: Statistic) -> bool:
    """Whether it is of a kind whose cells can be added up over groups by the plan language."""
    return statistic.WhichOneof("kind") in JOINABLE


def share_of_table(draft: Plan) -> list[float]:
    """Of each statistic of a draft the part that it has of its table's budget: 1 for those that are alone."""
    if not any(each.HasField("marginal") for each in draft.statistics):
        return [1.0] * len(draft.statistics)
    keys = [keys_of(each, len(draft.group_by)) for each in draft.statistics]
    measured = {own for own, each in zip(keys, draft.statistics, strict=True) if has_marginals(each)}
    parts = _optimal(sizes_of(draft), _sets(draft), tuple(sorted(measured)))
    return [parts[own] if has_marginals(each) else 1.0 for own, each in zip(keys, draft.statistics, strict=True)]


def sizes_of(plan: Plan) -> tuple[int, ...]:
    """How many values each key has."""
    return tuple(len(key.values) for key in plan.group_by)


def _sets(plan: Plan) -> tuple[Keys, ...]:
    return tuple(tuple(each.keys) for each in plan.grouping_sets)


def keys_of(statistic: Statistic, keys: int) -> Keys:
    """The keys that a statistic has cells by, of so many that the plan has."""
    return tuple(statistic.marginal.keys) if statistic.HasField("marginal") else tuple(range(keys))


def parts_of(sizes: tuple[int, ...], sets: tuple[Keys, ...], candidates: Sequence[Keys]) -> Mapping[Keys, float]:
    """The marginals to be measured, and their parts of the budget, which add up to 1.

    Args:
        sizes: how many values each key has.
        sets: the grouping sets that are asked for.
        candidates: the marginals that may be measured, that of all keys among them.
    """
    everything = tuple(range(len(sizes)))
    alone = {everything: 1.0}
    if sum(size > 1 for size in sizes) > MAX_MARGINAL_KEYS:
        return alone
    found = _optimal(sizes, sets, _needed(sizes, sets, candidates))
    before, after = (total_variance(sizes, sets, parts) for parts in (alone, found))
    if after > before * (1 - LEAST_GAIN) or marginals.work(sizes, tuple(found), sets) > MAX_WORK:
        return alone
    return found


def total_variance(sizes: Sequence[int], sets: Iterable[Keys], parts: Mapping[Keys, float]) -> float:
    """The variances of the grouping sets, each in units of what it is from the finest groups alone, added up."""
    return sum(marginals.variance(sizes, parts, keys) / marginals.merged(sizes, keys) for keys in sets)


def _needed(sizes: Sequence[int], sets: Collection[Keys], candidates: Sequence[Keys]) -> tuple[Keys, ...]:
    """Of marginals that differ in keys of one value alone, one; the finest groups, what is asked for, and its meets."""
    closed = {frozenset(keys) for keys in sets}
    for one in list(closed):
        closed |= {one & other for other in closed}
    closed.add(frozenset(range(len(sizes))))
    wanted = sorted((keys for keys in candidates if frozenset(keys) in closed), key=len)
    different = {tuple(key for key in keys if sizes[key] > 1): keys for keys in wanted}
    return tuple(different.values())


def by_all_keys(statistic: Statistic) -> Statistic:
    """The statistic without its marginal."""
    found = Statistic()
    found.CopyFrom(statistic)
    found.ClearField("marginal")
    return found


@lru_cache(maxsize=256)
def _optimal(sizes: tuple[int, ...], sets: tuple[Keys, ...], candidates: tuple[Keys, ...]) -> Mapping[Keys, float]:
    """The best parts, those that are too small left out."""
    parts = _descended(sizes, sets, candidates)
    kept = [keys for keys, part in parts.items() if part >= _LEAST_PART]
    covers = all(any(set(wanted) <= set(keys) for keys in kept) for wanted in sets)
    if covers and len(kept) < len(parts):
        parts = _descended(sizes, sets, kept)
    # Whole thousandths: they are the same on every machine.
    rounded = {keys: max(1, round(part * _PARTS)) for keys, part in parts.items()}
    return {keys: part / sum(rounded.values()) for keys, part in rounded.items()}


def _descended(sizes: Sequence[int], sets: Sequence[Keys], candidates: Sequence[Keys]) -> Mapping[Keys, float]:
    varying = tuple(key for key, size in enumerate(sizes) if size > 1)
    spaces = [part for part in marginals.subsets(varying) if any(set(part) <= set(wanted) for wanted in sets)]
    weights = np.array([sum(_weight(sizes, part, wanted) for wanted in sets) for part in spaces])
    seen = np.array(
        [[marginals.merged(sizes, keys) if set(part) <= set(keys) else 0 for part in spaces] for keys in candidates],
        np.float64,
    )
    parts = np.full(len(candidates), 1 / len(candidates))
    for _ in range(_STEPS):
        gains = seen @ (weights / (parts @ seen) ** 2)
        parts = parts * np.sqrt(gains)
        parts /= parts.sum()
    return dict(zip(candidates, parts.tolist(), strict=True))


def _weight(sizes: Sequence[int], part: Keys, wanted: Keys) -> float:
    """What 1/λ of a part is multiplied by in a grouping set's term of `total_variance`."""
    is_within = set(part) <= set(wanted)
    return marginals.spread(sizes, part, wanted) / marginals.merged(sizes, wanted) if is_within else 0.0


def _same_norms(draft: Plan, asked: Asked) -> tuple[Keys, ...]:
    """The marginals in whose groups a unit has the norm that it has in the finest ones, or is within the bound."""
    everything = tuple(range(len(draft.group_by)))
    wanted = {tuple(each.keys) for each in draft.grouping_sets}
    meets = {tuple(sorted(set(one) & set(other))) for one in wanted for other in wanted}
    bound = draft.clipping.max_rows
    if bound == 1 or max_rows_bound(draft.relation) <= bound:
        return tuple(sorted({everything, *wanted, *meets}))
    terms = asked.selection.keys.terms
    varying = {key for key in everything if not asked.scope.is_constant(terms[key].expression)}
    return tuple(sorted({everything, *(keys for keys in wanted | meets if varying <= set(keys))}))


def _marginal(table: Statistic, keys: Keys, count: int) -> Statistic:
    found = Statistic()
    found.CopyFrom(table)
    if len(keys) < count:
        found.marginal.CopyFrom(GroupingSet(keys=keys))
    return found
