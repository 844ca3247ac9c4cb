"""The demo's truth is what the plan computes, and its dataset is one that a zone takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from yingbi.answer import table_of

from demo import nafld, truth
from demo.run import QUESTIONS
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.governance.metadata import read_metadata
from gateway.planning.query import plan_query


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> nafld.Nafld:
    return nafld.prepare(tmp_path_factory.mktemp("nafld"))


def test_the_copies_are_left_out_and_nothing_else(data: nafld.Nafld) -> None:
    assert set(data.tables["labs"]["test"]) == {"hdl", "sbp", "smoke", "fib4"}
    assert {name: len(table) for name, table in data.tables.items()} == {
        "patients": 17_549,
        "labs": 205_435,
        "diagnoses": 34_340,
    }


def test_every_declared_event_is_one_that_the_data_uses(data: nafld.Nafld) -> None:
    declared = read_metadata(data.metadata).declaration
    events = next(table for table in declared.tables if table.name == "diagnoses").columns[2]
    assert {value.string_value for value in events.values} == set(data.tables["diagnoses"]["event"])


@pytest.mark.parametrize(("title", "sql", "epsilon"), QUESTIONS)
def test_the_demos_truth_is_the_reference_engines(data: nafld.Nafld, title: str, sql: str, epsilon: float) -> None:
    declaration = read_metadata(data.metadata).declaration
    plan = plan_query(
        sql, declaration, dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=declaration.budget_delta
    )
    rows = data.tables[plan.table]
    # The 100 units with most rows are the ones that clipping changes; the rest is a sample.
    sizes = rows["id"].value_counts()
    chosen = [*sizes.index[:100], *random.Random(1).sample(list(sizes.index), 200)]
    sample = rows[rows["id"].isin(chosen)].sort_values("id").reset_index(drop=True)

    def open_table(_: str, columns: Sequence[str]) -> pa.Table:
        table = pa.Table.from_pandas(sample, preserve_index=False)
        return table.append_column(UNIT_COLUMN, table["id"]).select(list(columns))

    exact = ReferenceEngine().contribution(plan, open_table)
    for statistic in plan.statistics:
        statistic.sigma = 0
    assert truth.clipped(plan, sample, "id") == table_of(plan, exact)


def test_the_raw_truth_is_plain_pandas(data: nafld.Nafld) -> None:
    declaration = read_metadata(data.metadata).declaration
    _, sql, epsilon = QUESTIONS[1]
    plan = plan_query(sql, declaration, dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=1e-7)
    patients: pd.DataFrame = data.tables["patients"]
    men = patients[patients["male"] == 1]
    assert truth.raw(plan, patients)[1] == [None, float(men["status"].sum()), float(men["age"].mean())]


def test_the_metadata_says_where_its_bounds_come_from() -> None:
    assert nafld.__doc__ is not None
    assert "none was looked up" in nafld.__doc__
    assert Path(nafld.__file__).parent.name == "demo"
