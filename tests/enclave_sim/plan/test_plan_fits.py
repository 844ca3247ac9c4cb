"""What a plan may say of a model: post-processing, but for its meaning and its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, FitFactor, Plan, TrainingRound, Value

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.fits import MAX_FIT_COLUMNS, check_fit


def column(name: str) -> FitColumn:
    return FitColumn(name=name, factors=[FitFactor(variable=name)], centre=5, half_range=5, lower=-1, upper=1)


def fitted() -> Plan:
    """Outputs: units, x, y, x·x, x·y, y·y."""
    plan = Plan(fit=Fit(model=Fit.MODEL_LINEAR_REGRESSION, formula="y ~ x", intercept=True, moments=range(6)))
    plan.fit.columns.extend([column("x"), column("y")])
    for index in range(6):
        plan.outputs.add(name=str(index))
    return plan


def grouped() -> Plan:
    """Naive Bayes of two classes; outputs: units, x, x·x, y, y·y."""
    fit = Fit(model=Fit.MODEL_GAUSSIAN_NAIVE_BAYES, formula="c ~ x + y", response="c", intercept=True, moments=range(5))
    plan = Plan(fit=fit)
    plan.fit.columns.extend([column("x"), column("y")])
    plan.group_by.add().values.extend([Value(string_value="a"), Value(string_value="b")])
    for index in range(5):
        plan.outputs.add(name=str(index))
    return plan


def spread() -> Plan:
    """One of two components."""
    plan = fitted()
    plan.fit.model, plan.fit.components, plan.fit.standardized = Fit.MODEL_PRINCIPAL_COMPONENTS, 1, True
    return plan


def test_classes_and_components_are_accepted() -> None:
    check_fit(grouped())
    check_fit(spread())


OTHERS: dict[str, tuple[str, Plan, Callable[[Plan], object]]] = {
    "no classes": ("fit", grouped(), lambda p: p.ClearField("group_by")),
    "two keys": ("fit", grouped(), lambda p: p.group_by.add()),
    "totals over classes": ("fit", grouped(), lambda p: p.grouping_sets.add()),
    "one class": ("group_by[0].values", grouped(), lambda p: p.group_by[0].values.pop()),
    "a class of the rest": ("group_by[0].values", grouped(), lambda p: setattr(p.group_by[0], "rest", True)),
    "no response": ("fit.response", grouped(), lambda p: p.fit.ClearField("response")),
    "a pair too few": ("fit.moments", grouped(), lambda p: p.fit.moments.pop()),
    "components of classes": ("fit.components", grouped(), lambda p: setattr(p.fit, "components", 1)),
    "a round of classes": ("fit.round", grouped(), lambda p: p.fit.round.SetInParent()),
    "no components": ("fit.components", spread(), lambda p: p.fit.ClearField("components")),
    "three components of two": ("fit.components", spread(), lambda p: setattr(p.fit, "components", 3)),
    "a response of none": ("fit.response", spread(), lambda p: setattr(p.fit, "response", "c")),
    "a standardized line": ("fit.standardized", fitted(), lambda p: setattr(p.fit, "standardized", True)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_classes_and_components_that_mean_nothing_are_refused_at_their_place(name: str) -> None:
    path, plan, change = OTHERS[name]
    change(plan)
    with pytest.raises(PlanError) as caught:
        check_fit(plan)
    assert caught.value.path == path


def test_a_model_of_its_moments_is_accepted() -> None:
    plan = fitted()
    check_fit(plan)
    plan.fit.moments[1] = -1
    plan.fit.alpha = 2.5
    plan.fit.columns[0].factors[0].level.string_value = "a"
    check_fit(plan)


BROKEN: dict[str, tuple[str, Callable[[Plan], object]]] = {
    "no model": ("fit.model", lambda p: p.fit.ClearField("model")),
    "no formula": ("fit.formula", lambda p: p.fit.ClearField("formula")),
    "a long formula": ("fit.formula", lambda p: setattr(p.fit, "formula", "x" * 20_000)),
    "no columns": ("fit.columns", lambda p: p.fit.ClearField("columns")),
    "many columns": ("fit.columns", lambda p: p.fit.columns.extend([column("z")] * MAX_FIT_COLUMNS)),
    "a column without a name": ("fit.columns[0].name", lambda p: p.fit.columns[0].ClearField("name")),
    "a column of nothing": ("fit.columns[1].factors", lambda p: p.fit.columns[1].ClearField("factors")),
    "a column of too much": (
        "fit.columns[0].factors",
        lambda p: p.fit.columns[0].factors.extend([FitFactor(variable="x")] * 20),
    ),
    "a factor without a name": (
        "fit.columns[0].factors[0].variable",
        lambda p: p.fit.columns[0].factors[0].ClearField("variable"),
    ),
    "a level that is no value": (
        "fit.columns[0].factors[0].level",
        lambda p: p.fit.columns[0].factors[0].level.CopyFrom(Value(float64_value=float("nan"))),
    ),
    "no width": ("fit.columns[0].half_range", lambda p: setattr(p.fit.columns[0], "half_range", 0.0)),
    "no centre": ("fit.columns[0]", lambda p: setattr(p.fit.columns[0], "centre", float("inf"))),
    "a column beyond 1": ("fit.columns[0].lower", lambda p: setattr(p.fit.columns[0], "upper", 1.5)),
    "a constant column": ("fit.columns[0].lower", lambda p: setattr(p.fit.columns[0], "lower", 1.0)),
    "groups": ("fit", lambda p: p.group_by.add()),
    "a moment too few": ("fit.moments", lambda p: p.fit.moments.pop()),
    "a moment that is not there": ("fit.moments", lambda p: p.fit.moments.__setitem__(5, 6)),
    "a moment below": ("fit.moments", lambda p: p.fit.moments.__setitem__(5, -2)),
    "no number of units": ("fit.moments", lambda p: p.fit.moments.__setitem__(0, -1)),
    "a negative ridge": ("fit.alpha", lambda p: setattr(p.fit, "alpha", -1.0)),
    "a ridge of NaN": ("fit.alpha", lambda p: setattr(p.fit, "alpha", float("nan"))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_means_nothing_is_refused_at_its_place(name: str) -> None:
    path, change = BROKEN[name]
    plan = fitted()
    change(plan)
    with pytest.raises(PlanError) as caught:
        check_fit(plan)
    assert caught.value.path == path


def in_rounds() -> Plan:
    """The third of eight rounds."""
    own = TrainingRound(number=2, rounds=8, transform=[1, 0, 0, 1], parameters=[0, 0], max_residual=0.5)
    fit = Fit(model=Fit.MODEL_LOGISTIC_REGRESSION, formula="y ~ x", intercept=True, round=own)
    fit.columns.extend([column("x"), column("y")])
    fit.classes.extend([Value(bool_value=False), Value(bool_value=True)])
    plan = Plan(fit=fit)
    plan.statistics.add().model_vector.SetInParent()
    return plan


def test_a_round_of_a_model_is_accepted() -> None:
    check_fit(in_rounds())


BROKEN_ROUNDS: dict[str, tuple[str, Callable[[Plan], object]]] = {
    "no vector": ("fit.round", lambda p: p.ClearField("statistics")),
    "two vectors": ("fit.round", lambda p: p.statistics.append(p.statistics[0])),
    "moments": ("fit", lambda p: p.fit.moments.append(0)),
    "no constant": ("fit", lambda p: p.fit.ClearField("intercept")),
    "a round after the last": ("fit.round", lambda p: setattr(p.fit.round, "number", 8)),
    "a great many rounds": ("fit.round", lambda p: setattr(p.fit.round, "rounds", 1000)),
    "a parameter of NaN": ("fit.round", lambda p: p.fit.round.parameters.append(float("nan"))),
    "a great many numbers": ("fit.round", lambda p: p.fit.round.transform.extend([0.0] * 5000)),
    "an infinite class": ("fit.classes", lambda p: p.fit.classes.append(Value(float64_value=float("inf")))),
    "another model": ("fit.round", lambda p: setattr(p.fit, "model", Fit.MODEL_LINEAR_REGRESSION)),
}


@pytest.mark.parametrize("name", BROKEN_ROUNDS)
def test_a_round_that_means_nothing_is_refused_at_its_place(name: str) -> None:
    path, change = BROKEN_ROUNDS[name]
    plan = in_rounds()
    change(plan)
    with pytest.raises(PlanError) as caught:
        check_fit(plan)
    assert caught.value.path == path
