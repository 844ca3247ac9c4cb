"""Rules for one statistic of a plan: its column, its numbers, its noise and its price."""

from __future__ import annotations

import math
from fractions import Fraction

from yingbi.api.v1.dataset_pb2 import TableDeclaration
from yingbi.api.v1.plan_pb2 import BoundedSum, Plan, Statistic

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.expressions import check_column
from enclave_sim.plan.sensitivity import delta2_squared, groups
from enclave_sim.privacy.gaussian import MAX_SIGMA, MIN_SIGMA, rho_units_of

MAX_STATISTICS = 64


def check_statistic(plan: Plan, statistic: Statistic, table: TableDeclaration, path: str) -> None:
    """Refuse a statistic that is ill-typed or whose stated ρ is not what its σ costs.

    Args:
        plan: already checked up to its statistics: groups, clipping and noise parties are in range.

    Raises:
        PlanError: with the path of the part at fault.
    """
    match statistic.WhichOneof("kind"):
        case "row_count":
            pass
        case "non_null_count":
            check_column(statistic.non_null_count.column, table, f"{path}.non_null_count.column")
        case "bounded_sum":
            _check_bounded_sum(statistic.bounded_sum, table, f"{path}.bounded_sum")
        case "distinct_units":
            # A unit at several providers would be counted once at each.
            require(
                plan.noise.parties_per_unit == 1,
                f"{path}.distinct_units",
                "units that appear at several providers cannot be counted as distinct",
            )
        case None:
            raise PlanError(path, "has no kind")
    _check_price(plan, statistic, path)


def is_centred(bounded_sum: BoundedSum) -> bool:
    """Whether every term lies in [-1, 1]: exactly, in the numbers that the doubles stand for."""
    centre, half_range = Fraction(bounded_sum.centre), Fraction(bounded_sum.half_range)
    return (
        abs(Fraction(bounded_sum.lower) - centre) <= half_range
        and abs(Fraction(bounded_sum.upper) - centre) <= half_range
    )


def _check_bounded_sum(bounded_sum: BoundedSum, table: TableDeclaration, path: str) -> None:
    check_column(bounded_sum.column, table, f"{path}.column")
    require(bounded_sum.column.type in values.NUMERIC, f"{path}.column", "must be int64 or float64")
    for name, number in (
        ("lower", bounded_sum.lower),
        ("upper", bounded_sum.upper),
        ("centre", bounded_sum.centre),
        ("half_range", bounded_sum.half_range),
    ):
        require(math.isfinite(number), f"{path}.{name}", "must be finite")
    require(bounded_sum.lower < bounded_sum.upper, f"{path}.lower", "must be below upper")
    require(bounded_sum.half_range > 0, f"{path}.half_range", "must be above 0")
    require(is_centred(bounded_sum), f"{path}.half_range", "does not cover the bounds around the centre")


def _check_price(plan: Plan, statistic: Statistic, path: str) -> None:
    require(
        MIN_SIGMA <= statistic.sigma <= MAX_SIGMA,
        f"{path}.sigma",
        f"must be from {MIN_SIGMA} to {MAX_SIGMA}, not {statistic.sigma}",
    )
    price = rho_units_of(delta2_squared(plan, statistic), statistic.sigma, plan.noise.parties, groups(plan))
    require(
        statistic.rho_units == price,
        f"{path}.rho_units",
        f"must be {price}, not {statistic.rho_units}",
    )
