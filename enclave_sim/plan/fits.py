"""Rules for what a plan says of a model: post-processing of opened cells; no privacy depends on it."""

from __future__ import annotations

import math

from yingbi.api.v1.plan_pb2 import Fit, FitColumn, Plan

from enclave_sim.plan.errors import require
from enclave_sim.plan.values import is_valid

MAX_FIT_COLUMNS = 64
MAX_FACTORS = 16
MAX_TEXT = 10_000
NO_MOMENT = -1


def check_fit(plan: Plan) -> None:
    """Refuse a model that names outputs which are not there, or whose numbers or sizes are out of range.

    Args:
        plan: its outputs are checked.

    Raises:
        PlanError: with the path of the part at fault.
    """
    fit = plan.fit
    require(fit.model == Fit.MODEL_LINEAR_REGRESSION, "fit.model", "is not known")
    require(1 <= len(fit.formula) <= MAX_TEXT, "fit.formula", f"must have 1 to {MAX_TEXT:,} characters")
    require(1 <= len(fit.columns) <= MAX_FIT_COLUMNS, "fit.columns", f"there must be 1 to {MAX_FIT_COLUMNS}")
    for index, column in enumerate(fit.columns):
        _check_column(column, f"fit.columns[{index}]")
    require(not plan.group_by, "fit", "goes without groups")
    size = len(fit.columns) + 1
    require(len(fit.moments) == size * (size + 1) // 2, "fit.moments", "must be one for each pair of columns")
    known = all(NO_MOMENT <= index < len(plan.outputs) for index in fit.moments)
    require(known, "fit.moments", "have what is no index of outputs")
    require(fit.moments[0] != NO_MOMENT, "fit.moments", "must have the number of units")
    require(math.isfinite(fit.alpha) and fit.alpha >= 0, "fit.alpha", "must be 0 or above")


def _check_column(column: FitColumn, path: str) -> None:
    require(1 <= len(column.name) <= MAX_TEXT, f"{path}.name", f"must have 1 to {MAX_TEXT:,} characters")
    require(1 <= len(column.factors) <= MAX_FACTORS, f"{path}.factors", f"there must be 1 to {MAX_FACTORS}")
    for index, factor in enumerate(column.factors):
        own = f"{path}.factors[{index}]"
        require(1 <= len(factor.variable) <= MAX_TEXT, f"{own}.variable", f"must have 1 to {MAX_TEXT:,} characters")
        require(not factor.HasField("level") or is_valid(factor.level), f"{own}.level", "must be a finite value")
    numbers = (column.centre, column.half_range, column.lower, column.upper)
    require(all(map(math.isfinite, numbers)), path, "must have finite numbers")
    require(column.half_range > 0, f"{path}.half_range", "must be above 0")
    require(-1 <= column.lower < column.upper <= 1, f"{path}.lower", "must be below upper, both within -1 and 1")
