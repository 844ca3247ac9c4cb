"""Releases: what has one noise and one price. No plan pays less than its vectors cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan, Statistic, UnitNorms

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.releases import releases
from enclave_sim.plan.sensitivity import groups, is_joint, total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.clipping import MAX_JOINT_NORM
from enclave_sim.privacy.gaussian import rho_units_of

from .conftest import price
from .test_plan_validation import VERSION

Change = Callable[[Plan], Any]
SIGMA = 2_000_000
JOINT_NORM = 90


@pytest.fixture
def joint(plan: Plan) -> Plan:
    """The conftest's plan with its counts and its sum as one vector; counts of units and ranges by themselves."""
    plan.clipping.joint_norm = JOINT_NORM
    for statistic in plan.statistics:
        if is_joint(plan, statistic):
            statistic.sigma = SIGMA
    price(plan)
    return plan


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=VERSION)


def test_without_a_joint_norm_every_statistic_is_a_release(plan: Plan) -> None:
    assert [release.statistics for release in releases(plan)] == [(index,) for index in range(len(plan.statistics))]


def test_counts_and_sums_are_one_release_and_pay_once(joint: Plan, declaration: DatasetDeclaration) -> None:
    check(joint, declaration)
    vector = (0, 1, 2)
    assert [release.statistics for release in releases(joint)] == [vector, (3,), (4,)]
    square = (JOINT_NORM << joint.fraction_bits) ** 2 // 256
    expected = rho_units_of(square, SIGMA, joint.noise.parties, len(vector) * groups(joint))
    assert [joint.statistics[index].rho_units for index in vector] == [expected, 0, 0]
    assert total_rho_units(joint) == expected + joint.statistics[3].rho_units + joint.statistics[4].rho_units


LIES: dict[str, tuple[str, Change]] = {
    "a longer vector at the old price": (
        "statistics[0].rho_units",
        lambda p: setattr(p.clipping, "joint_norm", JOINT_NORM + 1),
    ),
    "no price at all": ("statistics[0].rho_units", lambda p: setattr(p.statistics[0], "rho_units", 0)),
    "a second price": ("statistics[1].rho_units", lambda p: setattr(p.statistics[1], "rho_units", 1)),
    "less noise on one part": ("statistics[2].sigma", lambda p: setattr(p.statistics[2], "sigma", SIGMA - 1)),
    "more noise on one part": ("statistics[2].sigma", lambda p: setattr(p.statistics[2], "sigma", SIGMA + 1)),
    "no noise": ("statistics[0].sigma", lambda p: setattr(p.statistics[0], "sigma", 0)),
    "one vector no more": ("statistics[0].rho_units", lambda p: setattr(p.clipping, "joint_norm", 0)),
    "a norm out of range": (
        "clipping.joint_norm",
        lambda p: setattr(p.clipping, "joint_norm", MAX_JOINT_NORM + 1),
    ),
}


@pytest.mark.parametrize(("path", "change"), LIES.values(), ids=LIES.keys())
def test_a_lie_about_the_joint_vector_is_refused(
    joint: Plan, declaration: DatasetDeclaration, path: str, change: Change
) -> None:
    change(joint)
    with pytest.raises(PlanError) as caught:
        check(joint, declaration)
    assert caught.value.path == path


@pytest.fixture
def stage(plan: Plan) -> Plan:
    """A first stage that measures the norms of the plan's own counts and sum."""
    vector = plan.statistics[:3]
    for each in vector:
        each.ClearField("sigma")
        each.ClearField("rho_units")
    norms = Statistic(unit_norms=UnitNorms(edges=[1, 2, 4], vector=vector), sigma=SIGMA)
    keys = [key.expression for key in plan.group_by]
    for field in ("statistics", "outputs", "group_by"):
        plan.ClearField(field)
    plan.statistics.append(norms)
    plan.statistics[0].unit_norms.keys.extend(keys)
    plan.clipping.max_groups = 1
    price(plan)
    return plan


def test_norms_may_be_of_a_vector(stage: Plan, declaration: DatasetDeclaration) -> None:
    check(stage, declaration)


VECTOR = "statistics[0].unit_norms.vector"
WRONG_VECTORS: dict[str, tuple[str, Callable[[Statistic], Any]]] = {
    "units among it": (f"{VECTOR}[3]", lambda s: s.unit_norms.vector.add().distinct_units.SetInParent()),
    "noise of its own": (f"{VECTOR}[0]", lambda s: setattr(s.unit_norms.vector[0], "sigma", 2)),
    "a price of its own": (f"{VECTOR}[0]", lambda s: setattr(s.unit_norms.vector[0], "rho_units", 2)),
    "norms of norms": (f"{VECTOR}[3]", lambda s: s.unit_norms.vector.add().unit_norms.edges.append(1)),
    "a sum without bounds": (
        f"{VECTOR}[1].bounded_sum.half_range",
        lambda s: setattr(s.unit_norms.vector[1].bounded_sum, "half_range", 0.0),
    ),
    "too many": (VECTOR, lambda s: s.unit_norms.vector.extend([s.unit_norms.vector[0]] * 62)),
}


@pytest.mark.parametrize(("path", "change"), WRONG_VECTORS.values(), ids=WRONG_VECTORS.keys())
def test_a_vector_that_is_none_is_refused(
    stage: Plan, declaration: DatasetDeclaration, path: str, change: Callable[[Statistic], Any]
) -> None:
    change(stage.statistics[0])
    with pytest.raises(PlanError) as caught:
        check(stage, declaration)
    assert caught.value.path == path
