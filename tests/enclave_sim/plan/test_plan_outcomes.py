"""What a plan may say of class weights, and of a score in place of a step."""

from __future__ import annotations

import math

import pytest
from yingbi.api.model_vectors import width
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    BinnedGradient,
    Bins,
    ColumnReference,
    Expression,
    GeneralizedLinear,
    ModelVector,
    Network,
    Score,
    SecondMoments,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.models import check_model_vector
from enclave_sim.plan.models.row_work import row_work

TERMS = [Expression(column=ColumnReference(name="pulse", type=COLUMN_TYPE_FLOAT64))] * 2


def linear(family: GeneralizedLinear.Family.ValueType = GeneralizedLinear.FAMILY_BERNOULLI_LOGIT) -> ModelVector:
    classes = 3 if family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT else 0
    made = GeneralizedLinear(
        family=family,
        classes=classes,
        parameters=[0, 0] * max(classes - 1, 1),
        transform=[1, 0, 0, 1],
        max_length=1,
        max_residual=1,
    )
    return ModelVector(terms=TERMS, max_norm=1 << 16, generalized_linear=made)


def network(family: Network.Family.ValueType = Network.FAMILY_BERNOULLI_LOGIT) -> ModelVector:
    made = Network(family=family, hidden=[1], parameters=[0] * 4, scales=[1, 1], shifts=[0, 0])
    return ModelVector(terms=TERMS, max_norm=1 << 16, network=made)


def boosting(family: BinnedGradient.Family.ValueType = BinnedGradient.FAMILY_BERNOULLI_LOGIT) -> ModelVector:
    made = BinnedGradient(family=family, features=[Bins(scores=[0])], scale=1)
    return ModelVector(terms=TERMS, max_norm=1 << 16, binned_gradient=made)


def weighed(vector: ModelVector, *weights: float) -> ModelVector:
    vector.class_weights[:] = weights
    return vector


def scored(vector: ModelVector, limit: float = 4.0) -> ModelVector:
    vector.score.CopyFrom(Score(limit=limit))
    return vector


MULTINOMIAL = GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT


@pytest.mark.parametrize(
    "vector", [weighed(linear(), 1, 0.1), weighed(linear(MULTINOMIAL), 1, 1, 0.5), weighed(network(), 0.5, 1)]
)
def test_a_weight_for_each_class_is_accepted(vector: ModelVector) -> None:
    check_model_vector(vector, "vector")


@pytest.mark.parametrize(
    ("vector", "cells"),
    [
        (linear(), 2),
        (linear(MULTINOMIAL), 2),
        (linear(GeneralizedLinear.FAMILY_POISSON_LOG), 1),
        (network(), 2),
        (network(Network.FAMILY_IDENTITY), 1),
        (boosting(), 2),
        (boosting(BinnedGradient.FAMILY_IDENTITY), 1),
    ],
)
def test_a_score_has_two_cells_of_classes_and_one_of_numbers(vector: ModelVector, cells: int) -> None:
    asked = scored(vector)
    check_model_vector(asked, "vector")
    assert width(asked) == cells


@pytest.mark.parametrize(
    ("vector", "work"), [(linear(MULTINOMIAL), 4 + 4 + 2), (network(), 4 + 2), (boosting(), 2 + 2)]
)
def test_a_row_of_a_score_is_worked_on_as_far_as_what_is_expected(vector: ModelVector, work: int) -> None:
    """Numbers that it is multiplied with, once and not back again, and two cells; of bins its terms."""
    assert row_work(scored(vector)) == work


BROKEN: dict[str, tuple[ModelVector, str]] = {
    "one weight of two": (weighed(linear(), 1), "class_weights"),
    "two weights of three": (weighed(linear(MULTINOMIAL), 1, 1), "class_weights"),
    "a weight above 1": (weighed(linear(), 1, 1.5), "class_weights"),
    "a weight of 0": (weighed(linear(), 1, 0), "class_weights"),
    "a weight that is none": (weighed(network(), 1, math.nan), "class_weights"),
    "weights of counts": (weighed(linear(GeneralizedLinear.FAMILY_POISSON_LOG), 1, 1), "class_weights"),
    "weights of numbers": (weighed(network(Network.FAMILY_IDENTITY), 1, 1), "class_weights"),
    "weights of bins": (weighed(boosting(), 1, 1), "class_weights"),
    "a score of moments": (
        scored(ModelVector(terms=TERMS, max_norm=1, second_moments=SecondMoments())), "score",
    ),
    "a score of counts by bin": (scored(boosting(BinnedGradient.FAMILY_COUNT)), "score"),
    "no limit": (scored(linear(), 0.0), "score.limit"),
    "a limit without end": (scored(linear(), math.inf), "score.limit"),
    "a limit that is none": (scored(linear(), math.nan), "score.limit"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_means_nothing_is_refused(name: str) -> None:
    vector, path = BROKEN[name]
    with pytest.raises(PlanError) as caught:
        check_model_vector(vector, "vector")
    assert caught.value.path == f"vector.{path}"
