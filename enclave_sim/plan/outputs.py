"""Rules for a plan's outputs. They are post-processing: no privacy depends on them, but meaning does."""

from __future__ import annotations

from yingbi.api.v1.plan_pb2 import BoundedSum, MeanOutput, Output, Plan, Statistic, SumOutput

from enclave_sim.plan.errors import PlanError, require

MAX_OUTPUTS = 256
_COUNTS = ("row_count", "non_null_count", "distinct_units")


def check_outputs(plan: Plan) -> None:
    """Refuse outputs that name a key or statistic that is not there, or one of another kind.

    Raises:
        PlanError: with the path of the output at fault.
    """
    require(1 <= len(plan.outputs) <= MAX_OUTPUTS, "outputs", f"there must be 1 to {MAX_OUTPUTS} outputs")
    for index, output in enumerate(plan.outputs):
        _check_output(plan, output, f"outputs[{index}]")
    names = [output.name for output in plan.outputs]
    require(len(set(names)) == len(names), "outputs", "two outputs have one name")


def _check_output(plan: Plan, output: Output, path: str) -> None:
    require(output.name != "", f"{path}.name", "must not be empty")
    match output.WhichOneof("kind"):
        case "key":
            require(output.key < len(plan.group_by), f"{path}.key", "is no index of group_by")
        case "count":
            _statistic(plan, output.count.statistic, _COUNTS, f"{path}.count.statistic")
        case "sum":
            _check_sum(plan, output.sum, f"{path}.sum")
        case "mean":
            _check_mean(plan, output.mean, f"{path}.mean")
        case None:
            raise PlanError(path, "has no kind")


def _check_sum(plan: Plan, output: SumOutput, path: str) -> None:
    bounded_sum = _bounded_sum(plan, output.bounded_sum, f"{path}.bounded_sum")
    needs_count = bounded_sum.centre != 0
    require(
        output.HasField("non_null_count") == needs_count,
        f"{path}.non_null_count",
        "must be there if and only if the sum is centred elsewhere than at 0",
    )
    if needs_count:
        _check_same_column(plan, bounded_sum, output.non_null_count, f"{path}.non_null_count")


def _check_mean(plan: Plan, output: MeanOutput, path: str) -> None:
    bounded_sum = _bounded_sum(plan, output.bounded_sum, f"{path}.bounded_sum")
    _check_same_column(plan, bounded_sum, output.non_null_count, f"{path}.non_null_count")


def _bounded_sum(plan: Plan, index: int, path: str) -> BoundedSum:
    return _statistic(plan, index, ("bounded_sum",), path).bounded_sum


def _check_same_column(plan: Plan, bounded_sum: BoundedSum, index: int, path: str) -> None:
    count = _statistic(plan, index, ("non_null_count",), path).non_null_count
    require(count.column == bounded_sum.column, path, "counts another column than the sum's")


def _statistic(plan: Plan, index: int, kinds: tuple[str, ...], path: str) -> Statistic:
    require(index < len(plan.statistics), path, "is no index of statistics")
    statistic = plan.statistics[index]
    require(statistic.WhichOneof("kind") in kinds, path, f"must be {' or '.join(kinds)}")
    return statistic
