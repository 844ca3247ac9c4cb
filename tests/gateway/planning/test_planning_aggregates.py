"""Which statistics each aggregate is measured by, and that formulas of them are what SQL says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import (
    Call,
    Comparison,
    Expression,
    Formula,
    Measure,
    NonNullCount,
    Operation,
    Plan,
    RangeCounts,
    Statistic,
)

from enclave_sim.plan.sensitivity import cells, total_rho_units
from gateway.planning.notes import clipping_notes
from gateway.planning.ranges import CELLS

from .conftest import Planner, nafld, refusal

Row = Mapping[str, float | None]


def kinds(plan: Plan) -> list[str | None]:
    return [statistic.WhichOneof("kind") for statistic in plan.statistics]


def tree(plan: Plan) -> RangeCounts:
    return plan.statistics[0].range_counts


# Counts and sums


def test_any_expression_can_be_counted(planned: Planner) -> None:
    plan = planned("SELECT COUNT(UPPER(note)) FROM labs")
    assert plan.statistics[0].non_null_count.term.call.function == Call.FUNCTION_UPPER


def test_a_sum_of_an_expression_has_the_bounds_of_the_expression(planned: Planner) -> None:
    total = planned("SELECT SUM(value * 2 + 1) FROM labs").statistics[0].bounded_sum
    assert (total.lower, total.upper, total.centre, total.half_range) == (1, 601, 0, 601)


def test_limits_make_bounds(planned: Planner) -> None:
    total = planned("SELECT AVG(LEAST(GREATEST(weeks, 10), 30)) FROM labs").statistics[0].bounded_sum
    assert (total.lower, total.upper, total.centre, total.half_range) == (10, 30, 20, 10)


def test_a_constant_can_be_summed(planned: Planner) -> None:
    total = planned("SELECT SUM(2) FROM labs").statistics[0].bounded_sum
    assert (total.lower, total.upper, total.half_range) == (0, 2, 2)


def test_a_condition_can_be_counted_in_three_ways(planned: Planner) -> None:
    plan = planned(
        "SELECT COUNT_IF(value > 3) a, COUNT(*) FILTER (WHERE value > 3) b, SUM(IF(value > 3, 1, 0)) c FROM labs"
    )
    assert kinds(plan) == ["row_count", "bounded_sum"]
    assert plan.statistics[0].filter.comparison.operator == Comparison.OPERATOR_GREATER


def test_a_filter_belongs_to_its_aggregate(planned: Planner) -> None:
    plan = planned(
        "SELECT AVG(value) FILTER (WHERE fasting) a, AVG(value) b, SUM(value) FILTER (WHERE fasting) c FROM labs"
    )
    assert kinds(plan) == ["bounded_sum", "non_null_count"] * 2
    assert [statistic.HasField("filter") for statistic in plan.statistics] == [True, True, False, False]
    assert plan.outputs[2].measure.sum.bounded_sum == 0


def test_filters_of_count_if_are_joined(planned: Planner) -> None:
    plan = planned("SELECT COUNT_IF(fasting) FILTER (WHERE value > 3) FROM labs")
    assert len(plan.statistics[0].filter.conjunction.operands) == 2


def test_arithmetic_shares_statistics(planned: Planner) -> None:
    plan = planned("SELECT 100.0 * SUM(value) / COUNT(*) r, COUNT(*) n, SQRT(ABS(-SUM(value))) s FROM labs")
    assert kinds(plan) == ["bounded_sum", "row_count"]
    assert [output.WhichOneof("kind") for output in plan.outputs] == ["formula", "measure", "formula"]


def test_an_alias_may_be_computed_with_further_on(planned: Planner) -> None:
    plan = planned("SELECT COUNT(*) AS n, n / 2 AS half FROM labs")
    assert plan.outputs[1].formula.operation.operands[0].measure == plan.outputs[0].measure


@pytest.mark.parametrize("divisor", ["NULLIF(COUNT(value), 0)", "COUNT(value)::DOUBLE", "(COUNT(value))"])
def test_common_ways_to_divide_mean_the_same(planned: Planner, divisor: str) -> None:
    plan = planned(f"SELECT SUM(value) / {divisor} AS r FROM labs")
    assert plan.outputs == planned("SELECT SUM(value) / COUNT(value) AS r FROM labs").outputs


# Quantiles


@pytest.mark.parametrize(
    "sql",
    [
        "QUANTILE_CONT(value, 0.5)",
        "QUANTILE(value, 0.5)",
        "APPROX_QUANTILE(value, 0.5)",
        "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY value)",
        "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY value DESC)",
    ],
)
def test_a_median_has_many_names(planned: Planner, sql: str) -> None:
    assert planned(f"SELECT {sql} AS m FROM labs") == planned("SELECT MEDIAN(value) AS m FROM labs")


def test_a_descending_quantile_is_counted_from_above(planned: Planner) -> None:
    plan = planned("SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY value DESC) FROM labs")
    assert plan.outputs[0].measure.quantile.quantile == 0.75


def test_a_list_of_quantiles_is_a_column_each_of_one_statistic(planned: Planner) -> None:
    plan = planned("SELECT QUANTILE_CONT(value, [0.1, 0.5, 0.90]) q, MEDIAN(value) FROM labs")
    assert [output.name for output in plan.outputs] == ["q[0.1]", "q[0.5]", "q[0.90]", "MEDIAN(value)"]
    assert [output.measure.quantile.quantile for output in plan.outputs] == [0.1, 0.5, 0.9, 0.5]
    assert kinds(plan) == ["range_counts"]


def test_extremes_are_quantiles_and_the_answer_says_so(planned: Planner) -> None:
    plan = planned("SELECT MIN(value), MAX(value) FROM labs")
    assert [output.measure.quantile.quantile for output in plan.outputs] == [0.005, 0.995]
    assert any("MIN is answered by the 0.5 % quantile" in note for note in clipping_notes(plan, nafld()))


@pytest.mark.parametrize(("key", "groups"), [("fasting", 2), ("test", 3), ("test, fasting", 6), ("MONTH(seen)", 12)])
def test_the_more_groups_the_coarser_the_ranges(planned: Planner, key: str, groups: int) -> None:
    plan = planned(f"SELECT MEDIAN(value) FROM labs GROUP BY {key}")
    assert tree(plan).branching == (16 if groups <= 2 else 8)
    assert cells(plan) <= max(CELLS, 72 * groups)


def test_ranges_of_a_fraction_cover_the_bounds(planned: Planner) -> None:
    ranges = tree(planned("SELECT MEDIAN(value) FROM labs"))
    assert (ranges.lower, ranges.upper, ranges.branching, ranges.levels) == (0, 300, 16, 2)


@pytest.mark.parametrize(
    ("sql", "lower", "upper", "branching", "levels"),
    [
        ("DAYOFWEEK(seen)", -0.5, 6.5, 7, 1),
        ("HOUR(at)", -0.5, 24.5, 5, 2),
        ("days", -8000.5, 8127.5, 16, 2),
    ],
)
def test_whole_numbers_lie_inside_ranges_and_not_on_edges(
    planned: Planner, sql: str, lower: float, upper: float, branching: int, levels: int
) -> None:
    plan = planned(f"SELECT MEDIAN({sql}) FROM labs")
    ranges = tree(plan)
    assert (ranges.lower, ranges.upper, ranges.branching, ranges.levels) == (lower, upper, branching, levels)
    assert plan.outputs[0].measure.quantile.integral


def test_counts_of_quantiles_have_twice_the_budget(planned: Planner) -> None:
    plan = planned("SELECT MEDIAN(value), COUNT(*), SUM(value) FROM labs")
    ranges, rows, _ = plan.statistics
    assert ranges.rho_units == pytest.approx(2 * rows.rho_units, rel=1e-6)
    # Two levels, twice the budget: each count in a range is as exact as a plain one.
    assert ranges.sigma == pytest.approx(rows.sigma, rel=1e-6)
    assert ranges.rho_units == pytest.approx(total_rho_units(plan) / 2, rel=1e-6)


# Moments


def test_a_variance_beside_an_average_needs_one_statistic_more(planned: Planner) -> None:
    plan = planned("SELECT AVG(value), VAR_POP(value), STDDEV(value), SUM(value) FROM labs")
    assert kinds(plan) == ["bounded_sum", "non_null_count", "bounded_sum"]
    square = plan.statistics[2].bounded_sum
    assert (square.centre, square.half_range) == (0, square.upper)
    assert square.upper == pytest.approx(150**2 / 2)


def test_a_correlation_is_measured_over_rows_with_both_values(planned: Planner) -> None:
    plan = planned("SELECT CORR(value, days) FROM labs")
    assert sorted(map(str, kinds(plan))) == ["bounded_sum"] * 5 + ["non_null_count"]


def evaluated(expression: Expression, row: Row) -> float | bool | None:
    """The value of an expression, for the kinds that moments are made of."""
    kind = expression.WhichOneof("kind")
    if kind == "column":
        return row[expression.column.name]
    if kind == "literal":
        return float(getattr(expression.literal, str(expression.literal.WhichOneof("kind"))))
    if kind == "call":
        operands = [evaluated(operand, row) for operand in expression.call.operands]
        return None if None in operands else CALLS[expression.call.function](*operands)
    if kind == "comparison":
        left, right = evaluated(expression.comparison.left, row), evaluated(expression.comparison.right, row)
        if left is None or right is None:
            return None
        return left < right if expression.comparison.operator == Comparison.OPERATOR_LESS else left > right
    if kind == "conditional":
        for branch in expression.conditional.branches:
            if evaluated(branch.condition, row):
                return evaluated(branch.result, row)
        return evaluated(expression.conditional.otherwise, row)
    if kind == "negation":
        return not evaluated(expression.negation.operand, row)
    assert kind == "null_test"
    return evaluated(expression.null_test.operand, row) is None


CALLS: Mapping[int, Callable[..., float]] = {
    Call.FUNCTION_ADD: lambda x, y: x + y,
    Call.FUNCTION_SUBTRACT: lambda x, y: x - y,
    Call.FUNCTION_MULTIPLY: lambda x, y: x * y,
    Call.FUNCTION_TO_FLOAT64: float,
}


def total(statistic: Statistic, rows: Sequence[Row]) -> float:
    """The exact sum or count, without noise."""
    kept = [row for row in rows if not statistic.HasField("filter") or evaluated(statistic.filter, row)]
    if statistic.HasField("non_null_count"):
        return sum(evaluated(statistic.non_null_count.term, row) is not None for row in kept)
    bounds = statistic.bounded_sum
    found = [evaluated(bounds.term, row) for row in kept]
    terms = [min(max(value, bounds.lower), bounds.upper) - bounds.centre for value in found if value is not None]
    return math.fsum(terms) / bounds.half_range


def measured(plan: Plan, measure: Measure, rows: Sequence[Row]) -> float | None:
    def cell(index: int) -> float:
        return total(plan.statistics[index], rows)

    match measure.WhichOneof("kind"):
        case "count":
            return cell(measure.count.statistic)
        case "sum":
            shape = plan.statistics[measure.sum.bounded_sum].bounded_sum
            return shape.half_range * cell(measure.sum.bounded_sum)
        case _:
            shape, count = plan.statistics[measure.mean.bounded_sum].bounded_sum, cell(measure.mean.non_null_count)
            return shape.centre + shape.half_range * cell(measure.mean.bounded_sum) / count if count > 0 else None


def computed(plan: Plan, formula: Formula, rows: Sequence[Row]) -> float | None:
    if formula.HasField("measure"):
        return measured(plan, formula.measure, rows)
    if formula.HasField("constant"):
        return formula.constant
    operands = [computed(plan, operand, rows) for operand in formula.operation.operands]
    if None in operands:
        return None
    numbers = [operand for operand in operands if operand is not None]
    match formula.operation.operator:
        case Operation.OPERATOR_ADD:
            return numbers[0] + numbers[1]
        case Operation.OPERATOR_SUBTRACT:
            return numbers[0] - numbers[1]
        case Operation.OPERATOR_MULTIPLY:
            return numbers[0] * numbers[1]
        case Operation.OPERATOR_DIVIDE:
            return numbers[0] / numbers[1] if numbers[1] else None
        case Operation.OPERATOR_SQUARE_ROOT:
            return math.sqrt(numbers[0])
        case Operation.OPERATOR_LEAST:
            return min(numbers)
        case _:
            return max(numbers)


VALUES = st.none() | st.floats(0, 300)
DAYS = st.none() | st.integers(-8000, 8000)
ROWS = st.lists(st.fixed_dictionaries({"value": VALUES, "days": DAYS}), min_size=2, max_size=12)


@pytest.fixture(scope="module")
def moments(planned: Planner) -> Plan:
    names = ("VAR_POP", "VAR_SAMP", "STDDEV_POP", "STDDEV_SAMP")
    shown = [f"{name}(value) AS {name}, {name}(days) AS {name}_d" for name in names]
    shown += [f"{name}(value, days)" for name in ("COVAR_POP", "COVAR_SAMP", "CORR")]
    return planned(f"SELECT {', '.join(shown)} FROM labs")


@settings(deadline=None)
@given(ROWS)
def test_spread_is_what_statistics_says(moments: Plan, rows: Sequence[Row]) -> None:
    for column, suffix in (("value", ""), ("days", "_d")):
        present = [float(row[column] or 0) for row in rows if row[column] is not None]
        expected = {
            "VAR_POP": statistics.pvariance,
            "VAR_SAMP": statistics.variance,
            "STDDEV_POP": statistics.pstdev,
            "STDDEV_SAMP": statistics.stdev,
        }
        for output in moments.outputs:
            function = expected.get(output.name.removesuffix("_d"))
            if function is None or output.name.endswith("_d") != bool(suffix):
                continue
            found = computed(moments, output.formula, rows)
            if not present:
                assert found is None
            elif len(present) > 1:
                width = 150.0 if column == "value" else 8000.0
                tolerance = 1e-9 * width**2 if "VAR" in output.name else 1e-4 * width
                assert found == pytest.approx(function(present), abs=tolerance)


@settings(deadline=None)
@given(ROWS)
def test_covariance_and_correlation_are_of_rows_with_both_values(moments: Plan, rows: Sequence[Row]) -> None:
    pairs = [(row["value"], row["days"]) for row in rows]
    both = [(float(x), float(y)) for x, y in pairs if x is not None and y is not None]
    found = {output.name: computed(moments, output.formula, rows) for output in moments.outputs}
    if not both:
        assert found["COVAR_POP(value, days)"] is None
        assert found["CORR(value, days)"] is None
        return
    assume(len(both) > 1)
    x, y = [pair[0] for pair in both], [pair[1] for pair in both]
    covariance = statistics.covariance(x, y)
    assert found["COVAR_SAMP(value, days)"] == pytest.approx(covariance, abs=1e-3)
    assert found["COVAR_POP(value, days)"] == pytest.approx(covariance * (len(x) - 1) / len(x), abs=1e-3)
    if statistics.pstdev(x) > 1 and statistics.pstdev(y) > 1:
        assert found["CORR(value, days)"] == pytest.approx(statistics.correlation(x, y), abs=1e-6)


def test_a_value_out_of_bounds_counts_as_the_bound(moments: Plan) -> None:
    inside: list[Row] = [{"value": 0.0, "days": -8000}, {"value": 300.0, "days": 8000}, {"value": 10.0, "days": 5}]
    outside: list[Row] = [{"value": -7.0, "days": -9000}, {"value": 1e300, "days": 8001}, {"value": 10.0, "days": 5}]
    for output in moments.outputs:
        expected = computed(moments, output.formula, inside)
        assert computed(moments, output.formula, outside) == pytest.approx(expected, rel=1e-12)


# Refusals


@pytest.mark.parametrize(
    ("sql", "code", "hint"),
    [
        ("HISTOGRAM(value) + 1", "not_supported", "GROUP BY WIDTH_BUCKET(x, 0, 100, 10)"),
        ("ABS(APPROX_TOP_K(test, 3))", "not_supported", "ORDER BY COUNT(*) DESC LIMIT 10"),
        ("MODE(test)", "not_supported", "ORDER BY COUNT(*) DESC LIMIT 1"),
        ("COUNT(DISTINCT id, test)", "not_supported", "COUNT(DISTINCT id)"),
        ("QUANTILE_DISC(value, 0.5)", "not_supported", "QUANTILE_CONT"),
        ("QUANTILE_CONT(value, 1.5)", "bad_quantile", "QUANTILE_CONT"),
        ("QUANTILE_CONT(value, days)", "bad_quantile", "QUANTILE_CONT"),
        ("SUM(weeks)", "no_bounds", "LEAST(GREATEST(weeks, lower), upper)"),
        ("VARIANCE(value * 1e200)", "no_bounds", "divide by a constant"),
        ("CORR(value, days / 1e200)", "no_bounds", "divide by a constant"),
        ("MEDIAN(note)", "not_numeric", "COUNT(note)"),
        ("SUM(COUNT(*))", "not_supported", "Aggregate each unit's rows first"),
        ("SUM(DISTINCT value)", "not_supported", "SUM(x)"),
        ("MIN(value, 2)", "not_supported", "MEDIAN"),
        ("ROUND(AVG(value), 2)", "not_supported", "Leave ROUND out"),
        ("COALESCE(SUM(value), 0)", "not_supported", "Leave COALESCE out"),
        ("COUNT(*) + days", "raw_columns", "aggregate of days"),
        ("MEDIAN(value) OVER ()", "not_supported", "ROW_NUMBER, RANK"),
        ("QUANTILE_CONT(value, [0.1, 0.9]) + 1", "not_supported", "each quantile by itself"),
        ("ARG_MAX(test, value)", "not_supported", "AVG or MEDIAN"),
        ("STRING_AGG(note)", "not_supported", "Ask for COUNT(*)"),
    ],
)
def test_what_cannot_be_computed_is_said_with_what_can(planned: Planner, sql: str, code: str, hint: str) -> None:
    problem = refusal(planned, f"SELECT {sql} FROM labs")
    assert problem.code == code
    assert problem.position
    assert hint in str(problem.hint)


def test_an_expression_counts_once_however_it_is_written(planned: Planner) -> None:
    plan = planned("SELECT COUNT( upper( note ) ) a, COUNT(UPPER(labs.Note)) b FROM labs")
    assert len(plan.statistics) == 1
    assert plan.statistics[0].non_null_count != NonNullCount()
