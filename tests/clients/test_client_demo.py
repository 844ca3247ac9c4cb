"""The demo's truth is what the plan computes, and its dataset is one that a zone takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from yingbi.answer import table_of
from yingbi.api.v1.plan_pb2 import Plan, Value

from demo import nafld, truth
from demo.run import QUESTIONS
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import cells
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


@pytest.mark.parametrize(("title", "sql", "epsilon"), QUESTIONS)
def test_the_demos_truth_is_the_reference_engines(data: nafld.Nafld, title: str, sql: str, epsilon: float) -> None:
    plan = planned(data, sql, epsilon)
    # The 50 units with most rows are the ones that clipping changes; the rest is a sample.
    sizes = data.tables["labs"]["id"].value_counts()
    chosen = [*sizes.index[:50], *random.Random(1).sample(list(sizes.index), 100)]
    sample = {name: table[table["id"].isin(chosen)].sort_values("id") for name, table in data.tables.items()}

    def open_table(name: str, columns: Sequence[str]) -> pa.Table:
        table = pa.Table.from_pandas(sample[name], preserve_index=False)
        return table.append_column(UNIT_COLUMN, table["id"]).select(list(columns))

    exact = ReferenceEngine().contribution(plan, open_table)
    for statistic in plan.statistics:
        statistic.sigma = 0
    plan.ClearField("presentation")
    table = table_of(plan, exact)
    found = truth.clipped(plan, sample, "id")
    assert [found(truth.keys_of(table, row)) for row in table.rows] == list(table.rows)


def test_the_raw_truth_is_plain_sql(data: nafld.Nafld) -> None:
    _, sql, epsilon = QUESTIONS[1]
    shape = table_of(plan := planned(data, sql, epsilon), [0] * cells(plan))
    patients: pd.DataFrame = data.tables["patients"]
    men = patients[patients["male"] == 1]
    expected = [1, float(men["status"].sum()), pytest.approx(float(men["age"].mean()))]
    assert list(truth.raw(sql, data.tables, shape)((1,)) or ()) == expected


def planned(data: nafld.Nafld, sql: str, epsilon: float) -> Plan:
    """The demo's question as the zone plans it, its group keys being known."""
    declaration = read_metadata(data.metadata).declaration
    events = sorted(set(data.tables["diagnoses"]["event"]))
    column = next(table for table in declaration.tables if table.name == "diagnoses").columns[2]
    column.values.extend(Value(string_value=event) for event in events)
    return plan_query(
        sql, declaration, dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=declaration.budget_delta
    )


def test_the_metadata_says_where_its_bounds_come_from() -> None:
    assert nafld.__doc__ is not None
    assert "none was looked up" in nafld.__doc__
    assert Path(nafld.__file__).parent.name == "demo"
