"""The models that there are: how each is checked, fitted, shown, foretold and rehearsed. One row for each."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Fit, Plan
from yingbi.cells import PlanError
from yingbi.linear_model import Columns, LinearModel
from yingbi.models.lines import FitLine
from yingbi.models.naive_bayes import (
    NaiveBayesModel,
    check_naive_bayes,
    expected_naive_bayes,
    naive_bayes_of,
    rehearsed_naive_bayes,
)
from yingbi.models.principal import PrincipalModel, check_principal, principal, principal_of
from yingbi.models.rehearsals import class_sums, mean_moments
from yingbi.moments import check_fit, exact_moments, expected_moments
from yingbi.regression import regression, regression_of

Fitted = LinearModel | NaiveBayesModel | PrincipalModel


@dataclass(frozen=True)
class ModelKind:
    """What there is to do with a model of one kind. Everything raises PlanError for what cannot be read."""

    name: str
    keys: tuple[str, ...]
    """Of the table that it is shown as: what its numbers go by."""
    numbers: tuple[str, ...]
    check: Callable[[Plan], None]
    fitted: Callable[[Plan, Sequence[int]], Fitted]
    """From what was opened."""
    foretold: Callable[[Plan, int], Fitted]
    """Of so many units, of columns that are independent and spread evenly."""
    rehearsed: Callable[[Plan, Sequence[Columns], random.Random], Fitted]
    """Of made-up units, with noise drawn as the plan has it."""


_KINDS: Mapping[Fit.Model.ValueType, ModelKind] = {
    Fit.MODEL_LINEAR_REGRESSION: ModelKind(
        "LinearRegression",
        ("term",),
        ("coefficient",),
        check_fit,
        lambda plan, opened: LinearModel(plan.fit, regression_of(plan, opened)),
        lambda plan, units: LinearModel(plan.fit, regression(plan.fit, expected_moments(plan, units))),
        lambda plan, units, draw: LinearModel(
            plan.fit, regression(plan.fit, exact_moments(plan, mean_moments(plan.fit, units)).noised(draw))
        ),
    ),
    Fit.MODEL_GAUSSIAN_NAIVE_BAYES: ModelKind(
        "GaussianNB",
        ("class", "term"),
        ("mean", "deviation"),
        check_naive_bayes,
        naive_bayes_of,
        expected_naive_bayes,
        lambda plan, units, draw: rehearsed_naive_bayes(plan, class_sums(plan, units), draw),
    ),
    Fit.MODEL_PRINCIPAL_COMPONENTS: ModelKind(
        "PCA",
        ("component", "term"),
        ("value",),
        check_principal,
        principal_of,
        lambda plan, units: principal(plan.fit, expected_moments(plan, units)),
        lambda plan, units, draw: principal(plan.fit, exact_moments(plan, mean_moments(plan.fit, units)).noised(draw)),
    ),
}


def kind_of(fit: Fit) -> ModelKind:
    """Raises PlanError for a model that this version does not know."""
    found = _KINDS.get(fit.model)
    if found is None:
        raise PlanError("the plan's model is one that this version does not know")
    return found


def check_model(plan: Plan) -> None:
    """Refuse a model that this version cannot read; raises PlanError."""
    kind_of(plan.fit).check(plan)


def fitted_of(plan: Plan, opened: Sequence[int]) -> Fitted:
    """The model that opened integers are; raises PlanError."""
    check_model(plan)
    return kind_of(plan.fit).fitted(plan, opened)


def foretold(plan: Plan, units: int) -> Fitted:
    """What the plan alone says of the model of so many units: its noise, of columns that are spread evenly."""
    return kind_of(plan.fit).foretold(plan, units)


def rehearsed(plan: Plan, units: Sequence[Columns], draw: random.Random) -> Fitted:
    """The model of units of one's own, each with its rows, and noise drawn as the plan has it."""
    check_model(plan)
    return kind_of(plan.fit).rehearsed(plan, units, draw)


def header_of(fit: Fit) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the table: the names of what numbers go by, and of the numbers."""
    kind = kind_of(fit)
    return kind.keys, kind.numbers


def lines_of(model: Fitted) -> list[FitLine]:
    """All numbers of a model, as its table has them."""
    if isinstance(model, LinearModel):
        return [FitLine((each.name,), (each,)) for each in model.regression.coefficients]
    return model.lines


def noise_by_name(model: Fitted) -> dict[str, float | None]:
    """The noise of each number, by what its line goes by, and its column where there are several."""
    names = kind_of(model.fit).numbers
    return {
        " ".join([", ".join(map(str, line.keys)), *([name] if len(names) > 1 else [])]): number.noise_error
        for line in lines_of(model)
        for name, number in zip(names, line.numbers, strict=True)
        if number is not None
    }


def able(model: Any, name: str) -> Any:
    """A method that not all models have; REFUSED "not_of_this_model"."""
    found = getattr(model, name, None)
    if found is None:
        has = [each for each in ("predict", "predict_proba", "transform", "estimator") if hasattr(model, each)]
        raise Problem(
            Kind.REFUSED,
            "not_of_this_model",
            f"{_name(model)} has no {name}.",
            hint=f"It has {', '.join(has)}." if has else "Only models have it.",
        )
    return found


def _name(model: Any) -> str:
    fit = getattr(model, "fit", None)
    return str(model.to_json()["model"]) if isinstance(fit, Fit) else "This answer"
