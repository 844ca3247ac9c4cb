"""What each relation gives: drawn tables, one operation, the rows. Joins are in test_engine_joins."""

from enclave_sim.engine.protocol import Engine

from .drawn import DISTINCT_UNITS, ROW_COUNT, assert_rows, cells, drawn, key, plan
from .expressions import Operand, call, compare, is_null, literal
from .relations import VISITS, aggregated, descending, measure, projected, ranked, scan, selected

ROWS = drawn("""
    unit | day:int64 | kind:string | x:float64
    0    | 3         | 'a'         | 1.5
    0    | 1         | 'b'         | NULL
    0    | 1         | 'a'         | -2.0
    0    | NULL      | NULL        | 4.0
    1    | 2         | 'b'         | nan
    1    | 2         | NULL        | NULL
    2    | 5         | 'c'         | 0.5
""")


def test_a_scan_has_the_tables_rows_in_the_tables_order(engine: Engine) -> None:
    assert_rows(
        engine,
        ROWS,
        VISITS,
        """
        place:int64 | day:int64 | kind:string | x:float64
        1           | 3         | 'a'         | 1.5
        2           | 1         | 'b'         | NULL
        3           | 1         | 'a'         | -2.0
        4           | NULL      | NULL        | 4.0
        1           | 2         | 'b'         | NULL
        2           | 2         | NULL        | NULL
        1           | 5         | 'c'         | 0.5
        """,
    )


def test_a_scan_is_of_the_table_that_it_names(engine: Engine) -> None:
    tables = {"visits": ROWS, "people": drawn("unit | age:int64\n0 | 30\n3 | 40\n")}
    assert_rows(engine, tables, scan("people"), "age:int64\n30\n40")
    assert cells(engine, tables, plan(ROW_COUNT, over=scan("people"))) == [2]


def test_a_selection_keeps_rows_for_which_the_condition_is_true_in_their_order(engine: Engine) -> None:
    assert_rows(
        engine,
        ROWS,
        selected(VISITS, compare("day:int64", "<", 3)),
        """
        place:int64 | day:int64 | kind:string
        1           | 1         | 'b'
        2           | 1         | 'a'
        1           | 2         | 'b'
        2           | 2         | NULL
        """,
    )


def test_a_projection_has_its_columns_and_every_row(engine: Engine) -> None:
    columns: dict[str, Operand] = {"twice": call("add", "day:int64", "day:int64"), "day": "kind:string"}
    assert_rows(
        engine,
        ROWS,
        projected(VISITS, columns),
        """
        place:int64 | twice:int64 | day:string
        1           | 6           | 'a'
        2           | 2           | 'b'
        3           | 2           | 'a'
        4           | NULL        | NULL
        1           | 4           | 'b'
        2           | 4           | NULL
        1           | 10          | 'c'
        """,
    )


def test_an_aggregation_without_keys_has_one_row_for_each_unit_with_rows(engine: Engine) -> None:
    measures = [
        measure("n", "count_rows"),
        measure("known", "count", "x:float64"),
        measure("kinds", "count_distinct", "kind:string"),
        measure("total", "sum", "x:float64"),
        measure("average", "mean", "day:int64"),
        measure("first", "minimum", "kind:string"),
        measure("last", "maximum", "day:int64"),
    ]
    assert_rows(
        engine,
        ROWS,
        aggregated(selected(VISITS, compare("day:int64", "<=", 3)), {}, *measures),
        """
        n:int64 | known:int64 | kinds:int64 | total:float64 | average:float64    | first:string | last:int64
        3       | 2           | 2           | -0.5          | 1.6666666666666667 | 'a'          | 3
        2       | 0           | 1           | NULL          | 2.0                | 'b'          | 2
        """,
    )


def test_an_aggregation_with_keys_has_a_row_for_each_combination_that_the_unit_has(engine: Engine) -> None:
    # In the order of the keys, NULL last; NULL is a value like the others.
    early = call("least", "day:int64", literal(2))
    assert_rows(
        engine,
        ROWS,
        aggregated(VISITS, {"early": early, "kind": "kind:string"}, measure("n", "count_rows")),
        """
        place:int64 | early:int64 | kind:string | n:int64
        1           | 1           | 'a'         | 1
        2           | 1           | 'b'         | 1
        3           | 2           | 'a'         | 1
        4           | 2           | NULL        | 1
        1           | 2           | 'b'         | 1
        2           | 2           | NULL        | 1
        1           | 2           | 'c'         | 1
        """,
    )


def test_rows_of_an_aggregation_are_in_the_order_of_each_type(engine: Engine) -> None:
    for kind, ordered in [
        ("bool", ["False", "True", "NULL"]),
        ("int64", ["-9223372036854775808", "-1", "9223372036854775807", "NULL"]),
        ("float64", ["-1.7e308", "-1.5", "0.0", "1.7976931348623157e308", "NULL"]),
        ("string", ["''", "'A'", "'a'", "'a\\0'", "'é'", "'\uffee'", "'😀'", "NULL"]),
        ("date", ["-2147483648", "0001-01-01", "1969-12-31", "9999-12-31", "2147483647", "NULL"]),
        ("timestamp", ["-9223372036854775808", "1969-12-31T23:59:59", "1970-01-01T00:00:00", "NULL"]),
    ]:
        table = drawn(f"unit | k:{kind} | n:int64\n" + "".join(f"7 | {cell} | 0\n" for cell in reversed(ordered)))
        expected = "".join(f"{place} | {cell}\n" for place, cell in enumerate(ordered, start=1))
        assert_rows(engine, table, aggregated(VISITS, {"k": f"k:{kind}"}), f"place:int64 | k:{kind}\n{expected}")


def test_both_zeros_are_one_key_and_one_value(engine: Engine) -> None:
    table = drawn("unit | x:float64\n0 | 0.0\n0 | -0.0\n1 | -0.0\n1 | 0.0\n")
    one = aggregated(VISITS, {"x": "x:float64"}, measure("n", "count_rows"))
    assert_rows(engine, table, one, "x:float64 | n:int64\n0.0 | 2\n0.0 | 2")
    measures = [measure("n", "count_distinct", "x:float64"), measure("least", "minimum", "x:float64")]
    inverse = call("divide", literal(1.0), "least:float64")
    inverted = projected(aggregated(VISITS, {}, *measures), {"n": "n:int64", "inverse": inverse})
    assert_rows(engine, table, inverted, "n:int64 | inverse:float64\n1 | NULL\n1 | NULL")
    assert cells(engine, table, plan(ROW_COUNT, by=[key("x:float64", -0.0, 1.0)])) == [4, 0]


def test_a_measures_filter_leaves_out_rows_but_no_unit_and_no_key(engine: Engine) -> None:
    b = compare("kind:string", "=", "b")
    measures = [measure("n", "count_rows", where=b), measure("total", "sum", "day:int64", where=b)]
    assert_rows(engine, ROWS, aggregated(VISITS, {}, *measures), "n:int64 | total:float64\n1 | 1.0\n1 | 2.0\n0 | NULL")
    assert_rows(
        engine,
        ROWS,
        aggregated(VISITS, {"kind": "kind:string"}, *measures),
        """
        place:int64 | kind:string | n:int64 | total:float64
        1           | 'a'         | 0       | NULL
        2           | 'b'         | 1       | 1.0
        3           | NULL        | 0       | NULL
        1           | 'b'         | 1       | 2.0
        2           | NULL        | 0       | NULL
        1           | 'c'         | 0       | NULL
        """,
    )


def test_a_sum_adds_doubles_in_ascending_order(engine: Engine) -> None:
    table = drawn("unit | x:float64\n0 | 1e16\n0 | 1.0\n0 | 1.0\n0 | -1e16\n0 | 0.1\n")
    total = (((-1e16 + 0.1) + 1.0) + 1.0) + 1e16
    measures = [measure("total", "sum", "x:float64"), measure("average", "mean", "x:float64")]
    expected = f"total:float64 | average:float64\n{total!r} | {total / 5!r}"
    assert_rows(engine, table, aggregated(VISITS, {}, *measures), expected)


def test_a_sum_of_integers_is_of_their_doubles(engine: Engine) -> None:
    table = drawn("unit | n:int64\n0 | 9007199254740993\n0 | 1\n1 | 9223372036854775807\n1 | 9223372036854775807\n")
    measures = [measure("total", "sum", "n:int64"), measure("average", "mean", "n:int64")]
    assert_rows(
        engine,
        table,
        aggregated(VISITS, {}, *measures),
        """
        total:float64         | average:float64
        9007199254740992.0    | 4503599627370496.0
        18446744073709551616. | 9223372036854775808.
        """,
    )


def test_a_sum_beyond_all_doubles_is_the_greatest_and_one_of_both_infinities_is_null(engine: Engine) -> None:
    table = drawn("""
        unit | x:float64
        0    | 1.7e308
        0    | 1.7e308
        1    | -1.7e308
        1    | -1.7e308
        1    | -1.7e308
        2    | inf
        2    | -inf
        3    | -1.7e308
        3    | -1.7e308
        3    | inf
    """)
    greatest = "1.7976931348623157e308"
    for function in ("sum", "mean"):
        assert_rows(
            engine,
            table,
            aggregated(VISITS, {}, measure("total", function, "x:float64")),
            f"total:float64\n{greatest}\n-{greatest}\nNULL\nNULL",
        )


def test_a_minimum_or_maximum_may_be_infinite_as_stored(engine: Engine) -> None:
    table = drawn("unit | x:float64\n0 | -inf\n0 | inf\n0 | nan\n1 | nan\n")
    measures = [measure("low", "minimum", "x:float64"), measure("high", "maximum", "x:float64")]
    ends = aggregated(VISITS, {}, *measures)
    beyond = selected(ends, compare("high:float64", ">", 1.7976931348623157e308))
    assert cells(engine, table, plan(ROW_COUNT, over=beyond)) == [1]
    assert cells(engine, table, plan(ROW_COUNT, over=selected(ends, is_null("low:float64")))) == [1]


def test_a_minimum_or_maximum_of_each_type(engine: Engine) -> None:
    for kind, less, more in [
        ("bool", "False", "True"),
        ("string", "'\uffee'", "'😀'"),
        ("date", "0001-01-01", "9999-12-31"),
        ("timestamp", "1969-12-31T23:59:59.999999", "1970-01-01T00:00:00"),
    ]:
        table = drawn(f"unit | k:{kind}\n0 | {more}\n0 | NULL\n0 | {less}\n1 | NULL\n")
        measures = [measure("low", "minimum", f"k:{kind}"), measure("high", "maximum", f"k:{kind}")]
        expected = f"low:{kind} | high:{kind}\n{less} | {more}\nNULL | NULL"
        assert_rows(engine, table, aggregated(VISITS, {}, *measures), expected)


def test_a_ranking_numbers_a_units_rows_and_leaves_them_where_they_are(engine: Engine) -> None:
    assert_rows(
        engine,
        ROWS,
        ranked(VISITS, "rank", by=["day:int64"]),
        """
        place:int64 | day:int64 | kind:string | rank:int64
        1           | 3         | 'a'         | 3
        2           | 1         | 'b'         | 1
        3           | 1         | 'a'         | 2
        4           | NULL      | NULL        | 4
        1           | 2         | 'b'         | 1
        2           | 2         | NULL        | 2
        1           | 5         | 'c'         | 1
        """,
    )


def test_a_descending_ranking_has_null_last_and_equal_rows_in_their_order_too(engine: Engine) -> None:
    assert_rows(
        engine,
        ROWS,
        ranked(VISITS, "rank", by=[descending("day:int64")]),
        """
        place:int64 | day:int64 | rank:int64
        1           | 3         | 1
        2           | 1         | 2
        3           | 1         | 3
        4           | NULL      | 4
        1           | 2         | 1
        2           | 2         | 2
        1           | 5         | 1
        """,
    )


def test_a_ranking_by_several_expressions_within_a_partition(engine: Engine) -> None:
    table = drawn("""
        unit | k:string | a:int64 | b:float64
        0    | NULL     | 1       | 1.0
        0    | 'x'      | 2       | 0.0
        0    | NULL     | 1       | 5.0
        0    | 'x'      | 2       | -0.0
        0    | 'x'      | 1       | NULL
        0    | 'x'      | 1       | inf
    """)
    assert_rows(
        engine,
        table,
        ranked(VISITS, "rank", by=["a:int64", descending("b:float64")], within=["k:string"]),
        """
        place:int64 | k:string | rank:int64
        1           | NULL     | 2
        2           | 'x'      | 3
        3           | NULL     | 1
        4           | 'x'      | 4
        5           | 'x'      | 2
        6           | 'x'      | 1
        """,
    )


def test_a_ranking_of_an_aggregation_counts_its_rows_in_the_order_of_its_keys(engine: Engine) -> None:
    by_kind = aggregated(VISITS, {"kind": "kind:string"}, measure("n", "count_rows"))
    assert_rows(
        engine,
        ROWS,
        ranked(by_kind, "rank", by=[descending("n:int64")]),
        """
        kind:string | n:int64 | rank:int64
        'a'         | 2       | 1
        'b'         | 1       | 2
        NULL        | 1       | 3
        'b'         | 1       | 1
        NULL        | 1       | 2
        'c'         | 1       | 1
        """,
    )


def test_the_last_three_values_of_each_unit(engine: Engine) -> None:
    table = drawn("unit | t:int64 | x:float64\n" + "".join(f"{n // 5} | {-n} | {n}.0\n" for n in range(10)))
    latest = selected(ranked(VISITS, "rank", by=[descending("t:int64")]), compare("rank:int64", "<=", 3))
    assert_rows(engine, table, aggregated(latest, {}, measure("m", "mean", "x:float64")), "m:float64\n1.0\n6.0")


def test_groups_and_statistics_are_of_the_relations_rows(engine: Engine) -> None:
    # Each unit is one row, in the group of its number of rows; that is what weighs.
    sizes = aggregated(VISITS, {}, measure("n", "count_rows"))
    asked = plan(ROW_COUNT, DISTINCT_UNITS, over=sizes, by=[key("n:int64", 1, 2, 3, 4)], max_rows=1)
    assert cells(engine, ROWS, asked) == [1, 1, 0, 1] * 2


def test_no_rows_make_no_rows(engine: Engine) -> None:
    counts = aggregated(VISITS, {}, measure("n", "count_rows"))
    assert cells(engine, ROWS.slice(0, 0), plan(ROW_COUNT, over=counts)) == [0]
    nobody = aggregated(selected(VISITS, literal(False)), {}, measure("n", "count_rows"))
    assert cells(engine, ROWS, plan(ROW_COUNT, over=ranked(nobody, "rank", by=["n:int64"]))) == [0]
