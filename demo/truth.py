"""What an answer would be without noise. Only whoever owns the rows can know; the demo does, and says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from yingbi.answer import Cell, Table, groups_of, table_of, to_python
from yingbi.api.v1.plan_pb2 import Plan, Statistic

Integers = NDArray[np.int64]


def clipped(plan: Plan, rows: pd.DataFrame, unit: str) -> Table:
    """The table that the plan computes: values and units clipped and rounded to the grid, no noise added.

    Exact, in the integers that the enclaves add up.
    """
    if plan.HasField("filter"):
        raise NotImplementedError("the demo's questions have no WHERE")
    groups = len(list(groups_of(plan)))
    group = _groups(plan, rows)
    rows, group = rows[group >= 0], group[group >= 0]
    grouped = pd.DataFrame({"unit": rows[unit].to_numpy(), "group": group, "rows": 1})
    for index, statistic in enumerate(plan.statistics):
        grouped[index] = _steps(plan, statistic, rows)
    cells = grouped.groupby(["unit", "group"], as_index=False).sum()
    by_unit = cells.groupby("unit")
    norm = np.ceil(np.sqrt((cells["rows"] ** 2).groupby(cells["unit"]).transform("sum"))).astype("int64")
    touched = by_unit["group"].transform("size")
    totals: list[int] = []
    for index, statistic in enumerate(plan.statistics):
        if statistic.HasField("distinct_units"):
            share = np.floor(np.sqrt(4**plan.fraction_bits * plan.clipping.max_groups / touched))
            values = share.clip(upper=2**plan.fraction_bits)
        else:
            limit = plan.clipping.max_rows
            weighed = np.sign(cells[index]) * (cells[index].abs() * limit // norm)
            values = cells[index].where(norm <= limit, weighed)
        sums = values.groupby(cells["group"]).sum()
        totals += [int(sums.get(number, 0)) for number in range(groups)]
    return _without_noise(plan, totals)


def raw(plan: Plan, rows: pd.DataFrame) -> list[list[float | None]]:
    """What plain SQL would say: no bounds, no grid; None where a column is a key."""
    group = _groups(plan, rows)
    return [
        [_raw_cell(plan, index, rows[group == number]) for index in range(len(plan.outputs))]
        for number in range(len(list(groups_of(plan))))
    ]


def _raw_cell(plan: Plan, output_index: int, rows: pd.DataFrame) -> float | None:
    output = plan.outputs[output_index]
    match output.WhichOneof("kind"):
        case "count":
            statistic = plan.statistics[output.count.statistic]
            kind = statistic.WhichOneof("kind")
            if kind == "non_null_count":
                return float(rows[statistic.non_null_count.column.name].notna().sum())
            if kind == "row_count":
                return float(len(rows))
            raise NotImplementedError("the demo's questions count no units")
        case "sum":
            column = plan.statistics[output.sum.bounded_sum].bounded_sum.column.name
            return float(rows[column].sum())
        case "mean":
            column = plan.statistics[output.mean.bounded_sum].bounded_sum.column.name
            return float(rows[column].mean())
        case _:
            return None


def _groups(plan: Plan, rows: pd.DataFrame) -> Integers:
    """Each row's group, -1 where a key is NULL or not declared."""
    group = np.zeros(len(rows), dtype="int64")
    for key in plan.group_by:
        places: dict[Cell, int] = {to_python(value): place for place, value in enumerate(key.values)}
        place = rows[key.column.name].map(places).fillna(-1).to_numpy().astype("int64")
        group = np.where((group < 0) | (place < 0), -1, group * len(places) + place)
    return group


def _steps(plan: Plan, statistic: Statistic, rows: pd.DataFrame) -> Integers:
    """What each row adds to its cell, in grid steps."""
    top = 2**plan.fraction_bits
    match statistic.WhichOneof("kind"):
        case "non_null_count":
            return np.where(rows[statistic.non_null_count.column.name].notna(), top, 0)
        case "bounded_sum":
            shape = statistic.bounded_sum
            values = rows[shape.column.name].astype("float64").clip(shape.lower, shape.upper)
            steps = np.floor(((values - shape.centre) / shape.half_range * top + 0.5).clip(-top, top))
            return np.asarray(steps.fillna(0), dtype="int64")
        case _:
            return np.full(len(rows), top)


def _without_noise(plan: Plan, totals: list[int]) -> Table:
    silent = Plan()
    silent.CopyFrom(plan)
    for statistic in silent.statistics:
        statistic.sigma = 0
    return table_of(silent, totals)
