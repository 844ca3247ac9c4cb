# mypy: ignore-errors
"""OpenDP's Polars interface: rows cut to PER_GROUP for each unit and group, discrete Gaussian noise under zCDP."""

from __future__ import annotations

from types import SimpleNamespace

import opendp.prelude as dp
import polars as pl
from harness import Answer, rho_of, run

PER_GROUP = 5


def prepare(task: SimpleNamespace) -> pl.DataFrame:
    dp.enable_features("contrib")
    return pl.read_parquet(task.data)


def answer(data: pl.DataFrame, task: SimpleNamespace) -> Answer:
    context = dp.Context.compositor(
        data=data.lazy(),
        privacy_unit=dp.unit_of(contributions=1, identifier="unit"),
        privacy_loss=dp.loss_of(rho=rho_of(task.epsilon, task.delta)),
        split_evenly_over=1,
        margins=[
            dp.polars.Margin(by=[], max_length=task.rows, max_groups=1),
            dp.polars.Margin(by=["group"], max_length=task.rows, max_groups=task.groups),
        ],
    )
    keys = pl.LazyFrame({"group": list(range(task.groups))}, schema_overrides={"group": pl.Int64})
    query = (
        context.query()
        .truncate_per_group(PER_GROUP, by=["group"])
        .group_by("group")
        .agg(
            dp.len(signed=True).alias("n"),
            pl.col("value").fill_null(0.0).fill_nan(0.0).dp.sum((task.lower, task.upper)).alias("total"),
        )
        .with_keys(keys)
    )
    for row in query.release().collect().iter_rows(named=True):
        yield row["group"], row["n"], row["total"], row["total"] / row["n"]


run(["opendp", "polars"], prepare, answer)
