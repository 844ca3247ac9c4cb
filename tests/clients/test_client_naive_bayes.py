"""Naive Bayes from sums: scikit-learn's where there is no noise, and honest about it where there is."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import made_people as made  # type: ignore[import-not-found]
import numpy as np
import pytest
from yingbi.answer import PlanError, table_of
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.forecasts import predicted_errors
from yingbi.models.kinds import fitted_of, noise_by_name, rehearsed
from yingbi.models.naive_bayes import NaiveBayesModel, naive_bayes_of

FORMULA = "species ~ a + b + c + d"
NAMES = ("a", "b", "c", "d")


def model_of(plan: Plan, who: dict[str, list[object]], seed: int | None = None) -> NaiveBayesModel:
    found = fitted_of(plan, made.opened(plan, who, None if seed is None else Random(seed)))
    assert isinstance(found, NaiveBayesModel)
    return found


@pytest.mark.parametrize("rows", [1, 3])
def test_without_noise_it_is_scikit_learns(rows: int) -> None:
    """From the formula through the plan and the engine; a person with several rows of a class counts once."""
    naive_bayes = pytest.importorskip("sklearn.naive_bayes")
    who = made.people(1000, 1, rows=rows)
    model = model_of(made.plan(made.BAYES, FORMULA, epsilon=100.0, rows=rows), who)
    expected = naive_bayes.GaussianNB(var_smoothing=0.0).fit(made.matrix(who, NAMES), who["species"])
    found = model.estimator()
    assert list(found.classes_) == list(expected.classes_)
    np.testing.assert_allclose(found.class_count_, expected.class_count_ / rows, rtol=1e-3)
    np.testing.assert_allclose(found.class_prior_, expected.class_prior_, rtol=1e-3)
    np.testing.assert_allclose(found.theta_, expected.theta_, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(found.var_, expected.var_, rtol=0.02)
    agree = np.mean(np.array(model.predict(who)) == expected.predict(made.matrix(who, NAMES)))
    assert agree > 0.99


def test_the_estimator_predicts_what_the_model_predicts() -> None:
    pytest.importorskip("sklearn")
    who = made.people(300, 2)
    model = model_of(made.plan(made.BAYES, FORMULA), who, seed=3)
    estimator, frame = model.estimator(), model.frame_of(who)
    np.testing.assert_allclose(estimator.predict_proba(frame), model.predict_proba(who), atol=1e-9)
    assert list(estimator.predict(frame)) == model.predict(who)
    assert list(estimator.feature_names_in_) == list(frame.columns) == list(NAMES)


@pytest.mark.parametrize("formula", ["d ~ a + b", "d ~ a + species + a:species"])
def test_a_bool_is_a_class_and_categories_are_columns(formula: str) -> None:
    who = made.people(2000, 4)
    model = model_of(made.plan(made.BAYES, formula, epsilon=100.0), who)
    assert model.labels == [False, True]
    shares = [each.share.value for each in model.classes]
    assert shares == pytest.approx([1 - np.mean(who["d"]), np.mean(who["d"])], abs=0.01)
    if "species" in formula:
        own = [kind == "virginica" for kind, is_d in zip(who["species"], who["d"], strict=True) if is_d]
        spread = {one.mean.name: one for one in model.classes[1].spreads}["species[virginica]"]
        assert spread.mean.value == pytest.approx(np.mean(own), abs=0.01)
        assert spread.variance.value == pytest.approx(np.var(own), abs=0.01)


def test_errors_are_those_that_many_releases_show() -> None:
    """Of noise: around the model of the same people without it; with sampling: around what people were drawn from."""
    plan = made.plan(made.BAYES, FORMULA)
    who = made.people(3000, 5)
    centre, sums = model_of(plan, who), made.opened(plan, who)
    noised = [naive_bayes_of(plan, made.noised(plan, sums, Random(seed))) for seed in range(120)]
    anew = [model_of(plan, made.people(3000, 100 + seed), seed) for seed in range(60)]
    numbers = [(of_class, column) for of_class in range(3) for column in range(4)]
    for told, truth in ((noised, None), (anew, [(0.0, 0.25), (1.5, 0.64), (2.0, 0.16)])):
        for kind in ("mean", "variance"):
            inside = []
            for of_class, column in numbers:
                exact = getattr(centre.classes[of_class].spreads[column], kind).value
                if truth is not None:
                    # Of the columns, a is never cut at its bounds but by chance of 10^-4.
                    if column:
                        continue
                    exact = truth[of_class][kind == "variance"]
                for each in told:
                    one = getattr(each.classes[of_class].spreads[column], kind)
                    error = one.noise_error if truth is None else one.std_error
                    inside.append(abs(one.value - exact) <= 1.96 * (error or 0.0))
            assert 0.90 <= np.mean(inside) <= 0.99, (kind, truth is None, np.mean(inside))
    shares = [
        abs(each.classes[place].share.value - share) <= 1.96 * (each.classes[place].share.std_error or 0.0)
        for each in anew
        for place, share in enumerate((0.5, 0.3, 0.2))
    ]
    assert 0.90 <= np.mean(shares) <= 0.99


def test_a_class_that_noise_hides_claims_nothing_and_has_what_all_have() -> None:
    who = made.people(400, 6)
    some = [place for place, kind in enumerate(who["species"]) if kind != "virginica"]
    few = {name: [column[place] for place in some] for name, column in who.items()}
    plan = made.plan(made.BAYES, FORMULA, epsilon=0.5)
    for seed in range(20):
        model = model_of(plan, few, seed)
        hidden = model.classes[2]
        if hidden.units <= 1.96 * hidden.units_error:
            break
    assert hidden.share.std_error is None
    assert all(one.mean.std_error is None for one in hidden.spreads)
    assert "virginica" in model.words[1]
    assert 0 < hidden.share.value < 0.1
    others = [each.spreads[0].mean.value for each in model.classes[:2]]
    assert min(others) - 0.3 <= hidden.spreads[0].mean.value <= max(others) + 0.3


def test_nobody_at_all_is_a_model_that_says_nothing() -> None:
    plan = made.plan(made.BAYES, FORMULA, epsilon=0.5)
    found = fitted_of(plan, [0] * (len(plan.statistics) * 3))
    assert isinstance(found, NaiveBayesModel)
    assert [each.share.value for each in found.classes] == pytest.approx([1 / 3] * 3)
    least = {name: [made.BOUNDS.get(name, (0, 1))[0]] for name in NAMES}
    assert found.predict_proba(least)[0] == pytest.approx([1 / 3] * 3)


def test_rows_without_a_value_have_no_class() -> None:
    model = model_of(made.plan(made.BAYES, "species ~ a + d"), made.people(200, 7), 1)
    assert model.predict({"a": [1.0, None, math.nan], "d": [True, True, False]})[1:] == [None, None]
    assert math.isnan(model.predict_proba({"a": [None], "d": [True]})[0][0])


def test_an_answer_is_a_table_by_class_and_its_preview_tells_the_noise() -> None:
    plan, who = made.plan(made.BAYES, "species ~ a + d"), made.people(9000, 8)
    table = table_of(plan, made.opened(plan, who))
    assert [column.name for column in table.columns] == ["class", "term", "mean", "deviation"]
    assert [row[:2] for row in table.rows[:4]] == [
        ("setosa", "(Share)"), ("setosa", "a"), ("setosa", "d"), ("versicolor", "(Share)"),
    ]  # fmt: skip
    foretold = {(each.column, each.rows): each.std_error for each in predicted_errors(plan).average_errors}
    assert foretold["setosa, a mean", 1000] == pytest.approx(10 * (foretold["setosa, a mean", 10_000] or 0), rel=0.01)
    # People who are as the preview takes them to be.
    draw = np.random.default_rng(9)
    even = {**who, "a": draw.uniform(-3, 5, 9000).tolist(), "species": [made.SPECIES[k % 3] for k in range(9000)]}
    known = noise_by_name(model_of(plan, even))
    assert known["setosa, a mean"] == pytest.approx(foretold["setosa, a mean", 10_000], rel=0.15)
    assert known["setosa, a deviation"] == pytest.approx(foretold["setosa, a deviation", 10_000], rel=0.15)


def test_a_rehearsal_weighs_rows_as_the_engine_does() -> None:
    """People with rows of several classes count in each."""
    who = made.people(400, 10, rows=3)
    mixed = {**who, "species": [made.SPECIES[k % 2 if k % 3 else 2] for k in range(1200)]}
    plan = made.plan(made.BAYES, "species ~ a + d", epsilon=50.0, rows=3)
    units = [{name: column[3 * k : 3 * k + 3] for name, column in mixed.items()} for k in range(400)]
    own, real = rehearsed(plan, units, Random(1)), model_of(plan, mixed)
    assert isinstance(own, NaiveBayesModel)
    for one, other in zip(own.classes, real.classes, strict=True):
        assert one.units == pytest.approx(other.units, abs=6 * one.units_error + 1)


def test_a_fingerprint_is_of_the_parameters() -> None:
    plan = made.plan(made.BAYES, "species ~ a")
    cells = made.opened(plan, made.people(300, 11))
    first = fitted_of(plan, cells).fingerprint
    assert fitted_of(plan, list(cells)).fingerprint == first
    cells[4] += 1 << 18
    assert fitted_of(plan, cells).fingerprint != first


FORGED: dict[str, Callable[[Plan], object]] = {
    "no key": lambda p: p.ClearField("group_by"),
    "one class": lambda p: p.group_by[0].ClearField("values"),
    "a rest": lambda p: setattr(p.group_by[0], "rest", True),
    "totals": lambda p: p.grouping_sets.add(),
    "a limit": lambda p: setattr(p.presentation, "limit", 1),
    "no columns": lambda p: p.fit.ClearField("columns"),
    "a moment too few": lambda p: p.fit.moments.pop(),
    "a moment that is never": lambda p: p.fit.moments.__setitem__(1, -1),
    "a moment that is not there": lambda p: p.fit.moments.__setitem__(1, 99),
    "an output that is no moment": lambda p: p.outputs[1].ClearField("kind"),
    "a scale beyond doubles": lambda p: setattr(p.fit.columns[0], "half_range", 1e300),
    "another class's type": lambda p: p.group_by[0].values.append(Value(int64_value=3)),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_model_is_a_plan_error(name: str) -> None:
    plan = made.plan(made.BAYES, "species ~ a")
    cells = made.opened(plan, made.people(50, 12))
    FORGED[name](plan)
    with pytest.raises(PlanError):
        table_of(plan, cells)
