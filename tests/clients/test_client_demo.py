"""The demo's truth is what the plan computes, and its dataset is one that a zone takes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from yingbi.answer import table_of
from yingbi.api.v1.job_pb2 import ProgramQuery
from yingbi.api.v1.plan_pb2 import Plan, Value
from yingbi.programs import read_outputs, read_tables
from yingbi.rehearsal import rehearse

from demo import nafld, programs, truth
from demo.run import QUESTIONS
from enclave_sim.engine.programs import grid_steps
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import cells
from enclave_sim.sandbox import Limits, Sandbox, SandboxUnavailableError
from enclave_sim.sandbox.blocks import pack_tables
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.governance.metadata import read_metadata
from gateway.planning.programs import plan_program
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


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[programs.Prey]:
    with programs.prey(tmp_path_factory.mktemp("prey")) as found:
        yield found


def test_the_thief_steals_where_it_may(data: nafld.Nafld, prey: programs.Prey) -> None:
    """So that what the demo shows of it in the enclaves could fail."""
    declaration = read_metadata(data.metadata).declaration
    found = rehearse(prey.thief, program_plan(data, prey.thief, programs.THIEF_OUTPUTS), declaration, rows=10, seed=1)
    blocks = len(found.outcomes)
    assert all(outcome == (3, 100) for outcome in found.outcomes)
    assert prey.taken() == (blocks, blocks)


def test_in_the_sandbox_it_gets_a_default_or_a_bound(data: nafld.Nafld, prey: programs.Prey) -> None:
    block = pack_tables({"patients": pa.Table.from_pandas(patients_of(data).head(200), preserve_index=False)})
    try:
        sandbox = Sandbox(Limits(seconds=10))
    except SandboxUnavailableError as unavailable:
        pytest.skip(str(unavailable))
    prey.taken()
    with sandbox:
        [stolen] = sandbox.run(prey.thief, [block], 2, slots=False)
        [slope] = sandbox.run(programs.HONEST, [block], 1, slots=False)
    assert prey.taken() == (0, 0)
    plan = program_plan(data, prey.thief, programs.THIEF_OUTPUTS)
    outputs = plan.statistics[0].block_outputs.outputs
    assert list(grid_steps(stolen, outputs, 16)) == [(0, 0), (1, 1 << 16)]
    assert slope is not None
    assert 0 < slope[0] < 2


def patients_of(data: nafld.Nafld) -> pd.DataFrame:
    return data.tables["patients"][programs.TABLES["patients"]]


def program_plan(data: nafld.Nafld, code: bytes, outputs: Sequence[str]) -> Plan:
    asked = ProgramQuery(
        sha256=hashlib.sha256(code).digest(),
        outputs=read_outputs(outputs),
        tables=read_tables(programs.TABLES),
        blocks=programs.BLOCKS,
    )
    declaration = read_metadata(data.metadata).declaration
    epsilon, delta = programs.EPSILON, declaration.budget_delta
    return plan_program(asked, declaration, dataset_version=bytes(32), parties=3, epsilon=epsilon, delta=delta).plan
