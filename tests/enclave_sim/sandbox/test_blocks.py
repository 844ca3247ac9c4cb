"""A block is its tables, whatever they hold; other bytes are refused."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.sandbox.blocks import BlockError, pack_tables, unpack

COLUMNS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=5).map(lambda v: pa.array(v, pa.int64())),
    st.lists(st.floats(allow_nan=False) | st.none(), max_size=5).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.text(max_size=5) | st.none(), max_size=5).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.dates() | st.none(), max_size=5).map(lambda v: pa.array(v, pa.date32())),
)
TABLES = st.dictionaries(st.text(max_size=5), st.builds(lambda c: pa.table({"x": c}), COLUMNS), max_size=3)


@given(TABLES)
def test_tables_come_back(tables: dict[str, pa.Table]) -> None:
    back = unpack(pack_tables(tables))
    assert list(back) == list(tables)
    assert all(back[name].equals(table) for name, table in tables.items())


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    if data == pack_tables({}):
        return
    with pytest.raises(BlockError):
        unpack(data)


@given(TABLES.filter(bool), st.data())
def test_a_block_that_was_cut_is_refused(tables: dict[str, pa.Table], data: st.DataObject) -> None:
    packed = pack_tables(tables)
    length = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(BlockError):
        unpack(packed[:length])
