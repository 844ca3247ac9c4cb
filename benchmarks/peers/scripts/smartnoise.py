# mypy: ignore-errors
"""SmartNoise SQL: MAX_ROWS rows of each unit by reservoir sampling, discrete Laplace noise, ε split by its odometer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
from harness import Answer, run
from snsql import Privacy, from_df

MAX_ROWS = 60
QUERY = "SELECT grp, COUNT(amount) AS n, SUM(amount) AS total, AVG(amount) AS mean FROM bench.visits GROUP BY grp"


def prepare(task: SimpleNamespace) -> tuple[pd.DataFrame, dict[str, Any]]:
    # `group`, `unit` and `value` are words of its grammar.
    names = {"unit": "person", "group": "grp", "value": "amount"}
    data = pd.read_parquet(task.data).rename(columns=names)
    table = {
        "max_ids": MAX_ROWS,
        "row_privacy": False,
        "clamp_counts": False,
        "censor_dims": False,
        "person": {"type": "int", "private_id": True},
        "grp": {"type": "int", "lower": 0, "upper": task.groups - 1},
        "amount": {"type": "float", "lower": task.lower, "upper": task.upper},
    }
    return data, {"": {"bench": {"visits": table}}}


def answer(prepared: tuple[pd.DataFrame, dict[str, Any]], task: SimpleNamespace) -> Answer:
    data, metadata = prepared
    reader = from_df(data, metadata=metadata, privacy=Privacy(epsilon=task.epsilon, delta=task.delta))
    spent = reader.get_privacy_cost(QUERY)[0]
    privacy = Privacy(epsilon=task.epsilon**2 / spent, delta=task.delta)
    reader = from_df(data, metadata=metadata, privacy=privacy)
    if reader.get_privacy_cost(QUERY)[0] > task.epsilon * (1 + 1e-9):
        raise RuntimeError("its odometer says that the query costs more than is there")
    return reader.execute(QUERY)[1:]


run(["smartnoise-sql", "opendp"], prepare, answer)
