"""On invented expressions, plans and rows, DuckDB equals the reference engine, and no unit moves more than is claimed.

`--long` invents 10,000 cases instead of 60 and 20.
"""

import os

import pyarrow.compute as pc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.plan.expressions import check_expression
from enclave_sim.plan.relations import check_relation
from enclave_sim.plan.statistics import check_statistic
from enclave_sim.sealed.schema import UNIT_COLUMN
from tests.attacks.neighbours import moved

from .drawn import cells
from .generated_plans import Case, cases, computations, declaration, norm_cases, tight_cases

LONG = os.environ.get("YINGBI_LONG") == "1"
EXAMPLES = 10_000 if LONG else 60
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(cases(), norm_cases()))
def test_duckdb_equals_the_reference(case: Case) -> None:
    expected = cells(ReferenceEngine(), case.tables, case.asked)
    assert cells(DuckDBEngine(), case.tables, case.asked) == expected


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
@given(computations())
def test_duckdb_computes_the_references_value_on_every_row(case: Case) -> None:
    rows = case.tables["visits"].num_rows
    assert cells(ReferenceEngine(), case.tables, case.asked) == [rows] * len(case.asked.statistics)
    assert cells(DuckDBEngine(), case.tables, case.asked) == [rows] * len(case.asked.statistics)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(tight_cases(), cases(), norm_cases(), computations()))
def test_what_is_invented_is_in_the_language(case: Case) -> None:
    columns = check_relation(case.asked.relation, declaration(case.tables))
    for key in case.asked.group_by:
        check_expression(key.expression, columns, "key")
    for statistic in case.asked.statistics:
        check_statistic(case.asked, statistic, columns, "statistic")


@settings(max_examples=EXAMPLES if LONG else EXAMPLES // 3, deadline=None, suppress_health_check=SLOW)
@given(st.one_of(tight_cases(), cases()), st.integers(0, 1))
def test_taking_a_unit_out_moves_no_statistic_further_than_claimed(case: Case, unit: int) -> None:
    without = {name: table.filter(pc.not_equal(table[UNIT_COLUMN], unit)) for name, table in case.tables.items()}
    before = cells(DuckDBEngine(), case.tables, case.asked)
    after = cells(DuckDBEngine(), without, case.asked)
    for distance, claim in moved(case.asked, before, after):
        assert distance <= claim
