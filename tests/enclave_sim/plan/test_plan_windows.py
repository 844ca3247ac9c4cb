"""Which windows a plan may have: numbers made of several rows of the answer, and where they may stand."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Formula, Operation, Plan, Value

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.outputs import check_answer
from enclave_sim.plan.validation import check_plan

ROWS = "measure { count { statistic: 0 } }"
TOTAL = f"window {{ function: FUNCTION_SUM operands {{ {ROWS} }} }}"


def window(function: str, rest: str = "") -> str:
    return f"window {{ function: FUNCTION_{function} {rest} }}"


def operand(*formulas: str) -> str:
    return " ".join(f"operands {{ {each} }}" for each in formulas)


def shown(plan: Plan, text: str) -> Plan:
    """The key and one formula, and nothing else that could be wrong."""
    del plan.outputs[1:]
    plan.outputs.add(name="x", formula=text_format.Parse(text, Formula()))
    return plan


def refused(plan: Plan) -> str:
    with pytest.raises(PlanError) as caught:
        check_answer(plan)
    return caught.value.path


@pytest.mark.parametrize(
    "text",
    [
        *(window(name) for name in ("ROW_NUMBER", "RANK", "DENSE_RANK", "PERCENT_RANK", "CUMULATIVE_DISTRIBUTION")),
        window("TILE", "offset: 4"),
        *(window(name, operand(ROWS)) for name in ("LAG", "LEAD", "FIRST", "LAST", "COUNT")),
        *(window(name, operand(ROWS)) for name in ("SUM", "MEAN", "MINIMUM", "MAXIMUM")),
        window("LAG", f"{operand(ROWS, 'constant: 0')} offset: 200000"),
        window("COUNT_ROWS", "frame { start: -3 end: 3 }"),
        window("SUM", f"{operand(ROWS)} partition_by: 0 frame {{ end: 0 peers: true }}"),
        window("RANK", f"order_by {{ key: 0 }} order_by {{ formula {{ {ROWS} }} descending: true nulls_first: true }}"),
        f"operation {{ operator: OPERATOR_DIVIDE operands {{ {ROWS} }} operands {{ {TOTAL} }} }}",
    ],
)
def test_a_window_may_stand_among_outputs_and_orders_and_in_qualify(
    plan: Plan, declaration: DatasetDeclaration, text: str
) -> None:
    shown(plan, text)
    plan.presentation.order_by.add(formula=plan.outputs[1].formula)
    plan.presentation.qualify.operation.operator = Operation.OPERATOR_IS_NULL
    plan.presentation.qualify.operation.operands.append(plan.outputs[1].formula)
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


WRONG = {
    "no function": (".function", "window {}"),
    "a function of a later version": (".function", "window { function: 17 }"),
    "a rank of something": (".operands", window("RANK", operand(ROWS))),
    "a sum of nothing": (".operands", window("SUM")),
    "a sum of two": (".operands", window("SUM", operand(ROWS, ROWS))),
    "a neighbour with three operands": (".operands", window("LAG", operand(ROWS, ROWS, ROWS))),
    "a sum of truths": (
        ".operands[0]",
        window("SUM", operand(f"operation {{ operator: OPERATOR_IS_NULL {operand(ROWS)} }}")),
    ),
    "a sum of what is not there": (
        ".operands[0].measure.count.statistic",
        window("SUM", operand("measure { count { statistic: 9 } }")),
    ),
    "a window of a window": (".operands[0].window", window("SUM", operand(TOTAL))),
    "a window of what has one in it": (
        ".operands[0].operation.operands[0].window",
        window("SUM", operand(f"operation {{ operator: OPERATOR_NEGATE {operand(TOTAL)} }}")),
    ),
    "an order by a window": (".order_by[0].formula.window", window("RANK", f"order_by {{ formula {{ {TOTAL} }} }}")),
    "an order by an output": (".order_by[0]", window("RANK", "order_by { output: 0 }")),
    "an order by nothing": (".order_by[0]", window("RANK", "order_by {}")),
    "an order by a key that is not there": (".order_by[0].key", window("RANK", "order_by { key: 1 }")),
    "a long order": (".order_by", window("RANK", "order_by { key: 0 }" * 65)),
    "parts by a key that is not there": (".partition_by", window("RANK", "partition_by: 0 partition_by: 1")),
    "no parts": (".offset", window("TILE")),
    "a neighbour that is too far": (".offset", window("LEAD", f"{operand(ROWS)} offset: 200001")),
    "an offset of a sum": (".offset", window("SUM", f"{operand(ROWS)} offset: 1")),
    "a frame of a rank": (".frame", window("RANK", "frame {}")),
    "a frame that ends before it starts": (".frame", window("SUM", f"{operand(ROWS)} frame {{ start: 1 end: 0 }}")),
    "a frame that is too long": (".frame", window("SUM", f"{operand(ROWS)} frame {{ start: -200001 }}")),
    "a frame by values": (".frame", window("SUM", f"{operand(ROWS)} frame {{ end: 3 peers: true }}")),
}


@pytest.mark.parametrize(("path", "text"), WRONG.values(), ids=WRONG.keys())
def test_a_window_that_means_nothing_is_refused(plan: Plan, path: str, text: str) -> None:
    assert refused(shown(plan, text)) == f"outputs[1].formula.window{path}"


def test_having_comes_before_windows(plan: Plan) -> None:
    shown(plan, ROWS)
    having = f"operation {{ operator: OPERATOR_IS_NULL operands {{ {TOTAL} }} }}"
    plan.presentation.having.CopyFrom(text_format.Parse(having, Formula()))
    assert refused(plan) == "presentation.having.operation.operands[0].window"


def test_qualify_is_a_condition(plan: Plan) -> None:
    shown(plan, ROWS).presentation.qualify.CopyFrom(text_format.Parse(TOTAL, Formula()))
    assert refused(plan) == "presentation.qualify"


def test_rows_may_be_ordered_by_a_key_that_is_not_shown(plan: Plan) -> None:
    shown(plan, ROWS).presentation.order_by.add(key=0)
    check_answer(plan)
    plan.presentation.order_by.add(key=1)
    assert refused(plan) == "presentation.order_by[1].key"


def labelled(plan: Plan, *labels: Value) -> Plan:
    shown(plan, ROWS).outputs[0].labels.extend(labels)
    return plan


def test_a_key_may_be_shown_as_something_else(plan: Plan) -> None:
    check_answer(labelled(plan, Value(int64_value=1), Value(int64_value=1)))


@pytest.mark.parametrize(
    "labels",
    [
        [Value(int64_value=1)],
        [Value(int64_value=1)] * 3,
        [Value(int64_value=1), Value(string_value="b")],
        [Value(int64_value=1), Value()],
        [Value(float64_value=1), Value(float64_value=float("inf"))],
    ],
)
def test_each_value_of_a_key_has_a_label_of_one_type(plan: Plan, labels: list[Value]) -> None:
    assert refused(labelled(plan, *labels)) == "outputs[0].labels"


def test_only_keys_have_labels(plan: Plan) -> None:
    shown(plan, ROWS).outputs[1].labels.add(int64_value=1)
    assert refused(plan) == "outputs[1].labels"
