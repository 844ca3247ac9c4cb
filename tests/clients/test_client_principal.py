"""Principal components from second moments: scikit-learn's without noise, and honest about it where there is some."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import made_people as made  # type: ignore[import-not-found]
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yingbi.answer import PlanError, table_of
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.forecasts import predicted_errors
from yingbi.matrices import eigenpairs
from yingbi.models.kinds import fitted_of, noise_by_name, rehearsed
from yingbi.models.principal import PrincipalModel, principal
from yingbi.moments import Moments, exact_moments, pairs

FORMULA = "~ a + b + d"
NAMES = ("a", "b", "d")


def model_of(plan: Plan, who: dict[str, list[object]], seed: int | None = None) -> PrincipalModel:
    found = fitted_of(plan, made.opened(plan, who, None if seed is None else Random(seed)))
    assert isinstance(found, PrincipalModel)
    return found


def normal(plan: Plan, units: int, covariance: made.Floats, seed: int) -> Moments:
    """Of people drawn from a normal distribution in scaled columns."""
    draw = np.random.default_rng(seed)
    rows = np.column_stack([np.ones(units), draw.multivariate_normal(np.zeros(len(covariance)), covariance, units)])
    return exact_moments(plan, {(i, j): float(rows[:, i] @ rows[:, j]) for i, j in pairs(len(covariance) + 1)})


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(0, 2**32), st.floats(0.01, 100))
def test_vectors_are_numpys_turned_so_that_noise_does_not_turn_them(size: int, seed: int, scale: float) -> None:
    root = np.random.default_rng(seed).normal(size=(size, size + 2)) * scale
    matrix = root @ root.T
    values, vectors = np.linalg.eigh(matrix)
    assume(size == 1 or np.min(np.diff(values)) > 1e-3 * values[-1])
    found = eigenpairs(matrix.tolist())
    np.testing.assert_allclose([value for value, _ in found], values[::-1], rtol=1e-9)
    for (_, vector), expected in zip(found, vectors.T[::-1], strict=True):
        np.testing.assert_allclose(np.abs(vector), np.abs(expected), atol=1e-9)
        assert next(each for each in vector if abs(each) >= max(map(abs, vector)) / 2) > 0


@pytest.mark.parametrize(("rows", "components", "standardized"), [(1, 3, False), (1, 2, True), (4, 1, False)])
def test_without_noise_it_is_scikit_learns(rows: int, components: int, standardized: bool) -> None:
    """From the formula through the plan and the engine."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    who = made.people(1000, 1, rows=rows)
    asked = {"components": components, "standardized": standardized}
    model = model_of(made.plan(made.COMPONENTS, FORMULA, epsilon=100.0, rows=rows, **asked), who)
    data = made.matrix(who, NAMES)
    if standardized:
        data = (data - data.mean(axis=0)) / data.std(axis=0)
    expected = decomposition.PCA(n_components=components).fit(data)
    variances = [each.variance.value for each in model.components]
    np.testing.assert_allclose(variances, expected.explained_variance_, rtol=0.01)
    np.testing.assert_allclose(
        [each.share.value for each in model.components], expected.explained_variance_ratio_, rtol=0.01
    )
    loadings = np.array([[one.value for one in each.loadings] for each in model.components])
    signs = np.sign(np.sum(loadings * expected.components_, axis=1, keepdims=True))
    np.testing.assert_allclose(loadings, signs * expected.components_, atol=0.01)
    np.testing.assert_allclose(model.covariance, np.cov(made.matrix(who, NAMES).T), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("standardized", [False, True])
def test_the_estimator_transforms_as_the_model_does(standardized: bool) -> None:
    pytest.importorskip("sklearn")
    who = made.people(500, 2)
    model = model_of(made.plan(made.COMPONENTS, FORMULA, components=2, standardized=standardized), who, seed=3)
    estimator = model.estimator()
    np.testing.assert_allclose(estimator.transform(model.frame_of(who)), model.transform(who), rtol=1e-9)
    assert list(estimator.feature_names_in_) == list(NAMES)
    assert math.isnan(model.transform({"a": [None], "b": [2000], "d": [True]})[0][0])


COVARIANCE = np.array([[0.05, 0.03, 0.0], [0.03, 0.04, 0.0], [0.0, 0.0, 0.01]])


@pytest.mark.parametrize("standardized", [False, True])
def test_errors_are_those_that_many_releases_show(standardized: bool) -> None:
    """Of noise: around the same people's without it; with sampling: around what people were drawn from."""
    plan = made.plan(made.COMPONENTS, "~ a + b + c", epsilon=2.0, standardized=standardized)
    for column in plan.fit.columns:
        column.centre, column.half_range = 0.0, 1.0
    exact, draw = normal(plan, 20_000, COVARIANCE, 4), Random(5)
    roots = np.sqrt(np.diag(COVARIANCE)) if standardized else np.ones(3)
    truth = eigenpairs((COVARIANCE / np.outer(roots, roots)).tolist())
    centre = principal(plan.fit, Moments(exact.values, ()))
    noised = [principal(plan.fit, exact.noised(draw)) for _ in range(150)]
    anew = [principal(plan.fit, normal(plan, 20_000, COVARIANCE, 100 + k).noised(draw)) for k in range(100)]
    # Of two columns that know nothing of the third, and of correlations: variances that are apart.
    for place in (0, 2):
        own = [each.components[place] for each in noised]
        of_rows = [each.components[place] for each in anew]
        exactly = centre.components[place]
        checks = [
            (
                [each.variance.noise_error for each in own],
                [each.variance.value - exactly.variance.value for each in own],
            ),
            ([each.share.noise_error for each in own], [each.share.value - exactly.share.value for each in own]),
            (
                [each.loadings[0].noise_error for each in own],
                [each.loadings[0].value - exactly.loadings[0].value for each in own],
            ),
        ]
        if not standardized:
            checks += [
                (
                    [each.variance.std_error for each in of_rows],
                    [each.variance.value - truth[place][0] for each in of_rows],
                ),
                (
                    [each.loadings[0].std_error for each in of_rows],
                    [each.loadings[0].value - truth[place][1][0] for each in of_rows],
                ),
            ]
        for errors, distances in checks:
            inside = np.mean(np.abs(distances) <= 1.96 * np.array(errors) + 1e-12)
            assert inside >= 0.88, (place, inside)
            assert np.std(distances) >= 0.7 * np.median(np.array(errors, dtype=float)) or np.std(distances) < 1e-9


def test_mixed_directions_say_so() -> None:
    """Two columns of one variance: any direction is as good, and no error of a loading is small."""
    plan = made.plan(made.COMPONENTS, "~ a + b + c")
    for column in plan.fit.columns:
        column.centre, column.half_range = 0.0, 1.0
    found = principal(plan.fit, normal(plan, 5000, np.diag([0.04, 0.04, 0.01]), 6).noised(Random(7)))
    assert max(one.std_error or 0 for one in found.components[0].loadings) > 0.3
    assert all((one.std_error or 0) <= 1 for each in found.components for one in each.loadings)


def test_too_few_units_say_nothing() -> None:
    plan = made.plan(made.COMPONENTS, FORMULA, epsilon=0.1)
    found = fitted_of(plan, [0] * len(plan.statistics))
    assert isinstance(found, PrincipalModel)
    assert not found.is_determined
    assert "too few" in found.words[0]
    assert all(number is None or number.std_error is None for line in found.lines for number in line.numbers)


def test_variances_below_0_are_told_as_0() -> None:
    plan = made.plan(made.COMPONENTS, "~ a + b + c", epsilon=0.5)
    exact = normal(plan, 300, np.diag([0.04, 1e-6, 1e-6]), 8)
    found = [principal(plan.fit, exact.noised(Random(seed))) for seed in range(20)]
    assert any(each.components[2].variance.value == 0 for each in found)
    assert all(one.share.value >= 0 for each in found for one in each.components)


def test_an_answer_is_a_table_by_component_and_its_preview_tells_the_noise() -> None:
    plan = made.plan(made.COMPONENTS, "~ a + d", components=1)
    table = table_of(plan, made.opened(plan, made.people(500, 9)))
    assert [column.name for column in table.columns] == ["component", "term", "value"]
    assert [row[:2] for row in table.rows] == [
        ("(Mean)", "a"), ("(Mean)", "d"), ("PC1", "(Variance)"), ("PC1", "(Share)"), ("PC1", "a"), ("PC1", "d"),
    ]  # fmt: skip
    foretold = {(each.column, each.rows): each.std_error for each in predicted_errors(plan).average_errors}
    draw = np.random.default_rng(10)
    even = {
        **made.people(10_000, 1),
        "a": draw.uniform(-3, 5, 10_000).tolist(),
        "d": (draw.random(10_000) < 0.5).tolist(),
    }
    known = noise_by_name(model_of(plan, even))
    for name in ("(Mean), a", "PC1, (Variance)"):
        assert known[name] == pytest.approx(foretold[name, 10_000], rel=0.15)


def test_a_rehearsal_is_of_the_same_sums() -> None:
    who = made.people(300, 11)
    plan = made.plan(made.COMPONENTS, FORMULA, epsilon=100.0)
    units = [{name: [column[k]] for name, column in who.items()} for k in range(300)]
    own, real = rehearsed(plan, units, Random(1)), model_of(plan, who)
    assert isinstance(own, PrincipalModel)
    np.testing.assert_allclose(own.covariance, real.covariance, rtol=0.1, atol=0.02)


def test_a_fingerprint_is_of_the_parameters() -> None:
    plan = made.plan(made.COMPONENTS, "~ a + b")
    cells = made.opened(plan, made.people(300, 12))
    first = fitted_of(plan, cells).fingerprint
    assert fitted_of(plan, list(cells)).fingerprint == first
    cells[2] += 1 << 18
    assert fitted_of(plan, cells).fingerprint != first
    standardized = made.plan(made.COMPONENTS, "~ a + b", standardized=True)
    assert fitted_of(standardized, made.opened(plan, made.people(300, 12))).fingerprint != first


FORGED: dict[str, Callable[[Plan], object]] = {
    "no components": lambda p: p.fit.ClearField("components"),
    "a component more than columns": lambda p: setattr(p.fit, "components", 3),
    "groups": lambda p: p.grouping_sets.add(),
    "a moment too few": lambda p: p.fit.moments.pop(),
    "a width of NaN": lambda p: setattr(p.fit.columns[1], "half_range", math.nan),
    "a scale beyond doubles": lambda p: setattr(p.fit.columns[0], "half_range", 1e300),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_model_is_a_plan_error(name: str) -> None:
    plan = made.plan(made.COMPONENTS, "~ a + b")
    cells = made.opened(plan, made.people(50, 13))
    FORGED[name](plan)
    with pytest.raises(PlanError):
        table_of(plan, cells)
