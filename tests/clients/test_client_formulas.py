"""Formulas carry their noise: errors are derivatives, intervals hold, and NULL goes through."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import made_plans as made  # type: ignore[import-not-found]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import formula, grid
from yingbi.answer import Table, table_of
from yingbi.api.v1.plan_pb2 import Formula, Measure
from yingbi.uncertain import Linear, Ratio, Source, Z, add, affine, deviation, divide, interval, ratio_interval

ERROR = math.sqrt(made.PARTIES) * made.SIGMA * made.STEP
ROWS, TOTAL, SQUARES = 0, 1, 2
STATISTICS = [made.rows(), made.total(-50, 50), made.total(-1, 1)]
COUNT, SUM, SMALL = made.count(ROWS), made.sum_of(TOTAL), made.sum_of(SQUARES)

numbers = st.floats(-1e4, 1e4).map(lambda number: round(number, 3))


def answer(shown: Formula | Measure, *cells: float) -> Table:
    return table_of(made.plan(STATISTICS, [shown]), grid(*cells))


def value(shown: Formula | Measure, *cells: float) -> object:
    return answer(shown, *cells).rows[0][0]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formula("ADD", COUNT, 5), 105),
        (formula("SUBTRACT", COUNT, SUM), -100),
        (formula("MULTIPLY", COUNT, COUNT), 10_000),
        (formula("DIVIDE", SUM, COUNT), 2),
        (formula("NEGATE", COUNT), -100),
        (formula("ABSOLUTE", formula("NEGATE", COUNT)), 100),
        (formula("SQUARE_ROOT", COUNT), 10),
        (formula("LEAST", COUNT, SUM, 7), 7),
        (formula("GREATEST", COUNT, SUM, 7), 200),
        (formula("DIVIDE", 49, 49), 1),
        (formula("DIVIDE", COUNT, 0), None),
        (formula("DIVIDE", COUNT, formula("SUBTRACT", SUM, SUM)), None),
        (formula("SQUARE_ROOT", -4), None),
        (formula("SQUARE_ROOT", formula("NEGATE", COUNT)), None),
        (formula("ADD", COUNT, formula("DIVIDE", 1, 0)), None),
        (formula("LEAST", COUNT, formula("DIVIDE", 1, 0)), None),
        (formula("MULTIPLY", 1e308, formula("MULTIPLY", COUNT, 1e308)), None),
        (formula("ADD", made.mean(TOTAL, ROWS), 1), 3),
    ],
)
def test_arithmetic(shown: Formula, expected: float | None) -> None:
    assert value(shown, 100, 4, 0) == expected


def test_null_has_neither_error_nor_interval() -> None:
    table = answer(formula("DIVIDE", COUNT, 0), 100, 4, 0)
    assert table.std_errors[0][0] is None
    assert table.intervals[0][0] is None


def test_cells_that_are_shared_cancel() -> None:
    """2n - n is n, as sure as n itself; n - n is 0 for sure."""
    double = formula("SUBTRACT", formula("MULTIPLY", COUNT, 2), COUNT)
    assert answer(double, 100, 0, 0).std_errors[0][0] == pytest.approx(ERROR)
    assert answer(formula("SUBTRACT", COUNT, COUNT), 100, 0, 0).std_errors[0][0] == 0


def test_a_mean_may_be_written_as_a_ratio() -> None:
    statistics = [made.non_null(), made.total(0, 100)]
    shown = [made.mean(1, 0), formula("DIVIDE", made.sum_of(1, 0), made.count(0))]
    table = table_of(made.plan(statistics, shown), grid(900, 100))
    for line in (table.rows, table.std_errors):
        assert line[0][0] == pytest.approx(line[0][1])
    assert table.intervals[0][0] == pytest.approx(table.intervals[0][1])


def test_a_ratio_that_is_scaled_and_shifted_keeps_its_interval() -> None:
    """Fieller's set, not the first order of it."""
    plain = answer(formula("DIVIDE", SUM, COUNT), 120, 40, 0).intervals[0][0]
    scaled = answer(
        formula("SUBTRACT", 3, formula("MULTIPLY", 2, formula("DIVIDE", SUM, COUNT))), 120, 40, 0
    ).intervals[0][0]
    assert plain is not None
    assert scaled == pytest.approx((3 - 2 * plain[1], 3 - 2 * plain[0]))


def test_dividing_by_what_may_be_0_has_no_interval() -> None:
    for shown in (formula("DIVIDE", SUM, COUNT), formula("DIVIDE", SUM, formula("SQUARE_ROOT", COUNT))):
        table = answer(shown, 5, 40, 0)
        assert table.rows[0][0] is not None
        assert table.std_errors[0][0] is None
        assert table.intervals[0][0] is None


def test_roots_and_absolute_values_take_the_image_of_an_interval() -> None:
    table = answer(formula("SQUARE_ROOT", COUNT), 20, 0, 0)
    assert table.intervals[0][0] == pytest.approx((0, math.sqrt(20 + Z * ERROR)))
    table = answer(formula("ABSOLUTE", COUNT), -10, 0, 0)
    assert table.intervals[0][0] == pytest.approx((0, 10 + Z * ERROR))


def test_a_variance_that_noise_took_below_0_is_not_0_for_sure() -> None:
    table = answer(formula("GREATEST", COUNT, 0), -3, 0, 0)
    assert table.rows[0][0] == 0
    assert table.std_errors[0][0] == pytest.approx(ERROR)
    assert table.intervals[0][0] == pytest.approx((0, -3 + Z * ERROR))
    far = answer(formula("GREATEST", COUNT, 0), -3000, 0, 0)
    assert far.std_errors[0][0] == 0


def test_two_quantiles_of_one_tree_add_their_errors_at_most() -> None:
    low, high = made.quantile(0, 0.25), made.quantile(0, 0.75)
    plan = made.plan([made.ranges(), made.rows()], [low, high, formula("SUBTRACT", high, low)])
    nodes = [*[400.0] * 4, *[100.0] * 16]
    table = table_of(plan, grid(*nodes, 1600))
    first, second, span = table.std_errors[0]
    assert table.rows[0] == pytest.approx((4, 12, 8))
    assert first is not None
    assert second is not None
    assert span == pytest.approx(first + second)


def smooth(cells: Sequence[float]) -> float:
    n, s, t = cells
    return abs(50 * s / n - t * n / 1e3) / (n + 2 * t) + math.sqrt(n)


_GAP = formula("SUBTRACT", formula("DIVIDE", SUM, COUNT), formula("MULTIPLY", SMALL, formula("DIVIDE", COUNT, 1e3)))
_SHARE = formula("DIVIDE", formula("ABSOLUTE", _GAP), formula("ADD", COUNT, formula("MULTIPLY", 2, SMALL)))
SMOOTH = formula("ADD", _SHARE, formula("SQUARE_ROOT", COUNT))


@given(st.tuples(st.floats(2e3, 1e5), st.floats(-1e4, 1e4), st.floats(-500, 500)))
def test_errors_are_those_of_finite_differences(cells: tuple[float, float, float]) -> None:
    cells = tuple(cell / made.STEP * made.STEP for cell in map(round, cells))
    table = answer(SMOOTH, *cells)
    assert table.rows[0][0] == pytest.approx(smooth(cells))
    slopes = []
    for index, cell in enumerate(cells):
        width = 1e-4 * max(1.0, abs(cell))
        up, down = list(cells), list(cells)
        up[index], down[index] = cell + width, cell - width
        slopes.append((smooth(up) - smooth(down)) / (2 * width))
    kink = abs(50 * cells[1] / cells[0] - cells[2] * cells[0] / 1e3)
    if kink > 1:
        assert table.std_errors[0][0] == pytest.approx(ERROR * math.hypot(*slopes), rel=1e-4)


@given(st.tuples(numbers, numbers, numbers), st.tuples(numbers, numbers, numbers), numbers)
def test_linear_formulas_are_exact(cells: tuple[float, ...], weights: tuple[float, ...], shift: float) -> None:
    parts = [formula("MULTIPLY", weight, cell) for weight, cell in zip(weights, (COUNT, SUM, SMALL), strict=True)]
    table = answer(formula("ADD", formula("ADD", formula("ADD", parts[0], parts[1]), parts[2]), shift), *cells)
    error = ERROR * math.hypot(weights[0], 50 * weights[1], weights[2])
    found, ends = table.rows[0][0], table.intervals[0][0]
    assert isinstance(found, float)
    assert table.std_errors[0][0] == pytest.approx(error)
    assert ends == pytest.approx((found - Z * error, found + Z * error))


@settings(max_examples=50)
@given(numbers, st.floats(50, 1e4), st.floats(0.1, 9), st.floats(0.1, 9), st.floats(-5, 5))
def test_the_ratio_interval_solves_its_own_equation(
    b: float, n: float, own: float, below: float, shared: float
) -> None:
    """With noise that numerator and denominator share, too."""
    top = Linear(b, {Source(0): own, Source(1): shared})
    bottom = Linear(n, {Source(1): below})
    ends = ratio_interval(top, bottom)
    assert ends is not None
    assert ends[0] <= b / n <= ends[1]
    for end in ends:
        spread = Z * deviation({Source(0): own, Source(1): shared - end * below})
        assert abs(b - end * n) == pytest.approx(spread, rel=1e-6, abs=1e-6)


def test_ratios_over_one_count_add_up_to_a_ratio() -> None:
    count = Linear(90.0, {Source(0): 9.0})
    first, second = divide(Linear(30.0, {Source(1): 5.0}), count), divide(Linear(50.0, {Source(2): 5.0}), count)
    assert isinstance(first, Ratio)
    assert isinstance(second, Ratio)
    both = divide(Linear(80.0, {Source(1): 5.0, Source(2): 5.0}), count)
    assert both is not None
    assert interval(add(first, second)) == pytest.approx(interval(both))
    assert interval(affine(first, 0, 4)) == (4, 4)


COVERED: dict[str, tuple[Formula | Measure, tuple[float, float]]] = {
    "count": (COUNT, (0.94, 0.96)),
    "sum": (SUM, (0.94, 0.96)),
    "mean": (made.mean(TOTAL, ROWS), (0.94, 0.96)),
    "linear": (formula("SUBTRACT", SUM, formula("MULTIPLY", 20, COUNT)), (0.94, 0.96)),
    "ratio": (formula("DIVIDE", SUM, COUNT), (0.94, 0.96)),
    "shared": (formula("DIVIDE", formula("ADD", SUM, COUNT), formula("SUBTRACT", COUNT, SMALL)), (0.94, 0.96)),
    "root": (formula("SQUARE_ROOT", formula("DIVIDE", COUNT, 3)), (0.94, 0.96)),
    "product": (formula("MULTIPLY", COUNT, SUM), (0.94, 0.96)),
    "nested": (SMOOTH, (0.93, 0.97)),
}


@pytest.mark.parametrize("name", COVERED)
def test_intervals_hold_in_95_of_100_trials(name: str) -> None:
    shown, (low, high) = COVERED[name]
    draw = random.Random(7)
    held, trials = 0, 3000
    cells = (400.0, 90.0, 60.0)
    silent = made.plan(STATISTICS, [shown])
    for statistic in silent.statistics:
        statistic.sigma = 0
    exact = table_of(silent, grid(*cells)).rows[0][0]
    plan = made.plan(STATISTICS, [shown])
    for _ in range(trials):
        ends = table_of(plan, grid(*(cell + draw.gauss(0, ERROR) for cell in cells))).intervals[0][0]
        assert ends is not None
        held += ends[0] <= exact <= ends[1]  # type: ignore[operator]
    assert low < held / trials < high


@given(st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3))
def test_whatever_was_opened_gives_finite_numbers_or_none(opened: list[int]) -> None:
    plan = made.plan(STATISTICS, [shown for shown, _ in COVERED.values()])
    table = table_of(plan, opened)
    for found, ends, error in zip(table.rows[0], table.intervals[0], table.std_errors[0], strict=True):
        assert found is None or math.isfinite(found)  # type: ignore[arg-type]
        assert error is None or (math.isfinite(error) and error >= 0)
        if ends is not None:
            assert found is not None
            slack = 1e-9 * max(1.0, abs(found))  # type: ignore[arg-type]
            assert ends[0] - slack <= found <= ends[1] + slack  # type: ignore[operator]
