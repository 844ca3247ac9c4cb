"""First stages: keys that nobody declared, and norms to choose a clipping bound from, are priced and bounded."""

from collections.abc import Callable

import pytest
from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_STRING,
    ColumnReference,
    Expression,
    KeySelection,
    Plan,
    Statistic,
    UnitNorms,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.key_selection import selection_price
from enclave_sim.plan.sensitivity import delta0_units, delta2_squared, slot_bits_needed, total_rho_units, width
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.gaussian import rho_units_of
from enclave_sim.privacy.key_selection import lowest_threshold

SIGMA = 2**18
DELTA0 = 10**9
NOTE = Expression(column=ColumnReference(name="note", type=COLUMN_TYPE_STRING))


@pytest.fixture
def stage(plan: Plan, declaration: DatasetDeclaration) -> Plan:
    """A first stage: keys of `note` and the units' norms over them."""
    del plan.group_by[:], plan.statistics[:], plan.outputs[:]
    plan.clipping.max_groups = 1
    norms = Statistic(unit_norms=UnitNorms(keys=[NOTE], edges=[1, 2, 4]), sigma=SIGMA)
    norms.rho_units = rho_units_of(4**plan.fraction_bits, SIGMA, plan.noise.parties, 4)
    plan.statistics.append(norms)
    plan.key_selection.CopyFrom(
        KeySelection(
            keys=[NOTE],
            max_keys=5,
            sigma=SIGMA,
            threshold=lowest_threshold(SIGMA, 5, DELTA0, plan.fraction_bits),
            rho_units=selection_price(plan, SIGMA),
            delta0_units=DELTA0,
        )
    )
    plan.epsilon, plan.delta = 3.0, 1e-6
    plan.slot_bits = slot_bits_needed(plan, max_units=declaration.max_units)
    return plan


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=plan.dataset_version)


def test_a_first_stage_is_accepted_and_costs_what_both_parts_cost(stage: Plan, declaration: DatasetDeclaration) -> None:
    check(stage, declaration)
    norms = stage.statistics[0]
    assert (width(norms), delta2_squared(stage, norms)) == (4, 4**stage.fraction_bits)
    assert total_rho_units(stage) == norms.rho_units + stage.key_selection.rho_units
    assert delta0_units(stage) == DELTA0


def test_a_selection_at_one_provider_is_not_helped_by_the_others_noise(stage: Plan) -> None:
    alone = rho_units_of(4**stage.fraction_bits, SIGMA, 1, 1)
    assert stage.noise.parties > 1
    assert selection_price(stage, SIGMA) == alone


def test_a_unit_at_several_providers_is_charged_at_each(stage: Plan, declaration: DatasetDeclaration) -> None:
    declaration.units_disjoint = False
    parties = stage.noise.parties
    stage.noise.parties_per_unit = parties
    selection, norms = stage.key_selection, stage.statistics[0]
    selection.rho_units = parties * rho_units_of(4**stage.fraction_bits, SIGMA, 1, 1)
    selection.delta0_units = parties * DELTA0
    norms.rho_units = rho_units_of(delta2_squared(stage, norms), SIGMA, parties, 4)
    stage.epsilon = 20.0
    check(stage, declaration)
    selection.delta0_units = DELTA0 + 1
    with pytest.raises(PlanError):
        check(stage, declaration)


LIES: dict[str, tuple[str, Callable[[Plan], object]]] = {
    "a lower threshold": (
        "key_selection.threshold",
        lambda p: setattr(p.key_selection, "threshold", p.key_selection.threshold - 1),
    ),
    "more keys at that threshold": ("key_selection.threshold", lambda p: setattr(p.key_selection, "max_keys", 4095)),
    "a smaller delta at that threshold": (
        "key_selection.threshold",
        lambda p: setattr(p.key_selection, "delta0_units", DELTA0 // 2),
    ),
    "no delta": ("key_selection.delta0_units", lambda p: setattr(p.key_selection, "delta0_units", 0)),
    "too many keys": ("key_selection.max_keys", lambda p: setattr(p.key_selection, "max_keys", 4096)),
    "another price": ("key_selection.rho_units", lambda p: setattr(p.key_selection, "rho_units", 1)),
    "no noise": ("key_selection.sigma", lambda p: setattr(p.key_selection, "sigma", 1)),
    "no keys": ("key_selection.keys", lambda p: p.key_selection.ClearField("keys")),
    "a key of floats": (
        "key_selection.keys[0]",
        lambda p: p.key_selection.keys[0].column.CopyFrom(ColumnReference(name="pulse", type=COLUMN_TYPE_FLOAT64)),
    ),
    "edges that do not ascend": (
        "statistics[0].unit_norms.edges",
        lambda p: p.statistics[0].unit_norms.edges.append(4),
    ),
    "an edge at 0": ("statistics[0].unit_norms.edges", lambda p: p.statistics[0].unit_norms.edges.insert(0, 0)),
    "a filter": ("statistics[0].filter", lambda p: setattr(p.statistics[0].filter.literal, "bool_value", True)),
    "an answer": ("outputs", lambda p: p.outputs.add(name="n", key=0)),
    "a delta that the selection takes whole": (
        "delta",
        lambda p: setattr(p, "delta", 0.9 * DELTA0 / zcdp.DELTA0_UNITS),
    ),
}


@pytest.mark.parametrize(("path", "change"), LIES.values(), ids=LIES.keys())
def test_a_lie_about_a_first_stage_is_refused(
    stage: Plan, declaration: DatasetDeclaration, path: str, change: Callable[[Plan], object]
) -> None:
    change(stage)
    with pytest.raises(PlanError) as caught:
        check(stage, declaration)
    assert caught.value.path == path
