"""Statistics by some of the keys: which rows they count, and how far one unit moves them."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import GroupingSet, Plan, Statistic

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.protocol import Engine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.releases import releases
from enclave_sim.plan.sensitivity import cells_of
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import ROW_COUNT, bounded_sum, cells, drawn, key, plan

TABLE = drawn("""
unit | ward:string | sex:string | days:int64
1    | 'east'      | 'f'        | 2
1    | 'east'      | 'm'        | 1
1    | 'west'      | 'f'        | 1
2    | 'west'      | NULL       | 1
2    | 'north'     | 'f'        | 1
2    | 'west'      | 'm'        | 1
""")
KEYS = [key("ward:string", "east", "west"), key("sex:string", "f", "m")]


def by(statistic: Statistic, *keys: int) -> Statistic:
    found = Statistic(marginal=GroupingSet(keys=keys))
    found.MergeFrom(statistic)
    return found


def test_a_marginal_adds_up_the_rows_that_are_in_a_group_of_all_keys(engine: Engine) -> None:
    asked = plan(ROW_COUNT, by(ROW_COUNT, 0), by(ROW_COUNT, 1), by(ROW_COUNT), by=KEYS)
    # Not the row without a sex, nor the one of another ward.
    assert cells(engine, TABLE, asked) == [1, 1, 1, 1, 2, 2, 2, 2, 4]


def test_units_are_weighed_by_their_norm_over_the_marginals_own_groups(engine: Engine) -> None:
    """The first unit has rows in three groups, ⌈√3⌉ = 2 long; by ward ⌈√(2² + 1)⌉ = 3, and altogether 3."""
    asked = plan(ROW_COUNT, by(ROW_COUNT, 0), by(ROW_COUNT), by=KEYS, max_rows=1, fraction_bits=1)
    assert cells(engine, TABLE, asked) == [1, 1, 1, 2, 4 // 3, 2 // 3 + 2, 6 // 3 + 2]


@st.composite
def one_unit(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 12))
    wards = draw(st.lists(st.sampled_from(["east", "west", "north"]), min_size=rows, max_size=rows))
    sexes = draw(st.lists(st.sampled_from(["f", "m", None]), min_size=rows, max_size=rows))
    days = draw(st.lists(st.integers(-20, 20), min_size=rows, max_size=rows))
    return pa.table(
        {UNIT_COLUMN: [7] * rows, "ward": pa.array(wards), "sex": pa.array(sexes, pa.string()), "days": days}
    )


@given(one_unit(), st.integers(1, 5), st.sampled_from([(), (0,), (1,)]))
def test_no_unit_moves_a_marginal_further_than_is_claimed(table: pa.Table, bound: int, keys: tuple[int, ...]) -> None:
    total = bounded_sum("days:int64", -10, 10, 0, 10)
    asked = plan(ROW_COUNT, by(ROW_COUNT, *keys), by(total, *keys), by=KEYS, max_rows=bound, fraction_bits=4)
    for engine in (ReferenceEngine(), DuckDBEngine()):
        vector = cells(engine, table, asked)
        start = 0
        for release, statistic in zip(releases(asked), asked.statistics, strict=True):
            own = vector[start : start + cells_of(asked, statistic)]
            assert sum(cell**2 for cell in own) <= release.delta2_squared
            start += len(own)
        assert len(vector) == start


def test_the_bound_is_reached(engine: Engine) -> None:
    """All rows of a unit in one group of the marginal, whatever the others are."""
    asked: Plan = plan(by(ROW_COUNT), by=KEYS, max_rows=3, fraction_bits=4)
    unit = TABLE.slice(0, 3)
    assert cells(engine, unit, asked) == [3 * 16]
    assert releases(asked)[0].delta2_squared == (3 * 16) ** 2
