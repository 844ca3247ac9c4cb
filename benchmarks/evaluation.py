"""Evaluating a model against onnxruntime alone: `python -m benchmarks.evaluation [--rows N] [--models NAME ...]`.

All run the same files on the same rows with one thread for the model, in one run, one after another. "Alone" is a
session in this process that is given all rows at once as they lie in memory. "From the file" is such a session that
reads them first: the same columns of the same sealed file, decrypted row group by row group. "Yingbi" is what an
enclave does from that file to cells: read, draw places, run in the sandbox in batches, count; without noise and
encryption, which do not depend on rows.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray
from yingbi.api.models.check import check_model

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.predictions import batch_rows, evaluated_sums
from enclave_sim.models import open_model
from enclave_sim.sealed.schema import UNIT_COLUMN
from enclave_sim.sealed.shard import seal_shard, stream_table
from tests.evaluated import asked, declaration, plan_of
from tests.onnx_models import forest, logistic, model, node, weights

NAMES = ("age", "bmi", "male")
COLUMNS = len(NAMES)
WRAPPING_KEY = bytes(range(32))
Numbers = NDArray[np.float32]


def network(width: int) -> bytes:
    """Two hidden layers."""
    random = np.random.default_rng(0)
    sizes = [COLUMNS, width, width, 1]
    nodes, constants, last = [], [], "x"
    for layer, (before, after) in enumerate(itertools.pairwise(sizes)):
        constants += [
            weights(f"w{layer}", random.normal(size=(before, after)) / before**0.5),
            weights(f"b{layer}", np.zeros(after)),
        ]
        nodes.append(node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        last = f"z{layer}" if layer == 2 else f"a{layer}"
        if layer < 2:
            nodes.append(node("Relu", [f"z{layer}"], [last]))
    return model([*nodes, node("Sigmoid", [last], ["y"])], constants, columns=COLUMNS)


MODELS = {
    "logistic regression": logistic([0.05, -0.02, 0.5]),
    "network, 2 x 64": network(64),
    "network, 2 x 256": network(256),
    "100 trees of depth 6": forest(100, 6, COLUMNS),
    "500 trees of depth 6": forest(500, 6, COLUMNS),
}


def rows_of(count: int) -> pa.Table:
    """Made-up people."""
    random = np.random.default_rng(1)
    return pa.table(
        {
            UNIT_COLUMN: pa.array(np.arange(count)),
            "age": pa.array(random.uniform(0, 100, count)),
            "bmi": pa.array(random.normal(28, 6, count)),
            "male": pa.array(random.uniform(size=count) < 0.5),
            "status": pa.array(random.choice(["alive", "dead"], count)),
            "note": pa.array([""] * count),
        }
    )


def alone(file: bytes, given: Numbers) -> float:
    """Seconds of onnxruntime with one thread, its input being there."""
    start = time.perf_counter()
    _run(file, given)
    return time.perf_counter() - start


def from_file(file: bytes, shard: Path) -> float:
    """Seconds of the same, with reading what it is given."""
    start = time.perf_counter()
    rows = stream_table(shard, "people", list(NAMES), WRAPPING_KEY)
    for group in range(len(rows)):
        _run(file, _given(rows.read(group)))
    return time.perf_counter() - start


def ours(file: bytes, shard: Path) -> float:
    """Seconds of an enclave's part that has its sandbox."""
    query = asked(file, "binary")
    assert query.sha256 == hashlib.sha256(file).digest()
    plan = plan_of(query, max_units=10**7)
    checked, opener = check_model(file), partial(stream_table, shard, wrapping_key=WRAPPING_KEY)
    with open_model(plan.evaluation.model, checked) as predict:
        start = time.perf_counter()
        evaluated_sums(plan, DuckDBEngine(), opener, predict, batch=batch_rows(checked.work))
        return time.perf_counter() - start


def _given(rows: pa.Table | pa.RecordBatch) -> Numbers:
    columns = [rows.column(name).to_numpy(zero_copy_only=False) for name in NAMES]
    given = np.empty((rows.num_rows, len(columns)), np.float32)
    for place, column in enumerate(columns):
        given[:, place] = column
    return given


def _run(file: bytes, given: Numbers) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    session.run(["y"], {"x": given})


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS), metavar="NAME")
    arguments = parser.parse_args()
    table = rows_of(arguments.rows)
    print(f"{arguments.rows:,} rows, medians of {arguments.runs}")
    print("| model | onnxruntime alone | from the file | Yingbi | to alone | to from the file |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="yingbi-evaluation-") as folder:
        declared = declaration(max_units=10**7).SerializeToString()
        stored = table.rename_columns(["id", *table.column_names[1:]])
        shard = seal_shard(Path(folder), declared, {"people": stored}, WRAPPING_KEY).folder
        for name in arguments.models:
            file, given = MODELS[name], _given(table)
            runs = [(alone(file, given), from_file(file, shard), ours(file, shard)) for _ in range(arguments.runs)]
            first, second, third = (float(np.median(each)) for each in zip(*runs, strict=True))
            ratios = f"{third / first:.2f} | {third / second:.2f}"
            print(f"| {name} | {first:.3f} s | {second:.3f} s | {third:.2f} s | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
