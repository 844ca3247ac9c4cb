"""Totals that are measured beside the groups that they add up: when, how, and that their errors are what is said."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.answer import table_of
from yingbi.api import marginals, zcdp
from yingbi.api.marginals import Keys
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.cells import Layout
from yingbi.forecasts import predicted_errors

from enclave_sim.plan.sensitivity import cells_of, total_rho_units
from enclave_sim.privacy.sampling import sample_share
from gateway.planning.batch import Batch, plan_batch
from gateway.planning.marginals import parts_of, total_variance
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query

from .conftest import VERSION, Planner, nafld
from .test_planning_accuracy import table as figures

BAND = "FLOOR(age / 10) * 10 AS band"
HALF = "CASE WHEN age < 55 THEN 'low' ELSE 'high' END AS half"
THIRD = "FLOOR(age / 25) AS third"
ROLLUP = f"SELECT {BAND}, {HALF}, COUNT(*) AS n FROM patients GROUP BY ROLLUP (band, half)"
COARSE = f"SELECT {BAND}, {THIRD}, COUNT(*) AS n FROM patients GROUP BY GROUPING SETS ((band), (third))"
ALL = zcdp.rho_units_for(1.0, 1e-7, zcdp.kept_delta0_units(1e-7))


def measured(plan: Plan) -> list[list[int] | None]:
    """The keys of every statistic; None for all."""
    return [list(each.marginal.keys) if each.HasField("marginal") else None for each in plan.statistics]


def by_set(plan: Plan, column: int = -1) -> Mapping[Keys, float]:
    """The variance of the rows of each grouping set, by the keys that they have."""
    forecast = predicted_errors(plan)
    keys = [tuple(place for place, key in enumerate(row) if key is not None) for row in forecast.groups]
    return {key: (errors[column] or 0.0) ** 2 for key, errors in zip(keys, forecast.std_errors, strict=True)}


def together(*queries: str) -> Batch:
    return plan_batch(queries, nafld(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)


class TestWhatIsMeasured:
    def test_a_rollup_measures_its_totals_too(self, planned: Planner) -> None:
        assert {str(keys) for keys in measured(planned(ROLLUP))} == {"None", "[0]", "[]"}

    def test_every_table_of_the_answer_is_measured_alike(self, planned: Planner) -> None:
        plan = planned(ROLLUP.replace("COUNT(*) AS n", "SUM(age) AS s, AVG(age) AS a, MEDIAN(age) AS m"))
        kinds: dict[str | None, set[str]] = {}
        for each, keys in zip(plan.statistics, measured(plan), strict=True):
            kinds.setdefault(each.WhichOneof("kind"), set()).add(str(keys))
        everything = {"None", "[0]", "[]"}
        assert kinds == {"bounded_sum": everything, "non_null_count": everything, "range_counts": {"None"}}

    def test_what_is_not_shown_need_not_be_measured(self, planned: Planner) -> None:
        assert {str(keys) for keys in measured(planned(COARSE))} <= {"[0]", "[1]", "[]"}

    def test_all_of_it_costs_what_was_offered(self, planned: Planner) -> None:
        for sql in (ROLLUP, COARSE):
            assert 0.999 * ALL < total_rho_units(planned(sql)) <= ALL

    @pytest.mark.parametrize(
        "sql",
        [
            ROLLUP.replace("ROLLUP (band, half)", "band, half"),
            # Of few groups totals are near enough.
            f"SELECT {HALF}, COUNT(*) AS n FROM patients GROUP BY ROLLUP (half)",
            # A unit has up to 60 rows, and its norm over few groups is larger than over many.
            f"SELECT Test, {HALF.replace('age', 'days')}, COUNT(*) AS n FROM labs GROUP BY CUBE (Test, half)",
            ROLLUP.replace("COUNT(*) AS n", "COUNT(*) AS n, n / SUM(n) OVER () AS share"),
        ],
    )
    def test_elsewhere_the_finest_groups_are_added_up(self, planned: Planner, sql: str) -> None:
        assert set(map(str, measured(planned(sql)))) == {"None"}

    def test_rows_that_follow_from_the_query_are_counted_in_full_everywhere(self, planned: Planner) -> None:
        """One row a unit is left of 60, so no norm is above the bound."""
        rows = "(SELECT id, COUNT(*) AS rows FROM labs GROUP BY id)"
        keys = "LEAST(rows // 3, 19) AS a, rows % 3 AS b"
        plan = planned(f"SELECT {keys}, COUNT(*) AS n FROM {rows} GROUP BY ROLLUP (a, b)")
        assert len(measured(plan)) > 1

    def test_only_keys_that_are_constant_for_each_unit_are_left_out_where_units_have_several_rows(self) -> None:
        """By test and fasting a unit's norm may be below that by test alone, if a unit can be both."""
        declaration = nafld()
        sql = "SELECT Test, fasting, COUNT(*) AS n FROM labs GROUP BY CUBE (Test, fasting)"
        for constant, expected in (((), {"None"}), (("fasting",), {"None", "[0]"}), (("fasting", "Test"), None)):
            for each in declaration.tables[0].columns:
                each.constant_per_unit = each.name in constant
            plan = plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)
            found = set(map(str, measured(plan)))
            assert found <= (expected or {"None", "[0]", "[1]", "[]"})
            assert expected is not None or len(found) > 2

    def test_the_answer_says_so(self, planned: Planner) -> None:
        notes = " ".join(clipping_notes(planned(ROLLUP), nafld()))
        assert "Totals are measured by themselves too" in notes
        assert "Totals are added up" not in notes
        assert "Totals are measured" not in " ".join(clipping_notes(planned("SELECT COUNT(*) FROM labs"), nafld()))


class TestHowExact:
    def test_totals_are_far_more_exact_and_groups_nearly_as_exact(self, planned: Planner) -> None:
        """20 groups; from these alone the variances would be 1, 2 and 20 in units of the first."""
        unit = by_set(planned(ROLLUP.replace("ROLLUP (band, half)", "band, half")))[0, 1]
        found = {keys: variance / unit for keys, variance in by_set(planned(ROLLUP)).items()}
        assert found[0, 1] < 1.35
        assert found[0,] < 2
        assert found[()] < 20 / 2

    @given(st.data())
    def test_no_other_parts_of_the_same_marginals_are_better(self, data: st.DataObject) -> None:
        sizes = tuple(data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
        every = tuple(marginals.subsets(tuple(range(len(sizes)))))
        sets = tuple(data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=4, unique=True)))
        parts = parts_of(sizes, sets, every)
        assert sum(parts.values()) == pytest.approx(1)
        best = total_variance(sizes, sets, parts)
        assert best <= total_variance(sizes, sets, {every[-1]: 1.0}) * (1 + 1e-9)
        if len(parts) > 1:
            other = {keys: data.draw(st.floats(0.01, 1)) for keys in parts}
            whole = sum(other.values())
            assert best <= total_variance(sizes, sets, {k: w / whole for k, w in other.items()}) * 1.01

    @pytest.mark.parametrize("row", figures("Values of a key"), ids=lambda row: row[0])
    def test_the_figures_of_the_page(self, row: Sequence[str]) -> None:
        sizes, every = (int(row[0]),) * 3, tuple(marginals.subsets((0, 1, 2)))
        parts = parts_of(sizes, every, every)
        found = [marginals.variance(sizes, parts, (0, 1, 2)[:keys]) ** 0.5 for keys in (3, 2, 1, 0)]
        assert [f"{error:.1f}" for error in found] == row[1:]

    @pytest.mark.parametrize("sql", [ROLLUP, COARSE])
    def test_many_runs_show_the_predicted_errors(self, planned: Planner, sql: str) -> None:
        plan, runs = planned(sql), 120
        errors = [row[-1] or 0.0 for row in predicted_errors(plan).std_errors]
        tables = [table_of(plan, noise(plan)) for _ in range(runs)]
        for error, *found in zip(errors, *(column(table.rows) for table in tables), strict=True):
            # The deviation of 120 normal numbers is within 30 % of the true one, but once in 10⁵ times.
            assert statistics.pstdev(found) == pytest.approx(error, rel=0.3)
            assert abs(statistics.fmean(found)) < 5 * error / runs**0.5
        assert [each[-1] for each in tables[0].std_errors] == pytest.approx(errors)

    def test_released_totals_are_the_sums_of_their_parts(self, planned: Planner) -> None:
        plan = planned(ROLLUP)
        rows = table_of(plan, noise(plan)).rows
        total = next(row[-1] for row in rows if row[:2] == (None, None))
        for keys in (2, 1):
            assert sum(column([row for row in rows if row[:2].count(None) == 2 - keys])) == pytest.approx(total)

    def test_means_are_of_the_estimates(self, planned: Planner) -> None:
        """Noise is nothing beside a million rows in each group, all 50 years old."""
        plan = planned(ROLLUP.replace("COUNT(*) AS n", "AVG(age) AS a"))
        layout, opened = Layout.of(plan), noise(plan)
        place = 0
        for each in plan.statistics:
            cells = cells_of(plan, each)
            rows = 10**9 * layout.groups // cells
            term = 1.0
            if each.HasField("bounded_sum"):
                term = (50 - each.bounded_sum.centre) / each.bounded_sum.half_range
            for cell in range(place, place + cells):
                opened[cell] += round(rows * term * 2**plan.fraction_bits)
            place += cells
        assert [row[-1] for row in table_of(plan, opened).rows] == pytest.approx([50] * layout.row_count, abs=0.01)


class TestInBatches:
    def test_questions_with_the_same_keys_share_marginals(self) -> None:
        cube = ROLLUP.replace("ROLLUP", "CUBE").replace("COUNT(*) AS n", "AVG(age) AS a")
        batch = together(ROLLUP, cube)
        assert len(batch.plans) == 1
        assert 0.99 * ALL < batch.rho_units <= ALL

    def test_a_question_with_windows_keeps_a_plan_of_its_own(self) -> None:
        batch = together(ROLLUP, ROLLUP.replace("COUNT(*) AS n", "COUNT(*) AS n, n / SUM(n) OVER () AS share"))
        assert len(batch.plans) == 2


def noise(plan: Plan) -> list[int]:
    """What is opened where there are no rows."""
    shares = [
        [draw for each in plan.statistics for draw in sample_share(cells_of(plan, each), each.sigma)]
        for _ in range(plan.noise.parties)
    ]
    return [sum(draws) for draws in zip(*shares, strict=True)]


def column(rows: Sequence[Sequence[object]]) -> list[float]:
    return [float(row[-1]) for row in rows if isinstance(row[-1], int | float)]
