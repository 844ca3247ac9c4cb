"""Plans over a table as it is: no expression but columns, so that nothing has to be evaluated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from yingbi.api.v1.plan_pb2 import Plan, Statistic

from enclave_sim.engine.per_unit import Batch, Input
from enclave_sim.engine.plan_reading import term
from enclave_sim.engine.scan import GroupNumbers, Stored, Tables, to_numpy


def is_plain(plan: Plan) -> bool:
    """Whether `PlainRows` can read the plan."""
    return (
        plan.relation.HasField("scan")
        and all(key.expression.HasField("column") for key in plan.group_by)
        and all(_is_plain_statistic(statistic) for statistic in plan.statistics)
    )


def _is_plain_statistic(statistic: Statistic) -> bool:
    counted = term(statistic)
    if statistic.HasField("unit_norms") or statistic.HasField("filter"):
        return False
    return counted is None or counted.HasField("column")


class PlainRows:
    """The rows of a plan that `is_plain`."""

    def __init__(self, plan: Plan, tables: Tables) -> None:
        self._plan = plan
        self._table = plan.relation.scan.table
        self._names = tables[self._table].names
        self._numbers = GroupNumbers(plan)

    def batch(self, tables: Stored) -> Batch:
        """The rows of these tables, of which there is one."""
        table = tables[self._table]
        columns = {name: table.rows[own] for name, own in self._names.items()}
        keys = [columns[key.expression.column.name] for key in self._plan.group_by]
        units = to_numpy(table.units)
        known: dict[tuple[str, bool], Input] = {}
        inputs = [self._input(statistic, columns, known) for statistic in self._plan.statistics]
        return Batch(units, self._numbers.of(keys, len(units)), inputs)

    def _input(
        self, statistic: Statistic, columns: Mapping[str, pa.ChunkedArray], known: dict[tuple[str, bool], Input]
    ) -> Input:
        """What the statistic takes; one array for all that take the same, which are `known`."""
        counted = term(statistic)
        if counted is None:
            return None
        what = (counted.column.name, statistic.HasField("non_null_count"))
        if what not in known:
            known[what] = _present(columns[what[0]]) if what[1] else _floats(columns[what[0]])
        return known[what]


def _floats(column: pa.ChunkedArray) -> Input:
    """A numeric column in doubles, NaN for NULL."""
    return to_numpy(column).astype(np.float64, copy=False)


def _present(column: pa.ChunkedArray) -> Input:
    """Which values there are; None for all."""
    if pa.types.is_floating(column.type):
        missing = np.isnan(to_numpy(column))
        return ~missing if missing.any() else None
    return to_numpy(column.is_valid()) if column.null_count else None
