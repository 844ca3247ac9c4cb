# mypy: ignore-errors
"""PipelineDP on its local backend: MAX_GROUPS groups of each unit, MAX_ROWS rows in each, Gaussian noise."""

from __future__ import annotations

import operator
from types import SimpleNamespace

import pandas as pd
import pipeline_dp
from harness import Answer, run

MAX_GROUPS = 20
MAX_ROWS = 5


def prepare(task: SimpleNamespace) -> list[tuple[int, int, float]]:
    data = pd.read_parquet(task.data, columns=["unit", "group", "value"])
    return list(zip(data["unit"].tolist(), data["group"].tolist(), data["value"].tolist(), strict=True))


def answer(rows: list[tuple[int, int, float]], task: SimpleNamespace) -> Answer:
    accountant = pipeline_dp.PLDBudgetAccountant(total_epsilon=task.epsilon, total_delta=task.delta)
    engine = pipeline_dp.DPEngine(accountant, pipeline_dp.LocalBackend())
    parameters = pipeline_dp.AggregateParams(
        metrics=[pipeline_dp.Metrics.COUNT, pipeline_dp.Metrics.SUM, pipeline_dp.Metrics.MEAN],
        noise_kind=pipeline_dp.NoiseKind.GAUSSIAN,
        max_partitions_contributed=MAX_GROUPS,
        max_contributions_per_partition=MAX_ROWS,
        min_value=task.lower,
        max_value=task.upper,
    )
    extractors = pipeline_dp.DataExtractors(
        privacy_id_extractor=operator.itemgetter(0),
        partition_extractor=operator.itemgetter(1),
        value_extractor=operator.itemgetter(2),
    )
    result = engine.aggregate(rows, parameters, extractors, public_partitions=list(range(task.groups)))
    accountant.compute_budgets()
    for group, metrics in result:
        yield group, metrics.count, metrics.sum, metrics.mean


run(["pipeline-dp"], prepare, answer)
