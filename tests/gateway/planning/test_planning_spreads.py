"""Naive Bayes and principal components: from a formula to a plan that every enclave accepts, or a reason why not."""

from __future__ import annotations

from typing import Any

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import TrainQuery
from yingbi.api.v1.plan_pb2 import Fit

from enclave_sim.plan.sensitivity import is_first_stage, total_rho_units
from enclave_sim.plan.values import to_python
from gateway.planning.query import Question
from gateway.planning.stages import FirstStage
from gateway.planning.training import plan_training, training_notes, words_of

from .conftest import VERSION
from .reference_clinic import clinic

BAYES, COMPONENTS = Fit.MODEL_GAUSSIAN_NAIVE_BAYES, Fit.MODEL_PRINCIPAL_COMPONENTS


def question(
    model: Fit.Model.ValueType,
    formula: str,
    *,
    auto: bool = False,
    first_stage: FirstStage | None = None,
    **asked: object,
) -> Question:
    query = TrainQuery(model=model, formula=formula, **asked)  # type: ignore[arg-type]
    return plan_training(
        query, clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7, auto_bounds=auto,
        first_stage=first_stage,
    )  # fmt: skip


def measured(model: Fit.Model.ValueType, formula: str) -> list[str]:
    """The sums that have noise of their own, without their numbers."""
    return [output.name.rpartition(" (")[0] or output.name for output in question(model, formula).plan.outputs]


@pytest.mark.parametrize(
    ("formula", "classes", "sums"),
    [
        ("sex ~ age", ["f", "m"], ["units", "age", "age * age"]),
        ("urgent ~ pain", [False, True], ["units", "pain", "pain * pain"]),
        ("clinic ~ pain + urgent", ["north", "south"], ["units", "pain", "pain * pain", "urgent"]),
        ("sex ~ C(age IN (30, 40)) + age", ["f", "m"], None),
        ("C(stay) ~ pain", list(range(31)), ["units", "pain", "pain * pain"]),
    ],
)
def test_classes_are_groups_and_each_has_sums_and_squares(
    formula: str, classes: list[object], sums: list[str] | None
) -> None:
    plan = question(BAYES, formula).plan
    assert [to_python(value) for value in plan.group_by[0].values] == classes
    assert plan.fit.response in formula
    assert len(plan.fit.moments) == 1 + 2 * len(plan.fit.columns)
    assert sums is None or measured(BAYES, formula) == sums


def test_principal_components_have_a_moment_for_each_pair() -> None:
    assert measured(COMPONENTS, "~ pain + stay + urgent") == [
        "units", "pain", "pain * pain", "stay", "stay * stay", "urgent",
        "pain * stay", "pain * urgent", "stay * urgent",
    ]  # fmt: skip
    fit = question(COMPONENTS, "~ pain + stay", components=1, standardized=True).plan.fit
    assert (fit.components, fit.standardized) == (1, True)
    assert question(COMPONENTS, "~ pain + stay").plan.fit.components == 2


def test_one_row_a_person_makes_one_vector_of_known_length_and_several_are_means() -> None:
    """A length of √2 and a little for the number and a pair, where three sums by themselves would have √3."""
    one, several = question(BAYES, "sex ~ age").plan, question(BAYES, "urgent ~ pain").plan
    assert one.clipping.joint_norm == 23
    assert (several.clipping.joint_norm, several.clipping.max_rows) == (0, 1)
    assert one.statistics[0].sigma / several.statistics[0].sigma == pytest.approx(23 / 16 / 3**0.5, rel=0.02)
    assert total_rho_units(one) <= total_rho_units(several) * 1.001


def test_a_length_that_is_to_be_found_is_of_sums_around_0() -> None:
    asked = question(BAYES, "sex ~ age", auto=True)
    assert is_first_stage(asked.plan)
    norms = asked.plan.statistics[0].unit_norms
    assert [each.bounded_sum.centre for each in norms.vector] == [0, 0, 0]
    at = next(place for place, edge in enumerate(norms.edges) if edge >= 17)
    found = [3000 << 16 if place == at else 0 for place in range(len(norms.edges) + 1)]
    second = question(BAYES, "sex ~ age", auto=True, first_stage=FirstStage((), tuple(found))).plan
    assert norms.edges[at] <= second.clipping.joint_norm < norms.edges[-1]
    assert any("weighs less" in note for note in training_notes(second, clinic()))
    assert not any("weighs less" in note for note in training_notes(question(BAYES, "sex ~ age").plan, clinic()))


@pytest.mark.parametrize(
    ("model", "formula", "code", "place"),
    [
        (BAYES, "pain ~ stay", "not_supported", "1:1"),
        (BAYES, "C(weight) ~ stay", "undeclared_values", "1:3"),
        (BAYES, "city ~ pain", "undeclared_values", "1:1"),
        (BAYES, "sex ~ sex:age", "formula", "1:1"),
        (BAYES, "sex ~ 1", "formula", "1:1"),
        (BAYES, "sex ~ age - 1", "not_supported", "1:5"),
        (BAYES, "~ age", "formula", "1:1"),
        (BAYES, "C(clinic || sex || note) ~ age", "undeclared_values", "1:3"),
        (BAYES, "sex ~ weight", "no_bounds", "1:7"),
        (BAYES, "urgent ~ pain + day", "not_numeric", "1:17"),
        (COMPONENTS, "sex ~ age", "formula", "1:1"),
        (COMPONENTS, "~ age + 0", "not_supported", "1:1"),
        (COMPONENTS, "~ 1", "formula", "1:1"),
        (COMPONENTS, "~", "formula", "1:2"),
        (COMPONENTS, "~ pain ~ stay", "formula", "1:8"),
        (COMPONENTS, "~ C(age) + stay", "too_many_regressors", "1:1"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_place_and_hint(
    model: Fit.Model.ValueType, formula: str, code: str, place: str
) -> None:
    with pytest.raises(Problem) as caught:
        question(model, formula)
    found = caught.value
    assert (found.code, found.field, found.position) == (code, "formula", place), found.to_json()
    assert found.hint


@pytest.mark.parametrize(
    ("model", "asked", "field"),
    [
        (COMPONENTS, {"components": 3}, "components"),
        (COMPONENTS, {"alpha": 1.0}, "alpha"),
        (BAYES, {"components": 1}, "components"),
        (BAYES, {"standardized": True}, "components"),
        (BAYES, {"alpha": 0.0}, "alpha"),
        (Fit.MODEL_LINEAR_REGRESSION, {"components": 1}, "components"),
    ],
)
def test_parameters_that_a_model_does_not_have_are_refused(
    model: Fit.Model.ValueType, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(Problem) as caught:
        question(model, "~ pain + stay" if model == COMPONENTS else "urgent ~ pain", **asked)
    assert (caught.value.kind, caught.value.field) == (Kind.MALFORMED, field)
    assert caught.value.hint


def test_a_model_in_one_line() -> None:
    asked = TrainQuery(model=COMPONENTS, formula="~ pain + stay", components=1, standardized=True, where="age > 30")
    assert words_of(asked) == "TRAIN PCA ~ pain + stay WHERE age > 30 WITH components = 1, standardized"
    assert words_of(TrainQuery(model=BAYES, formula="sex ~ age")) == "TRAIN GaussianNB sex ~ age"
