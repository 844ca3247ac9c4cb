"""Which rows a filter keeps: those for which it is true; false and unknown are both out."""

import datetime

import pytest
from yingbi.api.v1.plan_pb2 import Expression

from enclave_sim.engine.protocol import Engine
from enclave_sim.plan.values import PythonValue

from .drawn import ROW_COUNT, cells, drawn, key, plan
from .expressions import OPERATORS, all_of, any_of, column, compare, is_null, literal, negated, one_of

# One row a unit; a test asks which units stay.
ROWS = drawn("""
    unit | n:int64 | b:bool | i:int64              | x:float64 | s:string | d:date     | t:timestamp
    0    | 0       | False  | -9223372036854775808 | -inf      | ''       | 0001-01-01 | 0001-01-01T00:00:00
    1    | 1       | True   | 5                    | -0.0      | 'm'      | 2020-05-05 | 2020-05-05T05:05:05
    2    | 2       | True   | 9223372036854775807  | inf       | '影'     | 9999-12-31 | 9999-12-31T23:59:59.999999
    3    | 3       | NULL   | NULL                 | nan       | NULL     | NULL       | NULL
""")
MIDDLE: dict[str, PythonValue] = {
    "i:int64": 5,
    "x:float64": 0.0,
    "s:string": "m",
    "d:date": datetime.date(2020, 5, 5),
    "t:timestamp": datetime.datetime(2020, 5, 5, 5, 5, 5),
}
KEPT = {"=": {1}, "<>": {0, 2}, "<": {0}, "<=": {0, 1}, ">": {2}, ">=": {1, 2}}
KEPT_OF_TRUE = {"=": {1, 2}, "<>": {0}, "<": {0}, "<=": {0, 1, 2}, ">": set[int](), ">=": {1, 2}}
UNKNOWN = compare("i:int64", "=", column("i:int64"))
"""True of every row but 3, of which it is unknown."""


def kept(engine: Engine, where: Expression) -> set[int]:
    counts = cells(engine, ROWS, plan(ROW_COUNT, where=where, by=[key("n:int64", 0, 1, 2, 3)]))
    return {unit for unit, count in enumerate(counts) if count}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("title", MIDDLE)
def test_each_comparison_of_each_type_and_null_is_never_true(engine: Engine, title: str, operator: str) -> None:
    assert kept(engine, compare(title, operator, MIDDLE[title])) == KEPT[operator]


@pytest.mark.parametrize("operator", OPERATORS)
def test_false_is_less_than_true(engine: Engine, operator: str) -> None:
    assert kept(engine, compare("b:bool", operator, True)) == KEPT_OF_TRUE[operator]


def test_integers_compare_exactly_where_doubles_cannot(engine: Engine) -> None:
    assert kept(engine, compare("i:int64", "<", 2**63 - 1)) == {0, 1}
    assert kept(engine, compare("i:int64", "<=", -(2**63))) == {0}


def test_columns_compare_with_columns_and_constants_with_constants(engine: Engine) -> None:
    assert kept(engine, compare("x:float64", "<=", column("x:float64"))) == {0, 1, 2}
    assert kept(engine, compare("n:int64", "<", column("i:int64"))) == {1, 2}
    same = Expression(literal=literal("a").literal)
    always = Expression()
    always.comparison.operator = OPERATORS["="]
    always.comparison.left.CopyFrom(same)
    always.comparison.right.CopyFrom(same)
    assert kept(engine, always) == {0, 1, 2, 3}


def test_text_compares_by_code_point(engine: Engine) -> None:
    table = drawn("unit | s:string\n0 | 'Z'\n1 | 'a'\n2 | 'é'\n3 | '\uffee'\n4 | '😀'\n")
    assert cells(engine, table, plan(ROW_COUNT, where=compare("s:string", ">", "a"))) == [3]
    assert cells(engine, table, plan(ROW_COUNT, where=compare("s:string", ">", "\uffee"))) == [1]


def test_a_conjunction_is_true_where_all_operands_are(engine: Engine) -> None:
    assert kept(engine, all_of(UNKNOWN, compare("n:int64", ">", 0))) == {1, 2}
    assert kept(engine, all_of(compare("n:int64", ">", 1))) == {2, 3}


def test_a_disjunction_is_true_where_one_operand_is_even_beside_unknown(engine: Engine) -> None:
    assert kept(engine, any_of(UNKNOWN, compare("n:int64", ">", 2))) == {0, 1, 2, 3}
    assert kept(engine, any_of(compare("i:int64", ">", 5), compare("n:int64", "=", 0))) == {0, 2}


def test_a_negation_of_unknown_is_unknown(engine: Engine) -> None:
    assert kept(engine, negated(UNKNOWN)) == set()
    assert kept(engine, negated(compare("i:int64", "=", 5))) == {0, 2}
    # NOT (unknown AND false) is true.
    assert kept(engine, negated(all_of(UNKNOWN, compare("n:int64", "<", 0)))) == {0, 1, 2, 3}
    # NOT (unknown OR false) is unknown.
    assert kept(engine, negated(any_of(UNKNOWN, compare("n:int64", "<", 0)))) == set()


def test_membership_is_equality_with_one_of_the_values(engine: Engine) -> None:
    assert kept(engine, one_of("i:int64", 5, 2**63 - 1, 7)) == {1, 2}
    assert kept(engine, one_of("s:string", "m", "'", "影")) == {1, 2}
    assert kept(engine, one_of("b:bool", False)) == {0}
    assert kept(engine, one_of("x:float64", 0.0, 8.5)) == {1}
    assert kept(engine, one_of("d:date", datetime.date(9999, 12, 31))) == {2}
    assert kept(engine, one_of("t:timestamp", datetime.datetime(2020, 5, 5, 5, 5, 5))) == {1}


def test_null_is_no_member_and_no_non_member(engine: Engine) -> None:
    assert kept(engine, negated(one_of("i:int64", 5))) == {0, 2}


def test_a_null_test_is_true_of_null_and_of_nan(engine: Engine) -> None:
    for title in ("b:bool", *MIDDLE):
        assert kept(engine, is_null(title)) == {3}
        assert kept(engine, negated(is_null(title))) == {0, 1, 2}


def test_a_truth_value_is_a_filter(engine: Engine) -> None:
    assert kept(engine, literal(True)) == {0, 1, 2, 3}
    assert kept(engine, literal(False)) == set()
    assert kept(engine, column("b:bool")) == {1, 2}


def test_text_of_a_filter_is_never_read_as_sql(engine: Engine) -> None:
    table = drawn("""
        unit | s:string
        0    | "' OR 1=1 --"
        1    | 'x'
    """)
    assert cells(engine, table, plan(ROW_COUNT, where=compare("s:string", "=", "' OR 1=1 --"))) == [1]


def test_the_deepest_and_the_widest_filter_run(engine: Engine) -> None:
    deep = compare("n:int64", "=", 1)
    for _ in range(19):
        deep = negated(all_of(deep))
    assert kept(engine, deep) == {0, 2, 3}
    assert kept(engine, one_of("i:int64", *range(5, 1005))) == {1}
    assert kept(engine, any_of(*[compare("n:int64", "=", value) for value in range(3, 500)])) == {3}
