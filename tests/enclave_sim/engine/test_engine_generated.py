"""On invented plans and rows, DuckDB equals the reference engine, and no unit moves more than is claimed.

`--long` invents 10,000 cases instead of 200 and 66.
"""

import os

import pyarrow.compute as pc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.sensitivity import delta2_squared, groups
from enclave_sim.sealed.schema import UNIT_COLUMN

from .drawn import cells
from .generated_plans import Case, cases, tight_cases

LONG = os.environ.get("YINGBI_LONG") == "1"
EXAMPLES = 10_000 if LONG else 200
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(cases())
def test_duckdb_equals_the_reference(case: Case) -> None:
    expected = cells(ReferenceEngine(), case.table, case.asked)
    assert cells(DuckDBEngine(), case.table, case.asked) == expected


@settings(max_examples=EXAMPLES if LONG else EXAMPLES // 3, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(tight_cases(), cases()), st.integers(0, 1))
def test_taking_a_unit_out_moves_no_statistic_further_than_claimed(case: Case, unit: int) -> None:
    without = case.table.filter(pc.not_equal(case.table[UNIT_COLUMN], unit))
    before = cells(DuckDBEngine(), case.table, case.asked)
    after = cells(DuckDBEngine(), without, case.asked)
    width = groups(case.asked)
    for position, statistic in enumerate(case.asked.statistics):
        cut = slice(position * width, (position + 1) * width)
        moved = sum((a - b) ** 2 for a, b in zip(before[cut], after[cut], strict=True))
        assert moved <= delta2_squared(case.asked, statistic)
