"""What is sealed: no identifiers, one secret coding of units, NaN as NULL; and what is refused."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration
from yingbi.api.v1.plan_pb2 import Value

from enclave_sim.sealed import preparation
from enclave_sim.sealed.errors import IngestError
from enclave_sim.sealed.preparation import cut, prepare
from enclave_sim.sealed.schema import UNIT_COLUMN

from .clinic import Source


def refusal(source: Source) -> IngestError:
    with pytest.raises(IngestError) as caught:
        prepare(source.declaration, source.tables)
    return caught.value


def set_column(source: Source, table: str, column: str, values: pa.Array) -> None:
    rows = source.tables[table]
    source.tables[table] = rows.set_column(rows.schema.get_field_index(column), column, values)


def test_the_unit_column_is_replaced_and_the_attributes_stay(source: Source) -> None:
    visits = prepare(source.declaration, source.tables)["visits"]
    assert visits.schema.names == [UNIT_COLUMN, "well", "n", "x", "ward", "day", "at"]
    assert visits.schema.metadata is None


def test_codes_are_dense_and_rows_sorted_by_them(source: Source) -> None:
    tables = prepare(source.declaration, source.tables)
    for table in tables.values():
        codes = table[UNIT_COLUMN].to_pylist()
        assert codes == sorted(codes)
        assert set(codes) == set(range(50))


def test_a_unit_has_one_code_in_all_tables_and_keeps_its_rows(source: Source) -> None:
    tables = prepare(source.declaration, source.tables)
    id_of_code = {
        code: f"p{name.split('-')[-1]}"
        for code, name in zip(
            tables["patients"][UNIT_COLUMN].to_pylist(), tables["patients"]["name"].to_pylist(), strict=True
        )
    }
    raw = source.tables["visits"]
    expected = sorted(zip(raw["n"].to_pylist(), raw["id"].to_pylist(), strict=True))
    visits = tables["visits"]
    sealed_ids = [id_of_code[code] for code in visits[UNIT_COLUMN].to_pylist()]
    assert sorted(zip(visits["n"].to_pylist(), sealed_ids, strict=True)) == expected


def test_codes_tell_nothing_of_the_order_of_identifiers_and_differ_each_time(source: Source) -> None:
    orders = []
    for _ in range(20):
        patients = prepare(source.declaration, source.tables)["patients"]
        orders.append(tuple(patients["name"].to_pylist()))
    assert len(set(orders)) == 20
    # Where the first patient lands is spread: 20 draws of 50 places fall in 5 or more of them.
    assert len({order.index(source.tables["patients"]["name"][0].as_py()) for order in orders}) >= 5


def test_a_units_rows_are_in_an_order_that_tells_nothing_and_differs_each_time(source: Source) -> None:
    source.tables["visits"] = source.tables["visits"].sort_by("n")
    firsts = []
    for _ in range(40):
        visits = prepare(source.declaration, source.tables)["visits"]
        rows = zip(visits[UNIT_COLUMN].to_pylist(), visits["n"].to_pylist(), strict=True)
        of_units: dict[int, list[int]] = {}
        for unit, number in rows:
            of_units.setdefault(unit, []).append(number)
        assert all(len(numbers) == 6 for numbers in of_units.values())
        # Which of its six rows, in the order they came in, each unit begins with.
        firsts += [sorted(numbers).index(numbers[0]) for numbers in of_units.values()]
    # 2,000 draws of six places: 333 of each, with a standard deviation of 17.
    assert all(220 <= firsts.count(place) <= 450 for place in range(6))


def test_texts_with_declared_values_are_numbered_by_them_then_others_and_null_last(source: Source) -> None:
    ward = next(column for column in source.declaration.tables[1].columns if column.name == "ward")
    ward.values.extend([Value(string_value="b"), Value(string_value="a"), Value(string_value="nowhere")])
    stored = ["a", None, "other", "b", "a", None] * 50
    set_column(source, "visits", "ward", pa.array(stored))
    numbered = prepare(source.declaration, source.tables)["visits"]["ward"].combine_chunks()
    assert numbered.dictionary.to_pylist() == ["b", "a", "nowhere", "other", None]
    assert numbered.indices.null_count == 0
    assert sorted(map(str, numbered.to_pylist())) == sorted(map(str, stored))


def test_texts_without_declared_values_are_stored_as_they_are(source: Source) -> None:
    assert prepare(source.declaration, source.tables)["visits"]["ward"].type == pa.string()


def test_nan_becomes_null_and_infinity_stays(source: Source) -> None:
    special = [math.nan, math.inf, -math.inf, None] * 75
    set_column(source, "visits", "x", pa.array(special))
    x = prepare(source.declaration, source.tables)["visits"]["x"]
    assert x.null_count == 150
    assert sorted(set(x.drop_null().to_pylist())) == [-math.inf, math.inf]


def test_no_rows_are_rows(source: Source) -> None:
    for name, table in source.tables.items():
        source.tables[name] = table.schema.empty_table()
    assert [table.num_rows for table in prepare(source.declaration, source.tables).values()] == [0, 0]


def test_a_row_without_a_unit_is_refused_by_table_column_and_number(source: Source) -> None:
    ids = source.tables["visits"]["id"].to_pylist()
    ids[41] = ids[200] = None
    set_column(source, "visits", "id", pa.array(ids))
    error = refusal(source)
    assert error.code == "null_unit"
    assert error.field == "tables.visits.columns.id"
    assert str(error) == "Row 42 of the table visits has no privacy unit: its column id is NULL."


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_required_column_without_a_value_is_refused(source: Source, missing: float | None) -> None:
    rows = source.tables["visits"].num_rows
    next(column for column in source.declaration.tables[1].columns if column.name == "x").required = True
    set_column(source, "visits", "x", pa.array([math.inf] * rows, pa.float64()))
    prepare(source.declaration, source.tables)
    set_column(source, "visits", "x", pa.array([1.0] * 41 + [missing] * (rows - 41), pa.float64(), from_pandas=False))
    error = refusal(source)
    assert (error.code, error.field) == ("missing_value", "tables.visits.columns.x")
    assert str(error) == "The table visits has a row without x, which is declared as required."


def test_a_column_that_is_constant_for_each_unit_is_refused_where_it_is_not(source: Source) -> None:
    visits = source.tables["visits"]
    next(column for column in source.declaration.tables[1].columns if column.name == "x").constant_per_unit = True
    numbers = {unit: float(place) for place, unit in enumerate(sorted(set(visits["id"].to_pylist())))}
    numbers[next(iter(numbers))] = math.nan
    constant = [numbers[unit] for unit in visits["id"].to_pylist()]
    set_column(source, "visits", "x", pa.array(constant, pa.float64()))
    prepare(source.declaration, source.tables)
    repeated = next(
        row for row, unit in enumerate(visits["id"].to_pylist()) if visits["id"].to_pylist().count(unit) > 1
    )
    set_column(source, "visits", "x", pa.array([*constant[:repeated], -1.0, *constant[repeated + 1 :]], pa.float64()))
    error = refusal(source)
    assert (error.code, error.field) == ("not_constant", "tables.visits.columns.x")
    assert "-1" not in str(error)


def test_more_units_than_declared_are_refused_without_saying_how_many(source: Source) -> None:
    source.declaration.max_units = 49
    error = refusal(source)
    assert (error.code, error.field) == ("too_many_units", "max_units")
    assert "50" not in str(error)
    source.declaration.max_units = 50
    prepare(source.declaration, source.tables)


def test_more_rows_of_a_unit_than_arithmetic_holds_are_refused(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "MAX_UNIT_ROWS", 5)
    assert refusal(source).code == "too_many_rows"
    monkeypatch.setattr(preparation, "MAX_UNIT_ROWS", 6)
    prepare(source.declaration, source.tables)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.drop_columns(["x"]),
        lambda rows: rows.append_column("secret", pa.nulls(len(rows), pa.string())),
        lambda rows: rows.append_column("x", rows["x"]),
        lambda rows: rows.rename_columns([name.upper() for name in rows.schema.names]),
        lambda rows: rows.select([*rows.schema.names[1:], "id"]),
        lambda rows: rows.set_column(2, "n", rows["n"].cast(pa.int32())),
        lambda rows: rows.set_column(4, "ward", rows["ward"].cast(pa.large_string())),
        lambda rows: rows.set_column(6, "at", rows["at"].cast(pa.timestamp("us", "UTC"))),
        lambda rows: rows.set_column(6, "at", rows["at"].cast(pa.timestamp("ms"))),
    ],
)
def test_any_other_schema_than_the_declared_one_is_refused(source: Source, change: object) -> None:
    assert callable(change)
    source.tables["visits"] = change(source.tables["visits"])
    error = refusal(source)
    assert (error.code, error.field) == ("wrong_schema", "tables.visits.columns")
    assert "day date32[day], at timestamp[us])" in str(error)


def test_a_missing_and_an_undeclared_table_are_refused(source: Source) -> None:
    visits = source.tables.pop("visits")
    assert refusal(source).code == "missing_table"
    source.tables.update(visits=visits, more=visits)
    assert refusal(source).code == "unknown_table"


def test_text_that_is_not_utf8_is_refused_and_not_quoted(source: Source) -> None:
    bad = pa.array([b"\xff\xfe"] * 300, pa.binary()).view(pa.string())
    set_column(source, "visits", "ward", bad)
    error = refusal(source)
    assert error.code == "invalid_data"
    assert error.__cause__ is None


def attribute(source: Source, table: int, name: str) -> ColumnDeclaration:
    return next(column for column in source.declaration.tables[table].columns if column.name == name)


def test_a_longer_text_is_cut_at_the_end_of_a_character(source: Source) -> None:
    attribute(source, 1, "ward").max_length = 8
    set_column(source, "visits", "ward", pa.array(["12345678", "影壁影壁", "1234567é", "é" * 9, "", None] * 50))
    stored = prepare(source.declaration, source.tables)["visits"]["ward"].to_pylist()
    assert {text: stored.count(text) for text in stored} == dict.fromkeys(
        ["12345678", "影壁", "1234567", "éééé", "", None], 50
    )


@given(st.lists(st.text(max_size=12), min_size=1), st.integers(4, 12))
def test_what_is_cut_is_the_longest_beginning_that_fits(texts: list[str], most: int) -> None:
    for text, found in zip(texts, cut(pa.chunked_array([texts], pa.string()), most).to_pylist(), strict=True):
        assert text.startswith(found)
        assert len(found.encode()) <= most
        assert found == text or len(text[: len(found) + 1].encode()) > most


def test_what_is_constant_is_compared_as_it_is_stored(source: Source) -> None:
    ward = attribute(source, 1, "ward")
    ward.max_length, ward.constant_per_unit = 4, True
    set_column(source, "visits", "ward", pa.array([f"same, but for {number}" for number in range(300)]))
    prepare(source.declaration, source.tables)
    ward.max_length = 64
    assert refusal(source).code == "not_constant"


def test_a_unit_with_more_text_than_declared_is_refused(source: Source) -> None:
    """However many rows it is in: each of the 50 units has six."""
    ward = attribute(source, 1, "ward")
    ward.max_length = 3000
    source.declaration.tables[1].max_rows_per_unit = 6
    set_column(source, "visits", "ward", pa.array(["a" * 3000] * 300))
    prepare(source.declaration, source.tables)
    source.declaration.tables[1].max_rows_per_unit = 5
    error = refusal(source)
    assert (error.code, error.field) == ("texts_too_long", "tables.visits.columns.ward")
    # Up to 2^14 bytes are always fine.
    set_column(source, "visits", "ward", pa.array(["a" * 2730] * 300))
    prepare(source.declaration, source.tables)


def test_the_name_of_a_unit_is_never_cut(source: Source) -> None:
    ids = [f"{'p' * 300}{id}" for id in source.tables["visits"]["id"].to_pylist()]
    set_column(source, "visits", "id", pa.array(ids))
    source.declaration.max_units = 100
    prepare(source.declaration, source.tables)
    set_column(source, "visits", "id", pa.array(["p" * (2**16 + 1)] * 300))
    assert refusal(source).code == "text_too_long"


def test_short_texts_may_come_in_any_number_of_rows(source: Source) -> None:
    """A row of them takes no longer than a row of numbers; 100 rows of a unit have 6,400 bytes, and might have more."""
    ward = attribute(source, 1, "ward")
    source.declaration.tables[1].max_rows_per_unit = 1
    many = pa.array(["a" * 64] * 30_000)
    source.tables["visits"] = source.tables["visits"].take(pa.array([row % 300 for row in range(30_000)]))
    for most, accepted in ((64, True), (65, False)):
        ward.max_length = most
        set_column(source, "visits", "ward", many)
        if accepted:
            prepare(source.declaration, source.tables)
        else:
            assert refusal(source).code == "texts_too_long"
