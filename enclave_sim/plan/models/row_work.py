"""What a row costs an engine where steps of training are taken: bounded over all of a plan's vectors.

The time of a round follows from the number of rows, the number of units and the plan. A plan whose rows took
milliseconds each would keep an enclave busy for hours, for the price of any other.
"""

from __future__ import annotations

from yingbi.api.model_vectors import width
from yingbi.api.v1.plan_pb2 import ModelVector, Plan

from enclave_sim.plan.errors import require

MAX_ROW_WORK = 2**16
"""Numbers that a row is multiplied with or made into. Each takes some 30 ns, and so a row two milliseconds at most."""


def check_row_work(plan: Plan) -> None:
    """Refuse a plan whose models' vectors together are too much work for a row; each is well-formed.

    Raises:
        PlanError: naming the bound.
    """
    work = sum(row_work(each.model_vector) for each in plan.statistics if each.HasField("model_vector"))
    message = f"of a row {work:,} numbers would be made for models, which is more than {MAX_ROW_WORK:,}"
    require(work <= MAX_ROW_WORK, "statistics", message)


def row_work(vector: ModelVector) -> int:
    """Numbers that a row is multiplied with, and cells of what it makes: of a score these are few."""
    match vector.WhichOneof("kind"):
        case "generalized_linear":
            model = vector.generalized_linear
            numbers = len(model.transform) + len(model.parameters)
        case "nearest_centre":
            numbers = len(vector.nearest_centre.centres)
        case "network":
            # There, and for a step back again.
            numbers = len(vector.network.parameters) * (1 if vector.HasField("score") else 2)
        case "second_moments" if vector.second_moments.products:
            # Of all pairs, both ways.
            numbers = width(vector)
        case _:
            numbers = len(vector.terms)
    return width(vector) + numbers
