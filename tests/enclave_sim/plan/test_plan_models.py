"""What a plan may ask of units for a step of training, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    ColumnReference,
    Expression,
    GeneralizedLinear,
    ModelVector,
    NearestCentre,
    Plan,
    SecondMoments,
    Statistic,
)

from enclave_sim.plan.models.row_work import check_row_work, row_work
from enclave_sim.plan.releases import releases, unknown_shares
from enclave_sim.plan.sensitivity import cells, delta2_squared, slot_bits_needed
from enclave_sim.plan.validation import PlanError, check_plan
from enclave_sim.privacy.vector_clipping import MAX_NORM


def pulse() -> Expression:
    return Expression(column=ColumnReference(name="pulse", type=COLUMN_TYPE_FLOAT64))


def gradient() -> ModelVector:
    model = GeneralizedLinear(
        family=GeneralizedLinear.FAMILY_BERNOULLI_LOGIT,
        parameters=[0, 1],
        transform=[1, 0, 0, 1],
        max_length=2,
        max_residual=math.inf,
    )
    return ModelVector(terms=[pulse(), pulse()], max_norm=1 << 17, generalized_linear=model)


def trained(plan: Plan, vector: ModelVector, declaration: DatasetDeclaration) -> Plan:
    """The clinic's plan with this one statistic, at its price."""
    found = Plan()
    found.CopyFrom(plan)
    found.ClearField("group_by")
    found.ClearField("statistics")
    found.ClearField("outputs")
    found.ClearField("grouping_sets")
    found.ClearField("presentation")
    found.ClearField("key_selection")
    found.clipping.max_groups, found.clipping.joint_norm = 1, 0
    found.statistics.append(Statistic(model_vector=vector, sigma=100_000_000))
    try:
        (release,) = releases(found)
        found.statistics[0].rho_units = release.rho_units(100_000_000, unknown_shares(found))
        found.slot_bits = slot_bits_needed(found, max_units=declaration.max_units)
    except ValueError:
        pass
    return found


def test_a_gradient_is_accepted_and_moves_by_its_norm_at_each_provider(
    plan: Plan, declaration: DatasetDeclaration
) -> None:
    found = trained(plan, gradient(), declaration)
    check_plan(found, declaration, dataset_version=found.dataset_version)
    assert delta2_squared(found, found.statistics[0]) == (1 << 17) ** 2
    assert cells(found) == 2
    found.noise.parties_per_unit = 3
    assert delta2_squared(found, found.statistics[0]) == 9 * (1 << 17) ** 2


def test_a_slot_holds_everybodys_longest_vector(plan: Plan, declaration: DatasetDeclaration) -> None:
    found = trained(plan, gradient(), declaration)
    found.statistics[0].sigma = 0
    most = found.noise.parties * declaration.max_units << 17
    assert 2 ** (slot_bits_needed(found, max_units=declaration.max_units) - 1) > most


def nearest() -> ModelVector:
    own = NearestCentre(centres=[0, 1, 2, 3], max_distance=1)
    return ModelVector(terms=[pulse(), pulse()], max_norm=1 << 17, nearest_centre=own)


def test_a_centre_has_a_cell_for_each_term_and_two_more(plan: Plan, declaration: DatasetDeclaration) -> None:
    found = trained(plan, nearest(), declaration)
    check_plan(found, declaration, dataset_version=found.dataset_version)
    assert cells(found) == 2 * 4


BROKEN_CENTRES: dict[str, tuple[str, Callable[[ModelVector], object]]] = {
    "none": ("centres", lambda v: v.nearest_centre.ClearField("centres")),
    "half a centre": ("centres", lambda v: v.nearest_centre.centres.pop()),
    "a centre of NaN": ("centres", lambda v: v.nearest_centre.centres.__setitem__(0, math.nan)),
    "too many": ("centres", lambda v: v.nearest_centre.centres.extend([0.0] * 2000)),
    "no distance": ("max_distance", lambda v: v.nearest_centre.ClearField("max_distance")),
    "an infinite distance": ("max_distance", lambda v: setattr(v.nearest_centre, "max_distance", math.inf)),
}


@pytest.mark.parametrize("name", BROKEN_CENTRES)
def test_centres_that_mean_nothing_are_refused_at_their_place(
    plan: Plan, declaration: DatasetDeclaration, name: str
) -> None:
    path, change = BROKEN_CENTRES[name]
    vector = nearest()
    change(vector)
    found = trained(plan, vector, declaration)
    with pytest.raises(PlanError) as caught:
        check_plan(found, declaration, dataset_version=found.dataset_version)
    assert caught.value.path == f"statistics[0].model_vector.nearest_centre.{path}"


def _set(path: str, value: object) -> Callable[[ModelVector], object]:
    return lambda vector: setattr(vector.generalized_linear, path, value)


BROKEN: dict[str, tuple[str, Callable[[ModelVector], object]]] = {
    "no terms": ("terms", lambda v: v.ClearField("terms")),
    "a term that is no number": ("terms[1]", lambda v: v.terms[1].literal.__setattr__("string_value", "a")),
    "no norm": ("max_norm", lambda v: v.ClearField("max_norm")),
    "a norm that is too long": ("max_norm", lambda v: setattr(v, "max_norm", MAX_NORM + 1)),
    "no kind": ("", lambda v: v.ClearField("generalized_linear")),
    "no family": ("generalized_linear.family", lambda v: v.generalized_linear.ClearField("family")),
    "classes of none": ("generalized_linear.classes", _set("classes", 3)),
    "half a transform": ("generalized_linear.transform", lambda v: v.generalized_linear.transform.pop()),
    "a transform that takes long": (
        "generalized_linear.transform",
        lambda v: v.generalized_linear.transform.extend([0.0] * 2**16),
    ),
    "a parameter too few": ("generalized_linear.parameters", lambda v: v.generalized_linear.parameters.pop()),
    "a parameter of NaN": (
        "generalized_linear.parameters",
        lambda v: v.generalized_linear.parameters.__setitem__(0, math.nan),
    ),
    "no length": ("generalized_linear.max_length", _set("max_length", 0.0)),
    "a residual of NaN": ("generalized_linear.max_residual", _set("max_residual", math.nan)),
    "an infinite exponent": ("generalized_linear.max_exponent", _set("max_exponent", math.inf)),
    "products of which the norm leaves nothing": (
        "second_moments",
        lambda v: v.CopyFrom(ModelVector(terms=[pulse()] * 2, max_norm=4, second_moments=SecondMoments(products=True))),
    ),
    "too many squares": (
        "max_norm",
        lambda v: v.CopyFrom(
            ModelVector(
                terms=[pulse()] * 200,
                max_norm=MAX_NORM,
                nearest_centre=NearestCentre(centres=[0.0] * 2000, max_distance=1.0),
            )
        ),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_vector_that_means_nothing_is_refused_at_its_place(
    plan: Plan, declaration: DatasetDeclaration, name: str
) -> None:
    path, change = BROKEN[name]
    vector = gradient()
    change(vector)
    found = trained(plan, vector, declaration)
    with pytest.raises(PlanError) as caught:
        check_plan(found, declaration, dataset_version=found.dataset_version)
    assert caught.value.path == f"statistics[0].model_vector{'.' if path else ''}{path}"


def test_a_row_is_no_more_work_than_is_allowed_over_all_of_a_plans_vectors(
    plan: Plan, declaration: DatasetDeclaration
) -> None:
    """64 clusters of 250 numbers are 64 · (250 + 252), or half of what there may be; twice that is refused."""
    own = NearestCentre(centres=[0.0] * 64 * 250, max_distance=1.0)
    wide = ModelVector(terms=[pulse()] * 250, max_norm=1 << 17, nearest_centre=own)
    assert row_work(wide) == 32_128
    found = trained(plan, wide, declaration)
    check_row_work(found)
    found.statistics.append(found.statistics[0])
    check_row_work(found)
    found.statistics.append(found.statistics[0])
    with pytest.raises(PlanError, match="96,384 numbers would be made for models, which is more than 65,536"):
        check_row_work(found)
    with pytest.raises(PlanError) as caught:
        check_plan(found, declaration, dataset_version=found.dataset_version)
    assert caught.value.path.startswith("statistics")


def test_hostile_parameters_are_a_plans_constants_and_no_rule_needs_them_small(
    plan: Plan, declaration: DatasetDeclaration
) -> None:
    vector = gradient()
    vector.generalized_linear.parameters[:] = [1e308, -1e308]
    found = trained(plan, vector, declaration)
    check_plan(found, declaration, dataset_version=found.dataset_version)


@pytest.mark.parametrize("name", ["group_by", "joint_norm", "filter", "marginal"])
def test_a_vector_stands_alone(plan: Plan, declaration: DatasetDeclaration, name: str) -> None:
    found = trained(plan, gradient(), declaration)
    match name:
        case "group_by":
            found.group_by.append(plan.group_by[0])
        case "joint_norm":
            found.clipping.joint_norm = 16
        case "filter":
            found.statistics[0].filter.literal.bool_value = True
        case _:
            found.statistics[0].marginal.SetInParent()
    with pytest.raises(PlanError) as caught:
        check_plan(found, declaration, dataset_version=found.dataset_version)
    assert caught.value.path.startswith("statistics[0]")
