"""DuckDB is locked in, a job can be cancelled, no message carries a value, and no way of running a plan changes it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Call, Expression

from enclave_sim.engine import database, duckdb_engine, entries
from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.per_unit import UnitSums
from enclave_sim.engine.protocol import Cancelled, Engine, EngineError, OpenTable
from enclave_sim.engine.query import QueriedRows
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.engine.scan import tables_of
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import DISTINCT_UNITS, ROW_COUNT, bounded_sum, cells, counted, drawn, key, non_null, opener, plan
from .expressions import all_of, call, column, compare, literal, one_of
from .generated_plans import Case, cases
from .relations import VISITS, aggregated, descending, joined, measure, projected, ranked

TABLE = drawn("unit | k:int64\n0 | 5\n1 | 6\n")
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@dataclass(frozen=True)
class Groups:
    """As from a sealed shard: units are int32, and texts dictionary encoded in each group by itself."""

    groups: Sequence[pa.Table]

    @property
    def schema(self) -> pa.Schema:
        return self.groups[0].schema

    def __len__(self) -> int:
        return len(self.groups)

    def read(self, group: int, /) -> pa.RecordBatch:
        columns = [column.combine_chunks() for column in self.groups[group].columns]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def in_groups(case: Case, rows: int) -> OpenTable:
    """Row groups that end with the unit that has the n-th row."""

    def open_table(name: str, columns: Sequence[str]) -> Groups | pa.Table:
        table = case.tables[name]
        units = table[UNIT_COLUMN].to_numpy()
        starts = sorted({int(np.searchsorted(units, units[row])) for row in range(0, len(units), rows)})
        bounds = itertools.pairwise([*starts, len(units)])
        parts = [_encoded(table.slice(start, stop - start)) for start, stop in bounds]
        return Groups([part.select(list(columns)) for part in parts]) if parts else table.select(list(columns))

    return open_table


def _encoded(table: pa.Table) -> pa.Table:
    columns = [each.dictionary_encode() if each.type == pa.string() else each for each in table.columns]
    encoded = pa.table(dict(zip(table.column_names, columns, strict=True)))
    return encoded.set_column(0, UNIT_COLUMN, encoded[UNIT_COLUMN].cast(pa.int32()))


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(cases(), st.integers(1, 5), st.booleans())
def test_small_parts_of_a_stream_and_sparse_sums_give_the_same_cells(case: Case, rows: int, sparse: bool) -> None:
    expected = cells(ReferenceEngine(), case.tables, case.asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb_engine, "PART_ROWS", rows)
        patch.setattr(duckdb_engine, "SCANNED_ROWS", rows)
        if sparse:
            patch.setattr(entries, "_DENSE_ENTRIES", 0)
            patch.setattr(entries, "_DENSE_SHARE", 0)
        assert DuckDBEngine().contribution(case.asked, in_groups(case, rows + 1)) == expected


@pytest.mark.parametrize("parts", [1, 7])
def test_many_rows_and_groups_equal_the_reference(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    size = 4000
    table = pa.table(
        {
            UNIT_COLUMN: np.sort(random.integers(0, 300, size)),
            "g": random.integers(0, 400, size),
            "h": pa.array(random.choice(["a", "b", "影", "off the list"], size)),
            "x": pa.array(random.normal(0, 5, size), mask=random.random(size) < 0.1),
        }
    )
    by = [key("g:int64", *range(390, -1, -1)), key("h:string", "b", "影", "a")]
    total = bounded_sum("x:float64", -3, 4, 0.5, 3.5)
    asked = plan(ROW_COUNT, total, DISTINCT_UNITS, non_null("x:float64"), by=by, max_rows=3, max_groups=5)
    asked.fraction_bits = 16
    monkeypatch.setattr(duckdb_engine, "PART_ROWS", size // parts)
    monkeypatch.setattr(duckdb_engine, "SCANNED_ROWS", size // parts)
    assert cells(DuckDBEngine(), table, asked) == cells(ReferenceEngine(), table, asked)


def test_sums_do_not_wrap_over_many_parts() -> None:
    asked = plan(ROW_COUNT)
    sums = UnitSums(asked)
    for _ in range(10):
        sums.add(np.array([2**62], np.int64))
    for _ in range(21):
        sums.add(np.array([-(2**62)], np.int64))
    assert sums.vector() == [-11 * 2**62]


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[5], [1]], [[1, 3], [2, 4]], [[1], [], [2]]])
def test_row_groups_that_share_a_unit_are_refused(groups: list[list[int]]) -> None:
    """Else the rest of one would be clipped as another unit, and it would count for more than the plan allows."""
    tables = Groups([pa.table({UNIT_COLUMN: pa.array(units, pa.int32())}) for units in groups])
    with pytest.raises(EngineError, match="row group"):
        DuckDBEngine().contribution(plan(ROW_COUNT), lambda *_: tables)


def test_a_cancelled_job_has_no_contribution(engine: Engine) -> None:
    with pytest.raises(Cancelled):
        engine.contribution(plan(ROW_COUNT), opener(TABLE), lambda: True)


def test_cancellation_is_noticed_at_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    table = drawn("unit | k:int64\n" + "".join(f"{unit} | 5\n" for unit in range(4)))
    monkeypatch.setattr(duckdb_engine, "PART_ROWS", 1)
    monkeypatch.setattr(duckdb_engine, "SCANNED_ROWS", 1)
    for stage in range(4):
        polls = iter([False] * stage + [True])
        with pytest.raises(Cancelled):
            DuckDBEngine().contribution(plan(ROW_COUNT), opener(table), lambda polls=polls: next(polls))  # type: ignore[misc]


def test_columns_of_another_type_than_the_plan_says_are_refused() -> None:
    with pytest.raises(EngineError, match="stored as int64"):
        cells(DuckDBEngine(), TABLE, plan(ROW_COUNT, by=[key("k:string", "5")]))


def test_a_column_with_two_types_is_refused(engine: Engine) -> None:
    with pytest.raises(EngineError, match="two types"):
        cells(engine, TABLE, plan(non_null("k:int64"), non_null("k:string")))


def test_no_text_and_no_name_of_a_plan_is_in_its_sql() -> None:
    rows = ranked(projected(VISITS, {"canary1": "canary2:string"}), "canary3", [descending("canary1:string")])
    sums = aggregated(rows, {"canary4": "canary1:string"}, measure("canary5", "maximum", "canary3:int64"))
    both = joined(sums, projected(VISITS, {"canary6": literal("canary7")}), kind="left")
    condition = all_of(
        one_of("canary6:string", "canary8"),
        compare(call("concatenate", "canary4:string", literal("canary9")), "=", "canary10"),
    )
    asked = plan(counted(ROW_COUNT, condition), over=both, where=condition, by=[key("canary6:string", "canary11")])
    table = drawn("unit | canary2:string\n0 | 'a'\n")
    queried = QueriedRows(asked, tables_of(asked, opener(table)), "100MB")
    assert "canary" not in queried.query.sql
    assert "canary" not in "".join(queried.query._relations.words.parameters)
    assert cells(DuckDBEngine(), table, asked) == [0]


def test_a_deep_expression_stays_as_long_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Expression = column("k:int64")
    for _ in range(38):
        deep = Expression(call=Call(function=Call.FUNCTION_ADD, operands=[deep, literal(1)]))
    asked = plan(ROW_COUNT, where=compare(deep, "=", 5 + 38))
    queried = QueriedRows(asked, tables_of(asked, opener(TABLE)), "100MB")
    assert len(queried.query.sql) < 38 * 400
    assert cells(DuckDBEngine(), TABLE, asked) == [1]


def test_what_is_written_twice_is_computed_once() -> None:
    product = call("multiply", "k:int64", literal(3))
    asked = plan(ROW_COUNT, where=all_of(compare(product, ">", 15), compare(product, "<", 19)))
    queried = QueriedRows(asked, tables_of(asked, opener(TABLE)), "100MB")
    assert queried.query.sql.count(" * CAST(") == 1
    assert cells(DuckDBEngine(), TABLE, asked) == [1]


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
    with database.database("100MB").cursor() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)


def test_a_part_of_a_plan_leaves_nothing_behind() -> None:
    asked = plan(ROW_COUNT, where=compare("k:int64", "=", 5))
    assert cells(DuckDBEngine("100MB"), TABLE, asked) == [1]
    with database.database("100MB").cursor() as connection:
        assert connection.execute("SELECT * FROM duckdb_views() WHERE NOT internal").fetchall() == []
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT * FROM s0")


def test_what_does_not_fit_the_memory_fails_without_a_value_and_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    count = 1_000_000
    table = pa.table({UNIT_COLUMN: np.zeros(count, np.int64), "k": np.arange(count)})
    asked = plan(ROW_COUNT, over=ranked(VISITS, "n", [descending("k:int64")]), where=compare("n:int64", ">", 3))
    with pytest.raises(EngineError, match="OutOfMemoryException") as caught:
        cells(DuckDBEngine(memory_limit="16MB"), table, asked)
    assert caught.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []
