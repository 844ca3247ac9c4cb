"""What a look-up gives: the value that a public table has for a key."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from enclave_sim.engine.duckdb_engine import PART_ROWS, DuckDBEngine
from enclave_sim.engine.protocol import Engine
from enclave_sim.plan.size import MAX_ENTRIES
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import DISTINCT_UNITS, ROW_COUNT, assert_gives, cells, counted, drawn, key, plan
from .expressions import call, case, column, compare, is_null, literal, look_up
from .relations import VISITS, projected

REGIONS = {"A": "north", "B": "south", "C": None}


def test_a_look_up_is_the_value_of_the_key(engine: Engine) -> None:
    assert_gives(
        engine,
        look_up("s:string", REGIONS, "string"),
        """
        s:string | is:string
        'A'      | 'north'
        'B'      | 'south'
        'C'      | NULL
        'a'      | NULL
        NULL     | NULL
        """,
    )


def test_a_look_up_may_be_from_every_type_that_is_no_fraction(engine: Engine) -> None:
    assert_gives(engine, look_up("b:bool", {True: 1.5}, "float64"), "b:bool | is:float64\n True | 1.5\n False | NULL")
    assert_gives(
        engine,
        look_up("n:int64", {-(2**63): -(2**63), 2**63 - 1: 2**63 - 1, 0: None}, "int64"),
        """
        n:int64              | is:int64
        -9223372036854775808 | -9223372036854775808
        9223372036854775807  | 9223372036854775807
        9223372036854775806  | NULL
        0                    | NULL
        """,
    )
    assert_gives(
        engine,
        look_up("d:date", {datetime.date(2024, 2, 29): True}, "bool"),
        "d:date | is:bool\n 2024-02-29 | True\n 2024-03-01 | NULL\n NULL | NULL",
    )


def test_strings_are_told_apart_to_the_byte(engine: Engine) -> None:
    entries = {"": 1, "\0": 2, "a\0": 3, "a": 4, "A": 5, "影壁": 6, "e\u0301": 7}
    rows = "\n".join(f"{key!r} | {value}" for key, value in entries.items())
    assert_gives(engine, look_up("s:string", entries, "int64"), f"s:string | is:int64\n{rows}\n'\\xe9' | NULL")


def test_values_that_are_all_null_are_null(engine: Engine) -> None:
    assert_gives(engine, is_null(look_up("n:int64", {1: None}, "date")), "n:int64 | is:bool\n 1 | True\n 2 | True")


def test_a_look_up_may_stand_in_another_and_in_any_expression(engine: Engine) -> None:
    region = look_up(call("upper", column("s:string")), REGIONS, "string")
    country = look_up(region, {"north": 1, "south": 2}, "int64")
    assert_gives(
        engine,
        case((compare(country, "=", look_up(literal(7), {7: 1}, "int64")), region), otherwise=literal("?")),
        "s:string | is:string\n 'a' | 'north'\n 'b' | '?'\n 'c' | '?'\n NULL | '?'",
    )


def test_rows_stay_what_they_are_where_only_a_condition_or_a_key_looks_up(engine: Engine) -> None:
    table = drawn("unit | s:string\n0 | 'A'\n0 | 'B'\n1 | '?'\n2 | 'B'\n2 | 'C'\n3 | 'B'")
    region = look_up("s:string", REGIONS, "string")
    assert cells(engine, table, plan(ROW_COUNT, where=compare(region, "=", "south"))) == [3]
    assert cells(engine, table, plan(ROW_COUNT, by=[key(region, "south", "north", "east")])) == [3, 1, 0]
    assert cells(engine, table, plan(DISTINCT_UNITS, counted(ROW_COUNT, is_null(region)))) == [4, 2]


@pytest.mark.parametrize("rows", [50, PART_ROWS + 5])
@pytest.mark.parametrize("order", [1, -1])
def test_whichever_has_more_rows_the_table_or_the_look_up_no_row_is_lost_or_doubled(rows: int, order: int) -> None:
    entries = {number: number % 7 for number in range(MAX_ENTRIES)[::order]}
    numbers = np.random.default_rng(5).integers(0, 2 * MAX_ENTRIES, rows)
    table = pa.table({UNIT_COLUMN: np.arange(rows), "n": numbers})
    found, listed = look_up("n:int64", entries, "int64"), [key("n:int64", *numbers[:40].tolist())]
    expected = [int((numbers == each).sum()) if each < MAX_ENTRIES and each % 7 < 4 else 0 for each in numbers[:40]]
    over = projected(VISITS, {"found": found, "n": "n:int64"})
    for asked in (
        plan(ROW_COUNT, where=compare(found, "<", 4), by=listed),
        plan(ROW_COUNT, over=over, where=compare("found:int64", "<", 4), by=listed),
    ):
        assert cells(DuckDBEngine(), table, asked) == expected
