"""Rules for a plan that is a first stage: key selection, and norms to choose a clipping bound from."""

from __future__ import annotations

from collections.abc import Mapping

from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, KeySelection, Plan, UnitNorms
from yingbi.api.zcdp import DELTA0_UNITS

from enclave_sim.plan.errors import require
from enclave_sim.plan.expressions import Trait, check_expression
from enclave_sim.privacy.gaussian import MAX_SIGMA, MIN_SIGMA, rho_units_of
from enclave_sim.privacy.key_selection import MAX_KEYS_PER_UNIT, lowest_threshold

MAX_SELECTED_KEYS = 16
"""Expressions whose values make a key."""

MAX_EDGES = 256
MAX_EDGE = 2**24


def check_key_selection(plan: Plan, columns: Mapping[str, Trait]) -> None:
    """Refuse a selection that is ill-typed, releases too easily, or states a false price.

    A provider's keys are released with its own noise alone, so its units are protected by that provider's
    noise: parties do not add up here as they do in a sum.

    Raises:
        PlanError: with the path of the part at fault.
    """
    if not plan.HasField("key_selection"):
        return
    selection, path = plan.key_selection, "key_selection"
    require(not plan.group_by, path, "stands beside no group_by")
    _check_keys(selection, columns, path)
    require(
        1 <= selection.max_keys <= MAX_KEYS_PER_UNIT, f"{path}.max_keys", f"must be from 1 to {MAX_KEYS_PER_UNIT:,}"
    )
    require(MIN_SIGMA <= selection.sigma <= MAX_SIGMA, f"{path}.sigma", f"must be from {MIN_SIGMA} to {MAX_SIGMA}")
    at_one_provider, rest = divmod(selection.delta0_units, plan.noise.parties_per_unit)
    in_range = 0 < at_one_provider <= DELTA0_UNITS // 4
    require(in_range and rest == 0, f"{path}.delta0_units", "must be a positive share for each provider, at most 1/4")
    lowest = lowest_threshold(selection.sigma, selection.max_keys, at_one_provider, plan.fraction_bits)
    require(selection.threshold >= lowest, f"{path}.threshold", f"must be {lowest} or more")
    price = selection_price(plan, selection.sigma)
    require(selection.rho_units == price, f"{path}.rho_units", f"must be {price}, not {selection.rho_units}")


def selection_price(plan: Plan, sigma: int) -> int:
    """The ρ of selecting keys with noise σ, in units of 10^-12.

    ½·(2^f/σ)² at one provider (`enclave_sim.privacy.key_selection`), times the providers that a unit may be at:
    their releases are made with independent noise, and zCDP composes.
    """
    at_one = rho_units_of(1 << (2 * plan.fraction_bits), sigma, parties=1, cells=1)
    return plan.noise.parties_per_unit * at_one


def check_unit_norms(plan: Plan, norms: UnitNorms, columns: Mapping[str, Trait], path: str) -> None:
    """Refuse norms that are not of one group, or whose edges do not ascend.

    Raises:
        PlanError: with the path of the part at fault.
    """
    require(not plan.group_by, path, "stands beside no group_by")
    require(len(norms.keys) <= MAX_SELECTED_KEYS, f"{path}.keys", f"has more than {MAX_SELECTED_KEYS}")
    for index, key in enumerate(norms.keys):
        check_expression(key, columns, f"{path}.keys[{index}]")
    edges = list(norms.edges)
    require(1 <= len(edges) <= MAX_EDGES, f"{path}.edges", f"there must be 1 to {MAX_EDGES}")
    ascending = all(low < high for low, high in zip([0, *edges], edges, strict=False))
    require(ascending and edges[-1] <= MAX_EDGE, f"{path}.edges", f"must ascend from 1 to {MAX_EDGE:,} at most")


def _check_keys(selection: KeySelection, columns: Mapping[str, Trait], path: str) -> None:
    require(
        1 <= len(selection.keys) <= MAX_SELECTED_KEYS, f"{path}.keys", f"there must be 1 to {MAX_SELECTED_KEYS} keys"
    )
    for index, key in enumerate(selection.keys):
        kind = check_expression(key, columns, f"{path}.keys[{index}]").type
        require(kind != COLUMN_TYPE_FLOAT64, f"{path}.keys[{index}]", "must not be float64")
