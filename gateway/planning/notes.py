"""What clipping, rounding and estimating may distort in an answer, in words for the person who asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, BoundedSum, Formula, Measure, Plan, RangeCounts, Relation

from enclave_sim.plan.relations import operators_of
from enclave_sim.plan.sensitivity import groups
from gateway.planning.aggregates import MAX_QUANTILE, MIN_QUANTILE
from gateway.planning.moments import is_second_moment
from gateway.planning.ranges import resolution
from gateway.planning.wording import number, text_of

__all__ = ["clipping_notes", "number"]

_MOST_NOTED = 20


def clipping_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """Short sentences, the same for every data: they are made of the plan and the declaration alone."""
    notes = [note for total in _sums(plan) for note in _value_notes(total, plan.fraction_bits)]
    notes += _quantile_notes(plan)
    if any(item.WhichOneof("kind") != "distinct_units" for item in plan.statistics):
        notes += [_row_note(plan), *_reach_notes(plan)]
    if any(item.HasField("distinct_units") for item in plan.statistics):
        notes += _unit_notes(plan)
    notes += _join_notes(plan.relation, declaration)
    notes += _group_notes(plan)
    if any(formula.HasField("window") for formula in _formulas(plan)):
        notes.append("Window functions compute with released values: noise decides between rows that are near.")
    if any(output.formula.HasField("operation") for output in plan.outputs):
        notes.append("Standard errors of computed columns are first-order (delta method): they assume small errors.")
    if plan.noise.parties_per_unit > 1:
        notes.append(
            f"One {declaration.privacy_unit} may appear at {plan.noise.parties_per_unit} providers; "
            "each clips its own rows, and the noise allows for all of them."
        )
    return list(dict.fromkeys(notes))


def _value_notes(total: BoundedSum, fraction_bits: int) -> list[str]:
    name = text_of(total.term)
    step = total.half_range / 2**fraction_bits
    return [
        f"Values of {name} outside [{number(total.lower)}, {number(total.upper)}] count as the nearest bound; "
        f"{_missing(total)}.",
        f"Each value of {name} is rounded to a grid of steps of {step:.3g}.",
    ]


def _missing(total: BoundedSum) -> str:
    return "NULL and NaN do not count" if total.term.column.type == COLUMN_TYPE_FLOAT64 else "NULL does not count"


def _quantile_notes(plan: Plan) -> list[str]:
    measures = [measure.quantile for measure in _measures(plan) if measure.HasField("quantile")]
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


def _row_note(plan: Plan) -> str:
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
    for measure in _shown(plan):
        if measure.HasField("sum"):
            total = plan.statistics[measure.sum.bounded_sum].bounded_sum
            reach = number(plan.clipping.max_rows * max(abs(total.lower), abs(total.upper)))
            notes[f"One unit moves SUM({text_of(total.term)}) by at most {reach}."] = None
        if measure.HasField("mean"):
            total = plan.statistics[measure.mean.bounded_sum].bounded_sum
            reach = number(plan.clipping.max_rows * total.half_range)
            away = f" less {number(total.centre)} a row" if total.centre else ""
            name = text_of(total.term)
            notes[f"One unit moves the sum of {name}{away}, which AVG is made of, by at most {reach}."] = None
    return list(notes)[:_MOST_NOTED]


def _unit_notes(plan: Plan) -> list[str]:
    if groups(plan) <= plan.clipping.max_groups:
        return ["Each unit counts fully in every group that it has rows in."]
    limit = _count_of(plan.clipping.max_groups, "group")
    return [f"A unit with rows in more than {limit} counts as less than 1 in each."]


def _join_notes(relation: Relation, declaration: DatasetDeclaration) -> list[str]:
    return [
        f"Of each {declaration.privacy_unit} at most {_count_of(part.unit_join.max_left_rows, 'row')} of the left and "
        f"{part.unit_join.max_right_rows:,} of the right are paired."
        for part in operators_of(relation)
        if part.HasField("unit_join")
    ]


def _group_notes(plan: Plan) -> list[str]:
    if not plan.group_by:
        return []
    ranges = {output.key for output in plan.outputs if output.labels}
    names = " or ".join(text_of(key.expression) for index, key in enumerate(plan.group_by) if index not in ranges)
    notes = [f"Rows whose {names} is NULL or not a listed value are in no group."] if names else []
    if ranges:
        notes.append("Values below the first range or above the last count in it; NULL is in no range.")
    if plan.grouping_sets:
        notes.append("Totals are added up from the groups, so rows that are in no group are in no total.")
    return notes


def _sums(plan: Plan) -> Sequence[BoundedSum]:
    """The sums that the answer is made of, one for each term; second moments follow from the bounds of the first."""
    indexes = [_sum_index(measure) for measure in _measures(plan)]
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


def _shown(plan: Plan) -> Iterator[Measure]:
    return (output.measure for output in plan.outputs if output.HasField("measure"))


def _measures(plan: Plan) -> Iterator[Measure]:
    """All measures of the plan's answer, those inside formulas included."""
    yield from _shown(plan)
    yield from (formula.measure for formula in _formulas(plan) if formula.HasField("measure"))


def _formulas(plan: Plan) -> Iterator[Formula]:
    """All formulas of the plan's answer, and all that are in them."""
    formulas: list[Formula] = [output.formula for output in plan.outputs if output.HasField("formula")]
    formulas += [
        plan.presentation.having,
        plan.presentation.qualify,
        *(ordering.formula for ordering in plan.presentation.order_by),
    ]
    while formulas:
        formula = formulas.pop()
        yield formula
        formulas += formula.operation.operands
        formulas += formula.window.operands
        formulas += [ordering.formula for ordering in formula.window.order_by]


def _count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
