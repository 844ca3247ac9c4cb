"""What each statistic counts or adds up: a drawn table, one statistic, the cells."""

import pytest

from enclave_sim.engine.protocol import Engine

from .drawn import DISTINCT_UNITS, ROW_COUNT, bounded_sum, cells, counted, drawn, key, non_null, plan, range_counts
from .expressions import call, case, compare, like, literal

VISITS = drawn("""
    unit | ward:string | score:float64 | age:int64
    0    | 'a'         | 10.0          | 30
    0    | 'a'         | NULL          | NULL
    0    | 'b'         | -5.0          | 31
    1    | 'a'         | inf           | 9223372036854775807
    2    | 'b'         | nan           | -9223372036854775808
    2    | NULL        | 4.0           | 8
    3    | 'c'         | 4.0           | 8
""")
WARDS = [key("ward:string", "a", "b", "x")]


def test_row_count_counts_the_rows_of_each_group(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(ROW_COUNT, by=WARDS)) == [3, 2, 0]


def test_without_keys_all_rows_are_one_group(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(ROW_COUNT)) == [7]


def test_a_cell_of_one_row_is_two_to_the_fraction_bits(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(ROW_COUNT, by=WARDS, fraction_bits=16)) == [3 << 16, 2 << 16, 0]


def test_non_null_count_leaves_out_null_and_nan_but_not_infinity(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(non_null("score:float64"), by=WARDS)) == [2, 1, 0]


def test_distinct_units_counts_a_unit_once_in_each_group(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(DISTINCT_UNITS, by=WARDS)) == [2, 2, 0]


def test_bounded_sum_clips_centres_and_scales_and_null_adds_nothing(engine: Engine) -> None:
    # (10 - 5) / 5 = 1, and infinity clips to 10; -5 clips to 0, (0 - 5) / 5 = -1; NaN and NULL are 0.
    statistic = bounded_sum("score:float64", lower=0, upper=10, centre=5, half_range=5)
    assert cells(engine, VISITS, plan(statistic, by=WARDS, fraction_bits=4)) == [32, -16, 0]


def test_bounded_sum_of_integers_clips_the_extreme_ones(engine: Engine) -> None:
    # 30/64 and 2^63-1 clipped to 1; 31/64 and -2^63 clipped to -1: in steps of 1/64.
    statistic = bounded_sum("age:int64", lower=-64, upper=64, centre=0, half_range=64)
    assert cells(engine, VISITS, plan(statistic, by=WARDS, fraction_bits=6)) == [30 + 64, 31 - 64, 0]


def test_bounded_sum_rounds_each_row_to_the_nearest_step_and_halves_up(engine: Engine) -> None:
    table = drawn("""
        unit | x:float64
        0    | 0.49
        1    | 0.5
        2    | -0.5
        3    | -0.51
    """)
    statistic = bounded_sum("x:float64", lower=-1, upper=1, centre=0, half_range=1)
    assert cells(engine, table, plan(statistic)) == [0 + 1 + 0 - 1]


def test_bounded_sum_is_total_for_the_smallest_and_largest_ranges(engine: Engine) -> None:
    table = drawn("""
        unit | x:float64
        0    | 0.0
        1    | 1.7e308
    """)
    tiny = bounded_sum("x:float64", lower=0, upper=5e-324, centre=0, half_range=5e-324)
    huge = bounded_sum("x:float64", lower=-1.7e308, upper=1.7e308, centre=0, half_range=1.7e308)
    assert cells(engine, table, plan(tiny, huge, fraction_bits=16)) == [1 << 16, 1 << 16]


def test_statistics_follow_one_another_each_over_all_groups(engine: Engine) -> None:
    asked = plan(DISTINCT_UNITS, ROW_COUNT, non_null("age:int64"), by=WARDS)
    assert cells(engine, VISITS, asked) == [2, 2, 0, 3, 2, 0, 2, 2, 0]


def test_an_empty_table_has_the_same_cells_all_zero(engine: Engine) -> None:
    score = bounded_sum("score:float64", lower=0, upper=10, centre=5, half_range=5)
    asked = plan(ROW_COUNT, DISTINCT_UNITS, score, by=WARDS)
    assert cells(engine, VISITS.slice(0, 0), asked) == [0] * 9


@pytest.mark.parametrize(("rows", "expected"), [(4, 4), (5, 4)])
def test_a_unit_over_the_bound_counts_as_the_bound(engine: Engine, rows: int, expected: int) -> None:
    table = drawn("unit | x:int64\n" + "7 | 1\n" * rows)
    assert cells(engine, table, plan(ROW_COUNT, max_rows=4)) == [expected]


def test_the_bound_is_on_the_norm_over_all_groups(engine: Engine) -> None:
    # 3 and 4 rows have the norm 5, the bound is 2: 3·2/5 and 4·2/5 in steps of 1/16, towards zero.
    table = drawn("unit | ward:string\n" + "0 | 'a'\n" * 3 + "0 | 'b'\n" * 4)
    asked = plan(ROW_COUNT, by=WARDS, max_rows=2, fraction_bits=4)
    assert cells(engine, table, asked) == [48 * 2 // 5, 64 * 2 // 5, 0]


def test_a_unit_is_weighed_by_all_its_rows_null_or_not_and_negatives_shrink_too(engine: Engine) -> None:
    table = drawn("""
        unit | x:float64
        0    | -1.0
        0    | -1.0
        0    | -1.0
        0    | NULL
    """)
    total = bounded_sum("x:float64", lower=-1, upper=1, centre=0, half_range=1)
    asked = plan(total, non_null("x:float64"), max_rows=1, fraction_bits=4)
    assert cells(engine, table, asked) == [-48 // 4, 48 // 4]


def test_rows_that_the_filter_or_the_keys_leave_out_do_not_weigh(engine: Engine) -> None:
    table = drawn("unit | ward:string\n" + "0 | 'a'\n" * 2 + "0 | 'off the list'\n" * 50)
    assert cells(engine, table, plan(ROW_COUNT, by=WARDS, max_rows=2)) == [2, 0, 0]


def test_a_unit_in_more_groups_than_the_bound_counts_less_in_each(engine: Engine) -> None:
    # Two groups, one allowed: 1/√2 in each, in steps of 1/256, rounded down.
    table = drawn("unit | ward:string\n0 | 'a'\n0 | 'a'\n0 | 'b'\n1 | 'b'\n")
    asked = plan(DISTINCT_UNITS, by=WARDS, max_groups=1, fraction_bits=8)
    assert cells(engine, table, asked) == [181, 181 + 256, 0]


def test_a_statistic_of_a_computed_value(engine: Engine) -> None:
    half = call("divide", "score:float64", literal(2.0))
    assert cells(engine, VISITS, plan(non_null(call("modulo", "age:int64", "age:int64")), by=WARDS)) == [2, 2, 0]
    assert cells(engine, VISITS, plan(bounded_sum(half, -64, 64, 0, 64), by=WARDS, fraction_bits=6)) == [5 + 64, -2, 0]


def test_a_sum_of_a_case_is_of_what_the_case_chose(engine: Engine) -> None:
    points = case((compare("score:float64", ">", 0.0), literal(1.0)), otherwise=literal(-1.0))
    statistic = bounded_sum(points, lower=-1, upper=1, centre=0, half_range=1)
    assert cells(engine, VISITS, plan(statistic, by=WARDS)) == [1 - 1 + 1, -1 - 1, 0]


def test_a_filter_leaves_rows_out_of_its_statistic_only(engine: Engine) -> None:
    positive = compare("score:float64", ">", 0.0)
    score = bounded_sum("score:float64", lower=0, upper=10, centre=0, half_range=10)
    asked = plan(
        counted(ROW_COUNT, positive),
        ROW_COUNT,
        counted(non_null("age:int64"), positive),
        counted(DISTINCT_UNITS, positive),
        counted(score, compare("score:float64", "<", 10.5)),
        counted(range_counts("score:float64", 0, 20, 2, 1), positive),
        by=WARDS,
        max_rows=100,
    )
    assert cells(engine, VISITS, asked) == [
        *[2, 0, 0],
        *[3, 2, 0],
        *[2, 0, 0],
        *[2, 0, 0],
        *[1, 0, 0],
        *[0, 2, 0, 0, 0, 0],
    ]


def test_a_filter_that_is_unknown_or_false_leaves_a_row_out(engine: Engine) -> None:
    assert cells(engine, VISITS, plan(counted(ROW_COUNT, like("ward:string", "_")))) == [6]
    assert cells(engine, VISITS, plan(counted(ROW_COUNT, literal(False)))) == [0]


def test_rows_that_a_statistics_filter_leaves_out_weigh_all_the_same(engine: Engine) -> None:
    table = drawn("unit | x:int64\n" + "0 | 1\n" + "0 | 2\n" * 3)
    asked = plan(counted(ROW_COUNT, compare("x:int64", "=", 1)), max_rows=2, fraction_bits=4)
    assert cells(engine, table, asked) == [16 * 2 // 4]


def test_groups_without_a_row_that_passes_do_not_count_against_a_unit(engine: Engine) -> None:
    # The unit is in two groups but passes in one: one allowed, no loss.
    table = drawn("unit | ward:string | x:int64\n0 | 'a' | 1\n0 | 'b' | 2\n0 | 'b' | 2\n")
    asked = plan(
        counted(DISTINCT_UNITS, compare("x:int64", "=", 2)), DISTINCT_UNITS, by=WARDS, max_groups=1, fraction_bits=8
    )
    assert cells(engine, table, asked) == [0, 256, 0, 181, 181, 0]
