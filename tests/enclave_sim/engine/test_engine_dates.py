"""What each function of dates and timestamps gives. A bare number is days or microseconds since 1970."""

import pytest

from enclave_sim.engine.protocol import Engine

from .drawn import assert_gives
from .expressions import call

# The day before year 1, the day after year 9999; the first and last microsecond beyond the two.
BEFORE, AFTER = -719163, 2932897
MICROS_BEFORE, MICROS_AFTER = BEFORE * 86400 * 10**6 + 86400 * 10**6 - 1, AFTER * 86400 * 10**6

DAYS = ["0001-01-01", "1600-02-29", "1900-03-01", "1969-12-31", "1970-01-01", "2023-04-30", "2024-12-31", "9999-12-31"]
PARTS = {
    "year": "1 1600 1900 1969 1970 2023 2024 9999",
    "quarter": "1 1 1 4 1 2 4 4",
    "month": "1 2 3 12 1 4 12 12",
    "day": "1 29 1 31 1 30 31 31",
    "day_of_week": "1 2 4 3 4 0 2 5",
    "day_of_year": "1 60 60 365 1 120 366 365",
}
FIRST_DAYS = {
    "truncate_to_year": "0001-01-01 1600-01-01 1900-01-01 1969-01-01 1970-01-01 2023-01-01 2024-01-01 9999-01-01",
    "truncate_to_quarter": "0001-01-01 1600-01-01 1900-01-01 1969-10-01 1970-01-01 2023-04-01 2024-10-01 9999-10-01",
    "truncate_to_month": "0001-01-01 1600-02-01 1900-03-01 1969-12-01 1970-01-01 2023-04-01 2024-12-01 9999-12-01",
    "truncate_to_week": "0001-01-01 1600-02-28 1900-02-26 1969-12-29 1969-12-29 2023-04-24 2024-12-30 9999-12-27",
}
OF_DAYS = [(name, "int64", values.split()) for name, values in PARTS.items()] + [
    (name, "date", values.split()) for name, values in FIRST_DAYS.items()
]


@pytest.mark.parametrize(("function", "kind", "expected"), OF_DAYS)
def test_a_part_or_first_day_of_a_date_is_null_outside_the_years_1_to_9999(
    engine: Engine, function: str, kind: str, expected: list[str]
) -> None:
    rows = [f"{day} | {value}" for day, value in zip(DAYS, expected, strict=True)]
    outside = [f"{day} | NULL" for day in (BEFORE, AFTER, -(2**31), 2**31 - 1, "NULL")]
    assert_gives(engine, call(function, "a:date"), "\n".join([f"a:date | is:{kind}", *rows, *outside]))


@pytest.mark.parametrize(("function", "kind", "expected"), OF_DAYS)
def test_of_a_timestamp_it_is_that_of_its_day_to_the_last_microsecond(
    engine: Engine, function: str, kind: str, expected: list[str]
) -> None:
    rows = [
        f"{day}T{time} | {value}"
        for day, value in zip(DAYS, expected, strict=True)
        for time in ("00:00:00", "23:59:59.999999")
    ]
    outside = [f"{micros} | NULL" for micros in (MICROS_BEFORE, MICROS_AFTER, -(2**63), 2**63 - 1, "NULL")]
    assert_gives(engine, call(function, "a:timestamp"), "\n".join([f"a:timestamp | is:{kind}", *rows, *outside]))


def test_to_date_is_the_day_that_began_last(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_date", "a:timestamp"),
        f"""
        a:timestamp                | is:date
        1969-12-31T23:59:59.999999 | 1969-12-31
        1970-01-01T00:00:00        | 1970-01-01
        0001-01-01T00:00:00        | 0001-01-01
        9999-12-31T23:59:59.999999 | 9999-12-31
        {MICROS_BEFORE}            | {BEFORE}
        {MICROS_AFTER}             | {AFTER}
        -9223372036854775808       | -106751992
        9223372036854775807        | 106751991
        NULL                       | NULL
        """,
    )


def test_hour_and_minute_of_any_timestamp(engine: Engine) -> None:
    picture = """
        a:timestamp                | is:int64
        2024-02-29T17:45:59.999999 | {}
        1969-12-31T23:59:59.999999 | {}
        1969-12-31T00:00:00        | {}
        0001-01-01T01:02:03        | {}
        -9223372036854775808       | {}
        9223372036854775807        | {}
        NULL                       | NULL
        """
    assert_gives(engine, call("hour", "a:timestamp"), picture.format(17, 23, 0, 1, 19, 4))
    assert_gives(engine, call("minute", "a:timestamp"), picture.format(45, 59, 0, 2, 59, 0))


def test_days_between_counts_from_the_first_to_the_second(engine: Engine) -> None:
    assert_gives(
        engine,
        call("days_between", "a:date", "b:date"),
        """
        a:date      | b:date      | is:int64
        2024-02-28  | 2024-03-01  | 2
        2024-03-01  | 2023-03-01  | -366
        0001-01-01  | 9999-12-31  | 3652058
        -2147483648 | 2147483647  | 4294967295
        2147483647  | -2147483648 | -4294967295
        NULL        | 2024-03-01  | NULL
        2024-03-01  | NULL        | NULL
        """,
    )


def test_to_string_of_a_date_has_four_digits_and_no_other_years(engine: Engine) -> None:
    assert_gives(
        engine,
        call("to_string", "a:date"),
        f"""
        a:date     | is:string
        2024-02-09 | '2024-02-09'
        0001-01-01 | '0001-01-01'
        9999-12-31 | '9999-12-31'
        {BEFORE}   | NULL
        {AFTER}    | NULL
        NULL       | NULL
        """,
    )
