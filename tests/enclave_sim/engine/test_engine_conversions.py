"""What a value of one type becomes as one of another. Those of dates are in test_engine_dates."""

from enclave_sim.engine.protocol import Engine

from .drawn import assert_gives
from .expressions import call


def test_to_float64(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_float64", "a:int64"),
        """
        a:int64             | is:float64
        -3                  | -3.0
        9007199254740993    | 9007199254740992.0
        9007199254740995    | 9007199254740996.0
        9223372036854775807 | 9223372036854775808.0
        NULL                | NULL
        """,
    )
    assert_gives(engine, call("to_float64", "a:bool"), "a:bool | is:float64\n True | 1.0\n False | 0.0\n NULL | NULL")


def test_to_int64_of_a_float_rounds_away_from_zero_at_a_half_and_stops_at_the_bounds(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_int64", "a:float64"),
        """
        a:float64             | is:int64
        2.5                   | 3
        3.5                   | 4
        -2.5                  | -3
        0.49999999999999994   | 0
        -0.4                  | 0
        9007199254740993.0    | 9007199254740992
        9.223372036854775e18  | 9223372036854774784
        9223372036854775808.0 | 9223372036854775807
        -9.223372036854776e18 | -9223372036854775808
        -1e300                | -9223372036854775808
        inf                   | 9223372036854775807
        nan                   | NULL
        """,
    )


def test_to_int64_of_text_is_null_unless_the_text_is_a_short_integer(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_int64", "a:string"),
        """
        a:string               | is:int64
        '0'                    | 0
        '+7'                   | 7
        '-007'                 | -7
        '999999999999999999'   | 999999999999999999
        '-999999999999999999'  | -999999999999999999
        '1000000000000000000'  | NULL
        '0000000000000000001'  | NULL
        ''                     | NULL
        '+'                    | NULL
        '+-1'                  | NULL
        ' 1'                   | NULL
        '1 '                   | NULL
        '1\\n'                 | NULL
        '1.0'                  | NULL
        '1e3'                  | NULL
        '1_000'                | NULL
        '0x10'                 | NULL
        '٣'                    | NULL
        '１'                   | NULL
        NULL                   | NULL
        """,
    )


def test_to_int64_of_a_truth_value(engine: Engine) -> None:
    assert_gives(engine, call("to_int64", "a:bool"), "a:bool | is:int64\n True | 1\n False | 0\n NULL | NULL")


def test_to_string(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_string", "a:int64"),
        "a:int64 | is:string\n -9223372036854775808 | '-9223372036854775808'\n 0 | '0'\n NULL | NULL",
    )
    assert_gives(
        engine,
        call("to_string", "a:bool"),
        "a:bool | is:string\n True | 'true'\n False | 'false'\n NULL | NULL",
    )
