"""The independent check of a plan: what an enclave does before it touches a row.

The plan may come from a gateway that lies. After `check_plan`, what is left to trust is the declaration, the
number of parties, and the engine:

- every row of the relation belongs to one unit and is made of that unit's stored rows (`relations`);
- every expression is total, so nothing in the rows can make a job fail (`expressions`);
- what a unit's texts can add to the time that it takes is bounded (`text_work`);
- the sensitivities follow from the clipping bounds (`sensitivity`), the prices from σ
  (`enclave_sim.privacy.gaussian`);
- of a program's blocks, only clipped outputs are added up (`programs`);
- what a model says of a row is another column of that row (`models`);
- group keys, ranges and bounds are constants of the plan, and so public;
- the form is one that the dataset is served in, and no column of its negative list is read (`services`);
- what comes after the opening (`outputs`, `formulas`) sees opened cells only; it is checked for its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import GroupKey, Plan, Relation

from enclave_sim.plan import values
from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.evaluations import check_evaluation, check_model
from enclave_sim.plan.expressions import Trait, check_constant, check_expression
from enclave_sim.plan.key_selection import check_key_selection
from enclave_sim.plan.models.row_work import check_row_work
from enclave_sim.plan.outputs import check_answer
from enclave_sim.plan.programs import check_program
from enclave_sim.plan.relations import WHOLE_UNIT_OPERATORS, check_relation, max_rows_bound, operators_of
from enclave_sim.plan.releases import check_prices
from enclave_sim.plan.sensitivity import (
    MAX_SLOT_BITS,
    cells,
    delta0_units,
    groups,
    slot_bits_needed,
    total_rho_units,
)
from enclave_sim.plan.services import check_forbidden, check_served
from enclave_sim.plan.size import check_look_ups
from enclave_sim.plan.statistics import MAX_PLAIN_STATISTICS, MAX_STATISTICS, check_statistic
from enclave_sim.plan.text_work import check_text_work
from enclave_sim.privacy.clipping import MAX_JOINT_NORM, MAX_UNIT_ROWS

__all__ = ["PlanError", "check_plan"]

LANGUAGE_VERSION = 2
FRACTION_BITS = 16
MAX_GROUPS = 100_000
MAX_CELLS = 200_000
MAX_KEYS = 64
MAX_ROWS = 2**20
MAX_PARTIES = 10_000


def check_plan(plan: Plan, declaration: DatasetDeclaration, *, dataset_version: bytes) -> None:
    """Refuse a plan that breaks a rule, does not fit the dataset, or states a false sensitivity or price.

    Where units may be at several providers (`units_disjoint: false`), distinct units cannot be counted, and
    what is made of all rows of a unit (unit_aggregation, unit_ranking, unit_join) cannot be asked for: each
    provider would make it of the rows that it has, "a patient's latest visit" would be one visit at each.
    The answer would be private and mean something else than it says, so it is refused.

    Args:
        plan: from `canonical.decode`.
        declaration: one that `schema.check_declaration` accepts.
        dataset_version: of the dataset as the caller knows it.

    Raises:
        PlanError: the first rule broken.
    """
    check_look_ups(plan)
    _check_subject(plan, declaration, dataset_version)
    _check_noise(plan, declaration)
    if plan.HasField("program"):
        require(not plan.HasField("evaluation"), "evaluation", "does not go with a program")
        check_program(plan, declaration)
        _check_cells(plan)
        _check_grid(plan)
        check_prices(plan)
    else:
        _check_query(plan, declaration)
    _check_slots(plan, declaration)
    _check_guarantee(plan)
    check_answer(plan)
    if plan.HasField("evaluation"):
        check_evaluation(plan)
    check_served(plan, declaration)
    check_forbidden(plan, declaration)


def _check_query(plan: Plan, declaration: DatasetDeclaration) -> None:
    columns = check_relation(plan.relation, declaration)
    if plan.HasField("evaluation"):
        columns = check_model(plan, columns)
    _check_unit_operators(plan)
    _check_groups(plan, columns)
    _check_clipping(plan)
    _check_statistics(plan, columns)
    check_key_selection(plan, columns)
    check_text_work(plan, declaration)


def _check_subject(plan: Plan, declaration: DatasetDeclaration, dataset_version: bytes) -> None:
    require(
        plan.language_version == LANGUAGE_VERSION,
        "language_version",
        f"must be {LANGUAGE_VERSION}, not {plan.language_version}",
    )
    require(plan.dataset == declaration.dataset, "dataset", f"must be {declaration.dataset}, not {plan.dataset!r}")
    require(plan.dataset_version == dataset_version, "dataset_version", "is not the present one")


def _check_noise(plan: Plan, declaration: DatasetDeclaration) -> None:
    parties = plan.noise.parties
    require(1 <= parties <= MAX_PARTIES, "noise.parties", f"must be from 1 to {MAX_PARTIES:,}")
    require(
        plan.noise.curious == declaration.curious_providers,
        "noise.curious",
        f"must be {declaration.curious_providers}, as the dataset declares, not {plan.noise.curious}",
    )
    require(plan.noise.curious < parties, "noise.curious", f"must be below the number of parties, {parties}")
    expected = 1 if declaration.units_disjoint else parties
    require(
        plan.noise.parties_per_unit == expected,
        "noise.parties_per_unit",
        f"must be {expected}, as units_disjoint is {str(declaration.units_disjoint).lower()}",
    )


def _check_unit_operators(plan: Plan) -> None:
    bound = max_rows_bound(plan.relation)
    require(bound <= MAX_UNIT_ROWS, "relation", f"a unit may have {bound:,} rows, more than {MAX_UNIT_ROWS:,}")
    whole = plan.noise.parties_per_unit == 1 or not any(map(_needs_whole_units, operators_of(plan.relation)))
    require(
        whole,
        "relation",
        "units may appear at several providers, so nothing can be made of all rows of a unit:"
        f" {', '.join(WHOLE_UNIT_OPERATORS)} are not possible",
    )


def _needs_whole_units(relation: Relation) -> bool:
    return relation.WhichOneof("kind") in WHOLE_UNIT_OPERATORS


def _check_groups(plan: Plan, columns: Mapping[str, Trait]) -> None:
    require(len(plan.group_by) <= MAX_KEYS, "group_by", f"has more than {MAX_KEYS} keys")
    require(groups(plan) <= MAX_GROUPS, "group_by", f"makes more than {MAX_GROUPS:,} groups")
    for index, key in enumerate(plan.group_by):
        _check_key(key, columns, f"group_by[{index}]")
    different = {key.expression.SerializeToString(deterministic=True) for key in plan.group_by}
    require(len(different) == len(plan.group_by), "group_by", "has an expression twice")


def _check_key(key: GroupKey, columns: Mapping[str, Trait], path: str) -> None:
    """The values are public whichever they are: all of them are in the plan, and each makes a group."""
    kind = check_expression(key.expression, columns, f"{path}.expression").type
    require(len(key.values) > 0, f"{path}.values", "must not be empty")
    require(len(key.values) > key.rest, f"{path}.values", "are nothing but the rest")
    seen: set[values.PythonValue] = set()
    for index, value in enumerate(key.values):
        value_path = f"{path}.values[{index}]"
        check_constant(value, kind, value_path)
        plain = values.to_python(value)
        # As Python compares them, so that 0.0 and -0.0 are one.
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
    message = f"must be 0, for statistics by themselves, or up to {MAX_JOINT_NORM:,}"
    require(clipping.joint_norm <= MAX_JOINT_NORM, "clipping.joint_norm", message)
    _check_grid(plan)


def _check_grid(plan: Plan) -> None:
    require(plan.fraction_bits == FRACTION_BITS, "fraction_bits", f"must be {FRACTION_BITS}")


def _check_statistics(plan: Plan, columns: Mapping[str, Trait]) -> None:
    most = MAX_STATISTICS if plan.clipping.joint_norm else MAX_PLAIN_STATISTICS
    require(1 <= len(plan.statistics) <= most, "statistics", f"there must be 1 to {most} statistics")
    for index, statistic in enumerate(plan.statistics):
        check_statistic(plan, statistic, columns, f"statistics[{index}]")
    check_row_work(plan)
    _check_cells(plan)
    check_prices(plan)


def _check_cells(plan: Plan) -> None:
    require(cells(plan) <= MAX_CELLS, "statistics", f"have more than {MAX_CELLS:,} cells over all groups")


def _check_slots(plan: Plan, declaration: DatasetDeclaration) -> None:
    needed = slot_bits_needed(plan, max_units=declaration.max_units)
    require(needed <= MAX_SLOT_BITS, "slot_bits", f"{needed} bits are needed and {MAX_SLOT_BITS} are there")
    require(plan.slot_bits == needed, "slot_bits", f"must be {needed}, not {plan.slot_bits}")


def _check_guarantee(plan: Plan) -> None:
    try:
        allowed = zcdp.rho_units_for(plan.epsilon, plan.delta, delta0_units(plan))
    except zcdp.BadPrivacyParameter as error:
        raise PlanError(error.field, str(error)) from error
    spent = total_rho_units(plan)
    require(
        spent <= allowed,
        "epsilon",
        f"the statistics cost {spent} units of ρ, and the stated ε and δ allow {allowed}",
    )
