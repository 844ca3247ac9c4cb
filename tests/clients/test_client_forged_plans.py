"""A receipt may hold any plan at all: it is a table, or a PlanError at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import made_plans as made  # type: ignore[import-not-found]
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import formula
from yingbi.answer import PlanError, table_of
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.plan_pb2 import Formula, Measure, Output, Plan, Statistic, Value
from yingbi.forecasts import predicted_errors

BASE = made.plan(
    [made.rows(), made.total(0, 100), made.ranges()],
    [0, made.count(0), made.sum_of(1, 0), made.mean(1, 0), made.quantile(2, 0.5), formula("ADD", made.count(0), 1)],
    keys=["ab"],
    sets=[[0], []],
)
CELLS = range(2 * 22)


def changed(change: Callable[[Plan], object]) -> Plan:
    plan = Plan()
    plan.CopyFrom(BASE)
    change(plan)
    return plan


def tree(plan: Plan, **changes: float) -> None:
    for name, value in changes.items():
        setattr(plan.statistics[2].range_counts, name, value)


def keys(plan: Plan, *values: Value) -> None:
    plan.group_by[0].ClearField("values")
    plan.group_by[0].values.extend(values)


def many_sets(plan: Plan) -> None:
    plan.group_by.append(plan_pb2.GroupKey(values=[Value(int64_value=value) for value in range(4_000)]))
    plan.grouping_sets.extend([plan_pb2.GroupingSet(keys=[1])] * 2_000)


FORGED: dict[str, Callable[[Plan], object]] = {
    "another version": lambda plan: setattr(plan, "language_version", 1),
    "no version": lambda plan: plan.ClearField("language_version"),
    "an output of no kind": lambda plan: plan.outputs.add(name="x"),
    "a measure of no kind": lambda plan: plan.outputs.add(name="x", measure=Measure()),
    "a formula of no kind": lambda plan: plan.outputs.add(name="x", formula=Formula()),
    "a statistic of no kind": lambda plan: plan.statistics.append(Statistic()),
    "a key that is not there": lambda plan: plan.outputs.append(Output(name="x", key=1)),
    "a key far away": lambda plan: plan.outputs.append(Output(name="x", key=2**32 - 1)),
    "a count that is not there": lambda plan: plan.outputs.add(name="x", measure=made.count(3)),
    "a count of a sum": lambda plan: plan.outputs.add(name="x", measure=made.count(1)),
    "a count of ranges": lambda plan: plan.outputs.add(name="x", measure=made.count(2)),
    "a sum of a count": lambda plan: plan.outputs.add(name="x", measure=made.sum_of(0)),
    "a mean over a sum": lambda plan: plan.outputs.add(name="x", measure=made.mean(1, 1)),
    "a quantile of a count": lambda plan: plan.outputs.add(name="x", measure=made.quantile(0, 0.5)),
    "a quantile that is not there": lambda plan: plan.outputs.add(name="x", measure=made.quantile(99, 0.5)),
    "a quantile above 1": lambda plan: plan.outputs.add(name="x", measure=made.quantile(2, 1.5)),
    "a quantile that is NaN": lambda plan: plan.outputs.add(name="x", measure=made.quantile(2, float("nan"))),
    "a constant that is infinite": lambda plan: plan.outputs.add(name="x", formula=made.part(float("inf"))),
    "a truth value for a number": lambda plan: plan.outputs.add(name="x", formula=formula("EQUAL", 1, 1)),
    "an unknown operator": lambda plan: plan.outputs.add(
        name="x",
        formula=Formula(operation=plan_pb2.Operation(operator=99)),  # type: ignore[arg-type]
    ),
    "no operands": lambda plan: plan.outputs.add(name="x", formula=formula("ADD")),
    "too many operands": lambda plan: plan.outputs.add(name="x", formula=formula("DIVIDE", 1, 2, 3)),
    "a large formula": lambda plan: plan.outputs.add(name="x", formula=formula("ADD", *[1] * 100_001)),
    "bounds that are NaN": lambda plan: setattr(plan.statistics[1].bounded_sum, "lower", float("nan")),
    "bounds in the wrong order": lambda plan: setattr(plan.statistics[1].bounded_sum, "lower", 101),
    "an infinite scale": lambda plan: setattr(plan.statistics[1].bounded_sum, "half_range", float("inf")),
    "a tree without branches": lambda plan: tree(plan, branching=0),
    "a tree that is a line": lambda plan: tree(plan, branching=1, levels=2**32 - 1),
    "a tree without levels": lambda plan: tree(plan, levels=0),
    "a tree of many branches": lambda plan: tree(plan, branching=2**32 - 1),
    "a tree of many levels": lambda plan: tree(plan, levels=2**32 - 1),
    "a tree as wide as nothing": lambda plan: tree(plan, lower=16),
    "a tree without an end": lambda plan: tree(plan, upper=float("inf")),
    "a tree wider than numbers": lambda plan: tree(plan, lower=-1.7e308, upper=1.7e308),
    "a tree of nowhere": lambda plan: tree(plan, lower=float("nan")),
    "a grouping set of a key that is not there": lambda plan: plan.grouping_sets.add(keys=[1]),
    "very many grouping sets": lambda plan: plan.grouping_sets.extend(plan.grouping_sets[:1] * 5_000),
    "sets that add up for long": many_sets,
    "very many keys": lambda plan: plan.group_by.extend([plan.group_by[0]] * 10_000),
    "very many groups": lambda plan: plan.group_by.extend([plan.group_by[0]] * 40),
    "very many outputs": lambda plan: plan.outputs.extend([plan.outputs[1]] * 300),
    "a date that is none": lambda plan: keys(plan, Value(date_days=2**31 - 1)),
    "a time that is none": lambda plan: keys(plan, Value(timestamp_micros=2**63 - 1)),
    "keys of two types": lambda plan: keys(plan, Value(string_value="a"), Value(int64_value=1)),
    "a key that is NaN": lambda plan: keys(plan, Value(float64_value=float("nan"))),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_plan_is_refused_at_once(name: str) -> None:
    plan = changed(FORGED[name])
    start = time.process_time()
    for read in (lambda: table_of(plan, CELLS), lambda: predicted_errors(plan)):
        with pytest.raises(PlanError):
            read()
    assert time.process_time() - start < 5


def test_the_plan_that_was_forged_is_sound() -> None:
    assert len(table_of(BASE, CELLS).rows) == 3


@pytest.mark.parametrize("length", [0, 43, 45])
def test_a_vector_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(PlanError, match=f"{length} cells; the plan has 44"):
        table_of(BASE, range(length))


@pytest.mark.parametrize("bits", [0, 16, 2_000, 2**32 - 1])
def test_any_grid_is_a_table_or_refused(bits: int) -> None:
    plan = changed(lambda plan: setattr(plan, "fraction_bits", bits))
    table_of(plan, [2**62] * 44)


def test_numbers_beyond_doubles_are_refused() -> None:
    with pytest.raises(PlanError):
        table_of(BASE, [10**400] * 44)


def test_a_first_stage_has_no_columns() -> None:
    """Of a question whose keys or bounds are not known yet."""
    plan = made.plan([Statistic(unit_norms=plan_pb2.UnitNorms(edges=[1, 2, 4]), sigma=5)], [])
    assert table_of(plan, [1, 2, 3, 4]).rows == ((),)


def test_a_key_that_is_not_known_yet_is_null_in_a_preview() -> None:
    plan = changed(lambda plan: keys(plan, Value()))
    assert predicted_errors(plan).groups == ((None,), (None,))


@settings(max_examples=100)
@given(st.data())
def test_a_damaged_plan_is_a_table_or_refused(data: st.DataObject) -> None:
    content = bytearray(BASE.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    plan = Plan()
    try:
        plan.ParseFromString(bytes(content))
    except DecodeError:
        return
    for read in (lambda: table_of(plan, CELLS), lambda: predicted_errors(plan)):
        try:
            read()
        except PlanError:
            continue
