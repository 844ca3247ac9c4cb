# mypy: ignore-errors
"""Qrlew: it rewrites the SQL, DuckDB runs what comes out. A unit's rows are weighed down to MAX_ROWS in norm 2.

AVG is divided by hand: asked for as such, it is charged as a third and fourth measurement beside COUNT and SUM.
"""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import Any

import duckdb
import pyqrlew
import sqlglot
from harness import Answer, run

MAX_ROWS = 18
QUERY = "SELECT grp, COUNT(amount) AS n, SUM(amount) AS total FROM visits GROUP BY grp"


def prepare(task: SimpleNamespace) -> tuple[duckdb.DuckDBPyConnection, pyqrlew.Dataset]:
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    # It knows possible values of text columns only.
    connection.execute(
        'CREATE TABLE visits AS SELECT unit::VARCHAR AS person, "group"::VARCHAR AS grp, value AS amount '
        "FROM read_parquet(?)",
        [task.data],
    )
    return connection, _dataset(task)


def answer(prepared: tuple[duckdb.DuckDBPyConnection, pyqrlew.Dataset], task: SimpleNamespace) -> Answer:
    connection, dataset = prepared
    private = dataset.relation(QUERY).rewrite_with_differential_privacy(
        dataset,
        [("visits", [], "person")],
        {"epsilon": task.epsilon, "delta": task.delta},
        max_multiplicity=float(MAX_ROWS),
        max_multiplicity_share=1.0,
        max_privacy_unit_groups=task.groups,
    )
    sql = sqlglot.transpile(private.relation().to_query(pyqrlew.Dialect.PostgreSql), read="postgres", write="duckdb")[0]
    for group, count, total in connection.execute(sql).fetchall():
        yield group, count, total, total / max(count, 1)


def _dataset(task: SimpleNamespace) -> pyqrlew.Dataset:
    """What `Dataset.from_database` would read from a database, which it does not do from DuckDB."""
    identity = uuid.uuid4().hex
    dataset = {
        "@type": "sarus_data_spec/sarus_data_spec.Dataset",
        "uuid": identity,
        "name": "bench",
        "spec": {"transformed": {"transform": uuid.uuid4().hex, "arguments": [], "named_arguments": {}}},
        "properties": {},
    }
    columns = {"person": _text([]), "grp": _text([str(group) for group in range(task.groups)]), "amount": _number(task)}
    visits = {"name": "Struct", "struct": {"fields": [{"name": key, "type": of} for key, of in columns.items()]}}
    schema = {
        "@type": "sarus_data_spec/sarus_data_spec.Schema",
        "uuid": uuid.uuid4().hex,
        "dataset": identity,
        "name": "bench",
        "type": {"name": "Union", "union": {"fields": [{"name": "visits", "type": visits}]}, "properties": {}},
        "properties": {},
    }
    counted = {"name": "Struct", "struct": {"fields": [], "size": str(task.rows), "multiplicity": 1.0}}
    size = {
        "@type": "sarus_data_spec/sarus_data_spec.Size",
        "uuid": uuid.uuid4().hex,
        "dataset": identity,
        "name": "bench_sizes",
        "statistics": {"name": "Union", "union": {"fields": [{"name": "visits", "statistics": counted}]}},
        "properties": {},
    }
    return pyqrlew.Dataset(pyqrlew.pyqrlew._Dataset(*(json.dumps(part) for part in (dataset, schema, size))))


def _text(possible: list[str]) -> dict[str, Any]:
    return {"name": "Text UTF-8", "text": {"encoding": "UTF-8", "possible_values": possible}, "properties": {}}


def _number(task: SimpleNamespace) -> dict[str, Any]:
    bounds = {"base": "FLOAT64", "min": task.lower, "max": task.upper, "possible_values": []}
    return {"name": "Float64", "float": bounds, "properties": {}}


run(["pyqrlew", "duckdb"], prepare, answer)
