"""DuckDB is locked in, a job can be cancelled, and no message carries a value."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import Cancelled, Engine, EngineError
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import ROW_COUNT, cells, drawn, key, non_null, opener, plan

TABLE = drawn("unit | k:int64\n0 | 5\n1 | 6\n")


def test_a_cancelled_job_has_no_contribution(engine: Engine) -> None:
    with pytest.raises(Cancelled):
        engine.contribution(plan(ROW_COUNT), opener(TABLE), lambda: True)


def test_cancellation_is_noticed_at_every_stage() -> None:
    asked = plan(ROW_COUNT, ROW_COUNT)
    for stage in range(4):
        polls = iter([False] * stage + [True])
        with pytest.raises(Cancelled):
            DuckDBEngine().contribution(asked, opener(TABLE), lambda polls=polls: next(polls))  # type: ignore[misc]


def test_columns_of_another_type_than_the_plan_says_are_refused() -> None:
    with pytest.raises(EngineError, match="stored as int64"):
        cells(DuckDBEngine(), TABLE, plan(ROW_COUNT, by=[key("k:string", "5")]))


def test_a_column_with_two_types_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="two types"):
        cells(engine, TABLE, plan(non_null("k:int64"), non_null("k:string")))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/yingbi-must-not-exist.csv'",
        "ATTACH '/tmp/yingbi-must-not-exist.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 8",
        "SET enable_external_access = true",
        "SET temp_directory = '/tmp'",
    ],
)
def test_the_connection_opens_nothing_and_stays_as_configured(statement: str) -> None:
    configuration = DuckDBEngine()._configuration()
    with (
        duckdb.connect(":memory:", config=configuration) as connection,
        pytest.raises(duckdb.Error),
    ):
        connection.execute(statement)


def test_what_does_not_fit_the_memory_fails_without_a_value_and_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    count = 1_000_000
    table = pa.table({UNIT_COLUMN: pa.array(range(count), pa.int64())})
    with pytest.raises(EngineError, match="OutOfMemoryException") as caught:
        cells(DuckDBEngine(memory_limit="16MB"), table, plan(ROW_COUNT))
    assert caught.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []
