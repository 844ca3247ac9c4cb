"""What a step of training takes from units: a drawn table, one vector, its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.model_vectors import width
from yingbi.api.v1.plan_pb2 import GeneralizedLinear, ModelVector, NearestCentre, SecondMoments, Statistic

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.models import unit_vectors
from enclave_sim.engine.models.unit_vectors import clipped_sum
from enclave_sim.engine.protocol import Cancelled, Engine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import cells, drawn, plan
from .expressions import compare, operand

FAR = 1 << 24
ROWS = drawn("""
    unit | x:float64 | y:float64
    0    | 0.5       | 1.0
    1    | -1.0      | 0.0
    1    | 0.0       | 1.0
    1    | NULL      | 1.0
    2    | nan       | 0.0
    3    | inf       | 1.0
""")
GRID = 1 << 16


def moments(norm: int = FAR, *, products: bool = False) -> Statistic:
    terms = [operand("x:float64"), operand("y:float64")]
    vector = ModelVector(terms=terms, max_norm=norm, second_moments=SecondMoments(products=products))
    return Statistic(model_vector=vector)


def linear(
    family: GeneralizedLinear.Family.ValueType, theta: Sequence[float], norm: int = FAR, **more: float
) -> Statistic:
    classes = 3 if family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT else 0
    model = GeneralizedLinear(
        family=family,
        classes=classes,
        parameters=theta,
        transform=[1, 0, 0, 2],
        max_length=more.get("max_length", math.inf),
        max_residual=more.get("max_residual", math.inf),
        max_exponent=more.get("max_exponent", 30),
    )
    terms = [operand("x:float64"), operand("y:float64")]
    return Statistic(model_vector=ModelVector(terms=terms, max_norm=norm, generalized_linear=model))


def around(centres: Sequence[float], max_distance: float = 2.0) -> Statistic:
    terms = [operand("x:float64"), operand("y:float64")]
    own = NearestCentre(centres=centres, max_distance=max_distance)
    return Statistic(model_vector=ModelVector(terms=terms, max_norm=FAR, nearest_centre=own))


def test_a_row_is_counted_at_its_nearest_centre_with_the_way_to_it(engine: Engine) -> None:
    """(0.5, 1) is (0.5, 1) from (0, 0) and further from (9, 9); |(0.5, 1)|² = 1.25, over 4."""
    asked = plan(around([9, 9, 0, 0]), where=compare("x:float64", "=", 0.5), fraction_bits=16)
    expected = [0, 0, 0, 0, 0.5, 0.25, 0.5, 1.25 / 16]
    assert cells(engine, ROWS, asked) == [pytest.approx(part * GRID, abs=1) for part in expected]


def test_a_row_that_is_further_than_the_distance_counts_as_if_it_were_there(engine: Engine) -> None:
    asked = plan(around([0, 0], 0.5), where=compare("x:float64", "=", 0.5), fraction_bits=16)
    expected = [0.5, 0.5 / math.sqrt(1.25), 1 / math.sqrt(1.25), 0.25]
    assert cells(engine, ROWS, asked) == [pytest.approx(part * GRID, abs=1) for part in expected]


def test_of_centres_that_are_equally_near_the_first_has_the_row(engine: Engine) -> None:
    asked = plan(around([0.5, 0, 0.5, 2]), where=compare("x:float64", "=", 0.5), fraction_bits=4)
    assert cells(engine, ROWS, asked) == [8, 0, 8, 1, 0, 0, 0, 0]


def test_a_units_vector_is_the_mean_over_its_rows_without_null(engine: Engine) -> None:
    """Of unit 1 the mean of (-1, 0) and (0, 1); unit 3 has an infinite x, which counts as 0."""
    assert cells(engine, ROWS, plan(moments(), fraction_bits=4)) == [48, 0, 16 + 8 + 16, 4 + 8, 16 + 8 + 16]


def test_products_of_a_row_are_times_seven_and_its_squares_times_five(engine: Engine) -> None:
    found = cells(engine, ROWS, plan(moments(products=True), where=compare("x:float64", "=", 0.5), fraction_bits=16))
    assert found == [part * GRID for part in (5, 3.5, 7, 1.25, 3.5, 5)]


def test_products_are_the_mean_over_a_units_rows_and_cut_by_their_squares(engine: Engine) -> None:
    """(1, -1, 0) and (1, 0, 1) have a mean square of 2, and the root of a half is 181 steps of 2^-8."""
    own = compare("x:float64", "<", 0.25)
    found = cells(engine, ROWS, plan(moments(products=True), where=own, fraction_bits=16))
    assert found == [pytest.approx(part * GRID, rel=2e-3) for part in (5, -3.5, 3.5, 2.5, 0, 2.5)]
    found = cells(engine, ROWS, plan(moments(5 * GRID, products=True), where=own, fraction_bits=16))
    assert found == [pytest.approx(part * GRID, rel=0.01) for part in (2.5, -1.75, 1.75, 1.25, 0, 1.25)]
    assert max(found) <= 2.5 * GRID


def test_products_of_a_hundred_rows_are_their_mean(engine: Engine) -> None:
    table = drawn("\n".join(["unit | x:float64 | y:float64", *(f"0 | {row / 128} | 1.0" for row in range(100))]))
    found = cells(engine, table, plan(moments(products=True), fraction_bits=16))
    xs = [row / 128 for row in range(100)]
    mean, square = sum(xs) / 100, sum(x * x for x in xs) / 100
    assert found == [pytest.approx(part * GRID, abs=2) for part in (5, 7 * mean, 7, 5 * square, 7 * mean, 5)]


def test_a_long_vector_is_cut_to_the_norm(engine: Engine) -> None:
    """(1, 0.5, 1, 0.25, 1) has a squared length of 3.3125."""
    found = cells(engine, ROWS, plan(moments(GRID), where=compare("x:float64", "=", 0.5), fraction_bits=16))
    assert found == [pytest.approx(part * GRID / math.sqrt(3.3125), abs=1) for part in (1, 0.5, 1, 0.25, 1)]


def test_a_logistic_gradient_is_the_residual_times_the_transformed_regressors(engine: Engine) -> None:
    """x = (1, 2 · 0.5), theta x = 0.7, and y = 1."""
    asked = linear(GeneralizedLinear.FAMILY_BERNOULLI_LOGIT, [0.2, 0.5])
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    residual = 1 / (1 + math.exp(-0.7)) - 1
    assert found == [pytest.approx(residual * GRID, abs=1)] * 2


def test_a_poisson_mean_and_a_residual_are_cut(engine: Engine) -> None:
    own = compare("x:float64", "=", 0.5)
    free = linear(GeneralizedLinear.FAMILY_POISSON_LOG, [0.0, 100.0], max_exponent=1.5)
    assert cells(engine, ROWS, plan(free, where=own, fraction_bits=16))[0] == pytest.approx(
        (math.exp(1.5) - 1) * GRID, abs=1
    )
    cut = linear(GeneralizedLinear.FAMILY_POISSON_LOG, [0.0, 100.0], max_residual=2)
    assert cells(engine, ROWS, plan(cut, where=own, fraction_bits=16)) == [2 * GRID, 2 * GRID]


def test_a_multinomial_has_a_gradient_for_each_class_but_the_first(engine: Engine) -> None:
    asked = linear(GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT, [0.0, 1.0, 0.0, 0.0])
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    one = math.e / (math.e + 2)
    parts = [one - 1, one - 1, 1 / (math.e + 2), 1 / (math.e + 2)]
    assert found == [pytest.approx(part * GRID, abs=1) for part in parts]


def test_a_row_further_out_than_max_length_weighs_less_by_its_regressors_alone(engine: Engine) -> None:
    asked = linear(GeneralizedLinear.FAMILY_IDENTITY, [0.0, 0.0], max_length=1.0)
    found = cells(engine, ROWS, plan(asked, where=compare("x:float64", "=", 0.5), fraction_bits=16))
    assert found == [pytest.approx(-GRID / math.sqrt(2), abs=1)] * 2


def test_a_residual_of_a_class_is_weighed_as_if_its_response_were_the_least_likely(engine: Engine) -> None:
    """So that the weight depends on no response, and expected gradients stay 0 where the model holds."""
    own = compare("x:float64", "=", 0.5)
    asked = linear(GeneralizedLinear.FAMILY_BERNOULLI_LOGIT, [2.0, 0.0], max_residual=0.5)
    chance = 1 / (1 + math.exp(-2))
    found = cells(engine, ROWS, plan(asked, where=own, fraction_bits=16))
    assert found == [pytest.approx((chance - 1) * 0.5 / chance * GRID, abs=1)] * 2
    thirds = linear(GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT, [0.0] * 4, max_residual=0.5)
    found = cells(engine, ROWS, plan(thirds, where=own, fraction_bits=16))
    weight = 0.5 / math.hypot(2 / 3, 1 / 3)
    assert found == [pytest.approx(part * weight * GRID, abs=1) for part in (-2 / 3, -2 / 3, 1 / 3, 1 / 3)]


@pytest.mark.parametrize("rows_of_a_unit", [1, 3, 100_000])
@pytest.mark.parametrize(
    "asked",
    [moments(), moments(products=True), around([9, 9, 0, 0]), linear(GeneralizedLinear.FAMILY_IDENTITY, [0.0, 0.0])],
)
def test_a_round_is_asked_whether_it_was_cancelled_before_every_chunk(asked: Statistic, rows_of_a_unit: int) -> None:
    """However many rows a unit has: all of a part would be minutes of a wide vector."""
    rows, asks = 100_000, 0

    def cancelled() -> bool:
        nonlocal asks
        asks += 1
        return asks == 2

    units, numbers = np.arange(rows) // rows_of_a_unit, np.zeros(rows)
    with pytest.raises(Cancelled):
        clipped_sum(asked.model_vector, 16, units, [numbers, numbers], np.ones(rows, bool), cancelled)
    assert asks == 2


def test_an_engine_stops_in_the_middle_of_a_part() -> None:
    """Two workers' first asks are before their parts; the table is one part."""
    rows, asks = 20_000, 0

    def cancelled() -> bool:
        nonlocal asks
        asks += 1
        return asks > 6

    numbers = pa.array(np.zeros(rows))
    table = pa.table({UNIT_COLUMN: pa.array(np.arange(rows)), "x": numbers, "y": numbers})
    asked = plan(moments(products=True), fraction_bits=16)
    with pytest.raises(Cancelled):
        DuckDBEngine().contribution(asked, lambda _, names: table.select(list(names)), cancelled)


NUMBERS = st.one_of(st.floats(-3, 3), st.sampled_from([-0.0, 1e308, -1e300, math.inf, math.nan, 5e-324]), st.none())
KINDS = [
    moments(3 * GRID),
    moments(products=True),
    moments(11 * GRID, products=True),
    around([0.3, -1.0, 0.0, 2.0, -1e308, 1e308]),
    around([0.0, 0.0, 0.25, -0.25], 1e-9),
    *(
        linear(family, theta, norm, max_length=2, max_residual=5)
        for family, theta in [
            (GeneralizedLinear.FAMILY_BERNOULLI_LOGIT, [0.3, -1.0]),
            (GeneralizedLinear.FAMILY_POISSON_LOG, [0.3, -1.0]),
            (GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT, [0.3, -1.0, 0.0, 2.0]),
            (GeneralizedLinear.FAMILY_IDENTITY, [1e308, -1e308]),
        ]
        for norm in (FAR, GRID // 3)
    ),
]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 4), NUMBERS, NUMBERS), min_size=1, max_size=12),
    st.sampled_from(KINDS),
    st.sampled_from([2, 1 << 16]),
)
def test_both_engines_say_the_same_to_a_step_for_each_unit(
    rows: list[tuple[int, float | None, float | None]], asked: Statistic, chunk: int
) -> None:
    """However many rows a unit has beside how many are worked on at a time. Of huge numbers the last digits differ."""
    shown = [f"{unit} | {_cell(x)} | {_cell(y)}" for unit, x, y in sorted(rows, key=lambda row: row[0])]
    table = drawn("\n".join(["unit | x:float64 | y:float64", *shown]))
    wanted = plan(asked, fraction_bits=16)
    before, unit_vectors._CHUNK_NUMBERS = unit_vectors._CHUNK_NUMBERS, chunk
    try:
        found = cells(DuckDBEngine(), table, wanted)
    finally:
        unit_vectors._CHUNK_NUMBERS = before
    units = len({unit for unit, _, _ in rows})
    for left, right in zip(found, cells(ReferenceEngine(), table, wanted), strict=True):
        assert abs(left - right) <= 2 * units


def _cell(value: float | None) -> str:
    return "NULL" if value is None else repr(value)


@pytest.mark.parametrize("asked", KINDS)
def test_a_vector_is_as_long_as_the_message_says(engine: Engine, asked: Statistic) -> None:
    assert len(cells(engine, ROWS, plan(asked, fraction_bits=16))) == width(asked.model_vector)
