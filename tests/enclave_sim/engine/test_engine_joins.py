"""Which pairs of a unit's rows a join has, and in which order."""

import pytest

from enclave_sim.engine.protocol import Engine, EngineError

from .drawn import ROW_COUNT, assert_rows, cells, drawn, key, non_null, plan
from .expressions import all_of, column, compare, is_null, literal
from .relations import VISITS, aggregated, joined, measure, projected, ranked, scan, selected

TABLES = {
    "visits": drawn("""
        unit | day:int64 | ward:string
        0    | 4         | 'a'
        0    | 1         | 'b'
        0    | NULL      | 'c'
        1    | 2         | 'd'
        3    | 9         | 'e'
    """),
    "labs": drawn("""
        unit | taken:int64 | value:float64
        0    | 4           | 1.5
        0    | 0           | NULL
        0    | 4           | 2.5
        1    | 3           | 3.5
        2    | 9           | 4.5
    """),
}
LABS = scan("labs")
SAME_DAY = compare("day:int64", "=", column("taken:int64"))


def test_an_inner_join_has_every_pair_of_one_units_rows_in_the_order_of_left_then_right(engine: Engine) -> None:
    assert_rows(
        engine,
        TABLES,
        joined(VISITS, LABS),
        """
        place:int64 | ward:string | taken:int64 | value:float64
        1           | 'a'         | 4           | 1.5
        2           | 'a'         | 0           | NULL
        3           | 'a'         | 4           | 2.5
        4           | 'b'         | 4           | 1.5
        5           | 'b'         | 0           | NULL
        6           | 'b'         | 4           | 2.5
        7           | 'c'         | 4           | 1.5
        8           | 'c'         | 0           | NULL
        9           | 'c'         | 4           | 2.5
        1           | 'd'         | 3           | 3.5
        """,
    )


def test_an_inner_join_keeps_pairs_for_which_the_condition_is_true(engine: Engine) -> None:
    assert_rows(
        engine,
        TABLES,
        joined(VISITS, LABS, SAME_DAY),
        """
        place:int64 | ward:string | value:float64
        1           | 'a'         | 1.5
        2           | 'a'         | 2.5
        """,
    )


def test_a_left_join_keeps_left_rows_without_a_partner(engine: Engine) -> None:
    assert_rows(
        engine,
        TABLES,
        joined(VISITS, LABS, SAME_DAY, "left"),
        """
        place:int64 | ward:string | day:int64 | taken:int64 | value:float64
        1           | 'a'         | 4         | 4           | 1.5
        2           | 'a'         | 4         | 4           | 2.5
        3           | 'b'         | 1         | NULL        | NULL
        4           | 'c'         | NULL      | NULL        | NULL
        1           | 'd'         | 2         | NULL        | NULL
        1           | 'e'         | 9         | NULL        | NULL
        """,
    )


def test_a_left_join_of_every_pair_keeps_units_without_right_rows(engine: Engine) -> None:
    units = projected(joined(VISITS, LABS, kind="left"), {"ward": "ward:string", "value": "value:float64"})
    alone = selected(units, compare("ward:string", "=", "e"))
    assert_rows(engine, TABLES, alone, "ward:string | value:float64\n'e' | NULL")
    assert cells(engine, TABLES, plan(ROW_COUNT, over=units)) == [11]


def test_of_each_side_a_unit_keeps_its_first_rows(engine: Engine) -> None:
    few = joined(VISITS, LABS, max_left_rows=2, max_right_rows=1)
    assert_rows(engine, TABLES, few, "ward:string | taken:int64\n'a' | 4\n'b' | 4\n'd' | 3")


def test_rows_are_kept_before_the_condition_is_asked(engine: Engine) -> None:
    # The first lab of unit 0 is of day 4, its third too; the second visit has no lab of its day.
    first = joined(VISITS, LABS, SAME_DAY, "left", max_left_rows=2, max_right_rows=2)
    assert_rows(
        engine,
        TABLES,
        first,
        """
        ward:string | value:float64
        'a'         | 1.5
        'b'         | NULL
        'd'         | NULL
        'e'         | NULL
        """,
    )


def test_the_first_rows_are_those_that_a_ranking_and_a_selection_left(engine: Engine) -> None:
    late = selected(ranked(LABS, "rank", by=["value:float64"]), compare("rank:int64", ">=", 2))
    assert_rows(
        engine,
        TABLES,
        joined(VISITS, late, max_left_rows=1, max_right_rows=1),
        "ward:string | rank:int64 | value:float64\n'a' | 3 | NULL",
    )


def test_a_join_with_a_units_own_aggregate(engine: Engine) -> None:
    # Every visit beside the unit's earliest lab: rows of the same unit only.
    first_lab = aggregated(LABS, {}, measure("first", "minimum", "taken:int64"))
    later = joined(VISITS, first_lab, compare("day:int64", ">", column("first:int64")))
    assert_rows(engine, TABLES, later, "ward:string | first:int64\n'a' | 0\n'b' | 0")


def test_a_join_of_a_table_with_itself_under_other_names(engine: Engine) -> None:
    again = projected(VISITS, {"other": "day:int64"})
    pairs = joined(VISITS, again, compare("day:int64", "<", column("other:int64")))
    assert_rows(engine, TABLES, pairs, "ward:string | other:int64\n'b' | 4")


def test_joins_of_joins(engine: Engine) -> None:
    again = projected(LABS, {"then": "taken:int64"})
    three = joined(joined(VISITS, LABS, SAME_DAY), again, compare("taken:int64", ">", column("then:int64")))
    assert_rows(
        engine,
        TABLES,
        three,
        "place:int64 | ward:string | value:float64 | then:int64\n1 | 'a' | 1.5 | 0\n2 | 'a' | 2.5 | 0",
    )
    right = projected(joined(again, projected(LABS, {"v": "value:float64"})), {"then": "then:int64", "v": "v:float64"})
    wide = joined(VISITS, right, compare("v:float64", ">", 2.0))
    assert cells(engine, TABLES, plan(ROW_COUNT, over=wide, by=[key("then:int64", 0, 3, 4)])) == [3, 1, 6]


def test_a_join_with_an_empty_table(engine: Engine) -> None:
    tables = {**TABLES, "labs": TABLES["labs"].slice(0, 0)}
    assert cells(engine, tables, plan(ROW_COUNT, over=joined(VISITS, LABS))) == [0]
    left = joined(VISITS, LABS, kind="left")
    nulls = selected(left, all_of(is_null("taken:int64"), is_null("value:float64")))
    assert cells(engine, tables, plan(ROW_COUNT, over=nulls)) == [5]
    assert cells(engine, tables, plan(ROW_COUNT, over=joined(LABS, VISITS, kind="left"))) == [0]


def test_a_condition_of_constants(engine: Engine) -> None:
    assert cells(engine, TABLES, plan(ROW_COUNT, over=joined(VISITS, LABS, literal(True)))) == [10]
    assert cells(engine, TABLES, plan(ROW_COUNT, over=joined(VISITS, LABS, literal(False)))) == [0]
    assert cells(engine, TABLES, plan(ROW_COUNT, over=joined(VISITS, LABS, literal(False), "left"))) == [5]


def test_every_row_of_a_join_weighs(engine: Engine) -> None:
    # Unit 0 has nine pairs and unit 1 one; three are allowed, in steps of 1/4.
    asked = plan(ROW_COUNT, over=joined(VISITS, LABS), max_rows=3, fraction_bits=2)
    assert cells(engine, TABLES, asked) == [4 * 3 + 4]


def test_a_column_of_two_types_is_refused_below_a_join_too(engine: Engine) -> None:
    with pytest.raises(EngineError, match="two types"):
        cells(engine, TABLES, plan(non_null("day:int64"), non_null("day:string"), over=joined(VISITS, LABS)))
