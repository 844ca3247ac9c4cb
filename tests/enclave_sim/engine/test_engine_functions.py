"""What each function of numbers, or of any type, gives: a drawn table of operands and the value, which is `is`."""

from enclave_sim.engine.protocol import Engine

from .drawn import assert_gives
from .expressions import call, literal


def test_add_of_integers_stops_at_the_bounds(engine: Engine) -> None:
    assert_gives(
        engine,
        call("add", "a:int64", "b:int64"),
        """
        a:int64              | b:int64              | is:int64
        2                    | 3                    | 5
        9223372036854775807  | 1                    | 9223372036854775807
        -9223372036854775808 | -9223372036854775808 | -9223372036854775808
        9223372036854775807  | -9223372036854775808 | -1
        NULL                 | 1                    | NULL
        1                    | NULL                 | NULL
        """,
    )


def test_add_of_floats_stops_at_the_largest_finite_ones_and_infinities_that_cancel_are_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("add", "a:float64", "b:float64"),
        """
        a:float64 | b:float64 | is:float64
        0.1       | 0.2       | 0.30000000000000004
        1.7e308   | 1.7e308   | 1.7976931348623157e308
        -1.7e308  | -1.7e308  | -1.7976931348623157e308
        inf       | 1.0       | 1.7976931348623157e308
        inf       | -inf      | NULL
        nan       | 1.0       | NULL
        1.0       | NULL      | NULL
        """,
    )


def test_subtract(engine: Engine) -> None:
    assert_gives(
        engine,
        call("subtract", "a:int64", "b:int64"),
        """
        a:int64              | b:int64              | is:int64
        2                    | 3                    | -1
        0                    | -9223372036854775808 | 9223372036854775807
        -9223372036854775808 | 1                    | -9223372036854775808
        9223372036854775807  | 9223372036854775807  | 0
        NULL                 | 1                    | NULL
        """,
    )
    assert_gives(
        engine,
        call("subtract", "a:float64", "b:float64"),
        """
        a:float64 | b:float64 | is:float64
        0.3       | 0.1       | 0.19999999999999998
        -1.7e308  | 1.7e308   | -1.7976931348623157e308
        inf       | inf       | NULL
        """,
    )


def test_multiply(engine: Engine) -> None:
    assert_gives(
        engine,
        call("multiply", "a:int64", "b:int64"),
        """
        a:int64              | b:int64              | is:int64
        -2                   | 3                    | -6
        4294967296           | 2147483648           | 9223372036854775807
        4294967296           | -2147483648          | -9223372036854775808
        4294967296           | -2147483649          | -9223372036854775808
        -9223372036854775808 | -1                   | 9223372036854775807
        -9223372036854775808 | -9223372036854775808 | 9223372036854775807
        -9223372036854775808 | 0                    | 0
        NULL                 | 0                    | NULL
        """,
    )
    assert_gives(
        engine,
        call("multiply", "a:float64", "b:float64"),
        """
        a:float64 | b:float64 | is:float64
        1.1       | 1.1       | 1.2100000000000002
        1e200     | -1e200    | -1.7976931348623157e308
        inf       | 0.0       | NULL
        5e-324    | 0.5       | 0.0
        """,
    )


def test_divide_by_zero_is_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("divide", "a:float64", "b:float64"),
        """
        a:float64 | b:float64 | is:float64
        1.0       | 3.0       | 0.3333333333333333
        1.0       | 0.0       | NULL
        1.0       | -0.0      | NULL
        0.0       | 0.0       | NULL
        1.0       | 5e-324    | 1.7976931348623157e308
        -1e308    | 1e-308    | -1.7976931348623157e308
        inf       | inf       | NULL
        1.0       | inf       | 0.0
        NULL      | 0.0       | NULL
        """,
    )


def test_modulo_has_the_dividends_sign(engine: Engine) -> None:
    assert_gives(
        engine,
        call("modulo", "a:int64", "b:int64"),
        """
        a:int64              | b:int64              | is:int64
        7                    | 3                    | 1
        -7                   | 3                    | -1
        7                    | -3                   | 1
        -7                   | -3                   | -1
        7                    | 0                    | NULL
        -9223372036854775808 | -1                   | 0
        -9223372036854775808 | 9223372036854775807  | -1
        9223372036854775807  | -9223372036854775808 | 9223372036854775807
        NULL                 | 3                    | NULL
        """,
    )


def test_negate_and_absolute_of_the_least_integer_are_the_greatest(engine: Engine) -> None:
    assert_gives(
        engine,
        call("negate", "a:int64"),
        """
        a:int64              | is:int64
        5                    | -5
        -9223372036854775808 | 9223372036854775807
        9223372036854775807  | -9223372036854775807
        NULL                 | NULL
        """,
    )
    assert_gives(
        engine,
        call("absolute", "a:int64"),
        """
        a:int64              | is:int64
        5                    | 5
        -5                   | 5
        -9223372036854775808 | 9223372036854775807
        NULL                 | NULL
        """,
    )


def test_negate_and_absolute_of_floats(engine: Engine) -> None:
    assert_gives(
        engine,
        call("negate", "a:float64"),
        "a:float64 | is:float64\n 1.5 | -1.5\n inf | -1.7976931348623157e308\n nan | NULL",
    )
    assert_gives(
        engine,
        call("absolute", "a:float64"),
        "a:float64 | is:float64\n -1.5 | 1.5\n -inf | 1.7976931348623157e308\n -0.0 | 0.0\n NULL | NULL",
    )


def test_floor_and_ceiling(engine: Engine) -> None:
    assert_gives(
        engine,
        call("floor", "a:float64"),
        """
        a:float64            | is:float64
        1.5                  | 1.0
        -1.5                 | -2.0
        -5e-324              | -1.0
        4503599627370495.5   | 4503599627370495.0
        1e300                | 1e300
        -inf                 | -1.7976931348623157e308
        NULL                 | NULL
        """,
    )
    assert_gives(
        engine,
        call("ceiling", "a:float64"),
        """
        a:float64            | is:float64
        1.5                  | 2.0
        -1.5                 | -1.0
        5e-324               | 1.0
        4503599627370495.5   | 4503599627370496.0
        inf                  | 1.7976931348623157e308
        NULL                 | NULL
        """,
    )


def test_round_goes_away_from_zero_at_a_half(engine: Engine) -> None:
    assert_gives(
        engine,
        call("round", "a:float64"),
        """
        a:float64            | is:float64
        0.5                  | 1.0
        1.5                  | 2.0
        2.5                  | 3.0
        -0.5                 | -1.0
        -2.5                 | -3.0
        0.49999999999999994  | 0.0
        -0.49999999999999994 | 0.0
        4503599627370495.5   | 4503599627370496.0
        4503599627370497.0   | 4503599627370497.0
        9007199254740993.0   | 9007199254740992.0
        1e300                | 1e300
        inf                  | 1.7976931348623157e308
        nan                  | NULL
        """,
    )


def test_square_root_of_a_negative_number_is_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("square_root", "a:float64"),
        """
        a:float64 | is:float64
        2.0       | 1.4142135623730951
        0.0       | 0.0
        -0.0      | 0.0
        -5e-324   | NULL
        -inf      | NULL
        inf       | 1.7976931348623157e308
        NULL      | NULL
        """,
    )


def test_natural_logarithm_of_zero_and_below_is_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("natural_logarithm", "a:float64"),
        """
        a:float64         | is:float64
        1.0               | 0.0
        2.718281828459045 | 1.0
        0.5               | -0.6931471805599453
        0.0               | NULL
        -0.0              | NULL
        -1.0              | NULL
        inf               | 1.7976931348623157e308
        NULL              | NULL
        """,
    )


def test_least_and_greatest_pass_over_null(engine: Engine) -> None:
    picture = """
        a:int64              | b:int64             | c:int64 | is:int64
        3                    | -1                  | 2       | {}
        -9223372036854775808 | 9223372036854775807 | NULL    | {}
        NULL                 | NULL                | 2       | 2
        NULL                 | NULL                | NULL    | NULL
        """
    operands = ("a:int64", "b:int64", "c:int64")
    assert_gives(engine, call("least", *operands), picture.format(-1, -(2**63)))
    assert_gives(engine, call("greatest", *operands), picture.format(3, 2**63 - 1))


def test_least_and_greatest_of_each_type(engine: Engine) -> None:
    for kind, less, more in [
        ("bool", "False", "True"),
        ("float64", "-1.5", "0.1"),
        ("string", "'Z'", "'a'"),
        ("string", "'\uffee'", "'😀'"),
        ("string", "''", "'a'"),
        ("date", "0001-01-01", "1970-01-01"),
        ("timestamp", "1969-12-31T23:59:59", "1970-01-01T00:00:00"),
    ]:
        header = f"a:{kind} | b:{kind} | is:{kind}\n"
        for function, found in (("least", less), ("greatest", more)):
            rows = f"{less} | {more} | {found}\n{more} | {less} | {found}\n{more} | NULL | {more}"
            assert_gives(engine, call(function, f"a:{kind}", f"b:{kind}"), header + rows)


def test_a_float_nan_is_passed_over_like_null_and_infinity_is_cut(engine: Engine) -> None:
    header = "a:float64 | b:float64 | is:float64\n"
    assert_gives(
        engine,
        call("greatest", "a:float64", "b:float64"),
        header + "nan | 1.0 | 1.0\n inf | 1.0 | 1.7976931348623157e308\n nan | nan | NULL",
    )
    assert_gives(
        engine,
        call("coalesce", "a:float64", "b:float64"),
        header + "nan | 1.0 | 1.0\n -inf | 1.0 | -1.7976931348623157e308",
    )


def test_coalesce_is_the_first_that_is_not_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("coalesce", "a:string", "b:string", literal("none")),
        """
        a:string | b:string | is:string
        'a'      | 'b'      | 'a'
        NULL     | 'b'      | 'b'
        ''       | 'b'      | ''
        NULL     | NULL     | 'none'
        """,
    )


def test_functions_of_functions_cut_at_every_step(engine: Engine) -> None:
    # The sum stops at the greatest integer before 1 is taken away again.
    there_and_back = call("subtract", call("add", "a:int64", literal(1)), literal(1))
    assert_gives(engine, there_and_back, "a:int64 | is:int64\n 9223372036854775807 | 9223372036854775806\n 5 | 5")
    # 1.8e308 is cut, and its half is finite.
    halved = call("divide", call("multiply", "a:float64", literal(10.0)), literal(2.0))
    assert_gives(engine, halved, "a:float64 | is:float64\n 1e308 | 8.988465674311579e307\n 1.0 | 5.0")
