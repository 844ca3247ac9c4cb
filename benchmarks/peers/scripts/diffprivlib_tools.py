# mypy: ignore-errors
"""diffprivlib: a call for each group and statistic, Laplace noise, privacy of single rows only."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
from diffprivlib import tools
from harness import Answer, run


def prepare(task: SimpleNamespace) -> pd.DataFrame:
    return pd.read_parquet(task.data, columns=["group", "value"])


def answer(data: pd.DataFrame, task: SimpleNamespace) -> Answer:
    share = task.epsilon / 2
    groups = data.groupby("group")["value"]
    for group in range(task.groups):
        values = groups.get_group(group).to_numpy()
        count = tools.count_nonzero(np.ones(len(values)), epsilon=share)
        total = tools.sum(values, epsilon=share, bounds=(task.lower, task.upper))
        yield group, count, total, total / count


run(["diffprivlib"], prepare, answer)
