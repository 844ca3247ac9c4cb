"""What clipping, rounding and estimating may distort in an answer, in words for the person who asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    BoundedSum,
    GroupKey,
    Measure,
    Plan,
    RangeCounts,
    Relation,
    Statistic,
)

from enclave_sim.plan.relations import operators_of
from enclave_sim.plan.releases import unknown_shares
from enclave_sim.plan.sensitivity import groups
from enclave_sim.privacy.clipping import SIXTEENTHS
from gateway.planning.aggregates import MAX_QUANTILE, MIN_QUANTILE
from gateway.planning.declared import Declared, as_asked
from gateway.planning.moments import is_second_moment
from gateway.planning.plan_measures import formulas_of, is_linear, measures_of, shown_measures
from gateway.planning.range_workload import ranged
from gateway.planning.ranges import resolution
from gateway.planning.undeclared import undeclared_notes
from gateway.planning.wording import number, text_of

_MOST_NOTED = 20


def clipping_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """Short sentences, the same for every data: they are made of the plan and the declaration alone."""
    declared = Declared.of(plan, declaration)
    notes = [note for total in _sums(plan) for note in _value_notes(total, plan.fraction_bits, declared)]
    notes += _quantile_notes(plan)
    notes += _range_notes(plan)
    measured = _measured(plan)
    if any(item.WhichOneof("kind") != "distinct_units" for item in measured):
        notes += [_row_note(plan), *_reach_notes(plan)]
    if any(item.HasField("distinct_units") for item in measured):
        notes += _unit_notes(plan, declared)
    notes += _value_count_notes(plan)
    notes += join_notes(plan.relation, declaration)
    notes += _look_up_notes(plan.relation)
    notes += undeclared_notes(plan, declaration)
    notes += _group_notes(plan)
    if any(key.rest for key in plan.group_by):
        notes.append("What questions of the batch measure by other keys too is made consistent by least squares.")
    elif any(each.HasField("marginal") for each in plan.statistics):
        notes.append("Totals are measured by themselves too, and made consistent with their parts by least squares.")
    if any(formula.HasField("window") for formula in formulas_of(plan)):
        notes.append("Window functions compute with released values: noise decides between rows that are near.")
    if any(output.formula.HasField("operation") and not is_linear(output.formula) for output in plan.outputs):
        notes.append("Standard errors of computed columns are first-order (delta method): they assume small errors.")
    if plan.noise.curious:
        factor = number(round((plan.noise.parties / unknown_shares(plan)) ** 0.5, 3))
        notes.append(
            f"The noise allows for providers that subtract their own share of it, up to {plan.noise.curious}: "
            f"standard errors are {factor} times as large."
        )
    if plan.noise.parties_per_unit > 1:
        notes.append(
            f"One {declaration.privacy_unit} may appear at {plan.noise.parties_per_unit} providers; "
            "each clips its own rows, and the noise allows for all of them."
        )
    return [as_asked(note, plan, declaration) for note in dict.fromkeys(notes)]


def _value_notes(total: BoundedSum, fraction_bits: int, declared: Declared) -> list[str]:
    name = text_of(total.term)
    step = total.half_range / 2**fraction_bits
    return [
        f"Values of {name} outside [{number(total.lower)}, {number(total.upper)}] count as the nearest bound"
        f"{'' if declared.is_required(total.term) else _missing(total)}.",
        f"Each value of {name} is rounded to a grid of steps of {number(float(f'{step:.3g}'))}.",
    ]


def _missing(total: BoundedSum) -> str:
    return "; NULL and NaN do not count" if total.term.column.type == COLUMN_TYPE_FLOAT64 else "; NULL does not count"


def _quantile_notes(plan: Plan) -> list[str]:
    measures = [measure.quantile for measure in measures_of(plan) if measure.HasField("quantile")]
    notes: dict[str, None] = {}
    for index in dict.fromkeys(measure.range_counts for measure in measures):
        notes[_resolution_note(plan.statistics[index].range_counts)] = None
    if any(measure.quantile in (MIN_QUANTILE, MAX_QUANTILE) for measure in measures):
        notes[
            "A smallest or largest value is one person's: MIN is answered by the 0.5 % quantile, MAX by the 99.5 % one."
        ] = None
    return list(notes)


def _resolution_note(tree: RangeCounts) -> str:
    leaves = tree.branching**tree.levels
    return (
        f"Quantiles of {text_of(tree.term)} are read off counts in {leaves:,} ranges of width "
        f"{number(float(f'{resolution(tree):.3g}'))} from {number(tree.lower)} to {number(tree.upper)}; "
        "values outside count in the nearest."
    )


def _range_notes(plan: Plan) -> list[str]:
    """Not of a tree of quantiles, whose leaves are ranges of equal width."""
    indexes = {measure.range_count.range_counts for measure in measures_of(plan) if measure.HasField("range_count")}
    operands = (ranged(plan.statistics[index].range_counts) for index in sorted(indexes))
    return [
        f"Counts of ranges of {text_of(operand)} are sums of the same noisy counts, so their errors go together."
        for operand in operands
        if operand is not None
    ]


def _row_note(plan: Plan) -> str:
    if plan.clipping.joint_norm:
        return (
            f"What a unit adds to all columns together counts for at most {number(_most_rows(plan))} rows (as a "
            "Euclidean norm); a unit that adds more is weighed down as a whole."
        )
    limit, unit = plan.clipping.max_rows, _count_of(plan.clipping.max_rows, "row")
    if groups(plan) == 1:
        return (
            f"A unit with more than {unit} that match is weighed down to {limit:,}; "
            f"one unit moves a count by at most {limit:,}."
        )
    return (
        f"A unit with more than {unit} that match (as the Euclidean norm over its groups) is weighed down to "
        f"{limit:,}; one unit moves a count by at most {limit:,}."
    )


def _reach_notes(plan: Plan) -> list[str]:
    notes: dict[str, None] = {}
    for measure in shown_measures(plan):
        if measure.HasField("sum"):
            total = plan.statistics[measure.sum.bounded_sum].bounded_sum
            reach = number(_sum_reach(plan, total))
            notes[f"One unit moves SUM({text_of(total.term)}) by at most {reach}."] = None
        if measure.HasField("mean"):
            total = plan.statistics[measure.mean.bounded_sum].bounded_sum
            reach = number(_most_rows(plan) * total.half_range)
            away = f" less {number(total.centre)} a row" if total.centre else ""
            name = text_of(total.term)
            notes[f"One unit moves the sum of {name}{away}, which AVG is made of, by at most {reach}."] = None
    return list(notes)[:_MOST_NOTED]


def _most_rows(plan: Plan) -> float:
    """Rows of weight 1 that one unit's whole vector is as long as, at most."""
    return plan.clipping.joint_norm / SIXTEENTHS or float(plan.clipping.max_rows)


def _sum_reach(plan: Plan, total: BoundedSum) -> float:
    if plan.clipping.joint_norm:
        # half_range · sum + centre · count, where sum and count are parts of one vector of bounded length.
        return _most_rows(plan) * math.hypot(total.half_range, total.centre)
    return plan.clipping.max_rows * max(abs(total.lower), abs(total.upper))


def _counted_keys(plan: Plan) -> list[GroupKey]:
    """The keys whose values the answer counts."""
    if not any(measure.HasField("distinct_values") for measure in measures_of(plan)):
        return []
    shown = plan.grouping_sets[0].keys
    return [key for index, key in enumerate(plan.group_by) if index not in shown]


def _value_count_notes(plan: Plan) -> list[str]:
    counted = [measure.distinct_values for measure in measures_of(plan) if measure.HasField("distinct_values")]
    name = f"COUNT(DISTINCT {', '.join(text_of(key.expression) for key in _counted_keys(plan))})"
    if counted and any(value.WhichOneof("kind") is None for key in plan.group_by for value in key.values):
        return [
            f"{name} is the number of the values found that enough units have. How many are enough depends on how many "
            "values are found; the answer says it. Values that are not found are not counted."
        ]
    return [
        f"{name} is the number of values that at least {number(measure.threshold)} units have, as far as noise lets it "
        "be told. NULL, values that are not listed, and those that fewer units have are not counted."
        for measure in counted
    ]


def _unit_notes(plan: Plan, declared: Declared) -> list[str]:
    if _counted_keys(plan):
        if groups(plan) <= plan.clipping.max_groups:
            return []
        limit = _count_of(plan.clipping.max_groups, "value")
        return [f"A unit with more than {limit}, over all groups, counts as less than 1 for each."]
    if _most_groups(plan, declared) <= plan.clipping.max_groups:
        return ["Each unit counts fully in every group that it has rows in."]
    limit = _count_of(plan.clipping.max_groups, "group")
    return [f"A unit with rows in more than {limit} counts as less than 1 in each."]


def _most_groups(plan: Plan, declared: Declared) -> float:
    """In how many groups a unit can be: those that only keys differ in which may vary within a unit."""
    varying = (key for key in plan.group_by if not declared.is_constant(key.expression))
    # Of a key that is not known yet there may be any number of values.
    return prod(len(key.values) if key.values[0].WhichOneof("kind") else math.inf for key in varying)


def provider_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """What a developer is told of units that several providers may have, where each counts once at each of them."""
    if plan.noise.parties_per_unit <= 1:
        return []
    return [
        f"One {declaration.privacy_unit} may appear at {plan.noise.parties_per_unit} providers and counts once at "
        "each; the noise allows for all of them."
    ]


def join_notes(relation: Relation, declaration: DatasetDeclaration) -> list[str]:
    return [
        f"Of each {declaration.privacy_unit} at most {_count_of(part.unit_join.max_left_rows, 'row')} of the left and "
        f"{part.unit_join.max_right_rows:,} of the right are paired."
        for part in operators_of(relation)
        if part.HasField("unit_join")
    ]


def _look_up_notes(relation: Relation) -> list[str]:
    columns = (column for part in operators_of(relation) for column in part.projection.columns)
    return [
        f"{column.name} is looked up by {text_of(column.expression.look_up.operand)} in "
        f"{_entries(len(column.expression.look_up.entries))}, which the plan and its receipt show."
        for column in columns
        if column.expression.HasField("look_up")
    ][:_MOST_NOTED]


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _group_notes(plan: Plan) -> list[str]:
    if not plan.group_by:
        return []
    left_out = [output.key for output in plan.outputs if output.labels and not plan.group_by[output.key].rest]
    left_out += [index for index, key in enumerate(plan.group_by) if key in _counted_keys(plan)]
    pooled = any(key.rest for key in plan.group_by)
    if pooled:
        left_out += [index for index in range(len(plan.group_by)) if index not in plan.grouping_sets[0].keys]
    # As the answer calls a key, where it shows it.
    named = {each.key: each.name for each in reversed(plan.outputs) if each.HasField("key") and len(each.name) <= 80}
    keys = enumerate(plan.group_by)
    names = " or ".join(named.get(index) or text_of(key.expression) for index, key in keys if index not in left_out)
    notes = [f"Rows whose {names} is NULL or not a listed value are in no group."] if names else []
    if any(output.labels and not plan.group_by[output.key].rest for output in plan.outputs):
        notes.append("Values below the first range or above the last count in it; NULL is in no range.")
    if plan.grouping_sets and not _counted_keys(plan) and not pooled:
        is_added = not any(each.HasField("marginal") for each in plan.statistics)
        added = "Totals are added up from the groups, so rows that are in no group are in no total."
        notes.append(added if is_added else "Rows that are in no group are in no total.")
    return notes


def _sums(plan: Plan) -> Sequence[BoundedSum]:
    """The sums that the answer is made of, one for each term; second moments follow from the bounds of the first."""
    indexes = [_sum_index(measure) for measure in measures_of(plan)]
    sums = [plan.statistics[index].bounded_sum for index in indexes if index is not None]
    plain = [total for total in sums if not is_second_moment(total.term)]
    return list({text_of(total.term): total for total in plain}.values())[:_MOST_NOTED]


def _sum_index(measure: Measure) -> int | None:
    match measure.WhichOneof("kind"):
        case "sum":
            return measure.sum.bounded_sum
        case "mean":
            return measure.mean.bounded_sum
        case _:
            return None


def _measured(plan: Plan) -> list[Statistic]:
    """The statistics that the answer is made of: of a plan that questions share, one question's."""
    used: set[int] = set()
    for measure in measures_of(plan):
        match measure.WhichOneof("kind"):
            case "count":
                used.add(measure.count.statistic)
            case "quantile":
                used.add(measure.quantile.range_counts)
            case "sum":
                used.add(measure.sum.bounded_sum)
            case "mean":
                used.add(measure.mean.bounded_sum)
            case "distinct_values":
                used.add(measure.distinct_values.statistic)
            case "range_count":
                used.add(measure.range_count.range_counts)
    return [plan.statistics[index] for index in sorted(used)]


def _count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
