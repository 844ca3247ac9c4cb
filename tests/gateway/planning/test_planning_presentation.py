"""HAVING, ORDER BY, LIMIT and OFFSET."""

from __future__ import annotations

import pytest
from yingbi.api.v1.plan_pb2 import Operation, OutputOrdering, Plan

from .conftest import Planner, refusal

SQL = "SELECT test, COUNT(*) AS n, AVG(value) FROM labs GROUP BY test"


def orderings(plan: Plan) -> list[OutputOrdering]:
    return list(plan.presentation.order_by)


def test_without_them_there_is_no_presentation(planned: Planner) -> None:
    assert not planned(SQL).HasField("presentation")


@pytest.mark.parametrize("by", ["2", "n", "COUNT(*)", "count( * )", "(N)"])
def test_a_column_of_the_answer_is_ordered_by_its_place(planned: Planner, by: str) -> None:
    assert orderings(planned(f"{SQL} ORDER BY {by} DESC")) == [OutputOrdering(output=1, descending=True)]


def test_the_order_of_several_columns_is_kept(planned: Planner) -> None:
    plan = planned(f"{SQL} ORDER BY AVG(value), test DESC NULLS FIRST")
    assert orderings(plan) == [OutputOrdering(output=2), OutputOrdering(output=0, descending=True, nulls_first=True)]


def test_all_columns_may_be_meant(planned: Planner) -> None:
    assert [ordering.output for ordering in orderings(planned(f"{SQL} ORDER BY ALL"))] == [0, 1, 2]


def test_places_count_items_and_not_columns(planned: Planner) -> None:
    plan = planned("SELECT QUANTILE_CONT(value, [0.1, 0.9]), COUNT(*) FROM labs ORDER BY 2")
    assert orderings(plan)[0].output == 2


def test_what_is_not_shown_is_measured_to_order_by(planned: Planner) -> None:
    plan = planned(f"{SQL} ORDER BY SUM(days) / n")
    assert len(plan.statistics) == 4
    formula = orderings(plan)[0].formula.operation
    assert formula.operator == Operation.OPERATOR_DIVIDE
    assert formula.operands[0].measure.sum.bounded_sum == 3


def test_having_may_name_aliases_and_aggregates(planned: Planner) -> None:
    plan = planned(f"{SQL} HAVING n > 100 AND NOT (AVG(value) BETWEEN 1 AND 2 OR COUNT(value) IS NULL) AND n IN (1, 2)")
    having = plan.presentation.having.operation
    assert having.operator == Operation.OPERATOR_AND
    assert [operand.operation.operator for operand in having.operands] == [
        Operation.OPERATOR_GREATER,
        Operation.OPERATOR_NOT,
        Operation.OPERATOR_OR,
    ]
    assert len(plan.statistics) == 3


def test_a_sum_in_having_is_shared_with_an_average_that_is_shown(planned: Planner) -> None:
    assert len(planned(f"{SQL} HAVING SUM(value) > 3").statistics) == 3


def test_limits_are_whole_numbers(planned: Planner) -> None:
    presentation = planned(f"{SQL} LIMIT 3 OFFSET 1").presentation
    assert (presentation.limit, presentation.offset) == (3, 1)
    assert planned(f"{SQL} LIMIT 0").presentation.HasField("limit")
    assert planned(f"{SQL} FETCH FIRST 2 ROWS ONLY").presentation.limit == 2


@pytest.mark.parametrize(
    ("tail", "code", "hint"),
    [
        ("ORDER BY 4", "bad_position", "from 1 to 3"),
        ("ORDER BY value", "raw_columns", "ORDER BY COUNT(*) DESC"),
        ("ORDER BY id", "privacy_unit", "COUNT(DISTINCT id)"),
        ("HAVING test = 'hdl'", "raw_columns", "into WHERE"),
        ("HAVING 1 > 0", "not_supported", "into WHERE"),
        ("HAVING COUNT(*)", "not_supported", "COUNT(*) > 100"),
        ("LIMIT 10 PERCENT", "not_supported", "LIMIT 10"),
        ("LIMIT 1 + 1", "not_supported", "LIMIT 10"),
        ("LIMIT 1.5", "not_supported", "LIMIT 10"),
        ("OFFSET 99999999999999999999", "not_supported", "LIMIT 10"),
    ],
)
def test_what_cannot_be_presented(planned: Planner, tail: str, code: str, hint: str) -> None:
    problem = refusal(planned, f"{SQL} {tail}")
    assert problem.code == code
    assert hint in str(problem.hint)


def test_a_key_that_is_not_shown_orders_nothing(planned: Planner) -> None:
    problem = refusal(planned, "SELECT COUNT(*) FROM labs GROUP BY test ORDER BY test")
    assert (problem.code, problem.hint) == ("not_supported", "Add Test to the SELECT list.")
