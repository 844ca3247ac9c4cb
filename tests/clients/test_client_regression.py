"""Coefficients from moments: least squares where there is no noise, and honest about it where there is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from yingbi.answer import PlanError, table_of
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Fit, Plan
from yingbi.forecasts import predicted_errors
from yingbi.linear_model import LinearModel, fitted_of
from yingbi.matrices import SingularError, eigenvalues, inverse
from yingbi.moments import Moments, exact_moments, expected_moments, pairs
from yingbi.regression import Regression, noise_bound, regression, regression_of

from gateway.planning.training import plan_training

Floats = NDArray[np.float64]
LOWER, UPPER = (-3.0, -1.0, 0.0), (5.0, 1.0, 40.0)
"""Of a, b and y."""


def plan(formula: str = "y ~ a + b", *, epsilon: float = 1.0, alpha: float | None = None) -> Plan:
    attribute = ColumnDeclaration.ROLE_ATTRIBUTE
    columns = [ColumnDeclaration(name="id", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)]
    columns += [
        ColumnDeclaration(name=name, type=COLUMN_TYPE_FLOAT64, role=attribute, lower=lower, upper=upper, required=True)
        for name, lower, upper in zip("aby", LOWER, UPPER, strict=True)
    ]
    declaration = DatasetDeclaration(
        dataset="clinic", grade=1, privacy_unit="id", max_units=100_000, units_disjoint=True,
        tables=[TableDeclaration(name="people", max_rows_per_unit=1, columns=columns)],
    )  # fmt: skip
    asked = TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula=formula, alpha=alpha)
    return plan_training(asked, declaration, dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=1e-7).plan


def people(units: int, seed: int, spread: float = 2.0) -> tuple[Floats, Floats]:
    """Rows (a, b), and y near 15 + 2a − 3b; everything is within bounds."""
    draw = np.random.default_rng(seed)
    rows = np.column_stack([draw.uniform(-3, 5, units), draw.uniform(-1, 1, units)])
    return rows, np.clip(15 + rows @ [2.0, -3.0] + draw.normal(0, spread, units), 0, 40)


def moments(of: Plan, rows: Floats, y: Floats) -> Moments:
    """Without noise in the values."""
    scaled = [np.ones(len(rows))]
    for column, values in zip(of.fit.columns, [*rows.T, y], strict=True):
        scaled.append((values - column.centre) / column.half_range)
    return exact_moments(of, {pair: float(scaled[pair[0]] @ scaled[pair[1]]) for pair in pairs(len(scaled))})


def silent(found: Moments) -> Moments:
    return replace(found, noise=())


def values(found: Regression) -> list[float]:
    return [each.value for each in found.coefficients]


def solved(rows: Floats, y: Floats) -> list[float]:
    design = np.column_stack([np.ones(len(rows)), rows])
    return [float(each) for each in np.linalg.lstsq(design, y)[0]]


# Small matrices.


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32), st.floats(0.01, 100))
def test_an_inverse_and_eigenvalues_are_numpys(size: int, seed: int, scale: float) -> None:
    root = np.random.default_rng(seed).normal(size=(size, size + 2)) * scale
    matrix = root @ root.T
    assume(np.linalg.cond(matrix) < 1e8)
    np.testing.assert_allclose(eigenvalues(matrix.tolist()), np.linalg.eigvalsh(matrix), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.array(inverse(matrix.tolist())) @ matrix, np.eye(size), atol=1e-6)


@pytest.mark.parametrize("matrix", [[[0.0]], [[1.0, 2.0], [2.0, 1.0]], [[math.inf]], [[math.nan]]])
def test_what_is_not_positive_definite_has_no_inverse(matrix: Sequence[Sequence[float]]) -> None:
    with pytest.raises(SingularError):
        inverse(matrix)


# Without noise.


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 500), st.integers(0, 2**32), st.floats(0.01, 5))
def test_without_noise_it_is_least_squares_with_the_textbook_errors(units: int, seed: int, spread: float) -> None:
    rows, y = people(units, seed, spread)
    found = regression(plan().fit, silent(moments(plan(), rows, y)))
    np.testing.assert_allclose(values(found), solved(rows, y), rtol=1e-7, atol=1e-7)
    design = np.column_stack([np.ones(units), rows])
    residuals = y - design @ solved(rows, y)
    variance = residuals @ residuals / (units - 3)
    expected = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    np.testing.assert_allclose([each.std_error or 0.0 for each in found.coefficients], expected, rtol=1e-5)
    assert [each.noise_error for each in found.coefficients] == [0, 0, 0]
    assert found.r_squared == pytest.approx(1 - residuals @ residuals / ((y - y.mean()) @ (y - y.mean())), rel=1e-6)
    assert found.residual == pytest.approx(math.sqrt(variance), rel=1e-6)
    assert found.ridge == 0


def test_without_a_constant_the_line_goes_through_0() -> None:
    rows, y = people(300, 5)
    made = plan("y ~ a + b - 1")
    found = regression(made.fit, silent(moments(made, rows, y)))
    np.testing.assert_allclose(values(found), np.linalg.lstsq(rows, y)[0], rtol=1e-7)
    assert [each.name for each in found.coefficients] == ["a", "b"]


@pytest.mark.parametrize("alpha", [0.0, 3.0, 500.0])
def test_ridge_is_scikit_learns(alpha: float) -> None:
    """Penalised are coefficients in the data's units, and not the constant."""
    rows, y = people(200, 6)
    made = plan(alpha=alpha)
    found = values(regression(made.fit, silent(moments(made, rows, y))))
    around, over = rows - rows.mean(axis=0), y - y.mean()
    slopes = np.linalg.solve(around.T @ around + alpha * np.eye(2), around.T @ over)
    np.testing.assert_allclose(found, [y.mean() - rows.mean(axis=0) @ slopes, *slopes], rtol=1e-7)


def test_only_a_constant_is_the_mean() -> None:
    _, y = people(100, 7)
    made = plan("y ~ 1")
    found = regression(made.fit, silent(moments(made, np.zeros((100, 0)), y)))
    assert values(found) == pytest.approx([y.mean()])
    assert found.coefficients[0].std_error == pytest.approx(y.std(ddof=1) / 10, rel=1e-6)


# With noise.


def test_errors_are_those_that_many_releases_show() -> None:
    """Of noise: over noise alone; with sampling: over rows drawn anew. The 95 % intervals hold."""
    made, draw = plan(epsilon=2.0), random.Random(8)
    exact = moments(made, *people(5_000, 9))
    centre, truth = values(regression(made.fit, silent(exact))), [15.0, 2.0, -3.0]
    noised = [regression(made.fit, exact.noised(draw)) for _ in range(250)]
    anew = [regression(made.fit, moments(made, *people(5_000, 100 + k)).noised(draw)) for k in range(150)]
    for place in range(3):
        distances = [(one.coefficients[place].value - centre[place]) for one in noised]
        errors = [one.coefficients[place].noise_error or 0.0 for one in noised]
        within = np.mean(np.abs(distances) <= 1.96 * np.array(errors))
        assert 0.91 <= within <= 0.99, (place, within)
        both = [one.coefficients[place] for one in anew]
        within = np.mean([abs(each.value - truth[place]) <= 1.96 * (each.std_error or 0.0) for each in both])
        assert 0.90 <= within <= 0.99, (place, within)
    spread = np.std([one.r_squared or 0.0 for one in noised])
    told = np.median([one.r_squared_error or 0.0 for one in noised])
    assert 0.85 <= spread / told <= 1.15


def test_where_noise_could_decide_the_model_is_shrunk_and_says_so() -> None:
    """Two regressors that are nearly one: least squares of noised moments would give them anything."""
    draw = np.random.default_rng(11)
    a = draw.uniform(-3, 5, 3000)
    rows = np.column_stack([a, (a - 1) / 4 + draw.normal(0, 1e-3, 3000)])
    made = plan()
    exact = moments(made, rows, np.clip(10 + 2 * a, 0, 40))
    released = [exact.noised(random.Random(seed)) for seed in range(30)]
    found = [regression(made.fit, one) for one in released]
    assert all(one.ridge > 0 for one in found)
    # In all, a step of 8 in a and of 2 in b together changes y by 16.
    assert all(0 <= 8 * one.coefficients[1].value + 2 * one.coefficients[2].value <= 20 for one in found)
    # Least squares of the released moments, in the same units.
    loose = [np.linalg.solve(np.array(one.values)[:3, :3], np.array(one.values)[:3, 3])[2] * 20 for one in released]
    assert np.max(np.abs(loose)) > 5 * max(abs(one.coefficients[2].value) for one in found)


@settings(max_examples=10, deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(0, 2**32))
def test_noise_exceeds_what_the_ridge_allows_for_seldom(first: float, second: float, seed: int) -> None:
    """Of moments around any means, in 5 % of releases at most; and in some it comes near."""
    nothing, draw, means = exact_moments(plan(), {}), random.Random(seed), np.array([first, second])
    bound = noise_bound(nothing, [first, second])
    around = np.column_stack([-means, np.eye(2)])
    norms = [
        np.linalg.norm(around @ np.array(nothing.noised(draw).values)[:3, :3] @ around.T, 2) / bound for _ in range(200)
    ]
    assert np.mean(np.array(norms) > 1) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    assert max(norms) > 0.5


def test_the_ridge_is_made_of_released_values_alone() -> None:
    """Whatever the noise, the same released moments make the same model."""
    exact = moments(plan(), *people(2000, 12))
    released = exact.noised(random.Random(1))
    again = Moments(released.values, exact.noise)
    assert regression(plan().fit, released) == regression(plan().fit, again)


def test_too_few_units_say_nothing_and_their_model_claims_nothing() -> None:
    made = plan(epsilon=0.1)
    found = regression(made.fit, moments(made, *people(20, 13)))
    assert not found.is_determined
    assert values(found) == [20.0, 0.0, 0.0]
    assert all(each.std_error is None for each in found.coefficients)


def test_previews_foretell_the_noise_that_evenly_spread_columns_show() -> None:
    made = plan()
    foretold = {(each.column, each.rows): each.std_error for each in predicted_errors(made).average_errors}
    draw = np.random.default_rng(14)
    rows = np.column_stack([draw.uniform(-3, 5, 10_000), draw.uniform(-1, 1, 10_000)])
    found = regression(made.fit, moments(made, rows, draw.uniform(0, 40, 10_000)))
    for each in found.coefficients:
        assert each.noise_error == pytest.approx(foretold[each.name, 10_000], rel=0.1)
    assert regression(made.fit, expected_moments(made, 10_000)).ridge == 0


# Receipts.


def opened(of: Plan, units: int = 1000) -> list[int]:
    """The cells of people who are all in the middle of everything."""
    found = []
    for statistic in of.statistics:
        shape = statistic.bounded_sum
        middle = ((shape.lower + shape.upper) / 2 - shape.centre) / shape.half_range if shape.half_range else 1.0
        found.append(round(middle * units) << 16)
    return found


def test_opened_integers_are_a_table_of_coefficients() -> None:
    made = plan()
    table = table_of(made, opened(made))
    assert [column.name for column in table.columns] == ["term", "coefficient"]
    assert [row[0] for row in table.rows] == ["(Intercept)", "a", "b"]
    assert regression_of(made, opened(made)).units == 1000
    with pytest.raises(PlanError):
        table_of(made, opened(made)[:-1])


FORGED: dict[str, Callable[[Plan], object]] = {
    "an unknown model": lambda p: p.fit.ClearField("model"),
    "no columns": lambda p: p.fit.ClearField("columns"),
    "a column more": lambda p: p.fit.columns.append(p.fit.columns[0]),
    "no width": lambda p: setattr(p.fit.columns[0], "half_range", 0.0),
    "a width of NaN": lambda p: setattr(p.fit.columns[1], "half_range", math.nan),
    "an infinite centre": lambda p: setattr(p.fit.columns[2], "centre", math.inf),
    "no factors": lambda p: p.fit.columns[0].ClearField("factors"),
    "a date beyond calendars": lambda p: setattr(p.fit.columns[0].factors[0].level, "date_days", 2**30),
    "a moment that is not there": lambda p: p.fit.moments.__setitem__(3, 99),
    "a moment below all": lambda p: p.fit.moments.__setitem__(3, -7),
    "no units": lambda p: p.fit.moments.__setitem__(0, -1),
    "a ridge of NaN": lambda p: setattr(p.fit, "alpha", math.nan),
    "groups": lambda p: p.grouping_sets.add(),
    "an output that is no moment": lambda p: p.outputs[1].ClearField("kind"),
    "a scale beyond doubles": lambda p: setattr(p.fit.columns[0], "half_range", 5e-324),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_model_is_a_plan_error(name: str) -> None:
    made = plan()
    FORGED[name](made)
    with pytest.raises(PlanError):
        table_of(made, opened(made))


def test_a_fingerprint_is_of_the_parameters() -> None:
    made = plan()
    cells = opened(made)
    first = fitted_of(made, cells).fingerprint
    assert fitted_of(made, list(cells)).fingerprint == first
    cells[3] += 1 << 20
    assert fitted_of(made, cells).fingerprint != first
    other = Plan()
    other.CopyFrom(made)
    other.fit.formula = "y ~ b + a"
    assert LinearModel(other.fit, regression_of(made, opened(made))).fingerprint != first
