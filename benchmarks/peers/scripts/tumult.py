# mypy: ignore-errors
"""Tumult Analytics: rows cut to PER_GROUP for each unit and group, discrete Gaussian noise under zCDP, on Spark."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

from harness import Answer, rho_of, run
from pyspark.sql import DataFrame, SparkSession
from tmlt.analytics import (
    AddRowsWithID,
    KeySet,
    MaxGroupsPerID,
    MaxRowsPerGroupPerID,
    QueryBuilder,
    RhoZCDPBudget,
    Session,
)

PER_GROUP = 5


def prepare(task: SimpleNamespace) -> DataFrame:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.sql.warehouse.dir", task.scratch)
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    data = spark.read.parquet(task.data).cache()
    data.count()
    return data


def answer(data: DataFrame, task: SimpleNamespace) -> Answer:
    half = rho_of(task.epsilon, task.delta) / 2
    session = Session.from_dataframe(
        privacy_budget=RhoZCDPBudget(2 * half),
        source_id="visits",
        dataframe=data,
        protected_change=AddRowsWithID("unit"),
    )
    grouped = (
        QueryBuilder("visits")
        .enforce(MaxGroupsPerID("group", task.groups))
        .enforce(MaxRowsPerGroupPerID("group", PER_GROUP))
        .groupby(KeySet.from_dict({"group": list(range(task.groups))}))
    )
    counts = session.evaluate(grouped.count(name="n"), RhoZCDPBudget(half)).collect()
    sums = session.evaluate(
        grouped.sum("value", low=task.lower, high=task.upper, name="total"), RhoZCDPBudget(half)
    ).collect()
    totals = {row["group"]: row["total"] for row in sums}
    for row in counts:
        yield row["group"], row["n"], totals[row["group"]], totals[row["group"]] / row["n"]


run(["tmlt.analytics", "pyspark"], prepare, answer)
