"""Values that enough units have: counted from noisy cells, and as sure as they say."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import made_plans as made  # type: ignore[import-not-found]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_plans import formula, grid
from yingbi.answer import Table, check_readable, columns_of, table_of
from yingbi.api.v1.plan_pb2 import DistinctValuesMeasure, Measure, Plan
from yingbi.cells import PlanError
from yingbi.display import average_sentences
from yingbi.distinct import sum_quantile, values_held
from yingbi.forecasts import predicted_errors

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
"""Of one cell, in units: about 16."""
T, DEVIATION = 50.0, 12.0
FAR = 2.3
"""Standard deviations from the threshold at which a value alone is told for sure."""


def values(statistic: int = 0, threshold: float = T) -> Measure:
    return Measure(distinct_values=DistinctValuesMeasure(statistic=statistic, threshold=threshold))


def over_towns(*shown: object, sets: Sequence[Sequence[int]] = ([0],)) -> Plan:
    """Units by sex (f, m) and town (x, y, z); rows of the answer by sex."""
    plan: Plan = made.plan([made.units(), made.rows()], shown or [0, values()], keys=["fm", "xyz"], sets=sets)
    return plan


def answer(plan: Plan, units: Sequence[float], rows: Sequence[float] = (0,) * 6) -> Table:
    return table_of(plan, grid(*units, *rows))


class TestRows:
    def test_a_row_counts_the_values_that_reach_the_threshold_within_it(self) -> None:
        table = answer(over_towns(), [500, 400, 0, 0, 0, 300])
        assert table.rows == (("f", 2.0), ("m", 1.0))

    def test_the_threshold_itself_is_enough(self) -> None:
        assert answer(over_towns(), [T, T - made.STEP, 0, 0, 0, 0]).rows[0] == ("f", 1.0)

    def test_keys_may_stand_on_either_side_of_the_counted_one(self) -> None:
        by_town = over_towns(1, values(), sets=[[1]])
        assert answer(by_town, [500, 0, 500, 0, 0, 500]).rows == (("x", 1.0), ("y", 0.0), ("z", 2.0))

    def test_without_other_keys_there_is_one_row(self) -> None:
        assert answer(over_towns(values(), sets=[[]]), [500, 0, 500, 500, 0, 0]).rows == ((3.0,),)

    def test_units_of_several_values_do_not_add_up_to_one_value(self) -> None:
        table = answer(over_towns(), [0.9 * T] * 6)
        assert [row[1] for row in table.rows] == [0.0, 0.0]

    def test_what_adds_up_still_does_beside_it(self) -> None:
        table = answer(over_towns(values(), made.count(1)), [500, 500, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6])
        assert table.rows == ((2.0, 6.0), (0.0, 15.0))

    def test_it_is_a_number_for_arithmetic_having_and_order(self) -> None:
        plan = over_towns(0, formula("MULTIPLY", values(), 10))
        plan.presentation.having.CopyFrom(formula("GREATER", values(), 1))
        plan.presentation.order_by.add(formula=formula("NEGATE", values()))
        table = answer(plan, [500, 500, 0, 500, 500, 500])
        assert table.rows == (("m", 30.0), ("f", 20.0))
        plan.presentation.having.operation.operands[1].constant = 2
        assert answer(plan, [500, 500, 0, 500, 500, 500]).rows == (("m", 30.0),)

    def test_an_interval_goes_through_arithmetic(self) -> None:
        units = [500, T + 5, T - 5, 0, 0, 0]
        (plain, _), (times, _) = (
            answer(over_towns(shown), units).intervals for shown in (values(), formula("MULTIPLY", values(), 10))
        )
        assert plain == ((1.0, 3.0),)
        assert times == ((10.0, 30.0),)

    def test_the_noise_is_that_of_a_cell_and_not_of_a_total(self) -> None:
        near, far = T - (FAR - 0.1) * ERROR, T - (FAR + 0.1) * ERROR
        # The other two towns are beyond doubt.
        assert answer(over_towns(), [near, -1e3, -1e3, 0, 0, 0]).intervals[0][1] == (0.0, 1.0)
        assert answer(over_towns(), [far, -1e3, -1e3, 0, 0, 0]).intervals[0][1] == (0.0, 0.0)


class TestAPreview:
    def test_names_the_kind_and_says_that_the_error_depends_on_the_data(self) -> None:
        plan = over_towns()
        assert [column.kind for column in columns_of(plan)] == ["key", "distinct_values"]
        forecast = predicted_errors(plan)
        assert forecast.std_errors == ((None, None), (None, None))
        assert average_sentences(forecast) == ["c1: ± depends on the data; the answer tells it"]


WRONG: dict[str, Callable[[], Plan]] = {
    "no grouping set": lambda: over_towns(sets=[]),
    "a set of all keys": lambda: over_towns(sets=[[0, 1]]),
    "two sets": lambda: over_towns(sets=[[0], []]),
    "a count of rows": lambda: over_towns(values(1)),
    "a statistic that is not there": lambda: over_towns(values(2)),
    "no threshold": lambda: over_towns(values(0, 0.0)),
    "a threshold below 0": lambda: over_towns(values(0, -1.0)),
    "a threshold of NaN": lambda: over_towns(values(0, math.nan)),
    "an infinite threshold": lambda: over_towns(values(0, math.inf)),
    "units added up over values": lambda: over_towns(made.count(0)),
}


@pytest.mark.parametrize("made_up", WRONG.values(), ids=WRONG.keys())
def test_a_plan_that_cannot_mean_it_is_not_read(made_up: Callable[[], Plan]) -> None:
    with pytest.raises(PlanError):
        check_readable(made_up())


def test_a_plan_of_many_rows_and_values_can_be_read() -> None:
    """Each row goes through its own values only."""
    plan = made.plan([made.units()], [values()], keys=[[str(number) for number in range(300)]] * 2, sets=[[0]])
    check_readable(plan)


SCENES: dict[str, list[float]] = {
    "all at the threshold": [T] * 60,
    "all just below it": [T - 1e-9] * 60,
    "half at it and half just below": [T] * 30 + [T - 1e-9] * 30,
    "at it, among values that nobody has": [T] * 20 + [0.0] * 200,
    "just below it, among common values": [T - 1e-9] * 20 + [1000.0] * 200,
    "one at it": [T] + [0.0] * 20,
    "near it on both sides": [T + DEVIATION] * 10 + [T - DEVIATION] * 10,
    "a long tail": [1000 / rank for rank in range(1, 200)],
    "clear on both sides": [300.0] * 40 + [0.0] * 60,
}


@pytest.mark.parametrize("counts", SCENES.values(), ids=SCENES.keys())
def test_intervals_hold_in_95_of_100_trials_or_more(counts: list[float]) -> None:
    """Each end is missed in 2.5 %: where all lie at the threshold, that is exact for one end."""
    draw, trials = random.Random(7), 400
    truth, low, high = sum(count >= T for count in counts), 0, 0
    for _ in range(trials):
        ends = values_held([count + draw.gauss(0, DEVIATION) for count in counts], T, DEVIATION).interval
        low += ends[0] <= truth
        high += truth <= ends[1]
    assert min(low, high) / trials >= 0.955


def test_one_end_is_missed_about_as_often_as_it_may_be_in_the_hardest_case() -> None:
    """So the interval is not wider than the claim needs."""
    draw, trials = random.Random(8), 1500
    held = sum(
        values_held([T + draw.gauss(0, DEVIATION) for _ in range(30)], T, DEVIATION).interval[1] >= 30
        for _ in range(trials)
    )
    assert held / trials == pytest.approx(0.976, abs=0.012)


@given(st.lists(st.tuples(st.booleans(), st.floats(FAR, 50)), max_size=30))
def test_values_far_from_the_threshold_are_told_for_sure(sides: list[tuple[bool, float]]) -> None:
    units = [T + (distance if above else -distance) * DEVIATION for above, distance in sides]
    above = float(sum(above for above, _ in sides))
    assert values_held(units, T, DEVIATION) == (above, 0.0, (above, above))


units_lists = st.lists(st.floats(-100, 300), max_size=30)


@given(units_lists, st.floats(0, 50), st.randoms())
def test_the_value_lies_in_the_interval_and_no_order_matters(
    units: list[float], deviation: float, shuffle: random.Random
) -> None:
    found = values_held(units, T, deviation)
    low, high = found.interval
    assert 0 <= low <= found.value <= high <= len(units)
    assert found.std_error == pytest.approx((high - low) / 2 / 1.96, rel=1e-3)
    shuffle.shuffle(units)
    assert values_held(units, T, deviation) == found


@given(units_lists)
def test_more_noise_is_never_more_certain(units: list[float]) -> None:
    (low, high), (lower, higher) = (values_held(units, T, deviation).interval for deviation in (5.0, 10.0))
    assert lower <= low <= high <= higher


@pytest.mark.parametrize("count", [*range(1, 40), 100, 1000, 10_000])
def test_the_quantile_of_a_sum_of_exponentials_errs_on_the_safe_side_by_little(count: int) -> None:
    """Exactly: P(sum > x) is the chance of fewer than `count` events where x are expected."""
    quantile = sum_quantile(count)
    terms = (math.exp(event * math.log(quantile) - quantile - math.lgamma(event + 1)) for event in range(count))
    assert 0.0238 <= math.fsum(terms) <= 0.025
