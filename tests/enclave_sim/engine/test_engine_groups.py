"""Which group a row is in."""

import datetime

import pytest
from yingbi.api.v1.plan_pb2 import Value

from enclave_sim.engine.protocol import Engine
from enclave_sim.plan.values import PythonValue

from .drawn import ROW_COUNT, cells, drawn, key, plan
from .expressions import call, case, compare, literal

NASTY = ["O'Brien", '"; DROP TABLE rows; --', "$p0", "影壁 é ﷽ 🧪", "", " ", "NULL", "a\0b", "\\", "%"]


@pytest.mark.parametrize(
    ("kind", "column", "declared", "expected"),
    [
        ("bool", ["True", "False", "NULL", "True"], [False, True], [1, 2]),
        ("int64", ["1", "2", "NULL", "-9223372036854775808"], [2, -(2**63), 5], [1, 1, 0]),
        ("string", ["'a'", "'A'", "NULL", "'a '"], ["a", "b"], [1, 0]),
        (
            "date",
            ["2024-02-29", "1969-12-31", "NULL", "0001-01-01"],
            [datetime.date(2024, 2, 29), datetime.date(1969, 12, 31), datetime.date(1, 1, 1)],
            [1, 1, 1],
        ),
        (
            "timestamp",
            ["2024-02-29T12:00:00.000001", "1969-12-31T23:59:59", "NULL", "2024-02-29T12:00:00"],
            [datetime.datetime(2024, 2, 29, 12, 0, 0, 1), datetime.datetime(1969, 12, 31, 23, 59, 59)],
            [1, 1],
        ),
    ],
)
def test_a_key_of_each_type_has_the_rows_with_its_declared_values(
    engine: Engine, kind: str, column: list[str], declared: list[PythonValue], expected: list[int]
) -> None:
    table = drawn(f"unit | k:{kind}\n" + "".join(f"{unit} | {cell}\n" for unit, cell in enumerate(column)))
    assert cells(engine, table, plan(ROW_COUNT, by=[key(f"k:{kind}", *declared)])) == expected


def test_groups_are_all_combinations_and_the_last_key_varies_fastest(engine: Engine) -> None:
    table = drawn("""
        unit | ward:string | day:int64
        0    | 'a'         | 1
        0    | 'a'         | 2
        1    | 'b'         | 2
        1    | 'b'         | 2
        2    | 'a'         | 9
        3    | NULL        | 1
        4    | 'b'         | NULL
    """)
    by = [key("ward:string", "a", "b"), key("day:int64", 1, 2, 3)]
    assert cells(engine, table, plan(ROW_COUNT, by=by)) == [1, 1, 0, 0, 2, 0]


def test_any_text_is_a_key_like_any_other(engine: Engine) -> None:
    picture = "unit | k:string\n" + "".join(f"0 | {text!r}\n" for text in NASTY)
    assert cells(engine, drawn(picture), plan(ROW_COUNT, by=[key("k:string", *NASTY)])) == [1] * len(NASTY)


@pytest.mark.parametrize("name", ["unit", "grp", "rows", 'a"b', "select", "c1", "影壁"])
def test_a_column_may_have_any_name(engine: Engine, name: str) -> None:
    table = drawn(f"unit | {name}:int64 | c0:int64\n0 | 5 | 6\n1 | 6 | 6\n")
    by = [key(f"{name}:int64", 5), key("c0:int64", 6)]
    assert cells(engine, table, plan(ROW_COUNT, by=by)) == [1]


def test_a_value_declared_twice_doubles_no_row(engine: Engine) -> None:
    table = drawn("unit | k:int64\n0 | 5\n")
    twice = key("k:int64", Value(int64_value=5), Value(int64_value=5))
    assert cells(engine, table, plan(ROW_COUNT, by=[twice])) == [1, 0]


def test_a_key_may_be_computed(engine: Engine) -> None:
    table = drawn("""
        unit | d:date     | x:float64
        0    | 2024-02-29 | 0.4
        1    | 2023-12-31 | 7.9
        2    | NULL       | -3.0
        3    | 2024-01-01 | 1.0
    """)
    year = call("year", "d:date")
    assert cells(engine, table, plan(ROW_COUNT, by=[key(year, 2022, 2023, 2024)])) == [0, 1, 2]
    grade = case((compare("x:float64", ">=", 1.0), literal("high")), otherwise=literal("low"))
    assert cells(engine, table, plan(ROW_COUNT, by=[key(grade, "low", "high"), key(year, 2023, 2024)])) == [0, 1, 1, 1]


def test_a_float_is_a_key(engine: Engine) -> None:
    table = drawn("unit | x:float64\n0 | 0.4\n1 | 0.6\n2 | -0.4\n3 | nan\n4 | inf\n")
    whole = call("round", "x:float64")
    assert cells(engine, table, plan(ROW_COUNT, by=[key(whole, 0.0, 1.0, 1.7976931348623157e308)])) == [2, 1, 1]


def test_a_condition_is_a_key(engine: Engine) -> None:
    table = drawn("unit | x:int64\n0 | 4\n1 | 6\n2 | 7\n3 | NULL\n")
    assert cells(engine, table, plan(ROW_COUNT, by=[key(compare("x:int64", ">", 5), False, True)])) == [1, 2]
