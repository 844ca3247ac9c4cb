"""What each function of text gives."""

from enclave_sim.engine.protocol import Engine
from enclave_sim.plan.expressions import MAX_POSITION

from .drawn import assert_gives
from .expressions import call, literal


def test_lower_and_upper_change_ascii_letters_only(engine: Engine) -> None:
    assert_gives(
        engine,
        call("lower", "a:string"),
        """
        a:string   | is:string
        'AbZ[@1'   | 'abz[@1'
        'ÀÉİΣ影'   | 'ÀÉİΣ影'
        'A\\0B'    | 'a\\0b'
        ''         | ''
        NULL       | NULL
        """,
    )
    assert_gives(
        engine,
        call("upper", "a:string"),
        """
        a:string   | is:string
        'aBz{`1'   | 'ABZ{`1'
        'àßŉı影'   | 'àßŉı影'
        NULL       | NULL
        """,
    )


def test_trim_takes_spaces_and_no_other_blanks_off_both_ends(engine: Engine) -> None:
    assert_gives(
        engine,
        call("trim", "a:string"),
        """
        a:string         | is:string
        '  a b  '        | 'a b'
        ' \\t a\\n '     | '\\t a\\n'
        '\\u3000a\\u00a0' | '\\u3000a\\u00a0'
        '   '            | ''
        ''               | ''
        NULL             | NULL
        """,
    )


def test_length_counts_code_points(engine: Engine) -> None:
    assert_gives(
        engine,
        call("length", "a:string"),
        """
        a:string     | is:int64
        'abc'        | 3
        '影壁'       | 2
        '😀'         | 1
        'e\\u0301'   | 2
        '👨\\u200d👩' | 3
        'a\\0b'      | 3
        ''           | 0
        NULL         | NULL
        """,
    )


def test_substring_counts_code_points_from_one(engine: Engine) -> None:
    assert_gives(
        engine,
        call("substring", "a:string", literal(2), literal(2)),
        """
        a:string        | is:string
        'abcd'          | 'bc'
        'ab'            | 'b'
        'a'             | ''
        ''              | ''
        '影壁😀x'       | '壁😀'
        'xe\\u0301y'    | 'e\\u0301'
        'a\\0bc'        | '\\0b'
        NULL            | NULL
        """,
    )


def test_substring_of_no_length_and_of_any_length(engine: Engine) -> None:
    none = call("substring", "a:string", literal(1), literal(0))
    assert_gives(engine, none, "a:string | is:string\n 'ab' | ''\n '' | ''\n NULL | NULL")
    rest = call("substring", "a:string", literal(2), literal(MAX_POSITION))
    assert_gives(engine, rest, "a:string | is:string\n '影ab' | 'ab'\n 'a' | ''\n NULL | NULL")
    beyond = call("substring", "a:string", literal(MAX_POSITION), literal(MAX_POSITION))
    assert_gives(engine, beyond, "a:string | is:string\n '影ab' | ''\n NULL | NULL")


def test_concatenate_is_null_with_one_null(engine: Engine) -> None:
    assert_gives(
        engine,
        call("concatenate", "a:string", literal("-"), "b:string"),
        """
        a:string | b:string | is:string
        'a'      | 'b'      | 'a-b'
        ''       | '影'     | '-影'
        'a\\0'   | '\\0'    | 'a\\0-\\0'
        NULL     | 'b'      | NULL
        'a'      | NULL     | NULL
        """,
    )
