"""The independent check of a plan: what an enclave does before it touches a row.

The plan may come from a gateway that lies. After `check_plan`, what is left to trust is the declaration,
the number of parties, and the engine: the sensitivities follow from the clipping bounds (`sensitivity`),
the prices from σ (`enclave_sim.privacy.gaussian`), and group keys are public values.
"""

from __future__ import annotations

from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import GroupKey, Plan

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.expressions import check_column, check_constant, check_filter
from enclave_sim.plan.outputs import check_outputs
from enclave_sim.plan.sensitivity import (
    MAX_SLOT_BITS,
    cells,
    groups,
    slot_bits_needed,
    total_rho_units,
)
from enclave_sim.plan.statistics import MAX_STATISTICS, check_statistic

__all__ = ["PlanError", "check_plan", "total_rho_units"]

LANGUAGE_VERSION = 1
FRACTION_BITS = 16
MAX_GROUPS = 100_000
MAX_CELLS = 200_000
MAX_KEYS = 64
MAX_ROWS = 2**20
MAX_PARTIES = 10_000


def check_plan(plan: Plan, declaration: DatasetDeclaration, *, dataset_version: bytes) -> None:
    """Refuse a plan that breaks a rule, does not fit the dataset, or states a false sensitivity or price.

    Args:
        plan: from `canonical.decode`.
        declaration: one that `schema.check_declaration` accepts.
        dataset_version: of the dataset as the caller knows it.

    Raises:
        PlanError: the first rule broken.
    """
    table = _check_subject(plan, declaration, dataset_version)
    if plan.HasField("filter"):
        check_filter(plan.filter, table)
    _check_groups(plan, table)
    _check_clipping(plan)
    _check_noise(plan, declaration)
    require(
        1 <= len(plan.statistics) <= MAX_STATISTICS,
        "statistics",
        f"there must be 1 to {MAX_STATISTICS} statistics",
    )
    require(cells(plan) <= MAX_CELLS, "statistics", f"groups times statistics exceed {MAX_CELLS:,}")
    for index, statistic in enumerate(plan.statistics):
        check_statistic(plan, statistic, table, f"statistics[{index}]")
    _check_slots(plan, declaration)
    _check_guarantee(plan)
    check_outputs(plan)


def _check_subject(plan: Plan, declaration: DatasetDeclaration, dataset_version: bytes) -> TableDeclaration:
    require(
        plan.language_version == LANGUAGE_VERSION,
        "language_version",
        f"must be {LANGUAGE_VERSION}, not {plan.language_version}",
    )
    require(plan.dataset == declaration.dataset, "dataset", f"must be {declaration.dataset}, not {plan.dataset!r}")
    require(plan.dataset_version == dataset_version, "dataset_version", "is not the present one")
    for table in declaration.tables:
        if table.name == plan.table:
            return table
    raise PlanError("table", f"there is no table {plan.table!r}")


def _check_groups(plan: Plan, table: TableDeclaration) -> None:
    require(len(plan.group_by) <= MAX_KEYS, "group_by", f"has more than {MAX_KEYS} keys")
    for index, key in enumerate(plan.group_by):
        _check_key(key, table, f"group_by[{index}]")
    names = [key.column.name for key in plan.group_by]
    require(len(set(names)) == len(names), "group_by", "names a column twice")
    require(groups(plan) <= MAX_GROUPS, "group_by", f"makes more than {MAX_GROUPS:,} groups")


def _check_key(key: GroupKey, table: TableDeclaration, path: str) -> None:
    check_column(key.column, table, f"{path}.column")
    column = next(column for column in table.columns if column.name == key.column.name)
    declared = {values.to_python(value) for value in column.values}
    require(len(key.values) > 0, f"{path}.values", "must not be empty")
    seen: set[values.PythonValue] = set()
    for index, value in enumerate(key.values):
        value_path = f"{path}.values[{index}]"
        check_constant(value, column.type, value_path)
        plain = values.to_python(value)
        require(plain in declared, value_path, "is not a declared value of the column")
        require(plain not in seen, value_path, "is listed twice")
        seen.add(plain)


def _check_clipping(plan: Plan) -> None:
    clipping = plan.clipping
    require(1 <= clipping.max_rows <= MAX_ROWS, "clipping.max_rows", f"must be from 1 to {MAX_ROWS:,}")
    require(
        1 <= clipping.max_groups <= groups(plan),
        "clipping.max_groups",
        f"must be from 1 to the number of groups, {groups(plan)}",
    )
    require(plan.fraction_bits == FRACTION_BITS, "fraction_bits", f"must be {FRACTION_BITS}")


def _check_noise(plan: Plan, declaration: DatasetDeclaration) -> None:
    parties = plan.noise.parties
    require(1 <= parties <= MAX_PARTIES, "noise.parties", f"must be from 1 to {MAX_PARTIES:,}")
    expected = 1 if declaration.units_disjoint else parties
    require(
        plan.noise.parties_per_unit == expected,
        "noise.parties_per_unit",
        f"must be {expected}, as units_disjoint is {str(declaration.units_disjoint).lower()}",
    )


def _check_slots(plan: Plan, declaration: DatasetDeclaration) -> None:
    needed = slot_bits_needed(plan, max_units=declaration.max_units)
    require(needed <= MAX_SLOT_BITS, "slot_bits", f"{needed} bits are needed and {MAX_SLOT_BITS} are there")
    require(plan.slot_bits == needed, "slot_bits", f"must be {needed}, not {plan.slot_bits}")


def _check_guarantee(plan: Plan) -> None:
    try:
        allowed = zcdp.rho_units_for(plan.epsilon, plan.delta)
    except zcdp.BadPrivacyParameter as error:
        raise PlanError(error.field, str(error)) from error
    spent = total_rho_units(plan)
    require(
        spent <= allowed,
        "epsilon",
        f"the statistics cost {spent} units of ρ, and the stated ε and δ allow {allowed}",
    )
