"""Rules for one statistic of a plan: its term, its filter and its numbers. Noise and price are in `releases`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from yingbi.api.v1.plan_pb2 import BlockTree, BoundedSum, Expression, Plan, RangeCounts, Statistic, UnitNorms

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.expressions import Trait, check_condition, check_expression
from enclave_sim.plan.key_selection import check_unit_norms
from enclave_sim.plan.models import check_model_vector
from enclave_sim.plan.sensitivity import JOINABLE

MAX_STATISTICS = 64
"""Of a joint vector, whose norm is exact for so many (`enclave_sim.privacy.clipping`), and of a question in SQL."""

MAX_PLAIN_STATISTICS = 256
"""Of a plan without a joint vector: each statistic is clipped and priced by itself."""

MIN_BRANCHING = 2
MAX_BRANCHING = 1024
MAX_LEVELS = 20


def check_statistic(plan: Plan, statistic: Statistic, columns: Mapping[str, Trait], path: str) -> None:
    """Refuse a statistic that is ill-typed or whose numbers are out of range. Its price is another matter.

    Counting distinct units needs units that are at one provider each: a unit at several would be counted
    once at each of them. The other statistics add up rows, wherever they are.

    Args:
        plan: its noise parties are in range.
        columns: those of the plan's relation.

    Raises:
        PlanError: with the path of the part at fault.
    """
    kind = statistic.WhichOneof("kind")
    match kind:
        case "row_count":
            pass
        case "non_null_count":
            check_expression(statistic.non_null_count.term, columns, f"{path}.non_null_count.term")
        case "bounded_sum":
            _check_number(statistic.bounded_sum.term, columns, f"{path}.bounded_sum.term")
            _check_bounds(statistic.bounded_sum, f"{path}.bounded_sum")
        case "distinct_units":
            at_one = plan.noise.parties_per_unit == 1
            message = "units that appear at several providers cannot be counted as distinct"
            require(at_one, f"{path}.distinct_units", message)
        case "range_counts":
            _check_number(statistic.range_counts.term, columns, f"{path}.range_counts.term")
            _check_ranges(statistic.range_counts, f"{path}.range_counts")
        case "unit_norms":
            check_unit_norms(plan, statistic.unit_norms, columns, f"{path}.unit_norms")
            _check_vector(plan, statistic.unit_norms, columns, f"{path}.unit_norms.vector")
            require(not statistic.HasField("filter"), f"{path}.filter", "does not go with unit_norms")
        case "model_vector":
            _check_model_vector(plan, statistic, columns, path)
        case "block_outputs":
            raise PlanError(f"{path}.block_outputs", "goes with a program alone")
        case None:
            raise PlanError(path, "has no kind")
    if statistic.HasField("filter"):
        check_condition(statistic.filter, columns, f"{path}.filter")
    if statistic.HasField("marginal"):
        _check_marginal(plan, statistic, f"{path}.marginal")


def _check_model_vector(plan: Plan, statistic: Statistic, columns: Mapping[str, Trait], path: str) -> None:
    check_model_vector(statistic.model_vector, f"{path}.model_vector")
    for index, term in enumerate(statistic.model_vector.terms):
        _check_number(term, columns, f"{path}.model_vector.terms[{index}]")
    require(not plan.group_by, f"{path}.model_vector", "goes without groups")
    require(plan.clipping.joint_norm == 0, f"{path}.model_vector", "does not go with a joint vector")
    require(not statistic.HasField("filter"), f"{path}.filter", "does not go with model_vector")


def _check_marginal(plan: Plan, statistic: Statistic, path: str) -> None:
    """The kinds are those whose cells add up over groups, and whose sensitivity is the same for any groups."""
    require(statistic.WhichOneof("kind") in JOINABLE, path, f"goes with {' or '.join(JOINABLE)} alone")
    require(plan.clipping.joint_norm == 0, path, "does not go with a joint vector")
    keys = list(statistic.marginal.keys)
    require(keys == sorted(set(keys)), f"{path}.keys", "must ascend")
    require(all(key < len(plan.group_by) for key in keys), f"{path}.keys", "has what is no index of group_by")
    require(len(keys) < len(plan.group_by), f"{path}.keys", "are all keys, which goes without saying")


def _check_vector(plan: Plan, norms: UnitNorms, columns: Mapping[str, Trait], path: str) -> None:
    """The statistics of a later plan's joint vector, looked at for their shape alone."""
    require(len(norms.vector) <= MAX_STATISTICS, path, f"has more than {MAX_STATISTICS} statistics")
    for index, each in enumerate(norms.vector):
        own = f"{path}[{index}]"
        require(each.WhichOneof("kind") in JOINABLE, own, f"must be {' or '.join(JOINABLE)}")
        require(not each.sigma and not each.rho_units, own, "has no noise and no price of its own")
        require(not each.HasField("marginal"), own, "has no marginal")
        check_statistic(plan, each, columns, own)


def is_centred(bounded_sum: BoundedSum) -> bool:
    """Whether every term lies in [-1, 1]: exactly, in the numbers that the doubles stand for."""
    centre, half_range = Fraction(bounded_sum.centre), Fraction(bounded_sum.half_range)
    return (
        abs(Fraction(bounded_sum.lower) - centre) <= half_range
        and abs(Fraction(bounded_sum.upper) - centre) <= half_range
    )


def _check_number(term: Expression, columns: Mapping[str, Trait], path: str) -> None:
    trait = check_expression(term, columns, path)
    require(trait.type in values.NUMERIC, path, "must be int64 or float64")


def _check_bounds(bounded_sum: BoundedSum, path: str) -> None:
    _check_interval(bounded_sum.lower, bounded_sum.upper, path)
    for name, number in (("centre", bounded_sum.centre), ("half_range", bounded_sum.half_range)):
        require(math.isfinite(number), f"{path}.{name}", "must be finite")
    require(bounded_sum.half_range > 0, f"{path}.half_range", "must be above 0")
    require(is_centred(bounded_sum), f"{path}.half_range", "does not cover the bounds around the centre")


def _check_ranges(tree: RangeCounts, path: str) -> None:
    """The number of leaves is bounded by the plan's cells; so leaves are exact as doubles."""
    _check_interval(tree.lower, tree.upper, path)
    # Otherwise (c - lower) / (upper - lower) is no number for some c.
    require(math.isfinite(tree.upper - tree.lower), f"{path}.upper", "is too far from lower")
    check_tree(tree, path)


def check_tree(tree: RangeCounts | BlockTree, path: str) -> None:
    """Refuse a tree whose branching or levels are out of range; PlanError."""
    branching_message = f"must be from {MIN_BRANCHING} to {MAX_BRANCHING}"
    require(MIN_BRANCHING <= tree.branching <= MAX_BRANCHING, f"{path}.branching", branching_message)
    require(1 <= tree.levels <= MAX_LEVELS, f"{path}.levels", f"must be from 1 to {MAX_LEVELS}")


def _check_interval(lower: float, upper: float, path: str) -> None:
    require(math.isfinite(lower), f"{path}.lower", "must be finite")
    require(math.isfinite(upper), f"{path}.upper", "must be finite")
    require(lower < upper, f"{path}.lower", "must be below upper")
