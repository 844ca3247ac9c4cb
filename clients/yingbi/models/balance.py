"""Weights of classes as a training uses them: what was declared, or what balances classes, beside the largest. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from yingbi.api.class_weights import UnknownClass, counted_classes, declared_weights
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import ClassWeights, Fit, Value
from yingbi.cells import PlanError

LEAST_SHARE = 1e-3

ClassWeight = Mapping[Any, float] | Literal["balanced"] | None
"""As a developer says it: what rows of a class count, 1 where nothing is said; or all classes as much together."""


@dataclass(frozen=True)
class Balance:
    """What a row of each class counts."""

    weights: tuple[float, ...] = ()
    """Over the largest, so 1 at most; none where all count the same."""
    largest: float = 1.0
    """The largest as it was declared, or as balanced weights have it."""
    mean: float = 1.0
    """Of `weights`, over units: what a unit counts on average."""

    @property
    def log_odds(self) -> float:
        """What weights add to the logarithm of the odds of the second class against the first."""
        return math.log(self.weights[1] / self.weights[0]) if self.weights else 0.0


def balance_of(fit: Fit, shares: Sequence[float], noise: float) -> Balance:
    """The weights of a fit's classes.

    Args:
        shares: of each class, how many of all units it has, as was released.
        noise: the deviation of a share's noise: no share is taken to be less.

    Raises:
        PlanError: a weight was declared for what is no class.
    """
    if not fit.HasField("class_weights"):
        return Balance()
    taken = [max(share, noise, LEAST_SHARE) for share in shares]
    taken = [share / sum(taken) for share in taken]
    try:
        declared = declared_weights(fit.classes, fit.class_weights)
    except UnknownClass as error:
        raise PlanError(f"the plan has a weight of {error.value}, which is no class") from error
    is_balanced = fit.class_weights.balanced
    raw = [1 / (len(taken) * share) for share in taken] if is_balanced else declared
    largest = max(raw)
    weights = tuple(each / largest for each in raw)
    return Balance(weights, largest, sum(w * share for w, share in zip(weights, taken, strict=True)))


def shares_of(fit: Fit, means: Sequence[float], squares: Sequence[float]) -> list[float]:
    """Of each class how many of all units it has, by the means that round 0 has of its terms and of their squares."""
    if len(fit.classes) == 2:
        return [1 - means[-1], means[-1]]
    counted = counted_classes(fit)
    if not counted:
        return []
    # Of what is 0 or 1 the square says the same once more.
    rest = [(mean + square) / 2 for mean, square in zip(means[-counted:], squares[-counted:], strict=True)]
    return [1 - sum(rest), *rest]


def class_weights_json(fit: Fit, balance: Balance) -> list[float] | None:
    """What each class counted, in their order; None where all counted the same."""
    return [each * balance.largest for each in balance.weights] if fit.HasField("class_weights") else None


def class_weights_message(given: ClassWeight) -> ClassWeights | None:
    """What is asked; None where every class is to count the same.

    Raises:
        Problem: MALFORMED "class_weight", where it is neither "balanced" nor weights above 0.
    """
    if given is None:
        return None
    if given == "balanced":
        return ClassWeights(balanced=True)
    if not isinstance(given, Mapping) or not given:
        raise _no_weights(f"{given!r} are no class weights.")
    found = ClassWeights()
    for value, weight in given.items():
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not 0 < weight < math.inf:
            raise _no_weights(f"The weight of {value} is {weight!r}, which is no number above 0.")
        found.weights.add(value=_value(value), weight=weight)
    return found


def _value(value: object) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, int):
        return Value(int64_value=value)
    if isinstance(value, float):
        return Value(float64_value=value)
    if isinstance(value, str):
        return Value(string_value=value)
    raise _no_weights(f"A weight of {value!r} is of no class: classes are texts, whole numbers, or true and false.")


def _no_weights(message: str) -> Problem:
    hint = "class_weight='balanced', or a number above 0 for each of some classes, as {'yes': 5}"
    return Problem(Kind.MALFORMED, "class_weight", message, field="class_weight", hint=hint)
