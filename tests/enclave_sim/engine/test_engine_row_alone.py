"""What a row makes is made of that row alone, to the last bit, whichever others are computed with it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from yingbi.api.model_vectors import layers
from yingbi.api.v1.plan_pb2 import (
    BinnedGradient,
    Bins,
    Expression,
    GeneralizedLinear,
    ModelVector,
    NearestCentre,
    Network,
    Score,
    SecondMoments,
)

from enclave_sim.engine.models import KERNELS
from enclave_sim.engine.models.exact_products import MAX_COLUMNS, products
from enclave_sim.engine.models.score import scores
from enclave_sim.engine.models.unit_vectors import clipped_sum
from enclave_sim.privacy.vector_clipping import LARGEST, ROW_BITS, clipped, finite

TERMS = 23
Floats = np.ndarray


def drawn(rows: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    found: Floats = random.uniform(-1, 1, (rows, TERMS))
    found[:, -1] = random.integers(0, 3, rows)
    return found


def linear(family: GeneralizedLinear.Family.ValueType) -> ModelVector:
    random = np.random.default_rng(1)
    classes = 3 if family == GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT else 0
    model = GeneralizedLinear(
        family=family,
        classes=classes,
        parameters=random.normal(size=(TERMS - 1) * max(1, classes - 1)),
        transform=random.normal(size=(TERMS - 1) * TERMS),
        max_length=4.0,
        max_residual=1.5,
        max_exponent=5.0,
    )
    return ModelVector(terms=[Expression()] * TERMS, generalized_linear=model)


def network(family: Network.Family.ValueType) -> ModelVector:
    random = np.random.default_rng(7)
    classes = 3 if family == Network.FAMILY_MULTINOMIAL_LOGIT else 0
    model = Network(
        family=family, classes=classes, hidden=[9, 5], scales=random.normal(size=TERMS), shifts=[0.1] * TERMS
    )
    parameters = sum(sums * (inputs + 1) for sums, inputs in layers(model, TERMS - 1))
    model.parameters[:] = random.integers(-(2**20), 2**20, parameters).tolist()
    return ModelVector(terms=[Expression()] * TERMS, network=model)


def bins(family: BinnedGradient.Family.ValueType) -> ModelVector:
    random = np.random.default_rng(8)
    features = [
        Bins(edges=[-0.5, 0.0, 0.5], scores=random.integers(-(2**20), 2**20, 4).tolist()) for _ in range(TERMS - 1)
    ]
    model = BinnedGradient(family=family, features=features, scale=0.3, shift=0.1)
    return ModelVector(terms=[Expression()] * TERMS, binned_gradient=model)


def weighed(vector: ModelVector, *weights: float) -> ModelVector:
    vector.class_weights[:] = weights
    return vector


def scored(vector: ModelVector) -> ModelVector:
    vector.score.CopyFrom(Score(limit=3.0))
    return vector


CENTRES = np.random.default_rng(2).uniform(-1, 1, 5 * TERMS)
VECTORS = {
    **{GeneralizedLinear.Family.Name(each): linear(each) for each in GeneralizedLinear.Family.values() if each},
    **{f"network {Network.Family.Name(each)}": network(each) for each in Network.Family.values() if each},
    **{f"bins {BinnedGradient.Family.Name(each)}": bins(each) for each in BinnedGradient.Family.values() if each},
    "nearest_centre": ModelVector(
        terms=[Expression()] * TERMS, nearest_centre=NearestCentre(centres=CENTRES, max_distance=1.0)
    ),
    "squares": ModelVector(second_moments=SecondMoments()),
    "weighed classes": weighed(linear(GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT), 0.3, 1, 0.07),
    "weighed network": weighed(network(Network.FAMILY_MULTINOMIAL_LOGIT), 0.3, 1, 0.07),
    "score of classes": scored(linear(GeneralizedLinear.FAMILY_MULTINOMIAL_LOGIT)),
    "score of counts": scored(linear(GeneralizedLinear.FAMILY_POISSON_LOG)),
    "score of a network": scored(network(Network.FAMILY_MULTINOMIAL_LOGIT)),
    "score of bins": scored(bins(BinnedGradient.FAMILY_BERNOULLI_LOGIT)),
}


def made(vector: ModelVector, terms: Floats) -> Floats:
    """As an engine makes it: every row's part of a total, in grid steps."""
    kernel = scores if vector.HasField("score") else KERNELS[vector.WhichOneof("kind") or ""]
    with np.errstate(all="ignore"):
        return clipped(finite(kernel(vector)(terms)), 1 << 16, 16)


@pytest.mark.parametrize("name", VECTORS)
def test_a_row_is_the_same_by_itself_and_among_any_others(name: str) -> None:
    terms = drawn(67, 3)
    together = made(VECTORS[name], terms)
    for count in (1, 2, 5, 64):
        assert np.array_equal(made(VECTORS[name], terms[-count:].copy()), together[-count:])
    assert np.array_equal(made(VECTORS[name], terms[::-1].copy()), together[::-1])


@pytest.mark.parametrize("name", [*VECTORS, "products"])
def test_what_a_unit_adds_is_its_own_however_many_rows_it_has(name: str) -> None:
    """Units of one row, of several, of so many that they are summed in another way; in any order, and alone."""
    vector = ModelVector(second_moments=SecondMoments(products=True))
    if name != "products":
        vector.CopyFrom(VECTORS[name])
    del vector.terms[:]
    vector.terms.extend([Expression()] * TERMS)
    vector.max_norm = 3 << 16
    units = np.repeat(np.arange(90), [1] * 80 + [2, 3, 5, 16, 17, 64, 65, 66, 400, 3000])
    terms = drawn(len(units), 9) * np.random.default_rng(10).uniform(0, 9, (len(units), 1))

    def total(rows: Floats) -> Floats:
        return clipped_sum(vector, 16, units[rows], list(terms[rows].T), np.ones(len(rows), bool))

    everybody = np.arange(len(units))
    alone = [total(np.flatnonzero(units == unit)) for unit in range(90)]
    assert np.array_equal(total(everybody), sum(alone))
    assert np.array_equal(total(everybody[::-1].copy()), sum(alone))
    for each in alone:
        assert sum(int(cell) ** 2 for cell in each) <= vector.max_norm**2


def test_exact_products_are_near_those_of_floats() -> None:
    terms, matrix = drawn(4096, 4), np.random.default_rng(5).normal(size=(TERMS, TERMS))
    exact = products(terms, matrix)
    assert all(np.array_equal(products(terms[row : row + 1], matrix)[0], exact[row]) for row in range(0, 4096, 97))
    assert np.allclose(exact, terms @ matrix.T, atol=2e-5)


def test_sums_over_a_units_rows_are_the_same_in_any_order() -> None:
    vectors = finite(np.random.default_rng(6).uniform(-2 * LARGEST, 2 * LARGEST, (5000, 2)))
    assert np.array_equal(vectors.sum(axis=0), vectors[::-1].cumsum(axis=0)[-1])
    assert np.array_equal(vectors * 2.0**ROW_BITS, np.rint(vectors * 2.0**ROW_BITS))
    assert np.abs(vectors).max() == LARGEST


def test_a_product_with_what_is_not_finite_is_nan_and_with_too_many_columns_refused() -> None:
    found = products(np.array([[1.0, math.inf], [1.0, 0.5]]), np.array([[1.0, 0.0]]))
    assert np.isnan(found[0, 0])
    assert found[1, 0] == 1.0
    with pytest.raises(ValueError, match="columns"):
        products(np.zeros((1, MAX_COLUMNS + 1)), np.zeros((1, MAX_COLUMNS + 1)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("width", [1023, 1024, 8191, 16_384])
def test_a_long_vector_is_cut_alike_by_itself_and_beside_others(width: int, order: Literal["C", "F"]) -> None:
    """With all coordinates at once between two steps of the grid, an ulp of its length would move all of them."""
    norm = math.isqrt(width)
    for number in range(60):
        value = (1 + number * 2.0**-9) / 7 * 100
        alone = clipped(np.full((1, width), value), norm, 16)
        beside = clipped(np.full((5, width), value).copy(order), norm, 16)
        assert np.array_equal(beside, np.repeat(alone, 5, axis=0))


def test_one_more_person_adds_their_own_vector_where_a_plan_is_made_for_the_opposite() -> None:
    """All coordinates on the edge of a step, and one person with two rows beside many with one."""
    zeros, response = np.zeros(4098), np.full(4098, -909.2794036865234)
    model = GeneralizedLinear(
        family=GeneralizedLinear.FAMILY_IDENTITY,
        parameters=[0.0] * 1024,
        transform=[1.0, 0.0] * 1024,
        max_length=math.inf,
        max_residual=math.inf,
    )
    vector = ModelVector(terms=[Expression()] * 2, max_norm=32, generalized_linear=model)

    def total(units: list[int]) -> Floats:
        rows = len(units)
        return clipped_sum(vector, 16, np.array(units), [zeros[:rows], response[:rows]], np.ones(rows, bool))

    others = list(range(4096))
    assert np.array_equal(total([*others, 4096, 4096]) - total(others), total([4096, 4096]))
