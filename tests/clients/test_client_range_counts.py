"""Counts of ranges read off one noisy tree: unbiased, as sure as they say, and dependent as they are."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import made_plans as made  # type: ignore[import-not-found]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import formula, grid
from yingbi.answer import PlanError, Table, columns_of, table_of
from yingbi.api.range_tree import range_noise, range_variance
from yingbi.api.v1.plan_pb2 import Formula, Measure, Plan
from yingbi.forecasts import predicted_errors
from yingbi.quantiles import Tree, consistent_leaves

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
SHAPES = [(2, 1), (7, 1), (2, 4), (3, 2), (4, 3), (6, 2)]
shapes = st.sampled_from(SHAPES)
LOW, MIDDLE, ALL = made.range_count(0, 0, 5), made.range_count(0, 3, 11), made.range_count(0, 0, 16)


def width(branching: int, levels: int) -> int:
    return sum(branching**level for level in range(1, levels + 1))


def ranges_of(leaves: int) -> st.SearchStrategy[tuple[int, int]]:
    ends = st.lists(st.integers(0, leaves), min_size=2, max_size=2, unique=True).map(sorted)
    return ends.map(lambda both: (both[0], both[1]))


def estimated(shape: tuple[int, int], first: int, end: int) -> list[float]:
    """The estimate is linear: what one more in each node adds to the range."""
    tree, size = Tree(0, 1, *shape), width(*shape)
    return [
        sum(consistent_leaves(tree, [float(place == node) for place in range(size)])[first:end]) for node in range(size)
    ]


def nodes_of(leaves: Sequence[float], branching: int) -> list[float]:
    levels = [list(leaves)]
    while len(levels[-1]) > branching:
        last = levels[-1]
        levels.append([sum(last[place : place + branching]) for place in range(0, len(last), branching)])
    return [count for level in reversed(levels) for count in level]


@settings(max_examples=60)
@given(shapes, st.data())
def test_the_covariance_of_two_ranges_is_that_of_the_least_squares_estimates(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    first, second = (data.draw(ranges_of(shape[0] ** shape[1])) for _ in range(2))
    exact = math.fsum(x * y for x, y in zip(estimated(shape, *first), estimated(shape, *second), strict=True))
    ours, theirs = range_noise(*shape, *first), range_noise(*shape, *second)
    told = math.fsum(part * theirs.get(source, 0.0) for source, part in ours.items())
    assert told == pytest.approx(exact, abs=1e-9)


@given(shapes, st.data())
def test_few_sources_say_it(shape: tuple[int, int], data: st.DataObject) -> None:
    branching, levels = shape
    parts = range_noise(branching, levels, *data.draw(ranges_of(branching**levels)))
    assert len(parts) <= branching * (2 * levels - 1)
    assert all(0 <= source < width(branching, levels) for source in parts)


@given(st.integers(2, 200), st.data())
def test_of_a_flat_table_each_leaf_is_a_count(leaves: int, data: st.DataObject) -> None:
    first, end = data.draw(ranges_of(leaves))
    assert range_variance(leaves, 1, first, end) == pytest.approx(end - first)


def test_all_leaves_of_a_tree_are_surer_than_its_first_level_alone() -> None:
    assert range_variance(4, 3, 0, 64) < range_variance(4, 1, 0, 4)


def answer(shown: Sequence[Formula | Measure], leaves: Sequence[float], noise: random.Random | None = None) -> Table:
    cells = grid(*nodes_of(leaves, 4))
    deviation = math.sqrt(made.PARTIES) * made.SIGMA
    drawn = [cell + round(noise.gauss(0, deviation)) if noise else cell for cell in cells]
    return table_of(made.plan([made.ranges()], shown), drawn)


def test_without_noise_the_leaves_are_added_up() -> None:
    leaves = [float(place**2) for place in range(16)]
    row = answer([LOW, MIDDLE, ALL], leaves).rows[0]
    assert row == pytest.approx((sum(leaves[:5]), sum(leaves[3:11]), sum(leaves)))


def test_estimates_are_unbiased_and_as_sure_as_they_say() -> None:
    """Of ranges, and of what is computed of several that overlap."""
    shown = [
        LOW, MIDDLE, ALL, formula("SUBTRACT", LOW, MIDDLE), formula("ADD", LOW, MIDDLE), formula("DIVIDE", LOW, ALL)
    ]  # fmt: skip
    leaves, draw, trials = [400.0 + 37 * place for place in range(16)], random.Random("ranges"), 1500
    exact = answer(shown, leaves).rows[0]
    tables = [answer(shown, leaves, draw) for _ in range(trials)]
    for column, true in enumerate(exact):
        values = [float(table.rows[0][column]) for table in tables]  # type: ignore[arg-type]
        mean = sum(values) / trials
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (trials - 1))
        told = tables[0].std_errors[0][column]
        assert told is not None
        assert isinstance(true, float)
        # Five standard errors of a mean and of a standard deviation.
        assert abs(mean - true) <= 5 * deviation / math.sqrt(trials)
        assert deviation == pytest.approx(told, rel=5 / math.sqrt(2 * trials) + 0.02)
        held = sum(low <= true <= high for low, high in (table.intervals[0][column] or (0, 0) for table in tables))
        assert abs(held / trials - 0.95) <= 5 * math.sqrt(0.95 * 0.05 / trials)


def test_ranges_add_up_in_the_answer_and_in_its_errors() -> None:
    """The sum of disjoint ranges is the range of both: the same number, and as sure."""
    both = formula("ADD", made.range_count(0, 2, 7), made.range_count(0, 7, 12))
    table = answer([both, made.range_count(0, 2, 12)], [5.0] * 16, random.Random(1))
    assert table.rows[0][0] == pytest.approx(table.rows[0][1])
    assert table.std_errors[0][0] == pytest.approx(table.std_errors[0][1])
    assert answer([formula("SUBTRACT", both, both)], [5.0] * 16).std_errors[0][0] == pytest.approx(0, abs=1e-9)


def test_totals_over_groups_have_the_noise_of_all_of_them() -> None:
    plan = made.plan([made.ranges(3, 1)], [made.range_count(0, 0, 2)], keys=["abcd"], sets=[[0], []])
    table = table_of(plan, grid(*[1, 2, 3] * 4))
    assert [row[0] for row in table.rows] == pytest.approx([3] * 4 + [12])
    assert [row[0] for row in table.std_errors] == pytest.approx([ERROR * 2**0.5] * 4 + [ERROR * 8**0.5])


def test_errors_are_foretold_exactly() -> None:
    plan = made.plan([made.ranges()], [LOW, formula("SUBTRACT", ALL, MIDDLE), formula("DIVIDE", LOW, ALL)])
    cells = grid(*nodes_of([625.0] * 16, 4))
    foreseen, actual = predicted_errors(plan), table_of(plan, cells)
    assert foreseen.std_errors[0][:2] == actual.std_errors[0][:2]
    by_size = {entry.rows: entry.std_error for entry in foreseen.average_errors}
    assert by_size[10_000] == pytest.approx(actual.std_errors[0][2])


def test_a_count_of_a_range_is_a_count() -> None:
    assert [column.kind for column in columns_of(made.plan([made.ranges()], [LOW]))] == ["count"]


def test_beside_a_quantile_of_the_same_tree_errors_are_added() -> None:
    """How the two depend on each other is not known: the error is what it is at most."""
    median = made.quantile(0, 0.5)
    scaled = formula("MULTIPLY", median, 100)
    leaves = [500.0] * 16
    together, one, other = answer([formula("ADD", scaled, LOW), scaled, LOW], leaves).std_errors[0]
    assert one is not None
    assert other is not None
    assert together == pytest.approx(one + other)


def test_beside_a_statistic_of_its_own_errors_are_independent() -> None:
    plan = made.plan([made.rows(), made.ranges(2, 1)], [formula("ADD", made.count(0), made.range_count(1, 0, 2))])
    assert table_of(plan, grid(9, 1, 2)).std_errors[0][0] == pytest.approx(ERROR * 3**0.5)


@pytest.mark.parametrize(
    "measure",
    [
        made.range_count(0, 4, 4),
        made.range_count(0, 5, 4),
        made.range_count(0, 0, 17),
        made.range_count(0, 2**32 - 1, 2**32 - 1),
        made.range_count(1, 0, 1),
        made.range_count(2, 0, 1),
    ],
)
def test_a_range_that_is_not_there_is_no_answer(measure: Measure) -> None:
    with pytest.raises(PlanError):
        table_of(made.plan([made.ranges(), made.rows()], [measure]), [0] * 21)


def forged(ranges: int) -> Plan:
    """Adds up so many ranges of a tree with many leaves."""
    wide = formula("ADD", *(made.range_count(0, 0, 1000 + place) for place in range(ranges)))
    plan: Plan = made.plan([made.ranges(10_000, 1)], [wide])
    return plan


def test_what_would_take_too_long_to_add_up_is_refused() -> None:
    assert table_of(forged(10), [0] * 10_000).rows == ((0.0,),)
    with pytest.raises(PlanError, match="too large"):
        table_of(forged(1000), [0] * 10_000)
