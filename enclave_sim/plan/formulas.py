"""Rules for measures and formulas: what is computed from opened cells.

No privacy depends on them, since they see opened cells only; but meaning does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from yingbi.api.v1.plan_pb2 import (
    BlockMeanMeasure,
    BlockMedianMeasure,
    DistinctValuesMeasure,
    Formula,
    MeanMeasure,
    Measure,
    Operation,
    Plan,
    QuantileMeasure,
    RangeCountMeasure,
    Statistic,
    SumMeasure,
)

from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.size import check_size
from enclave_sim.plan.windows import check_window

FormulaType: TypeAlias = Literal["number", "truth"]

MAX_FORMULA_PARTS = 1000
_COUNTS = ("row_count", "non_null_count", "distinct_units")


@dataclass(frozen=True)
class _Signature:
    """`most` is None without an upper limit; `operand` None for either type."""

    least: int
    most: int | None
    operand: FormulaType | None
    result: FormulaType


_ONE_NUMBER = _Signature(1, 1, "number", "number")
_TWO_NUMBERS = _Signature(2, 2, "number", "number")
_NUMBERS = _Signature(2, None, "number", "number")
_COMPARISON = _Signature(2, 2, "number", "truth")
_TRUTHS = _Signature(2, None, "truth", "truth")

_SIGNATURES: Mapping[Operation.Operator.ValueType, _Signature] = {
    Operation.OPERATOR_ADD: _TWO_NUMBERS,
    Operation.OPERATOR_SUBTRACT: _TWO_NUMBERS,
    Operation.OPERATOR_MULTIPLY: _TWO_NUMBERS,
    Operation.OPERATOR_DIVIDE: _TWO_NUMBERS,
    Operation.OPERATOR_NEGATE: _ONE_NUMBER,
    Operation.OPERATOR_ABSOLUTE: _ONE_NUMBER,
    Operation.OPERATOR_SQUARE_ROOT: _ONE_NUMBER,
    Operation.OPERATOR_LEAST: _NUMBERS,
    Operation.OPERATOR_GREATEST: _NUMBERS,
    Operation.OPERATOR_EQUAL: _COMPARISON,
    Operation.OPERATOR_NOT_EQUAL: _COMPARISON,
    Operation.OPERATOR_LESS: _COMPARISON,
    Operation.OPERATOR_LESS_OR_EQUAL: _COMPARISON,
    Operation.OPERATOR_GREATER: _COMPARISON,
    Operation.OPERATOR_GREATER_OR_EQUAL: _COMPARISON,
    Operation.OPERATOR_AND: _TRUTHS,
    Operation.OPERATOR_OR: _TRUTHS,
    Operation.OPERATOR_NOT: _Signature(1, 1, "truth", "truth"),
    Operation.OPERATOR_IS_NULL: _Signature(1, 1, None, "truth"),
}


def has_totals(plan: Plan) -> bool:
    """Whether the answer has rows that add up several groups' cells."""
    return any(len(each.keys) < len(plan.group_by) for each in plan.grouping_sets)


def check_formula(plan: Plan, formula: Formula, wanted: FormulaType, path: str, *, windows: bool = True) -> None:
    """Refuse a formula that is ill-formed, too large, or not of the type that is wanted.

    Args:
        windows: whether it may compute with other rows of the answer.

    Raises:
        PlanError: with the path of the part at fault.
    """
    check_size(formula, path, max_parts=MAX_FORMULA_PARTS)
    _require_type(_type_of(plan, formula, path, windows=windows), wanted, path)


def check_measure(plan: Plan, measure: Measure, path: str) -> None:
    """Refuse a measure of a statistic that is not there, or of another kind than it takes.

    Raises:
        PlanError: with the path of the part at fault.
    """
    match measure.WhichOneof("kind"):
        case "count":
            _check_count(plan, measure.count.statistic, f"{path}.count.statistic")
        case "sum":
            _check_sum(plan, measure.sum, f"{path}.sum")
        case "mean":
            _check_mean(plan, measure.mean, f"{path}.mean")
        case "quantile":
            _check_quantile(plan, measure.quantile, f"{path}.quantile")
        case "distinct_values":
            _check_distinct_values(plan, measure.distinct_values, f"{path}.distinct_values")
        case "range_count":
            _check_range_count(plan, measure.range_count, f"{path}.range_count")
        case "block_mean":
            _check_block_measure(plan, measure.block_mean, f"{path}.block_mean", tree=False)
        case "block_median":
            _check_block_measure(plan, measure.block_median, f"{path}.block_median", tree=True)
        case None:
            raise PlanError(path, "has no kind")


def _check_block_measure(plan: Plan, read: BlockMeanMeasure | BlockMedianMeasure, path: str, *, tree: bool) -> None:
    known = read.block_outputs < len(plan.statistics) and plan.statistics[read.block_outputs].HasField("block_outputs")
    require(known, f"{path}.block_outputs", "is no index of a statistic of block_outputs")
    outputs = plan.statistics[read.block_outputs].block_outputs.outputs
    require(read.output < len(outputs), f"{path}.output", "is no index of its outputs")
    fits = outputs[read.output].HasField("tree") == tree
    require(fits, f"{path}.output", f"is an output with{'out' if tree else ''} a tree")


def _type_of(plan: Plan, formula: Formula, path: str, *, windows: bool) -> FormulaType:
    match formula.WhichOneof("kind"):
        case "measure":
            check_measure(plan, formula.measure, f"{path}.measure")
            return "number"
        case "constant":
            require(math.isfinite(formula.constant), f"{path}.constant", "must be finite")
            return "number"
        case "operation":
            return _operation(plan, formula.operation, f"{path}.operation", windows=windows)
        case "window":
            require(windows, f"{path}.window", "must not be in HAVING, or within another window")
            check_window(plan, formula.window, f"{path}.window", lambda part, at: _check_windowless(plan, part, at))
            return "number"
        case None:
            raise PlanError(path, "has no kind")


def _check_windowless(plan: Plan, formula: Formula, path: str) -> None:
    _require_type(_type_of(plan, formula, path, windows=False), "number", path)


def _operation(plan: Plan, operation: Operation, path: str, *, windows: bool) -> FormulaType:
    signature = _SIGNATURES.get(operation.operator)
    if signature is None:
        raise PlanError(f"{path}.operator", "is not known")
    _require_count(len(operation.operands), signature, f"{path}.operands")
    for index, operand in enumerate(operation.operands):
        operand_path = f"{path}.operands[{index}]"
        operand_type = _type_of(plan, operand, operand_path, windows=windows)
        if signature.operand is not None:
            _require_type(operand_type, signature.operand, operand_path)
    return signature.result


def _require_count(count: int, signature: _Signature, path: str) -> None:
    least, most = signature.least, signature.most
    wanted = f"{least} or more" if most is None else f"{least}"
    require(least <= count and (most is None or count <= most), path, f"must be {wanted}, not {count}")


def _require_type(found: FormulaType, wanted: FormulaType, path: str) -> None:
    require(found == wanted, path, f"is a {found}, not a {wanted}")


def _check_count(plan: Plan, index: int, path: str) -> None:
    statistic = _statistic(plan, index, _COUNTS, path)
    # A unit that is in several groups would be counted once for each.
    require(
        not (statistic.HasField("distinct_units") and has_totals(plan)),
        path,
        "distinct units cannot be added up over groups, as grouping_sets asks for",
    )


def _check_sum(plan: Plan, measure: SumMeasure, path: str) -> None:
    bounded = _statistic(plan, measure.bounded_sum, ("bounded_sum",), f"{path}.bounded_sum")
    needs_count = bounded.bounded_sum.centre != 0
    require(
        measure.HasField("non_null_count") == needs_count,
        f"{path}.non_null_count",
        "must be there if and only if the sum is centred elsewhere than at 0",
    )
    if needs_count:
        _check_counts_same(plan, bounded, measure.non_null_count, f"{path}.non_null_count")


def _check_mean(plan: Plan, measure: MeanMeasure, path: str) -> None:
    bounded = _statistic(plan, measure.bounded_sum, ("bounded_sum",), f"{path}.bounded_sum")
    _check_counts_same(plan, bounded, measure.non_null_count, f"{path}.non_null_count")


def _check_quantile(plan: Plan, measure: QuantileMeasure, path: str) -> None:
    _statistic(plan, measure.range_counts, ("range_counts",), f"{path}.range_counts")
    # Not true of NaN either.
    require(0 <= measure.quantile <= 1, f"{path}.quantile", "must be from 0 to 1")


def _check_distinct_values(plan: Plan, measure: DistinctValuesMeasure, path: str) -> None:
    _statistic(plan, measure.statistic, ("distinct_units",), f"{path}.statistic")
    # With several sets it would be the values of other keys in other rows of one column.
    require(
        len(plan.grouping_sets) == 1 and has_totals(plan),
        path,
        "counts the values of the keys that the only grouping set lacks, and there is no such set",
    )
    # Not true of NaN either.
    require(0 < measure.threshold < math.inf, f"{path}.threshold", "must be above 0 and finite")


def _check_range_count(plan: Plan, measure: RangeCountMeasure, path: str) -> None:
    tree = _statistic(plan, measure.range_counts, ("range_counts",), f"{path}.range_counts").range_counts
    leaves = tree.branching**tree.levels
    require(measure.first_leaf < measure.end_leaf, f"{path}.first_leaf", "must be below end_leaf")
    require(measure.end_leaf <= leaves, f"{path}.end_leaf", f"must be at most {leaves:,}, the number of leaves")


def _check_counts_same(plan: Plan, bounded: Statistic, index: int, path: str) -> None:
    # Every row counts where the term is never NULL; that it is not, whoever plans answers for.
    count = _statistic(plan, index, ("non_null_count", "row_count"), path)
    same_term = count.HasField("row_count") or count.non_null_count.term == bounded.bounded_sum.term
    require(same_term, path, "counts another term than the sum's")
    same_filter = count.HasField("filter") == bounded.HasField("filter") and count.filter == bounded.filter
    require(same_filter, path, "counts with another filter than the sum's")


def _statistic(plan: Plan, index: int, kinds: tuple[str, ...], path: str) -> Statistic:
    require(index < len(plan.statistics), path, "is no index of statistics")
    statistic = plan.statistics[index]
    require(statistic.WhichOneof("kind") in kinds, path, f"must be {' or '.join(kinds)}")
    return statistic
