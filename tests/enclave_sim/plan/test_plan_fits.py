"""What a plan may say of a model: post-processing, but for its meaning and its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from yingbi.api.v1.plan_pb2 import Fit, FitColumn, FitFactor, Plan, Value

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
