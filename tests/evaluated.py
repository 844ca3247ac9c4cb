"""A clinic on which models are evaluated: its declaration, its rows, plans, and a plain evaluation to compare with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery
from yingbi.api.v1.plan_pb2 import Evaluation, Plan

from enclave_sim.engine.predictions import Predict
from enclave_sim.engine.protocol import OpenTable
from enclave_sim.plan.schema import check_declaration
from enclave_sim.sandbox.model_runner import pack_head, run_model
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.evaluation import plan_evaluation
from tests.onnx_models import linear

DECLARATION = """
dataset: "clinic" zone: "medical" title { key: "en" value: "Clinic" } grade: 2 source: "test"
privacy_unit: "id" unit_namespace: "patient" max_units: 10000 units_disjoint: true
budget_epsilon: 100 budget_delta: 1e-6
tables {
  name: "people" max_rows_per_unit: 8
  columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }
  columns { name: "age" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 100 }
  columns { name: "bmi" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 10 upper: 60 }
  columns { name: "male" type: COLUMN_TYPE_BOOL role: ROLE_ATTRIBUTE }
  columns { name: "status" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE
    values { string_value: "alive" } values { string_value: "dead" } values { string_value: "lost" } }
  columns { name: "note" type: COLUMN_TYPE_STRING role: ROLE_ATTRIBUTE }
}
"""
VERSION = b"v" * 32
SCALE = 1 << 16


def declaration(**changed: Any) -> DatasetDeclaration:
    found = text_format.Parse(DECLARATION, DatasetDeclaration())
    for name, value in changed.items():
        setattr(found, name, value)
    check_declaration(found)
    return found


def asked(file: bytes, task: str, **parts: Any) -> EvaluateQuery:
    tasks = {
        "binary": (Evaluation.TASK_BINARY, "status = 'dead'", 1),
        "multiclass": (Evaluation.TASK_MULTICLASS, "status", 3),
        "regression": (Evaluation.TASK_REGRESSION, "bmi", 1),
    }
    number, response, width = tasks[task]
    given: dict[str, Any] = {"inputs": "age, bmi, male", "response": response, "output": "y", "width": width} | parts
    return EvaluateQuery(sha256=hashlib.sha256(file).digest(), task=number, **given)


def plan_of(query: EvaluateQuery, *, epsilon: float = 1.0, parties: int = 3, **changed: Any) -> Plan:
    found = plan_evaluation(
        query, declaration(**changed), dataset_version=VERSION, parties=parties, epsilon=epsilon, delta=1e-6
    )
    return found.plan


def people(rows: int, seed: int = 0, *, most_rows: int = 1) -> pa.Table:
    """Rows of as many units or fewer, sorted."""
    random = np.random.default_rng(seed)
    units = np.sort(random.integers(0, rows, rows)) if most_rows > 1 else np.arange(rows)
    age, bmi = random.uniform(-5, 105, rows), random.normal(28, 6, rows)
    missing = random.uniform(size=rows) < 0.05
    return pa.table(
        {
            UNIT_COLUMN: pa.array(units, pa.int64()),
            "age": pa.array(np.where(missing, np.nan, age), pa.float64(), from_pandas=True),
            "bmi": pa.array(bmi),
            "male": pa.array(random.uniform(size=rows) < 0.5),
            "status": pa.array(random.choice(["alive", "dead", "lost", "unknown"], rows)),
            "note": pa.array(["x"] * rows),
        }
    )


def opening(tables: Mapping[str, pa.Table]) -> OpenTable:
    def open_table(name: str, columns: Sequence[str], /) -> pa.Table:
        return tables[name].select(list(columns))

    return open_table


def running(canonical: bytes, width: int, kinds: Sequence[tuple[int, int]], output: str = "y") -> Predict:
    """The model in this process, batch by batch as in the sandbox."""
    _keep_the_smallest_numbers()

    def predict(rows: Any, /) -> Any:
        given = pack_head(len(rows), rows.shape[1], kinds, output) + np.ascontiguousarray(rows, "<f8").tobytes()
        return np.frombuffer(run_model(canonical, given), "<f8").reshape(len(rows), -1, width)

    return predict


@cache
def _keep_the_smallest_numbers() -> None:
    """The first session of a process decides for its thread whether those are taken for 0; `run_model`'s would."""
    plainly(linear([1.0]), [[1.0]])


def plainly(file: bytes, rows: Any, output: str = "y") -> Any:
    """What onnxruntime says of rows by itself."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run([output], {"x": np.asarray(rows, np.float32)})
    return np.asarray(found, float).reshape(len(rows), -1)


def binary_cells(plan: Plan, file: bytes, table: pa.Table, groups: Sequence[Any] = (None,)) -> list[float]:
    """The cells of a binary evaluation by status and, where there are groups, by `male`, in persons; row by row."""
    bins = plan.evaluation.bins
    cells, of_unit = [0.0] * (len(groups) * 2 * (bins + 1)), dict[int, list[int]]()
    for row in table.to_pylist():
        if row["age"] is None:
            continue
        (score,) = plainly(file, [[row["age"], row["bmi"], row["male"]]])[0]
        place = bins if not math.isfinite(score) else min(max(math.floor(score * bins), 0), bins - 1)
        group = groups.index(row["male"]) if len(groups) > 1 else 0
        cell = (group * 2 + (row["status"] == "dead")) * (bins + 1) + place
        of_unit.setdefault(row[UNIT_COLUMN], []).append(cell)
    for unit in of_unit.values():
        for cell in unit:
            cells[cell] += 1 / len(unit)
    return cells
