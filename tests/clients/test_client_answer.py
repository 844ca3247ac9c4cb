"""The table says what the opened integers mean, and its errors are those of the noise."""

from __future__ import annotations

import datetime
import json
import math
import random

import client_scene as scene  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import PlanError, table_of, to_json, to_python
from yingbi.api.v1 import plan_pb2
from yingbi.forecasts import predicted_errors
from yingbi.uncertain import Z

PLAN = scene.counting_plan()
STEP = 2.0**-6
COUNT_ERROR = math.sqrt(3) * 800 * STEP
SUM_ERROR = math.sqrt(3) * 600 * STEP


def test_cells_are_read_statistic_by_statistic() -> None:
    table = table_of(PLAN, scene.OPENED)
    assert [column.kind for column in table.columns] == ["key", "count", "sum", "mean"]
    assert table.rows[0] == ("f", 4000.0, 50 * 400 + 50 * 4000.0, 55.0)
    assert table.rows[1] == ("m", 6000.0, -50 * 1200 + 50 * 6000.0, 40.0)


def test_a_count_is_not_cut_at_zero() -> None:
    table = table_of(PLAN, (-64, 0, 0, 0))
    assert table.rows[0][1] == -1.0
    assert table.intervals[0][1] == pytest.approx((-1 - Z * COUNT_ERROR, -1 + Z * COUNT_ERROR))


def test_the_errors_of_a_sum_add_in_quadrature() -> None:
    table = table_of(PLAN, scene.OPENED)
    assert table.std_errors[0][2] == pytest.approx(math.hypot(50 * SUM_ERROR, 50 * COUNT_ERROR))


def test_a_mean_over_nothing_is_null() -> None:
    table = table_of(PLAN, (0, -640, 5, 5))
    assert [row[3] for row in table.rows] == [None, None]
    assert table.intervals[0][3] is None
    assert table.std_errors[0][3] is None


def test_a_mean_whose_count_is_lost_in_noise_has_the_whole_range() -> None:
    table = table_of(PLAN, (64, 64, 64, 64))
    assert table.rows[0][3] == 100.0
    assert table.intervals[0][3] == (0.0, 100.0)
    assert table.std_errors[0][3] is None


def test_keys_are_all_combinations_the_last_fastest() -> None:
    plan = plan_pb2.Plan()
    plan.CopyFrom(PLAN)
    day = plan_pb2.GroupKey(values=[plan_pb2.Value(date_days=0), plan_pb2.Value(date_days=19_000)])
    plan.group_by.append(day)
    plan.outputs.append(plan_pb2.Output(name="day", key=1))
    table = table_of(plan, range(8))
    assert [(row[0], to_json(row[4])) for row in table.rows] == [
        ("f", "1970-01-01"), ("f", "2022-01-08"), ("m", "1970-01-01"), ("m", "2022-01-08"),
    ]  # fmt: skip
    assert [row[1] for row in table.rows] == [i * STEP for i in range(4)]


@pytest.mark.parametrize(
    ("value", "python", "document"),
    [
        (plan_pb2.Value(bool_value=False), False, False),
        (plan_pb2.Value(int64_value=-3), -3, -3),
        (plan_pb2.Value(string_value="é"), "é", "é"),
        (plan_pb2.Value(date_days=-1), datetime.date(1969, 12, 31), "1969-12-31"),
        (
            plan_pb2.Value(timestamp_micros=1_500_000),
            datetime.datetime(1970, 1, 1, 0, 0, 1, 500_000),
            "1970-01-01T00:00:01.500000",
        ),
    ],
)
def test_constants_become_python_and_json(value: plan_pb2.Value, python: object, document: object) -> None:
    assert to_python(value) == python
    assert to_json(to_python(value)) == document


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(PlanError, match="3 cells"):
        table_of(PLAN, (1, 2, 3))


@given(st.lists(st.integers(-(2**62), 2**62), min_size=4, max_size=4))
def test_whatever_was_opened_is_valid_json_and_lies_in_its_interval(opened: list[int]) -> None:
    table = table_of(PLAN, opened)
    json.dumps([table.rows, table.std_errors, table.intervals], allow_nan=False)
    for row, intervals in zip(table.rows, table.intervals, strict=True):
        for value, interval in zip(row, intervals, strict=True):
            if interval is not None:
                assert isinstance(value, float)
                slack = 1e-9 * max(1.0, abs(value))
                assert interval[0] - slack <= value <= interval[1] + slack


def test_intervals_hold_in_95_of_100_cells() -> None:
    """For small groups too, where the delta method would not: Fieller's set is exact."""
    draw = random.Random(1)
    held = {1: 0, 2: 0, 3: 0}
    cells = {1: 0, 2: 0, 3: 0}
    for _ in range(4000):
        n = draw.choice((60, 120, 400, 5000))
        total = draw.uniform(-0.9, 0.9) * n
        exact = {1: n, 2: 50 * total + 50 * n, 3: 50 + 50 * total / n}
        counts = [round(draw.gauss(n * 64, math.sqrt(3) * 800)) for _ in range(2)]
        sums = [round(draw.gauss(total * 64, math.sqrt(3) * 600)) for _ in range(2)]
        table = table_of(PLAN, [*counts, *sums])
        for intervals in table.intervals:
            for column, value in exact.items():
                interval = intervals[column]
                if interval is not None:
                    cells[column] += 1
                    held[column] += interval[0] <= value <= interval[1]
    for column, count in held.items():
        assert 0.94 < count / cells[column] < 0.96


def test_predicted_errors_are_those_of_the_answer() -> None:
    forecast = predicted_errors(PLAN)
    answer = table_of(PLAN, scene.OPENED)
    assert forecast.groups == (("f",), ("m",))
    for foreseen, actual in zip(forecast.std_errors, answer.std_errors, strict=True):
        assert foreseen[:3] == actual[:3]
        assert foreseen[3] is None
    assert [(entry.column, entry.rows) for entry in forecast.average_errors] == [
        ("age", 100), ("age", 1_000), ("age", 10_000),
    ]  # fmt: skip
    assert forecast.average_errors[2].std_error == pytest.approx(50 * SUM_ERROR / 10_000)


def test_a_plan_without_keys_has_one_group() -> None:
    plan = plan_pb2.Plan()
    plan.CopyFrom(PLAN)
    del plan.group_by[:]
    del plan.outputs[0]
    assert table_of(plan, (64, 0)).rows[0][0] == 1.0
    assert predicted_errors(plan).groups == ((),)
