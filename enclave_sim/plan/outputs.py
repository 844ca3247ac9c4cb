"""Rules for a plan's answer: its columns, its rows, which are shown. Post-processing; no privacy depends on it."""

from __future__ import annotations

from math import prod

from yingbi.api.v1.plan_pb2 import GroupingSet, Output, OutputOrdering, Plan, Statistic

from enclave_sim.plan.errors import PlanError, require
from enclave_sim.plan.fits import check_fit
from enclave_sim.plan.formulas import check_formula, check_measure
from enclave_sim.plan.sensitivity import is_first_stage
from enclave_sim.plan.syntheses import check_synthesis
from enclave_sim.plan.values import is_valid, type_of

MAX_OUTPUTS = 256
MAX_NAME_LENGTH = 10_000
"""Longer than that of a relation's column: an output is often called by the text of its formula."""

MAX_GROUPING_SETS = 4096
MAX_ROWS = 200_000
MAX_ORDERINGS = 64


def check_answer(plan: Plan) -> None:
    """Refuse outputs, grouping sets or a presentation that name what is not there, or are ill-typed or too many.

    Args:
        plan: its groups and statistics are checked.

    Raises:
        PlanError: with the path of the part at fault.
    """
    if is_first_stage(plan):
        nothing = not (plan.outputs or plan.grouping_sets or plan.HasField("presentation") or plan.HasField("fit"))
        require(nothing and not plan.HasField("synthesis"), "outputs", "a first stage has no answer of its own")
        # It counts as a question's and as a training's: an answer that is opened with it would be either.
        norms = all(statistic.HasField("unit_norms") for statistic in plan.statistics)
        require(norms, "statistics", "of a first stage are unit_norms alone")
        return
    _check_grouping_sets(plan)
    _check_marginals(plan)
    # A model that vectors make is read off the opened cells themselves.
    least = 0 if any(each.HasField("model_vector") for each in plan.statistics) else 1
    require(least <= len(plan.outputs) <= MAX_OUTPUTS, "outputs", f"there must be {least} to {MAX_OUTPUTS} outputs")
    for index, output in enumerate(plan.outputs):
        _check_output(plan, output, f"outputs[{index}]")
    names = [output.name for output in plan.outputs]
    require(len(set(names)) == len(names), "outputs", "two outputs have one name")
    if plan.HasField("presentation"):
        _check_presentation(plan)
    if plan.HasField("fit"):
        check_fit(plan)
    if plan.HasField("synthesis"):
        check_synthesis(plan)


def rows(plan: Plan) -> int:
    """Rows of the answer before the presentation: the combinations of keys over all grouping sets."""
    if not plan.grouping_sets:
        return prod(len(key.values) for key in plan.group_by)
    return sum(prod(len(plan.group_by[key].values) for key in each.keys) for each in plan.grouping_sets)


def _check_grouping_sets(plan: Plan) -> None:
    count = len(plan.grouping_sets)
    require(count <= MAX_GROUPING_SETS, "grouping_sets", f"has more than {MAX_GROUPING_SETS:,} sets")
    for index, each in enumerate(plan.grouping_sets):
        _check_grouping_set(plan, each, f"grouping_sets[{index}]")
    different = {frozenset(each.keys) for each in plan.grouping_sets}
    require(len(different) == count, "grouping_sets", "has a set twice")
    require(rows(plan) <= MAX_ROWS, "grouping_sets", f"makes more than {MAX_ROWS:,} rows")


def _check_grouping_set(plan: Plan, each: GroupingSet, path: str) -> None:
    require(all(key < len(plan.group_by) for key in each.keys), f"{path}.keys", "has what is no index of group_by")
    require(len(set(each.keys)) == len(each.keys), f"{path}.keys", "names a key twice")


def _check_marginals(plan: Plan) -> None:
    """Every row of the answer is to follow from marginals that are measured, each of them once."""
    everything = frozenset(range(len(plan.group_by)))
    wanted = [frozenset(each.keys) for each in plan.grouping_sets] or [everything]
    measured: dict[bytes, list[frozenset[int]]] = {}
    for each in plan.statistics:
        table = Statistic()
        table.CopyFrom(each)
        for name in ("marginal", "sigma", "rho_units"):
            table.ClearField(name)
        own = frozenset(each.marginal.keys) if each.HasField("marginal") else everything
        measured.setdefault(table.SerializeToString(deterministic=True), []).append(own)
    for sets in measured.values():
        if any(keys < everything for keys in sets):
            require(len(set(sets)) == len(sets), "statistics", "measure one marginal twice")
            are_there = all(any(keys <= own for own in sets) for keys in wanted)
            require(are_there, "statistics", "have no marginal that a grouping set follows from")


def _check_output(plan: Plan, output: Output, path: str) -> None:
    require(1 <= len(output.name) <= MAX_NAME_LENGTH, f"{path}.name", f"must have 1 to {MAX_NAME_LENGTH:,} characters")
    match output.WhichOneof("kind"):
        case "key":
            require(output.key < len(plan.group_by), f"{path}.key", "is no index of group_by")
            _check_labels(output, len(plan.group_by[output.key].values), f"{path}.labels")
        case "measure":
            check_measure(plan, output.measure, f"{path}.measure")
        case "formula":
            check_formula(plan, output.formula, "number", f"{path}.formula")
        case None:
            raise PlanError(path, "has no kind")
    require(output.HasField("key") or not output.labels, f"{path}.labels", "are for keys")


def _check_labels(output: Output, values: int, path: str) -> None:
    if not output.labels:
        return
    require(len(output.labels) == values, path, "must be one for each value of the key")
    require(all(map(is_valid, output.labels)), path, "must be finite values")
    require(len(set(map(type_of, output.labels))) == 1, path, "must be of one type")


def _check_presentation(plan: Plan) -> None:
    """Any limit and offset will do: they can only leave out rows."""
    presentation = plan.presentation
    if presentation.HasField("having"):
        check_formula(plan, presentation.having, "truth", "presentation.having", windows=False)
    if presentation.HasField("qualify"):
        check_formula(plan, presentation.qualify, "truth", "presentation.qualify")
    orderings = presentation.order_by
    require(len(orderings) <= MAX_ORDERINGS, "presentation.order_by", f"has more than {MAX_ORDERINGS} orderings")
    for index, ordering in enumerate(orderings):
        _check_ordering(plan, ordering, f"presentation.order_by[{index}]")


def _check_ordering(plan: Plan, ordering: OutputOrdering, path: str) -> None:
    match ordering.WhichOneof("kind"):
        case "output":
            require(ordering.output < len(plan.outputs), f"{path}.output", "is no index of outputs")
        case "formula":
            check_formula(plan, ordering.formula, "number", f"{path}.formula")
        case "key":
            require(ordering.key < len(plan.group_by), f"{path}.key", "is no index of group_by")
        case None:
            raise PlanError(path, "has no kind")
