"""What a plan may ask of units for a step of training a network, or of boosting."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    BinnedGradient,
    Bins,
    ColumnReference,
    Expression,
    ModelVector,
    Network,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.models import check_model_vector
from enclave_sim.plan.models.binned_gradient import MAX_EDGES, MAX_SCORE
from enclave_sim.plan.models.network import MAX_PARAMETER


def terms(count: int) -> list[Expression]:
    return [Expression(column=ColumnReference(name="pulse", type=COLUMN_TYPE_FLOAT64))] * count


def network() -> ModelVector:
    """Two inputs, three sums, two sums, one output."""
    made = Network(
        family=Network.FAMILY_BERNOULLI_LOGIT,
        hidden=[3, 2],
        parameters=[MAX_PARAMETER] * (9 + 8 + 3),
        scales=[1, 1, 1],
        shifts=[0, 0, 0],
    )
    return ModelVector(terms=terms(3), max_norm=1 << 24, network=made)


def boosting() -> ModelVector:
    features = [Bins(edges=[0, 1], scores=[-MAX_SCORE, 0, MAX_SCORE]), Bins(scores=[0])]
    made = BinnedGradient(family=BinnedGradient.FAMILY_BERNOULLI_LOGIT, features=features, scale=1)
    return ModelVector(terms=terms(3), max_norm=1 << 17, binned_gradient=made)


@pytest.mark.parametrize("vector", [network(), boosting()])
def test_a_step_is_accepted(vector: ModelVector) -> None:
    check_model_vector(vector, "vector")


BROKEN: dict[str, tuple[str, Callable[[ModelVector], object]]] = {
    "no family": ("network.family", lambda v: v.network.ClearField("family")),
    "an unknown family": ("network.family", lambda v: setattr(v.network, "family", 9)),
    "classes of none": ("network.classes", lambda v: setattr(v.network, "classes", 3)),
    "no layer": ("network.hidden", lambda v: v.network.ClearField("hidden")),
    "three layers": ("network.hidden", lambda v: v.network.hidden.append(2)),
    "a layer of nothing": ("network.hidden", lambda v: v.network.hidden.__setitem__(0, 0)),
    "a wide layer": ("network.hidden", lambda v: v.network.hidden.__setitem__(0, 2**31)),
    "a parameter too many": ("network.parameters", lambda v: v.network.parameters.append(0)),
    "a large parameter": ("network.parameters", lambda v: v.network.parameters.__setitem__(0, MAX_PARAMETER + 1)),
    "a scale too few": ("network.scales", lambda v: v.network.scales.pop()),
    "a shift of NaN": ("network.shifts", lambda v: v.network.shifts.__setitem__(0, math.nan)),
    "a response alone": ("network", lambda v: v.terms.__delitem__(slice(0, 2))),
    "no family of residuals": ("binned_gradient.family", lambda v: v.binned_gradient.ClearField("family")),
    "a feature too few": ("binned_gradient.features", lambda v: v.binned_gradient.features.pop()),
    "edges that do not ascend": (
        "binned_gradient.features[0].edges",
        lambda v: v.binned_gradient.features[0].edges.__setitem__(1, 0),
    ),
    "an infinite edge": (
        "binned_gradient.features[0].edges",
        lambda v: v.binned_gradient.features[0].edges.__setitem__(1, math.inf),
    ),
    "too many edges": (
        "binned_gradient.features[1].edges",
        lambda v: v.binned_gradient.features[1].edges.extend(range(MAX_EDGES + 1)),
    ),
    "a score too many": (
        "binned_gradient.features[1].scores",
        lambda v: v.binned_gradient.features[1].scores.append(0),
    ),
    "a large score": (
        "binned_gradient.features[0].scores",
        lambda v: v.binned_gradient.features[0].scores.__setitem__(0, -MAX_SCORE - 1),
    ),
    "a large intercept": (
        "binned_gradient.intercept",
        lambda v: setattr(v.binned_gradient, "intercept", MAX_SCORE + 1),
    ),
    "a scale of infinity": ("binned_gradient.scale", lambda v: setattr(v.binned_gradient, "scale", math.inf)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_step_that_means_nothing_is_refused_at_its_place(name: str) -> None:
    path, change = BROKEN[name]
    vector = network() if path.startswith("network") else boosting()
    change(vector)
    with pytest.raises(PlanError) as caught:
        check_model_vector(vector, "vector")
    assert caught.value.path == f"vector.{path}"
