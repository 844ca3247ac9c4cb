"""What clipping and rounding may distort in an answer, in words for the person who asked."""

from __future__ import annotations

from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, BoundedSum, Plan

from enclave_sim.plan.sensitivity import groups


def clipping_notes(plan: Plan, declaration: DatasetDeclaration) -> list[str]:
    """Short sentences, the same for every data: they are made of the plan and the declaration alone."""
    sums = [item.bounded_sum for item in plan.statistics if item.HasField("bounded_sum")]
    notes = [note for total in _one_per_column(sums) for note in _value_notes(total, plan.fraction_bits)]
    if any(item.WhichOneof("kind") != "distinct_units" for item in plan.statistics):
        notes.append(_row_note(plan))
        notes += _reach_notes(plan)
    if any(item.HasField("distinct_units") for item in plan.statistics):
        notes += _unit_notes(plan)
    if plan.group_by:
        names = " or ".join(key.column.name for key in plan.group_by)
        notes.append(f"Rows whose {names} is NULL or not a declared value are in no group.")
    if plan.noise.parties_per_unit > 1:
        notes.append(
            f"One {declaration.privacy_unit} may appear at {plan.noise.parties_per_unit} providers; "
            "each clips its own rows, and the noise allows for all of them."
        )
    return notes


def number(value: float) -> str:
    """A number as people write it: 18,000 and 0.00229."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.6g}"


def _value_notes(total: BoundedSum, fraction_bits: int) -> list[str]:
    name = total.column.name
    step = total.half_range / 2**fraction_bits
    missing = "NULL and NaN do" if total.column.type == COLUMN_TYPE_FLOAT64 else "NULL does"
    return [
        f"Values of {name} outside [{number(total.lower)}, {number(total.upper)}] count as the nearest bound; "
        f"{missing} not count.",
        f"Each value of {name} is rounded to a grid of steps of {step:.3g}.",
    ]


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
    for output in plan.outputs:
        if output.HasField("sum"):
            total = plan.statistics[output.sum.bounded_sum].bounded_sum
            reach = number(plan.clipping.max_rows * max(abs(total.lower), abs(total.upper)))
            notes[f"One unit moves SUM({total.column.name}) by at most {reach}."] = None
        if output.HasField("mean"):
            total = plan.statistics[output.mean.bounded_sum].bounded_sum
            reach = number(plan.clipping.max_rows * total.half_range)
            away = f" less {number(total.centre)} a row" if total.centre else ""
            notes[f"One unit moves the sum of {total.column.name}{away}, which AVG is made of, by at most {reach}."] = (
                None
            )
    return list(notes)


def _unit_notes(plan: Plan) -> list[str]:
    if groups(plan) <= plan.clipping.max_groups:
        return ["Each unit counts fully in every group that it has rows in."]
    limit = _count_of(plan.clipping.max_groups, "group")
    return [f"A unit with rows in more than {limit} counts as less than 1 in each."]


def _one_per_column(sums: list[BoundedSum]) -> list[BoundedSum]:
    return list({total.column.name: total for total in sums}.values())


def _count_of(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
