"""Statistics of a plan that measure one table by different keys, read as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from yingbi.api import marginals
from yingbi.api.marginals import Keys
from yingbi.api.v1.plan_pb2 import Statistic


@dataclass(frozen=True)
class Marginals:
    """The marginals of one table, each with its noise."""

    sizes: tuple[int, ...]
    """How many values each key of the plan has."""
    statistics: tuple[int, ...]
    """The indexes of those that measure it."""
    keys: tuple[Keys, ...]
    """Theirs."""
    sigmas: tuple[int, ...]
    """Of one party's share of noise, in grid steps."""
    sets: tuple[Keys, ...]
    """The plan's grouping sets."""

    @property
    def is_sound(self) -> bool:
        """Whether there are values of all keys, and every marginal is there once and has noise."""
        return 0 not in self.sizes and len(set(self.keys)) == len(self.keys) and all(self.sigmas)

    @cached_property
    def is_readable(self) -> bool:
        """Whether every grouping set has an estimate."""
        return all(any(set(wanted) <= set(keys) for keys in self.keys) for wanted in self.sets)

    @property
    def work(self) -> int:
        """Steps that the estimates take."""
        return marginals.work(self.sizes, self.keys, self.sets)

    @cached_property
    def _precisions(self) -> dict[Keys, float]:
        return {keys: 1 / sigma**2 for keys, sigma in zip(self.keys, self.sigmas, strict=True)}

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """Of a cell of each grouping set, for one party, in squared grid steps."""
        return tuple(marginals.variance(self.sizes, self._precisions, keys) for keys in self.sets)

    def estimates(self, vectors: Sequence[Sequence[int]]) -> list[list[float]]:
        """The cells of each grouping set, in grid steps, from what was opened of every statistic of the plan."""
        tables = {keys: vectors[index] for keys, index in zip(self.keys, self.statistics, strict=True)}
        return marginals.estimates(self.sizes, tables, self._precisions, self.sets)


def tables_of(
    statistics: Sequence[Statistic], sizes: Sequence[int], sets: Sequence[Keys]
) -> tuple[Marginals | None, ...]:
    """Of each statistic the marginals that it is one of; None where it is alone, by all keys."""
    if not any(statistic.HasField("marginal") for statistic in statistics):
        return (None,) * len(statistics)
    families: dict[bytes, list[int]] = {}
    for index, statistic in enumerate(statistics):
        families.setdefault(_measured(statistic), []).append(index)
    found: list[Marginals | None] = [None] * len(statistics)
    for family in families.values():
        members = [statistics[index] for index in family]
        if any(member.HasField("marginal") for member in members):
            keys = tuple(keys_of(member, len(sizes)) for member in members)
            sigmas = tuple(member.sigma for member in members)
            table = Marginals(tuple(sizes), tuple(family), keys, sigmas, tuple(sets))
            for index in family:
                found[index] = table
    return tuple(found)


def keys_of(statistic: Statistic, count: int) -> Keys:
    """The keys that a statistic has cells by, of so many that the plan has."""
    return tuple(sorted(set(statistic.marginal.keys))) if statistic.HasField("marginal") else tuple(range(count))


def _measured(statistic: Statistic) -> bytes:
    """The same for all that measure one table."""
    table = Statistic()
    table.CopyFrom(statistic)
    for name in ("marginal", "sigma", "rho_units"):
        table.ClearField(name)
    return table.SerializeToString(deterministic=True)
