"""Gradients of generalized linear models.

What a row makes is a function of the row and of the plan alone, bit for bit: `exact_products` where rows meet a matrix,
and number by number elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from yingbi.api.v1.plan_pb2 import GeneralizedLinear, ModelVector

from enclave_sim.engine.models.class_weights import weighing
from enclave_sim.engine.models.exact_products import WholeMatrix, squares_of, sums

Floats: TypeAlias = NDArray[np.float64]

CLASSES = (GeneralizedLinear.FAMILY_BERNOULLI_LOGIT, GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT)
"""Families whose responses are classes."""


def gradients(vector: ModelVector) -> Callable[[Floats], Floats]:
    """See GeneralizedLinear in plan.proto. Rows of classes with weights are weighed here, before units are cut."""
    model, prepared, weighed = vector.generalized_linear, _Prepared.of(vector), weighing(vector)

    def of_rows(terms: Floats) -> Floats:
        x, means = prepared.predicted(terms)
        response = terms[:, -1]
        residuals = weighed(_bounded(model, means, means - _responses(model, response)), response)
        if np.isfinite(model.max_length):
            lengths = np.sqrt(squares_of(x))
            residuals *= (model.max_length / np.maximum(lengths, model.max_length))[:, np.newaxis]
        return np.concatenate([residual * x.T for residual in residuals.T]).T

    return of_rows


def expected(vector: ModelVector) -> Callable[[Floats], tuple[Floats, Floats]]:
    """What is expected of each row: the chances of all classes, or one number; and its response."""
    prepared, has_classes = _Prepared.of(vector), vector.generalized_linear.family in CLASSES

    def of_rows(terms: Floats) -> tuple[Floats, Floats]:
        _, means = prepared.predicted(terms)
        if not has_classes:
            return means, terms[:, -1]
        rest = 1.0 - sum((means[:, place] for place in range(1, means.shape[1])), means[:, 0])
        return np.column_stack([rest, means]), terms[:, -1]

    return of_rows


@dataclass(frozen=True)
class _Prepared:
    """A model's numbers as arrays."""

    model: GeneralizedLinear
    constants: Floats
    matrix: WholeMatrix
    theta: Floats

    @classmethod
    def of(cls, vector: ModelVector) -> _Prepared:
        model = vector.generalized_linear
        transform = np.array(model.transform, np.float64).reshape(-1, len(vector.terms))
        theta = np.array(model.parameters, np.float64).reshape(-1, len(transform))
        return cls(model, transform[:, 0].copy(), WholeMatrix.of(transform[:, 1:]), theta)

    def predicted(self, terms: Floats) -> tuple[Floats, Floats]:
        """Of each row x, and the means of its response."""
        x = self.matrix.products(terms[:, :-1])
        x += self.constants
        return x, _means(self.model, sums(x, self.theta))


def _means(model: GeneralizedLinear, predictors: Floats) -> Floats:
    match model.family:
        case GeneralizedLinear.FAMILY_BERNOULLI_LOGIT:
            means: Floats = 0.5 + 0.5 * np.tanh(0.5 * predictors)
            return means
        case GeneralizedLinear.FAMILY_POISSON_LOG:
            powers: Floats = np.exp(np.minimum(predictors, model.max_exponent))
            return powers
        case GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT:
            # The first class has 0; the largest is taken from all, so that no power is infinite.
            largest = np.maximum(predictors.max(axis=1, keepdims=True), 0.0)
            powers = np.exp(predictors - largest)
            total = sum((powers[:, place] for place in range(1, powers.shape[1])), powers[:, 0])
            shares: Floats = powers / (total[:, np.newaxis] + np.exp(-largest))
            return shares
        case _:
            return predictors


def _bounded(model: GeneralizedLinear, means: Floats, residuals: Floats) -> Floats:
    """Residuals of classes are weighed by the longest that the row could have, whatever its response is."""
    if model.family not in CLASSES:
        return np.clip(residuals, -model.max_residual, model.max_residual)
    squares = squares_of(means)
    # Of class j it is squares - 2 means_j + 1; of class 0, which has no column, squares.
    longest = np.sqrt(np.maximum(squares, squares - 2 * means.min(axis=1) + 1))
    weighed: Floats = residuals * np.minimum(1.0, model.max_residual / longest)[:, np.newaxis]
    return weighed


def _responses(model: GeneralizedLinear, response: Floats) -> Floats:
    if model.family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT:
        is_class: Floats = (response[:, np.newaxis] == np.arange(1, model.classes)).astype(np.float64)
        return is_class
    return response[:, np.newaxis]
