"""From columns to a plan of their marginals that every enclave accepts, or to a reason why not, and where."""

from __future__ import annotations

import math
from itertools import combinations

import pyarrow as pa
import pytest
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import SynthesizeQuery
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.plan.sensitivity import cells_of, total_rho_units
from enclave_sim.plan.syntheses import levels_of
from enclave_sim.plan.validation import check_plan
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.synthesis import HELD_OUT_SHARE, plan_synthesis, synthesis_notes, words_of

from .conftest import VERSION
from .reference_clinic import clinic

VISITS = "clinic, pain, stay, urgent"


def plan_of(
    columns: str, *, epsilon: float = 1.0, declaration: DatasetDeclaration | None = None, **asked: object
) -> Plan:
    query = SynthesizeQuery(columns=columns, **asked)  # type: ignore[arg-type]
    return plan_synthesis(
        query, declaration or clinic(), dataset_version=VERSION, parties=3, epsilon=epsilon, delta=1e-7
    ).plan


def problem(columns: str, **asked: object) -> Problem:
    with pytest.raises(Problem) as caught:
        plan_of(columns, **asked)  # type: ignore[arg-type]
    return caught.value


def test_all_pairs_are_measured_once_and_some_triples_are_held_out() -> None:
    plan = plan_of(VISITS)
    check_plan(plan, clinic(), dataset_version=VERSION)
    tables = plan.synthesis.tables
    fitted = [tuple(table.columns) for table in tables if not table.held_out]
    assert fitted == list(combinations(range(4), 2))
    held_out = [tuple(table.columns) for table in tables if table.held_out]
    assert len(set(held_out)) == len(held_out) == 3
    assert all(len(columns) == 3 for columns in held_out)
    assert max(cells_of(plan, plan.statistics[table.statistic]) for table in tables if table.held_out) <= 125


def test_of_two_columns_the_pair_is_held_out_and_of_many_no_two_triples_overlap_much() -> None:
    two = plan_of("clinic, urgent").synthesis.tables
    assert [(tuple(table.columns), table.held_out) for table in two] == [((0, 1), False), ((0, 1), True)]
    seven = [f"pain + {place} AS x{place}" for place in range(7)]
    tables = plan_of(", ".join(seven), bins=4).synthesis.tables
    held_out = [set(table.columns) for table in tables if table.held_out]
    assert all(len(one & other) <= 1 for one, other in combinations(held_out, 2))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_the_price_is_what_epsilon_buys_and_pairs_of_more_cells_have_more_of_it(epsilon: float) -> None:
    plan = plan_of(VISITS, epsilon=epsilon)
    bought = zcdp.rho_units_for(epsilon, 1e-7, zcdp.kept_delta0_units(1e-7))
    assert 0.97 * bought <= total_rho_units(plan) <= bought
    parts = {
        table.held_out: sum(
            plan.statistics[each.statistic].rho_units for each in plan.synthesis.tables if each.held_out
        )
        for table in plan.synthesis.tables
    }
    assert parts[True] == pytest.approx(HELD_OUT_SHARE * bought, rel=0.03)
    pairs = [plan.statistics[table.statistic] for table in plan.synthesis.tables if not table.held_out]
    per_cells = [each.rho_units / cells_of(plan, each) ** (2 / 3) for each in pairs]
    assert per_cells == pytest.approx([per_cells[0]] * len(pairs), rel=0.03)


def test_levels_are_declared_values_or_ranges_and_null() -> None:
    clinics, pain, stay, urgent = plan_of(VISITS, bins=8).synthesis.columns
    assert [value.string_value for value in clinics.values] == ["north", "south"]
    assert (pain.lower, pain.upper, pain.bins, pain.width, pain.integral) == (0, 10, 8, 1.25, False)
    # Whole numbers from 0 to 30, four by four.
    assert (stay.lower, stay.upper, stay.bins, stay.width, stay.integral) == (0, 31, 8, 4, True)
    assert [levels_of(column) for column in (clinics, pain, stay, urgent)] == [3, 9, 9, 3]


def test_a_column_that_is_never_null_has_no_level_for_it() -> None:
    declaration = clinic()
    for column in declaration.tables[0].columns:
        column.required = column.name == "clinic"
    clinics, pain = plan_of("clinic, pain", declaration=declaration).synthesis.columns
    assert (clinics.nullable, levels_of(clinics)) == (False, 2)
    assert pain.nullable


def test_more_is_paid_for_finer_ranges_and_more_columns_make_them_coarser() -> None:
    def bins(columns: str, epsilon: float) -> int:
        return plan_of(columns, epsilon=epsilon).synthesis.columns[0].bins

    assert 4 <= bins("pain, urgent", 0.1) < bins("pain, urgent", 1.0) < bins("pain, urgent", 10.0) <= 31
    assert bins("pain, clinic, urgent, stay", 1.0) < bins("pain, urgent", 1.0)


def test_rows_are_said_by_from_and_where_and_what_where_leaves_are_the_levels() -> None:
    joined = plan_of("sex, pain", source="visits JOIN people USING (person)", where="pain BETWEEN 2 AND 4")
    assert (joined.synthesis.columns[1].lower, joined.synthesis.columns[1].upper) == (2, 4)
    cities = plan_of("city, pain", where="city IN ('Ulm', 'Bern')").synthesis.columns[0]
    assert [value.string_value for value in cities.values] == ["Ulm", "Bern"]


def test_expressions_are_columns_by_their_aliases() -> None:
    columns = plan_of("FLOOR(pain / 2) AS pain, MONTH(day) AS month").synthesis.columns
    assert [column.name for column in columns] == ["pain", "month"]
    assert [value.int64_value for value in columns[1].values] == list(range(1, 13))


@pytest.mark.parametrize(
    ("columns", "asked", "kind", "code", "field", "position"),
    [
        ("", {}, Kind.MALFORMED, "columns", "columns", "1:1"),
        ("pain", {}, Kind.REFUSED, "columns", "columns", "1:1"),
        ("pain, pian", {}, Kind.UNKNOWN, "unknown_column", "columns", "1:7"),
        ("pain, sex", {}, Kind.MALFORMED, "ambiguous_column", "columns", "1:1"),
        ("pain, pain", {}, Kind.MALFORMED, "same_name", "columns", "1:7"),
        ("pain, weight", {}, Kind.REFUSED, "no_bounds", "columns", "1:7"),
        ("pain,\n city", {}, Kind.REFUSED, "undeclared_values", "columns", "2:2"),
        ("pain, day", {}, Kind.REFUSED, "not_numeric", "columns", "1:7"),
        ("pain, person", {}, Kind.REFUSED, "privacy_unit", "columns", "1:7"),
        ("pain, COUNT(*) AS n", {}, None, None, "columns", "1:7"),
        ("pain, urgent FROM visits", {}, Kind.MALFORMED, "columns", "columns", "1:1"),
        ("pain, urgent; SELECT 1", {}, Kind.REFUSED, "not_supported", "columns", "1:15"),
        ("pain, urgent", {"bins": 1}, Kind.MALFORMED, "bins", "bins", None),
        ("pain, urgent", {"bins": 32}, Kind.MALFORMED, "bins", "bins", None),
        ("pain, urgent", {"where": "stay > 1 AND pian > 1"}, Kind.UNKNOWN, "unknown_column", "where", "1:14"),
        ("pain, urgent", {"where": "stay > 1 GROUP BY pain"}, Kind.REFUSED, "not_supported", "where", None),
        ("pain, urgent", {"source": "visit"}, Kind.UNKNOWN, "unknown_table", "source", "1:1"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_at_its_place(
    columns: str, asked: dict[str, object], kind: Kind | None, code: str | None, field: str, position: str | None
) -> None:
    found = problem(columns, **asked)
    assert kind in (None, found.kind)
    assert code in (None, found.code)
    assert found.field == field
    assert position in (None, found.position)
    assert found.hint


def test_more_combinations_than_a_marginal_holds_are_refused_by_their_columns() -> None:
    numbers = ", ".join(f"'c{place}'" for place in range(300))
    found = problem("pain, city", where=f"city IN ({numbers})", bins=31)
    assert (found.code, found.field, found.position) == ("too_many_levels", "columns", "1:7")
    assert "pain and city" in found.message


def test_more_columns_than_a_synthesis_takes_are_refused() -> None:
    assert problem(", ".join(f"pain + {place} AS x{place}" for place in range(21))).code == "columns"
    most = plan_of(", ".join(f"pain + {place} AS x{place}" for place in range(20)), bins=4)
    assert len(most.statistics) == 1 + 190 + 3


def test_a_request_has_words_and_notes() -> None:
    asked = SynthesizeQuery(columns=VISITS, source="visits", where="pain > 1", bins=5)
    assert words_of(asked) == f"SYNTHESIZE {VISITS} FROM visits WHERE pain > 1 IN 5 BINS"
    notes = synthesis_notes(plan_of(VISITS, bins=5), clinic())
    assert "Every person counts once" in notes[0]
    assert "pain: 0 to 10 in 5 ranges, and NULL," in " ".join(notes)


def test_of_units_at_several_providers_the_noise_allows_for_all() -> None:
    scattered = clinic()
    scattered.units_disjoint = False
    one, several = plan_of(VISITS, bins=5), plan_of(VISITS, bins=5, declaration=scattered)
    for near, far in zip(one.statistics, several.statistics, strict=True):
        assert far.sigma == pytest.approx(3 * near.sigma, rel=1e-3)
    assert problem("sex, pain", source="visits JOIN people USING (person)", declaration=scattered).code == (
        "units_not_disjoint"
    )


def test_each_row_counts_where_its_levels_are() -> None:
    """Held against the levels computed here, row by row: one row a person."""
    plan = plan_of("pain, stay, clinic", bins=4)
    rows: list[tuple[float | None, int | None, str | None]] = [
        (0.0, 0, "north"),
        (2.5, 7, "south"),
        (2.4999, 8, None),
        (10.0, 30, "north"),
        (11.0, 99, "south"),
    ]
    rows += [(-5.0, -1, "north"), (None, 3, "north"), (math.nan, None, None), (3.0, 3, "elsewhere")]
    units = {UNIT_COLUMN: pa.array(range(len(rows)))}
    columns = dict(zip(("pain", "stay", "clinic"), zip(*rows, strict=True), strict=True))
    table = pa.table({**units, **{name: pa.array(list(cells)) for name, cells in columns.items()}})
    found = DuckDBEngine().contribution(plan, lambda _, names: table.select(list(names)))
    pains = [0, 1, 0, 3, 3, 0, 4, 4]
    stays = [0, 0, 1, 3, 3, 0, 0, 4]
    clinics = [0, 1, 2, 0, 1, 0, 0, 2]
    assert found[0] == len(pains) << 16
    start = 1
    for table_of, levels in zip(plan.synthesis.tables[:3], combinations((pains, stays, clinics), 2), strict=True):
        size = levels_of(plan.synthesis.columns[table_of.columns[1]])
        expected = [0] * cells_of(plan, plan.statistics[table_of.statistic])
        for one, other in zip(*levels, strict=True):
            expected[one * size + other] += 1 << 16
        assert found[start : start + len(expected)] == expected
        start += len(expected)
