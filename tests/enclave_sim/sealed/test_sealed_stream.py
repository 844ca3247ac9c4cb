"""Rows of a sealed table by row groups, as they are decrypted: the same as all at once, with the same checks."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from yingbi.api.v1.plan_pb2 import Value

from enclave_sim.sealed import encrypted_parquet, shard
from enclave_sim.sealed.errors import SealedFileError
from enclave_sim.sealed.schema import UNIT_COLUMN
from enclave_sim.sealed.shard import SealedRows, open_table, stream_table

from .clinic import CANARY, KEY, Source

COLUMNS = ["ward", UNIT_COLUMN, "n", "x", "well", "day", "at"]


def read_all(rows: SealedRows) -> pa.Table:
    return pa.Table.from_batches([rows.read(group) for group in range(len(rows))], rows.schema)


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted_parquet, "ROW_GROUP_ROWS", 40)


def declare_wards(source: Source) -> None:
    ward = next(column for column in source.declaration.tables[1].columns if column.name == "ward")
    ward.values.extend([Value(string_value=f"{CANARY}-2"), Value(string_value="nowhere")])


@pytest.mark.parametrize("declared", [False, True])
def test_a_stream_has_the_rows_of_the_table_with_nan_for_null(source: Source, tmp_path: Path, declared: bool) -> None:
    if declared:
        declare_wards(source)
    sealed = source.seal(tmp_path)
    streamed = read_all(stream_table(sealed.folder, "visits", COLUMNS, KEY)).to_pydict()
    table = open_table(sealed.folder, "visits", COLUMNS, KEY).to_pydict()
    assert len(table["x"]) == 300
    assert [None if math.isnan(x) else x for x in streamed.pop("x")] == table.pop("x")
    assert streamed == table


def test_no_unit_is_in_two_row_groups(source: Source, tmp_path: Path) -> None:
    sealed = source.seal(tmp_path)
    rows = stream_table(sealed.folder, "visits", [UNIT_COLUMN], KEY)
    units = [set(rows.read(group).column(0).to_pylist()) for group in range(len(rows))]
    assert len(units) > 5
    assert sum(len(each) for each in units) == len(set().union(*units)) == 50


def test_a_unit_with_more_rows_than_a_row_group_stays_whole() -> None:
    units = pa.chunked_array([np.repeat([0, 1, 2], [10, 100, 30])])
    assert list(encrypted_parquet._row_groups(units)) == [(0, 10), (10, 110), (110, 140)]


def test_texts_with_declared_values_come_by_numbers(source: Source, tmp_path: Path) -> None:
    declare_wards(source)
    sealed = source.seal(tmp_path)
    assert pa.types.is_dictionary(stream_table(sealed.folder, "visits", ["ward"], KEY).schema.field("ward").type)
    assert open_table(sealed.folder, "visits", ["ward"], KEY).schema.field("ward").type == pa.string()


def test_a_table_without_rows_streams_its_schema(source: Source, tmp_path: Path) -> None:
    for name, table in source.tables.items():
        source.tables[name] = table.schema.empty_table()
    declare_wards(source)
    sealed = source.seal(tmp_path)
    streamed = read_all(stream_table(sealed.folder, "visits", COLUMNS, KEY))
    assert (streamed.num_rows, streamed.column_names) == (0, COLUMNS)


def test_missing_columns_and_changed_files_are_found_before_the_first_row(source: Source, tmp_path: Path) -> None:
    sealed = source.seal(tmp_path)
    with pytest.raises(LookupError):
        stream_table(sealed.folder, "visits", ["nothing"], KEY)
    file = sealed.folder / "table-1.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(SealedFileError, match="was changed"):
        stream_table(sealed.folder, "visits", ["n"], KEY)


def test_a_page_that_changes_after_the_check_does_not_decrypt(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = source.seal(tmp_path)
    file = sealed.folder / "table-1.parquet"
    data = bytearray(file.read_bytes())
    data[100:-4000:50] = bytes(len(data[100:-4000:50]))
    file.write_bytes(data)
    monkeypatch.setattr(shard, "_check_file", lambda *_: None)
    with pytest.raises(SealedFileError, match="does not decrypt"):
        read_all(stream_table(sealed.folder, "visits", COLUMNS, KEY))


def test_row_groups_are_read_by_several_threads_and_in_any_order(source: Source, tmp_path: Path) -> None:
    declare_wards(source)
    sealed = source.seal(tmp_path)
    rows = stream_table(sealed.folder, "visits", COLUMNS, KEY)
    order = [*range(len(rows))][::-1] * 5
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(rows.read, order))
    expected = [rows.read(group) for group in range(len(rows))]
    assert len(expected) > 5
    without_nan = [name for name in COLUMNS if name != "x"]
    for group, batch in zip(order, read, strict=True):
        assert batch.select(without_nan).equals(expected[group].select(without_nan))


@pytest.mark.parametrize("others", [0, 252, 253, 65_532, 65_533])
def test_indices_of_any_width_come_back(source: Source, tmp_path: Path, others: int) -> None:
    """Three texts and NULL are in the rows, beside declared ones: up to 256 and 65,536 fit one byte and two."""
    declared = [f"w{number}" for number in range(others)]
    ward = next(column for column in source.declaration.tables[1].columns if column.name == "ward")
    ward.values.extend([Value(string_value=text) for text in declared])
    raw = source.tables["visits"]
    texts = [f"w{others - 1}" if others and row % 2 else raw["ward"][row].as_py() for row in range(len(raw))]
    source.tables["visits"] = raw.set_column(raw.schema.get_field_index("ward"), "ward", pa.array(texts, pa.string()))
    sealed = source.seal(tmp_path)
    found = open_table(sealed.folder, "visits", ["ward"], KEY)["ward"].to_pylist()
    assert Counter(found) == Counter(texts)
