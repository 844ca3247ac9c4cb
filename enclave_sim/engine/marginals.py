"""Statistics by fewer keys than the plan's: the same rows, whose groups are put together.

Clipping follows the groups that a statistic has, so those with the same keys are clipped together. A row that is in no
group of the plan is in none of a marginal either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.groups import Groups
from enclave_sim.plan.sensitivity import groups_of
from enclave_sim.privacy.clipping import Integers


@dataclass(frozen=True)
class Part:
    """The statistics of a plan that have the same groups."""

    statistics: tuple[int, ...]
    """Their indexes."""
    count: int
    """Of their groups."""
    targets: Integers | None
    """Of each group of the plan, the group here; None for the plan's own groups."""

    def groups(self, groups: Groups) -> Groups:
        """The rows' groups here, from those in the plan."""
        if self.targets is None:
            return groups
        none = groups.numbers < 0
        return Groups(groups.codes, np.where(none, -1, self.targets[np.where(none, 0, groups.numbers)]))


def parts_of(plan: Plan) -> Iterator[Part]:
    """The parts of a plan, by their first statistics."""
    found: dict[tuple[int, ...] | None, list[int]] = {}
    for index, each in enumerate(plan.statistics):
        found.setdefault(tuple(each.marginal.keys) if each.HasField("marginal") else None, []).append(index)
    for keys, indexes in found.items():
        targets = None if keys is None else _targets(plan, keys)
        yield Part(tuple(indexes), groups_of(plan, plan.statistics[indexes[0]]), targets)


def _targets(plan: Plan, keys: tuple[int, ...]) -> Integers:
    targets: Integers = np.zeros(1, np.int64)
    for index, key in enumerate(plan.group_by):
        count = len(key.values)
        repeated = np.repeat(targets, count)
        if index in keys:
            repeated = repeated * count + np.tile(np.arange(count, dtype=np.int64), len(targets))
        targets = repeated
    return targets
