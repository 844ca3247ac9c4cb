"""Rules for a plan that runs a model on the rows of its relation.

The model adds columns to the rows that group keys and statistics see. Each row's are a function of that row, and of
coins that are drawn for it alone (`engine.predictions`, and the check of the file in `yingbi.api.models.check`). So
what `sensitivity.delta2_squared` takes of a row holds of a row with them: a plan with a model is charged like any
other, whatever the model says. What the cells mean (`Evaluation`, but for its model) is no part of that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from yingbi.api.models.check import MAX_INPUTS, MAX_WIDTH
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Evaluation, Model, Plan

from enclave_sim.plan.errors import require
from enclave_sim.plan.expressions import Trait, check_constant
from enclave_sim.plan.values import type_of

HASH_BYTES = 32
MAX_TEXT = 10_000
MAX_EVALUATION_KEYS = 8
MAX_CLASSES = 64
MAX_BINS = 512
PREDICTION, PREDICTED, CONFIDENCE = "prediction", "predicted", "confidence"


def model_columns(model: Model) -> dict[str, Trait]:
    """What the model adds to a row."""
    if model.reading == Model.READING_LARGEST:
        return {PREDICTED: Trait(COLUMN_TYPE_INT64), CONFIDENCE: Trait(COLUMN_TYPE_FLOAT64)}
    return {PREDICTION: Trait(COLUMN_TYPE_FLOAT64)}


def check_model(plan: Plan, columns: Mapping[str, Trait]) -> dict[str, Trait]:
    """The columns of the plan's rows, those of its model among them.

    Args:
        plan: one with an evaluation.
        columns: those of its relation.

    Raises:
        PlanError: with the path of the part at fault.
    """
    model, path = plan.evaluation.model, "evaluation.model"
    require(len(model.sha256) == HASH_BYTES, f"{path}.sha256", f"must have {HASH_BYTES} bytes")
    require(1 <= len(model.inputs) <= MAX_INPUTS, f"{path}.inputs", f"there must be 1 to {MAX_INPUTS}")
    for name in model.inputs:
        known = name in columns and columns[name].type == COLUMN_TYPE_FLOAT64
        require(known, f"{path}.inputs", f"{name!r} is no column of float64")
    require(1 <= len(model.output) <= MAX_TEXT, f"{path}.output", f"must have 1 to {MAX_TEXT:,} characters")
    require(1 <= model.width <= MAX_WIDTH, f"{path}.width", f"must be from 1 to {MAX_WIDTH}")
    readings = (Model.READING_NUMBER, Model.READING_LARGEST)
    require(model.reading in readings, f"{path}.reading", "is not known")
    require(model.column < model.width, f"{path}.column", "must be below width")
    added = model_columns(model)
    require(
        not added.keys() & columns.keys(), "relation", f"has a column with a name of the model's: {', '.join(added)}"
    )
    require(not plan.HasField("key_selection"), "key_selection", "does not go with a model")
    require(not plan.HasField("fit"), "fit", "does not go with a model")
    return {**columns, **added}


def check_evaluation(plan: Plan) -> None:
    """Refuse an evaluation whose numbers or sizes are out of range; PlanError. Post-processing."""
    said, path = plan.evaluation, "evaluation"
    tasks = (Evaluation.TASK_BINARY, Evaluation.TASK_MULTICLASS, Evaluation.TASK_REGRESSION)
    require(said.task in tasks, f"{path}.task", "is not known")
    require(1 <= len(said.response) <= MAX_TEXT, f"{path}.response", f"must have 1 to {MAX_TEXT:,} characters")
    require(len(said.by) <= MAX_EVALUATION_KEYS, f"{path}.by", f"there are more than {MAX_EVALUATION_KEYS}")
    for index, key in enumerate(said.by):
        own = f"{path}.by[{index}]"
        require(1 <= len(key.name) <= MAX_TEXT, f"{own}.name", f"must have 1 to {MAX_TEXT:,} characters")
        require(len(key.values) > 0, f"{own}.values", "must not be empty")
        for value in key.values:
            check_constant(value, type_of(key.values[0]), f"{own}.values")
    require(len(said.classes) <= MAX_CLASSES, f"{path}.classes", f"there are more than {MAX_CLASSES}")
    for value in said.classes:
        check_constant(value, type_of(said.classes[0]), f"{path}.classes")
    require(said.bins <= MAX_BINS, f"{path}.bins", f"must be at most {MAX_BINS}")
    finite = all(map(math.isfinite, (said.lower, said.upper, said.error)))
    require(finite and said.lower < said.upper, f"{path}.lower", "must be below upper, both finite")
    require(said.error >= 0, f"{path}.error", "must not be below 0")
