"""The index of keyed hashes answers as a look at the rows would, whatever they are, and has nothing of them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
)
from yingbi.api.v1.verification_pb2 import VerificationDeclaration, VerificationField

from enclave_sim.plan.verification import canonical
from enclave_sim.sealed.errors import IngestError
from enclave_sim.sealed.schema import arrow_schema
from enclave_sim.sealed.verification_index import BLOCK_RECORDS, RECORDS, TAG_BYTES, VerificationIndex, index_table

FIELDS = ("flag", "count", "score", "word", "seen")
WORDS = ["", "a", "b", "ab", "中", "a\0b"]
SEEN = [datetime.datetime(2024, 2, 29, 8, 30, 0, 1), datetime.datetime(1, 1, 1), None]


def declaration() -> DatasetDeclaration:
    kinds = (COLUMN_TYPE_BOOL, COLUMN_TYPE_INT64, COLUMN_TYPE_FLOAT64, COLUMN_TYPE_STRING, COLUMN_TYPE_TIMESTAMP)
    one = TableDeclaration(name="one", max_rows_per_unit=1)
    two = TableDeclaration(name="two", max_rows_per_unit=9)
    for table in (one, two):
        table.columns.add(name="who", type=COLUMN_TYPE_STRING, role=ColumnDeclaration.ROLE_UNIT)
    for name, kind in zip(FIELDS, kinds, strict=True):
        table = two if name == "word" else one
        table.columns.add(name=name, type=kind, role=ColumnDeclaration.ROLE_ATTRIBUTE)
    fields = [VerificationField(table="two" if name == "word" else "one", column=name) for name in FIELDS]
    return DatasetDeclaration(tables=[one, two], verification=VerificationDeclaration(fields=fields))


def sealed(rows: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    declared = declaration()
    plain = {
        "who": list(rows),
        **{name: [row[name] for row in rows.values()] for name in FIELDS if name != "word"},
    }
    words = {
        "who": [who for who in rows for _ in range(2)],
        "word": [row["word"] for row in rows.values() for _ in "12"],
    }
    tables = [
        pa.table(columns, arrow_schema(table)) for columns, table in zip((plain, words), declared.tables, strict=True)
    ]
    return index_table(declared, {"one": tables[0], "two": tables[1]})


ROW = st.fixed_dictionaries(
    {
        "flag": st.none() | st.booleans(),
        "count": st.none() | st.integers(-2, 2),
        "score": st.none() | st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf"), -2.0]),
        "word": st.none() | st.sampled_from(WORDS),
        "seen": st.sampled_from(SEEN),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS[1:]), ROW, max_size=5), st.sampled_from(WORDS), ROW)
def test_it_counts_the_claims_that_are_so(
    rows: dict[str, dict[str, Any]], subject: str, claimed: dict[str, Any]
) -> None:
    claims = {name: value for name, value in claimed.items() if value is not None and _finite(value)}
    index = VerificationIndex.of(sealed(rows))
    held = rows.get(subject, {})
    expected = sum(held.get(name) is not None and held[name] == value for name, value in claims.items())
    places = {FIELDS.index(name): canonical(value) for name, value in claims.items()}
    assert index.matches(canonical(subject), places) == expected


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < 9


def test_its_length_is_a_multiple_whoever_is_in_it_and_no_record_comes_twice() -> None:
    row = {"flag": True, "count": 1, "score": None, "word": "a", "seen": None}
    for people, length in ((0, BLOCK_RECORDS), (1, BLOCK_RECORDS), (BLOCK_RECORDS, 2 * BLOCK_RECORDS)):
        table = sealed({str(who): row for who in range(people)})
        assert len(table) == length
        assert len(set(table[RECORDS].to_pylist())) == length


def test_a_second_shard_of_the_same_rows_has_other_hashes() -> None:
    rows = {"a": {"flag": True, "count": 1, "score": 1.5, "word": "a", "seen": None}}
    records = [set(sealed(rows)[RECORDS].to_pylist()) for _ in range(2)]
    assert not records[0] & records[1]


def test_missing_values_look_like_values_and_like_no_other() -> None:
    nothing: dict[str, Any] = dict.fromkeys(FIELDS)
    records = sealed({str(who): nothing for who in range(50)})[RECORDS].to_pylist()
    tags = [record[start : start + TAG_BYTES] for record in records[1:] for start in range(0, len(record), TAG_BYTES)]
    assert len(set(tags)) == len(tags)


def test_a_unit_with_two_values_is_refused() -> None:
    declared = declaration()
    plain = pa.table(
        {"who": ["a"], "flag": [True], "count": [1], "score": [1.0], "seen": [None]}, arrow_schema(declared.tables[0])
    )
    words = pa.table({"who": ["a", "a"], "word": ["x", None]}, arrow_schema(declared.tables[1]))
    with pytest.raises(IngestError) as refused:
        index_table(declared, {"one": plain, "two": words})
    assert (refused.value.code, refused.value.field) == ("not_constant", "tables.two.columns.word")
    assert "x" not in str(refused.value).split()


def test_a_time_that_python_cannot_say_is_sealed_all_the_same() -> None:
    """Of the year 33,658: no claim can be it, and it takes no dataset down."""
    declared = declaration()
    schema = arrow_schema(declared.tables[0])
    far = pa.array([10**18], pa.int64()).cast(pa.timestamp("us"))
    columns = [pa.array(["a"]), pa.array([True]), pa.array([1]), pa.array([1.0]), far]
    words = pa.table({"who": ["a"], "word": ["x"]}, arrow_schema(declared.tables[1]))
    index = VerificationIndex.of(index_table(declared, {"one": pa.table(columns, schema), "two": words}))
    assert index.matches(canonical("a"), {0: canonical(True), 4: canonical(SEEN[0] or "")}) == 1
