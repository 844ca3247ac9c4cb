"""Which nodes of the tree of ranges a row counts in."""

import math

from hypothesis import given
from hypothesis import strategies as st

from enclave_sim.engine.protocol import Engine
from enclave_sim.engine.reference_engine import ReferenceEngine

from .drawn import cells, counted, drawn, key, plan, range_counts
from .expressions import call, compare

LEAVES = drawn("""
    unit | x:float64
    0    | 0.0
    1    | 0.99
    2    | 1.0
    3    | 2.5
    4    | 3.0
    5    | 4.0
    6    | -7.0
    7    | inf
    8    | NULL
    9    | nan
""")


def test_a_range_has_its_lower_edge_and_the_last_one_its_upper_edge_too(engine: Engine) -> None:
    # What lies outside is clipped into the first and the last range; NULL is in none.
    asked = plan(range_counts("x:float64", 0, 4, branching=4, levels=1))
    assert cells(engine, LEAVES, asked) == [3, 1, 1, 3]


def test_a_row_counts_once_on_every_level_and_levels_follow_one_another(engine: Engine) -> None:
    asked = plan(range_counts("x:float64", 0, 4, branching=2, levels=2))
    assert cells(engine, LEAVES, asked) == [4, 4, *[3, 1, 1, 3]]


def test_three_levels_of_three(engine: Engine) -> None:
    table = drawn("unit | n:int64\n0 | 0\n1 | 13\n2 | 26\n3 | 27\n4 | 8\n")
    vector = cells(engine, table, plan(range_counts("n:int64", 0, 27, branching=3, levels=3)))
    assert vector[:3] == [2, 1, 2]
    assert vector[3:12] == [1, 0, 1, 0, 1, 0, 0, 0, 2]
    leaves = vector[12:]
    assert [leaf for leaf, count in enumerate(leaves) for _ in range(count)] == [0, 8, 13, 26, 26]


def test_each_group_has_its_own_tree(engine: Engine) -> None:
    table = drawn("""
        unit | ward:string | x:float64
        0    | 'a'         | 0.1
        1    | 'b'         | 0.9
        2    | 'b'         | 0.1
        3    | 'c'         | 0.1
    """)
    asked = plan(range_counts("x:float64", 0, 1, 2, 1), by=[key("ward:string", "a", "b")])
    assert cells(engine, table, asked) == [1, 0, 1, 1]


def test_every_node_is_weighed_like_the_units_rows(engine: Engine) -> None:
    # Four rows, one of them NULL, where two are allowed: every count is halved, in steps of 1/16.
    table = drawn("unit | x:float64\n0 | 0.1\n0 | 0.2\n0 | 0.9\n0 | NULL\n")
    asked = plan(range_counts("x:float64", 0, 1, 2, 2), max_rows=2, fraction_bits=4)
    assert cells(engine, table, asked) == [16, 8, *[16, 0, 0, 8]]


def test_range_counts_of_computed_values_with_a_filter(engine: Engine) -> None:
    ranges = range_counts(call("multiply", "x:float64", "x:float64"), 0, 4, 2, 1)
    assert cells(engine, LEAVES, plan(counted(ranges, compare("x:float64", "<=", 2.5)))) == [3, 2]


def test_the_leaf_is_computed_in_doubles_in_one_order(engine: Engine) -> None:
    # (0.7 - 0.1) / (0.8 - 0.1) * 7 = 5.999999999999999 in doubles.
    table = drawn("unit | x:float64\n0 | 0.7\n")
    leaf = math.floor((0.7 - 0.1) / (0.8 - 0.1) * 7)
    vector = cells(engine, table, plan(range_counts("x:float64", 0.1, 0.8, 7, 1)))
    assert vector.index(1) == leaf == 5


def test_the_narrowest_range_is_total(engine: Engine) -> None:
    table = drawn("unit | x:float64\n0 | 0.0\n1 | 5e-324\n2 | 1.0\n")
    assert cells(engine, table, plan(range_counts("x:float64", 0, 5e-324, 2, 1))) == [1, 2]


@given(st.integers(2, 5), st.integers(1, 4), st.integers(-50, 150))
def test_children_add_up_to_their_parent(branching: int, levels: int, value: int) -> None:
    table = drawn(f"unit | n:int64\n0 | {value}\n")
    vector = cells(ReferenceEngine(), table, plan(range_counts("n:int64", 0, 100, branching, levels)))
    level, rest = vector[:branching], vector[branching:]
    while rest:
        below, rest = rest[: len(level) * branching], rest[len(level) * branching :]
        assert [sum(below[node * branching : (node + 1) * branching]) for node in range(len(level))] == level
        level = below
