"""What an answer may be made of: outputs, formulas, grouping sets, presentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_STRING,
    ColumnReference,
    Expression,
    Formula,
    GroupingSet,
    GroupKey,
    Operation,
    Plan,
    Statistic,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.formulas import MAX_FORMULA_PARTS
from enclave_sim.plan.outputs import MAX_GROUPING_SETS, check_answer, rows
from enclave_sim.plan.validation import check_plan

from .conftest import price

Change = Callable[[Plan], Any]
ROWS = "measure { count { statistic: 0 } }"
TRUE = f"operation {{ operator: OPERATOR_IS_NULL operands {{ {ROWS} }} }}"
NUMBERS = ("ADD", "SUBTRACT", "MULTIPLY", "DIVIDE")
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_OR_EQUAL", "GREATER", "GREATER_OR_EQUAL")


def formula(text: str) -> Formula:
    return text_format.Parse(text, Formula())


def operation(operator: str, *operands: str) -> str:
    inner = " ".join(f"operands {{ {operand} }}" for operand in operands)
    return f"operation {{ operator: OPERATOR_{operator} {inner} }}"


def refused(plan: Plan) -> str:
    with pytest.raises(PlanError) as caught:
        check_answer(plan)
    return caught.value.path


def clear(plan: Plan) -> Plan:
    """No outputs but the key, so that what is wrong is what the test says."""
    del plan.outputs[1:]
    return plan


def set_filter(plan: Plan, statistic: int, column: str) -> Statistic:
    reference = ColumnReference(name=column, type=COLUMN_TYPE_STRING)
    plan.statistics[statistic].filter.null_test.operand.CopyFrom(Expression(column=reference))
    return plan.statistics[statistic]


def mean_over_some_rows(plan: Plan) -> None:
    plan.outputs[3].measure.mean.non_null_count = 0
    plan.statistics[0].filter.literal.bool_value = True


WRONG: dict[str, tuple[str, Change]] = {
    "no outputs": ("outputs", lambda p: p.ClearField("outputs")),
    "too many outputs": ("outputs", lambda p: p.outputs.extend([p.outputs[0]] * 250)),
    "an output without name": ("outputs[0].name", lambda p: p.outputs[0].ClearField("name")),
    "an output without kind": ("outputs[0]", lambda p: p.outputs[0].ClearField("key")),
    "two outputs of one name": ("outputs", lambda p: setattr(p.outputs[0], "name", "n")),
    "a key that is not there": ("outputs[0].key", lambda p: setattr(p.outputs[0], "key", 1)),
    "an empty measure": ("outputs[1].measure", lambda p: p.outputs[1].measure.ClearField("count")),
    "a count that is a sum": (
        "outputs[1].measure.count.statistic",
        lambda p: setattr(p.outputs[1].measure.count, "statistic", 1),
    ),
    "a count that is a tree": (
        "outputs[1].measure.count.statistic",
        lambda p: setattr(p.outputs[1].measure.count, "statistic", 4),
    ),
    "a count that is not there": (
        "outputs[1].measure.count.statistic",
        lambda p: setattr(p.outputs[1].measure.count, "statistic", 9),
    ),
    "a sum that is a count": (
        "outputs[2].measure.sum.bounded_sum",
        lambda p: setattr(p.outputs[2].measure.sum, "bounded_sum", 0),
    ),
    "a centred sum without its count": (
        "outputs[2].measure.sum.non_null_count",
        lambda p: p.outputs[2].measure.sum.ClearField("non_null_count"),
    ),
    "a mean over the row count with another filter": (
        "outputs[3].measure.mean.non_null_count",
        mean_over_some_rows,
    ),
    "a mean over another term's count": (
        "outputs[2].measure.sum.non_null_count",
        lambda p: p.statistics[2].non_null_count.term.column.CopyFrom(
            ColumnReference(name="note", type=COLUMN_TYPE_STRING)
        ),
    ),
    "a sum with a filter that its count has not": (
        "outputs[2].measure.sum.non_null_count",
        lambda p: set_filter(p, 1, "note"),
    ),
    "a count with another filter than its sum": (
        "outputs[2].measure.sum.non_null_count",
        lambda p: [set_filter(p, *pair) for pair in ((1, "note"), (2, "ward"))],
    ),
    "a quantile of a count": (
        "outputs[5].measure.quantile.range_counts",
        lambda p: setattr(p.outputs[5].measure.quantile, "range_counts", 0),
    ),
    "a quantile above 1": (
        "outputs[5].measure.quantile.quantile",
        lambda p: setattr(p.outputs[5].measure.quantile, "quantile", 1.5),
    ),
    "a quantile of NaN": (
        "outputs[5].measure.quantile.quantile",
        lambda p: setattr(p.outputs[5].measure.quantile, "quantile", float("nan")),
    ),
    "a formula over what is not there": (
        "outputs[6].formula.operation.operands[1].measure.count.statistic",
        lambda p: setattr(p.outputs[6].formula.operation.operands[1].measure.count, "statistic", 5),
    ),
    "a set of a key that is not there": ("grouping_sets[0].keys", lambda p: p.grouping_sets.add(keys=[1])),
    "a set that names a key twice": ("grouping_sets[0].keys", lambda p: p.grouping_sets.add(keys=[0, 0])),
    "a set twice": ("grouping_sets", lambda p: p.grouping_sets.extend([GroupingSet(keys=[0])] * 2)),
    "too many sets": ("grouping_sets", lambda p: p.grouping_sets.extend([GroupingSet()] * 4097)),
    "distinct units added up over groups": (
        "outputs[4].measure.count.statistic",
        lambda p: p.grouping_sets.extend([GroupingSet(keys=[0]), GroupingSet()]),
    ),
    "an order by nothing": ("presentation.order_by[0]", lambda p: p.presentation.order_by.add()),
    "an order by what is not there": (
        "presentation.order_by[1].output",
        lambda p: (p.presentation.order_by.add(output=6), p.presentation.order_by.add(output=7)),
    ),
    "a long order": ("presentation.order_by", lambda p: [p.presentation.order_by.add(output=0) for _ in range(65)]),
    "an order by a truth": (
        "presentation.order_by[0].formula",
        lambda p: p.presentation.order_by.add(formula=formula(TRUE)),
    ),
    "an output that is a truth": ("outputs[6].formula", lambda p: p.outputs[6].formula.CopyFrom(formula(TRUE))),
    "a number to choose rows by": (
        "presentation.having",
        lambda p: p.presentation.having.CopyFrom(formula(ROWS)),
    ),
    "nothing to choose rows by": ("presentation.having", lambda p: p.presentation.having.SetInParent()),
}


@pytest.mark.parametrize(("path", "change"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_is_refused(plan: Plan, path: str, change: Change) -> None:
    change(plan)
    assert refused(plan) == path


@pytest.mark.parametrize(("path", "change"), WRONG.values(), ids=WRONG.keys())
def test_an_enclave_refuses_it_too(plan: Plan, declaration: DatasetDeclaration, path: str, change: Change) -> None:
    change(plan)
    with pytest.raises(PlanError):
        check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_a_sum_and_its_count_share_a_filter(plan: Plan, declaration: DatasetDeclaration) -> None:
    set_filter(plan, 1, "note")
    set_filter(plan, 2, "note")
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


@pytest.mark.parametrize(
    "text",
    [
        "constant: -1.5",
        "measure { quantile { range_counts: 4 quantile: 0 } }",
        "measure { sum { bounded_sum: 1 non_null_count: 2 } }",
        *(operation(name, ROWS, "constant: 2") for name in NUMBERS),
        *(operation(name, ROWS) for name in ("NEGATE", "ABSOLUTE", "SQUARE_ROOT")),
        *(operation(name, *[ROWS] * count) for name in ("LEAST", "GREATEST") for count in (2, 3)),
        operation("ADD", operation("NEGATE", ROWS), operation("DIVIDE", ROWS, ROWS)),
    ],
)
def test_an_output_is_any_formula_that_is_a_number(plan: Plan, text: str) -> None:
    clear(plan).outputs.add(name="x", formula=formula(text))
    check_answer(plan)
    plan.presentation.order_by.add(formula=formula(text), descending=True, nulls_first=True)
    check_answer(plan)


@pytest.mark.parametrize(
    "text",
    [
        *(operation(name, ROWS, "constant: 2") for name in COMPARISONS),
        *(operation(name, *[TRUE] * count) for name in ("AND", "OR") for count in (2, 3)),
        operation("NOT", TRUE),
        operation("IS_NULL", ROWS),
        operation("IS_NULL", TRUE),
    ],
)
def test_rows_are_chosen_by_any_formula_that_is_a_truth(plan: Plan, text: str) -> None:
    plan.presentation.having.CopyFrom(formula(text))
    check_answer(plan)


BAD_FORMULAS: dict[str, tuple[str, str]] = {
    "nothing": ("", ""),
    "an infinite constant": (".constant", "constant: inf"),
    "no operator": (".operation.operator", f"operation {{ operands {{ {ROWS} }} }}"),
    "an operator of a later version": (".operation.operator", f"operation {{ operator: 20 operands {{ {ROWS} }} }}"),
    **{f"{name} of one": (".operation.operands", operation(name, ROWS)) for name in (*NUMBERS, *COMPARISONS)},
    **{f"{name} of three": (".operation.operands", operation(name, *[ROWS] * 3)) for name in NUMBERS + COMPARISONS},
    **{f"{name} of one": (".operation.operands", operation(name, ROWS)) for name in ("LEAST", "GREATEST")},
    **{f"{name} of one": (".operation.operands", operation(name, TRUE)) for name in ("AND", "OR")},
    "the negative of two": (".operation.operands", operation("NEGATE", ROWS, ROWS)),
    "not of two": (".operation.operands", operation("NOT", TRUE, TRUE)),
    "NULL of none": (".operation.operands", operation("IS_NULL")),
    "a sum of truths": (".operation.operands[1]", operation("ADD", ROWS, TRUE)),
    "a comparison of truths": (".operation.operands[0]", operation("EQUAL", TRUE, TRUE)),
    "and of numbers": (".operation.operands[0]", operation("AND", ROWS, ROWS)),
    "not of a number": (".operation.operands[0]", operation("NOT", ROWS)),
}


@pytest.mark.parametrize(("path", "text"), BAD_FORMULAS.values(), ids=BAD_FORMULAS.keys())
def test_a_bad_formula_is_refused(plan: Plan, path: str, text: str) -> None:
    clear(plan).presentation.having.CopyFrom(formula(text))
    assert refused(plan) == f"presentation.having{path}"
    plan.ClearField("presentation")
    plan.outputs.add(name="x", formula=formula(text))
    assert refused(plan).startswith("outputs[1].formula")


def test_formulas_have_a_largest_size(plan: Plan) -> None:
    constants = [Formula(constant=1)] * (MAX_FORMULA_PARTS - 2)
    large = Formula(operation=Operation(operator=Operation.OPERATOR_LEAST, operands=constants))
    clear(plan).outputs.add(name="x", formula=large)
    check_answer(plan)
    plan.outputs[1].formula.operation.operands.add(constant=1)
    assert refused(plan) == "outputs[1].formula"


def test_counts_of_distinct_units_are_in_no_total(plan: Plan) -> None:
    # A set of all keys adds nothing up.
    plan.grouping_sets.add(keys=[0])
    check_answer(plan)
    plan.grouping_sets.add()
    assert refused(plan) == "outputs[4].measure.count.statistic"
    del plan.outputs[4]
    assert refused(plan) == "outputs[5].formula.operation.operands[1].measure.count.statistic"
    del plan.outputs[5]
    check_answer(plan)
    plan.presentation.having.CopyFrom(formula(operation("IS_NULL", "measure { count { statistic: 3 } }")))
    assert refused(plan).startswith("presentation.having.operation.operands[0].measure")


def keyed(plan: Plan, *sizes: int) -> Plan:
    """Keys with so many values, and nothing else that would matter."""
    del plan.group_by[:]
    for size in sizes:
        plan.group_by.append(GroupKey(values=[Value(int64_value=number) for number in range(size)]))
    del plan.outputs[4:]
    return plan


def test_the_rows_of_all_sets_are_counted(plan: Plan) -> None:
    assert rows(keyed(plan, 2, 3, 5)) == 30
    for keys in ([0, 1, 2], [2, 0], []):
        plan.grouping_sets.add(keys=keys)
    assert rows(plan) == 30 + 10 + 1
    plan.grouping_sets.add(keys=[0, 2])
    assert refused(plan) == "grouping_sets"


def test_the_rows_of_an_answer_are_bounded(plan: Plan) -> None:
    keyed(plan, 400, 248, 1)
    plan.grouping_sets.extend([GroupingSet(keys=[0, 1, 2]), GroupingSet(keys=[0, 1])])
    assert rows(plan) == 198_400
    check_answer(plan)
    plan.grouping_sets.extend([GroupingSet(keys=[0]), GroupingSet(keys=[1]), GroupingSet(keys=[0, 2])])
    check_answer(plan)
    keyed(plan, 400, 250, 1)
    assert rows(plan) > 200_000
    assert refused(plan) == "grouping_sets"


def test_a_cube_of_twelve_keys_is_the_largest(plan: Plan) -> None:
    keyed(plan, *[1] * 13)
    subsets = [[key for key in range(13) if number >> key & 1] for number in range(MAX_GROUPING_SETS + 1)]
    plan.grouping_sets.extend(GroupingSet(keys=keys) for keys in subsets[:MAX_GROUPING_SETS])
    check_answer(plan)
    plan.grouping_sets.add(keys=subsets[MAX_GROUPING_SETS])
    assert refused(plan) == "grouping_sets"


def test_any_part_of_the_rows_may_be_shown(plan: Plan, declaration: DatasetDeclaration) -> None:
    plan.presentation.limit, plan.presentation.offset = 0, 2**64 - 1
    plan.presentation.order_by.add(output=0)
    price(plan)
    check_plan(plan, declaration, dataset_version=plan.dataset_version)
