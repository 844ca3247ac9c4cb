"""First stages: which keys units have, and how many rows units have."""

from yingbi.api.v1.plan_pb2 import KeySelection, Plan, Statistic, UnitNorms

from enclave_sim.engine.protocol import Engine

from .drawn import cells, drawn, opener, plan
from .expressions import column, compare

ROWS = """
unit | city:string | visits:int64
1    | 'b'         | 5
1    | 'a'         | 5
1    | 'a'         | 6
2    | 'a'         | 1
2    | NULL        | 1
5    | 'c'         | NULL
"""


def keys(*titles: str, where: object = None) -> Plan:
    asked = plan(where=where)  # type: ignore[arg-type]
    asked.key_selection.CopyFrom(KeySelection(keys=[column(title) for title in titles]))
    return asked


def pairs(engine: Engine, asked: Plan) -> list[tuple[int, tuple[object, ...]]]:
    found = engine.unit_keys(asked, opener(drawn(ROWS)))
    return [(int(unit), found.keys[key]) for unit, key in zip(found.units, found.key_of_pair, strict=True)]


def test_each_pair_comes_once_and_a_units_keys_ascend(engine: Engine) -> None:
    expected = [(1, ("a",)), (1, ("b",)), (2, ("a",)), (2, (None,)), (5, ("c",))]
    assert pairs(engine, keys("city:string")) == expected


def test_a_key_may_have_several_parts(engine: Engine) -> None:
    assert pairs(engine, keys("city:string", "visits:int64"))[:3] == [(1, ("a", 5)), (1, ("a", 6)), (1, ("b", 5))]


def test_rows_that_are_filtered_out_have_no_keys(engine: Engine) -> None:
    assert pairs(engine, keys("city:string", where=compare("visits:int64", ">", 5))) == [(1, ("a",))]


def test_without_rows_there_are_no_keys(engine: Engine) -> None:
    found = engine.unit_keys(keys("city:string", where=compare("visits:int64", ">", 99)), opener(drawn(ROWS)))
    assert (len(found.units), len(found.key_of_pair), found.keys) == (0, 0, [])


def norms(*titles: str, edges: tuple[int, ...]) -> Plan:
    return plan(Statistic(unit_norms=UnitNorms(keys=[column(title) for title in titles], edges=edges)))


def test_norms_count_units_by_the_euclidean_norm_of_their_rows_over_the_keys(engine: Engine) -> None:
    # Unit 1 has 2 + 1 rows, so ceil(sqrt(5)) = 3; unit 2 has 1 + 1, so 2; unit 5 has 1.
    assert cells(engine, drawn(ROWS), norms("city:string", edges=(1, 2, 4))) == [1, 1, 1, 0]
    assert cells(engine, drawn(ROWS), norms("city:string", edges=(2,))) == [2, 1]
    assert cells(engine, drawn(ROWS), norms(edges=(1, 2, 3))) == [1, 1, 1, 0]
    assert cells(engine, drawn(ROWS), norms(edges=(1, 2))) == [1, 1, 1]
