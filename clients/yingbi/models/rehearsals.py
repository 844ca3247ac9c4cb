"""The sums that a model is made of, of rows of one's own: what `mock` trains on. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan
from yingbi.cells import constants, to_json
from yingbi.linear_model import Columns, design_column
from yingbi.moments import pairs


def mean_moments(fit: Fit, units: Sequence[Columns]) -> dict[tuple[int, int], float]:
    """Σ over units of the means of z_i · z_j over the unit's rows that have all variables."""
    sums = dict.fromkeys(pairs(len(fit.columns) + 1), 0.0)
    for unit in units:
        complete = [(1.0, *row) for row in _rows(fit, unit) if all(map(math.isfinite, row))]
        for left, right in sums if complete else ():
            sums[left, right] += math.fsum(row[left] * row[right] for row in complete) / len(complete)
    return sums


def class_sums(plan: Plan, units: Sequence[Columns]) -> list[tuple[float, list[float], list[float]]]:
    """Of each class Σ over units of 1, z and z², a unit's rows being weighed by their norm over classes.

    As the engines do it, the norm is rounded up to a whole number of rows.
    """
    fit, labels = plan.fit, [to_json(each) for each in constants(plan.group_by[0].values)]
    sums = [[0.0] * (1 + 2 * len(fit.columns)) for _ in labels]
    for unit in units:
        own: list[list[tuple[float, ...]]] = [[] for _ in labels]
        for label, row in zip(unit[fit.response], _rows(fit, unit), strict=True):
            if to_json(label) in labels and all(map(math.isfinite, row)):
                own[labels.index(to_json(label))].append((1.0, *row, *(z * z for z in row)))
        norm = math.isqrt(max(0, sum(len(rows) ** 2 for rows in own) - 1)) + 1
        for place, rows in enumerate(own):
            for column in range(len(sums[place])) if rows else ():
                sums[place][column] += math.fsum(row[column] for row in rows) / norm
    width = len(fit.columns)
    return [(each[0], each[1 : 1 + width], each[1 + width :]) for each in sums]


def _rows(fit: Fit, unit: Columns) -> list[tuple[float, ...]]:
    return list(zip(*(_scaled(column, unit) for column in fit.columns), strict=True))


def _scaled(column: FitColumn, rows: Columns) -> list[float]:
    z = ((value - column.centre) / column.half_range for value in design_column(column, rows))
    return [each if math.isnan(each) else min(max(each, column.lower), column.upper) for each in z]
