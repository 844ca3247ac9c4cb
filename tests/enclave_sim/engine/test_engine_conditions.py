"""What CASE, LIKE, and the conditions on computed values give."""

from enclave_sim.engine.protocol import Engine

from .drawn import ROW_COUNT, assert_gives, cells, drawn, plan
from .expressions import call, case, column, compare, is_null, like, literal, one_of


def test_case_is_the_first_branch_whose_condition_is_true(engine: Engine) -> None:
    grade = case(
        (compare("x:float64", ">=", 10.0), literal("high")),
        (compare("x:float64", ">=", 5.0), literal("middle")),
        otherwise=literal("low"),
    )
    assert_gives(
        engine,
        grade,
        """
        x:float64 | is:string
        inf       | 'high'
        10.0      | 'high'
        9.9       | 'middle'
        -1.0      | 'low'
        nan       | 'low'
        NULL      | 'low'
        """,
    )


def test_case_without_else_is_null_where_no_condition_is_true(engine: Engine) -> None:
    assert_gives(
        engine,
        case((column("b:bool"), "n:int64")),
        """
        b:bool | n:int64 | is:int64
        True   | 5       | 5
        True   | NULL    | NULL
        False  | 5       | NULL
        NULL   | 5       | NULL
        """,
    )


def test_a_case_may_be_a_condition(engine: Engine) -> None:
    table = drawn("unit | b:bool | n:int64\n0 | True | 1\n1 | False | 1\n2 | NULL | 1\n3 | True | 2\n")
    condition = case((column("b:bool"), compare("n:int64", "=", 1)), otherwise=literal(False))
    assert cells(engine, table, plan(ROW_COUNT, where=condition)) == [1]


def test_a_case_keeps_a_stored_infinity(engine: Engine) -> None:
    kept = case((literal(True), "x:float64"))
    assert_gives(engine, compare(kept, "=", column("x:float64")), "x:float64 | is:bool\n inf | True\n nan | NULL")
    assert_gives(engine, compare(kept, ">", 1.7976931348623157e308), "x:float64 | is:bool\n inf | True\n 1.0 | False")


def test_like_is_over_the_whole_text(engine: Engine) -> None:
    assert_gives(
        engine,
        like("s:string", "a%b_"),
        """
        s:string      | is:bool
        'abc'         | True
        'axxbc'       | True
        'a\\nb\\n'    | True
        'a%b_'        | True
        'a影b😀'      | True
        'ab'          | False
        'xabc'        | False
        'abcx'        | False
        'ABC'         | False
        'abbbb'       | True
        'a\\0b\\0'    | True
        ''            | False
        NULL          | NULL
        """,
    )


def test_nothing_escapes_and_nothing_else_is_special_in_like(engine: Engine) -> None:
    assert_gives(
        engine,
        like("s:string", "\\%"),
        "s:string | is:bool\n '\\\\' | True\n '\\\\abc' | True\n '%' | False\n '' | False",
    )
    assert_gives(
        engine,
        like("s:string", "[a-z].*$'"),
        "s:string | is:bool\n \"[a-z].*$'\" | True\n 'a' | False\n 'ab' | False",
    )


def test_like_of_only_wildcards(engine: Engine) -> None:
    assert_gives(engine, like("s:string", "%"), "s:string | is:bool\n '' | True\n 'a\\n' | True\n NULL | NULL")
    assert_gives(engine, like("s:string", ""), "s:string | is:bool\n '' | True\n 'a' | False\n NULL | NULL")
    assert_gives(engine, like("s:string", "_"), "s:string | is:bool\n '' | False\n '影' | True\n 'ab' | False")
    assert_gives(engine, like("s:string", "%_%_"), "s:string | is:bool\n 'a' | False\n 'ab' | True\n '影😀x' | True")


def test_membership_and_null_test_take_computed_values(engine: Engine) -> None:
    doubled = call("add", "n:int64", "n:int64")
    assert_gives(engine, one_of(doubled, 2, 6), "n:int64 | is:bool\n 1 | True\n 2 | False\n NULL | NULL")
    ratio = call("divide", literal(1.0), "x:float64")
    assert_gives(engine, is_null(ratio), "x:float64 | is:bool\n 0.0 | True\n 2.0 | False\n NULL | True")
    assert_gives(engine, one_of(ratio, 0.5, 0.25), "x:float64 | is:bool\n 0.0 | NULL\n 2.0 | True\n 3.0 | False")


def test_a_comparison_of_two_computed_values(engine: Engine) -> None:
    shorter = compare(call("length", "a:string"), "<", call("length", "b:string"))
    assert_gives(
        engine,
        shorter,
        "a:string | b:string | is:bool\n 'x' | '影壁' | True\n 'ab' | '影壁' | False\n NULL | 'a' | NULL",
    )


def test_truth_values_compare_with_truth_values(engine: Engine) -> None:
    less = compare(compare("n:int64", ">", 5), "<", column("b:bool"))
    assert_gives(
        engine,
        less,
        """
        n:int64 | b:bool | is:bool
        1       | True   | True
        9       | True   | False
        1       | False  | False
        NULL    | True   | NULL
        1       | NULL   | NULL
        """,
    )
