"""A model run here, on made-up rows, for trying out what an evaluation would say. Needs onnxruntime and pandas."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from yingbi.api.models.check import check_model
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import EvaluateQuery
from yingbi.api.v1.plan_pb2 import Evaluation, Plan
from yingbi.cells import to_python
from yingbi.evaluation import no_mock
from yingbi.quality import groups_of

_TYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}


def mocked(plan: Plan, asked: EvaluateQuery, file: bytes, frame: Mapping[str, Sequence[Any]]) -> list[float]:
    """The exact cells, in grid steps, of rows that are a person's only one each; raises Problem."""
    told = plan.evaluation
    columns = [_column(frame, name) for name in _names(asked.inputs, len(told.model.inputs))]
    truth, keys = _column(frame, asked.response), [_column(frame, key.name) for key in told.by]
    said = run_here(file, [[_number(value) for value in column] for column in columns], asked.output)
    cells = [0.0] * sum(each.range_counts.branching or groups_of(plan) for each in plan.statistics)
    known = [[to_python(value) for value in key.values] for key in told.by]
    for row, true in enumerate(truth):
        place, missing = 0, true is None or (not asked.keep_nulls and any(column[row] is None for column in columns))
        for column, values in zip(keys, known, strict=True):
            missing = missing or column[row] not in values
            place = place * len(values) + (values.index(column[row]) if column[row] in values else 0)
        if not missing:
            for cell, part in _parts(told, place, true, said[row]):
                cells[cell] += part
    return [each * (1 << plan.fraction_bits) for each in cells]


def run_here(file: bytes, columns: Sequence[Sequence[float]], output: str) -> list[list[float]]:
    """What a model says of rows, given by columns, in this process; REFUSED "mock" without onnxruntime."""
    try:
        import onnxruntime
        import pandas as pd
    except ImportError as error:
        message = "Trying a model here needs onnxruntime and pandas."
        hint = "pip install onnxruntime pandas"
        raise Problem(Kind.REFUSED, "mock", message, field="mock", hint=hint) from error
    checked = check_model(file)
    rows, start, given = pd.DataFrame(dict(enumerate(columns)), dtype=float), 0, {}
    for each in checked.inputs:
        given[each.name] = rows.iloc[:, start : start + each.width].to_numpy().astype(_TYPES[each.kind], order="C")
        start += each.width
    session = onnxruntime.InferenceSession(checked.canonical, providers=["CPUExecutionProvider"])
    (found,) = session.run([output], given)
    said: list[list[float]] = found.reshape(len(rows), -1).tolist()
    return said


def _parts(told: Evaluation, group: int, true: Any, said: Sequence[float]) -> list[tuple[int, float]]:
    """What a row adds to which cells."""
    groups = math.prod(len(key.values) for key in told.by)
    finite = all(map(math.isfinite, said))
    if told.task == Evaluation.TASK_BINARY:
        own = said[told.model.column]
        return [((group * 2 + int(true)) * (told.bins + 1) + _bin(told, own, there=math.isfinite(own)), 1.0)]
    if told.task == Evaluation.TASK_MULTICLASS:
        classes = [to_python(value) for value in told.classes]
        if true not in classes:
            return []
        count, place = len(classes), classes.index(true)
        predicted = max(range(count), key=lambda at: said[at]) if finite else count
        first = (group * count + place) * (count + 1) + predicted
        confidence = _bin(told, max(said) if finite else 0.0, there=finite)
        second = (group * 2 + int(predicted == place)) * (told.bins + 1) + confidence
        return [(first, 1.0), (groups * count * (count + 1) + second, 1.0)]
    error = min(max((float(true) - said[0]) / told.error, -1.0), 1.0) if finite else 1.0
    half = (told.upper - told.lower) / 2
    z = min(max((float(true) - told.lower) / half - 1, -1.0), 1.0)
    values = (1.0, error, 2 * abs(error) - 1, 2 * error * error - 1, z, 2 * z * z - 1)
    return [(groups * at + group, value) for at, value in enumerate(values)]


def _bin(told: Evaluation, score: float, *, there: bool) -> int:
    if not there:
        return told.bins
    return min(max(math.floor((score - told.lower) * (told.bins / (told.upper - told.lower))), 0), told.bins - 1)


def _names(listed: str, count: int) -> list[str]:
    names = [each.strip() for each in listed.split(",")]
    if len(names) != count:
        raise no_mock("an input is SQL with a comma in it")
    return names


def _column(frame: Mapping[str, Sequence[Any]], name: str) -> list[Any]:
    for known in frame:
        if str(known).lower() == name.strip().lower():
            return [None if _is_missing(value) else _plain(value) for value in frame[known]]
    raise no_mock(f"{name} is SQL, or no column of the made-up rows")


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - as NaN and pandas' NaT are


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str | datetime.date):
        raise no_mock("an input is no number")
    return float(value)
