"""Queries in two stages: keys that nobody declared, and clipping bounds that are found."""

from __future__ import annotations

import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import KeyValues, Plan, Value
from yingbi.api.v1.receipt_pb2 import ContributionBody, Manifest, ReceiptBody, SignedContribution

from enclave_sim.plan.sensitivity import is_first_stage, total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.plan.values import PythonValue, from_python, to_python
from gateway.planning.query import Question, plan_question
from gateway.planning.stages import FirstStage, clipping_bound, edges, stage_notes
from gateway.planning.statistics import budget_parts

from .conftest import VERSION, nafld

DELTA = 1e-7
ALL = zcdp.rho_units_for(1.0, DELTA, zcdp.kept_delta0_units(DELTA))
NOTES = "SELECT note, COUNT(*) AS n FROM labs GROUP BY note"
MOST = 60
"""Rows of a unit in labs, as declared."""


def asked(
    sql: str, found: FirstStage | None = None, *, auto_bounds: bool = False, delta: float = DELTA, disjoint: bool = True
) -> Question:
    declaration = nafld()
    declaration.units_disjoint = disjoint
    question = plan_question(
        sql,
        declaration,
        dataset_version=VERSION,
        parties=3,
        epsilon=1.0,
        delta=delta,
        auto_bounds=auto_bounds,
        first_stage=found,
    )
    check_plan(question.plan, declaration, dataset_version=VERSION)
    return question


def refused(sql: str, found: FirstStage | None = None, **options: object) -> Problem:
    with pytest.raises(Problem) as caught:
        asked(sql, found, **options)  # type: ignore[arg-type]
    return caught.value


def outlook(question: Question) -> Plan:
    assert question.outlook is not None
    return question.outlook


def listed(plan: Plan, key: int = 0) -> list[PythonValue]:
    return [to_python(value) for value in plan.group_by[key].values]


def counted(question: Question, *units: int) -> tuple[int, ...]:
    """An opened vector without noise, with so many units by norm and none in the further cells."""
    cells = len(question.plan.statistics[0].unit_norms.edges) + 1
    return tuple(count << question.plan.fraction_bits for count in (*units, *[0] * (cells - len(units))))


def _counted_at(question: Question, norm: int) -> tuple[list[int], tuple[int, ...]]:
    """The edges of a first stage, and its vector where all units have this norm."""
    edges = list(question.plan.statistics[0].unit_norms.edges)
    return edges, counted(question, *[9_000 if low < norm <= edge else 0 for low, edge in pairwise([0, *edges])])


NOTHING_SEEN = counted(asked(NOTES))


class TestAFirstStageForKeys:
    def test_selects_the_keys_that_are_not_declared_and_no_others(self) -> None:
        plan = asked("SELECT test, note, seen, COUNT(*) FROM labs GROUP BY test, note, seen").plan
        assert [key.column.name for key in plan.key_selection.keys] == ["note", "seen"]
        assert is_first_stage(plan)
        assert not plan.outputs
        assert not plan.group_by

    def test_measures_the_norms_over_all_keys(self) -> None:
        (norms,) = asked("SELECT test, note, COUNT(*) FROM labs GROUP BY test, note").plan.statistics
        assert [key.column.name for key in norms.unit_norms.keys] == ["Test", "note"]
        assert norms.unit_norms.edges[-1] == MOST

    def test_keeps_a_unit_to_as_many_keys_as_it_may_have_rows(self) -> None:
        assert asked(NOTES).plan.key_selection.max_keys == MOST

    def test_costs_a_quarter_and_both_stages_cost_what_was_offered(self) -> None:
        question = asked(NOTES)
        (norms,), selection = question.plan.statistics, question.plan.key_selection
        assert norms.rho_units == pytest.approx(0.05 * ALL, rel=1e-3)
        assert selection.rho_units == pytest.approx(0.20 * ALL, rel=1e-3)
        assert total_rho_units(outlook(question)) == pytest.approx(0.75 * ALL, rel=1e-3)
        assert 0.999 * ALL < question.rho_units <= ALL

    def test_takes_a_hundredth_of_the_delta_that_is_kept(self) -> None:
        assert asked(NOTES).plan.key_selection.delta0_units == zcdp.kept_delta0_units(DELTA) // 100
        scattered = asked(NOTES, disjoint=False).plan.key_selection.delta0_units
        assert scattered == zcdp.kept_delta0_units(DELTA) // 300 * 3

    def test_shares_its_price_among_the_providers_a_unit_may_be_at(self) -> None:
        """Each releases keys with its own noise; none lends the others any."""
        alone, scattered = asked(NOTES).plan, asked(NOTES, disjoint=False).plan
        assert scattered.key_selection.sigma == pytest.approx(3**0.5 * alone.key_selection.sigma, rel=1e-3)
        assert scattered.key_selection.rho_units == pytest.approx(alone.key_selection.rho_units, rel=1e-3)

    def test_is_the_same_for_every_question_about_the_same_keys(self) -> None:
        """So it is replayed at no cost."""
        again = "SELECT MEDIAN(value) AS m, note AS what FROM labs GROUP BY 2 ORDER BY m"
        assert asked(again).plan == asked(NOTES).plan

    def test_goes_with_expressions_where_and_grouping_sets(self) -> None:
        sql = "SELECT LOWER(note), COUNT(*) FROM labs WHERE value > 3 GROUP BY ROLLUP (LOWER(note))"
        found = FirstStage((("a", "b"),), NOTHING_SEEN)
        assert asked(sql).plan.key_selection.keys[0].HasField("call")
        assert [list(each.keys) for each in asked(sql, found).plan.grouping_sets] == [[0], []]

    @pytest.mark.parametrize("delta", [1e-22, 1e-200])
    def test_needs_a_delta_that_can_be_divided(self, delta: float) -> None:
        assert refused(NOTES, delta=delta).code == "too_little_delta"

    def test_goes_with_any_larger_delta(self) -> None:
        assert asked(NOTES, delta=0.5, disjoint=False).plan.key_selection.delta0_units <= 2**63

    def test_says_which_keys_and_at_what_share_of_the_price(self) -> None:
        notes = stage_notes(asked(NOTES).plan)
        assert notes[0].startswith("Values of note are not declared")
        assert "20 % of the price" in notes[0]
        assert "5 % of the price" in notes[-1]

    @pytest.mark.parametrize("key", ["seen", "at"])
    def test_says_of_dates_how_to_group_by_fewer(self, key: str) -> None:
        notes = stage_notes(asked(f"SELECT {key}, COUNT(*) FROM labs GROUP BY {key}").plan)
        assert any(f"group by DATE_TRUNC('month', {key})" in note for note in notes)
        assert not any("DATE_TRUNC" in note for note in stage_notes(asked(NOTES).plan))

    @pytest.mark.parametrize("key", ["seen", "CAST(at AS DATE)", "DATE_TRUNC('month', at)"])
    def test_is_not_needed_for_dates_in_a_range_as_the_hint_says(self, key: str) -> None:
        assert asked(f"SELECT {key}, COUNT(*) FROM labs GROUP BY 1").outlook is not None
        column = "seen" if key == "seen" else "at"
        sql = f"SELECT {key}, COUNT(*) FROM labs WHERE {column} BETWEEN '2024-01-01' AND '2024-12-31' GROUP BY 1"
        assert asked(sql).outlook is None


class TestWhatIsRefusedBeforeAnythingIsSpent:
    def test_a_number_that_is_hardly_ever_equal(self) -> None:
        problem = refused("SELECT COUNT(*) FROM labs GROUP BY SQRT(weeks)")
        assert problem.code == "undeclared_group_key"
        assert "CAST(ROUND(SQRT(weeks)) AS BIGINT)" in str(problem.hint)

    def test_what_the_hint_says_can_be_asked(self) -> None:
        assert asked("SELECT COUNT(*) FROM labs GROUP BY CAST(ROUND(SQRT(weeks)) AS BIGINT)").outlook

    def test_too_many_keys(self) -> None:
        keys = ", ".join(f"weeks + {number}" for number in range(17))
        assert refused(f"SELECT COUNT(*) FROM labs GROUP BY {keys}").code == "too_many_groups"

    def test_what_the_second_stage_would_be_refused_for(self) -> None:
        both = "SELECT COUNT(DISTINCT id) FROM labs GROUP BY note"
        assert refused(both, disjoint=False).code == "units_not_disjoint"
        wide = (
            f"SELECT {', '.join(f'QUANTILE_CONT(value + {n}, 0.5) AS q{n}' for n in range(70))} FROM labs GROUP BY note"
        )
        assert refused(wide).code == "too_many_statistics"


class TestAnOutlook:
    def test_is_the_second_stage_with_one_value_without_a_kind_for_what_is_unknown(self) -> None:
        plan = outlook(asked("SELECT test, note, COUNT(*) AS n FROM labs GROUP BY test, note"))
        assert listed(plan) == ["hdl", "chol", "smoke"]
        assert list(plan.group_by[1].values) == [Value()]
        assert [output.name for output in plan.outputs] == ["Test", "note", "n"]
        assert plan.clipping.max_rows == MOST

    def test_foretells_the_noise_of_an_answer_with_the_declared_bound(self) -> None:
        question = asked(NOTES)
        second = asked(NOTES, FirstStage((("a", "b"),), NOTHING_SEEN)).plan
        assert outlook(question).statistics[0].sigma == pytest.approx(second.statistics[0].sigma, rel=1e-6)

    def test_foretells_a_count_of_units_that_are_in_many_groups(self) -> None:
        plan = outlook(asked("SELECT note, COUNT(DISTINCT id) FROM labs GROUP BY note"))
        assert plan.clipping.max_groups == MOST


class TestASecondStage:
    def test_groups_by_the_values_found(self) -> None:
        plan = asked(NOTES, FirstStage((("a", "b", "c"),), NOTHING_SEEN)).plan
        assert listed(plan) == ["a", "b", "c"]
        assert not is_first_stage(plan)

    def test_gives_each_unknown_key_its_own_values(self) -> None:
        found = FirstStage((("a", "b"), (datetime.date(2020, 1, 1),)), NOTHING_SEEN)
        plan = asked("SELECT note, test, seen, COUNT(*) FROM labs GROUP BY note, test, seen", found).plan
        assert [listed(plan, key) for key in range(3)] == [
            ["a", "b"],
            ["hdl", "chol", "smoke"],
            [datetime.date(2020, 1, 1)],
        ]

    def test_has_all_that_the_first_left(self) -> None:
        plan = asked(NOTES, FirstStage((("a",),), NOTHING_SEEN)).plan
        assert total_rho_units(plan) + total_rho_units(asked(NOTES).plan) <= ALL
        assert total_rho_units(plan) == pytest.approx(0.75 * ALL, rel=1e-3)

    def test_clips_to_what_units_have(self) -> None:
        few = asked(NOTES, FirstStage((("a",),), counted(asked(NOTES), 0, 20_000))).plan
        assert few.clipping.max_rows in (2, 3)

    def test_keeps_the_declared_bound_where_nothing_was_seen(self) -> None:
        assert asked(NOTES, FirstStage((("a",),), NOTHING_SEEN)).plan.clipping.max_rows == MOST

    def test_does_not_exist_without_keys(self) -> None:
        problem = refused(NOTES, FirstStage(((),), NOTHING_SEEN))
        assert (problem.kind, problem.code) == (Kind.REFUSED, "no_keys")
        assert "is spent" in problem.message

    @pytest.mark.parametrize(
        ("key", "hint"),
        [
            ("seen", "group by DATE_TRUNC('month', seen), or by seen with a range in WHERE"),
            ("at", "or by CAST(at AS DATE) with a range"),
            ("DATE_TRUNC('month', seen)", "group by DATE_TRUNC('quarter', seen)"),
            ("note", "group by something coarser."),
        ],
    )
    def test_without_keys_the_hint_is_a_way_to_fewer(self, key: str, hint: str) -> None:
        problem = refused(f"SELECT {key}, COUNT(*) FROM labs GROUP BY 1", FirstStage(((),), NOTHING_SEEN))
        assert hint in str(problem.hint)

    def test_does_not_exist_with_too_many_groups(self) -> None:
        many = tuple(range(400))
        sql = "SELECT COUNT(*) FROM labs GROUP BY weeks, weeks + 1"
        problem = refused(sql, FirstStage((many, many), NOTHING_SEEN))
        assert problem.code == "too_many_groups"
        assert "160,000" in problem.message

    def test_is_not_for_a_query_without_a_first(self) -> None:
        assert refused("SELECT COUNT(*) FROM labs", FirstStage((), NOTHING_SEEN)).code == "first_stage"


class TestAutomaticBounds:
    def test_cost_a_twentieth(self) -> None:
        question = asked("SELECT COUNT(*) FROM labs", auto_bounds=True)
        assert not question.plan.HasField("key_selection")
        assert total_rho_units(question.plan) == pytest.approx(0.05 * ALL, rel=1e-3)
        assert total_rho_units(outlook(question)) == pytest.approx(0.95 * ALL, rel=1e-3)

    def test_are_taken_from_the_norms(self) -> None:
        sql = "SELECT test, COUNT(*), AVG(value) FROM labs GROUP BY test"
        edges, norms = _counted_at(asked(sql, auto_bounds=True), 64)
        plan = asked(sql, FirstStage((), norms), auto_bounds=True).plan
        assert plan.clipping.joint_norm in [edge for edge in edges if edge >= 64][:2]

    def test_make_one_vector_of_counts_and_sums(self) -> None:
        sql = "SELECT test, COUNT(*), AVG(value) FROM labs GROUP BY test"
        stage = asked(sql, auto_bounds=True)
        (norms,) = stage.plan.statistics
        assert [part.WhichOneof("kind") for part in norms.unit_norms.vector] == [
            "row_count",
            "bounded_sum",
            "non_null_count",
        ]
        plan = asked(sql, FirstStage((), _counted_at(stage, 20)[1]), auto_bounds=True).plan
        assert len({statistic.sigma for statistic in plan.statistics}) == 1
        assert [statistic.rho_units > 0 for statistic in plan.statistics] == [True, False, False]

    def test_of_rows_are_used_where_a_quantile_is_asked_for(self) -> None:
        sql = "SELECT COUNT(*), MEDIAN(value) FROM labs"
        norms = counted(asked(sql, auto_bounds=True), 0, 0, 9_000)
        clipping = asked(sql, FirstStage((), norms), auto_bounds=True).plan.clipping
        assert clipping.max_rows in (3, 4)
        assert not clipping.joint_norm

    def test_never_leave_a_vector_longer_than_bounds_allow(self) -> None:
        """A unit of `MOST` rows, all in one group and at a bound, is within the last edge."""
        sql = "SELECT SUM(value), COUNT(*), COUNT(value) FROM labs"
        (norms,) = asked(sql, auto_bounds=True).plan.statistics
        assert norms.unit_norms.edges[-1] ** 2 >= 3 * (16 * MOST) ** 2

    def test_of_rows_are_used_where_a_key_would_be_left_out(self) -> None:
        """Sums of groups that it tells apart could cancel, and the vector look shorter than it is."""
        keys = ", ".join(f"CASE WHEN value > {number} THEN 1 END" for number in range(17))
        (norms,) = asked(f"SELECT SUM(value), COUNT(*) FROM labs GROUP BY {keys}", auto_bounds=True).plan.statistics
        assert not norms.unit_norms.vector

    def test_matter_for_a_sum_even_where_a_unit_has_one_row(self) -> None:
        assert asked("SELECT SUM(age) FROM patients", auto_bounds=True).outlook is not None

    def test_weigh_the_noise_that_a_count_will_have_beside_a_quantile(self) -> None:
        """Of three parts of ρ, not two: the quantile takes two."""
        plan = asked("SELECT test, COUNT(*), MEDIAN(value) FROM labs GROUP BY test").plan
        assert budget_parts(plan) == pytest.approx(3)
        shares = [statistic.rho_units for statistic in plan.statistics]
        assert shares[1] == pytest.approx(2 * shares[0], rel=1e-3)

    @pytest.mark.parametrize("sql", ["SELECT COUNT(*) FROM patients", "SELECT COUNT(DISTINCT id) FROM labs"])
    def test_cost_nothing_where_no_bound_matters(self, sql: str) -> None:
        assert asked(sql, auto_bounds=True) == asked(sql)

    def test_are_off_by_default(self) -> None:
        assert asked("SELECT COUNT(*) FROM labs").outlook is None


class TestWhatIsTakenFromARelease:
    def test_is_the_union_of_all_providers_values_key_by_key(self) -> None:
        release = released([("b", 2), ("a", 2)], [("c", 1), ("b", 2)], [])
        assert FirstStage.of(release) == FirstStage((("a", "b", "c"), (1, 2)), (5, 6))

    def test_is_no_null_and_no_date_beyond_the_calendar(self) -> None:
        release = released([("a", 1)])
        body = ContributionBody.FromString(release.manifest.contributions[0].body)
        body.selected_keys.append(KeyValues(values=[Value(), Value(date_days=2**31 - 1)]))
        release.manifest.contributions[0].body = body.SerializeToString()
        assert FirstStage.of(release).keys == (("a",), (1,))


def released(*providers: list[tuple[PythonValue, ...]]) -> ReceiptBody:
    plan = asked("SELECT COUNT(*) FROM labs GROUP BY note, weeks").plan
    contributions = [
        ContributionBody(selected_keys=[KeyValues(values=map(from_python, values)) for values in selected])
        for selected in providers
    ]
    signed = [SignedContribution(body=body.SerializeToString()) for body in contributions]
    return ReceiptBody(manifest=Manifest(contributions=signed), plan=plan.SerializeToString(), opened=[5, 6])


class TestAClippingBound:
    @pytest.mark.parametrize(
        ("most", "expected"),
        [
            (1, [1]),
            (2, [1, 2]),
            (5, [1, 2, 3, 4, 5]),
            (20, [1, 2, 3, 4, 6, 8, 11, 16, 20]),
            (24, [1, 2, 3, 4, 6, 8, 11, 16, 23, 24]),
        ],
    )
    def test_has_edges_up_to_the_declared_one(self, most: int, expected: list[int]) -> None:
        assert edges(most) == expected

    @given(st.integers(1, 2**20))
    def test_edges_ascend_and_grow_by_at_most_two(self, most: int) -> None:
        found = edges(most)
        assert found[-1] == most
        assert all(low < high <= 2 * low for low, high in pairwise(found))

    def test_is_the_smallest_that_takes_nothing_when_all_units_are_alike(self) -> None:
        """Or the next one, where what may be hidden in the noise would be worse than that edge's noise."""
        assert clipping_bound([1, 2, 4, 8], [0, 1_000, 0, 0, 0], deviation=0.1, noise=1, groups=1) == 2
        assert clipping_bound([1, 2, 4, 8], [0, 1_000, 0, 0, 0], deviation=10, noise=1, groups=1) == 4

    def test_is_larger_for_what_many_units_have_and_smaller_for_noise(self) -> None:
        counts = [10_000, 0, 0, 100, 0]
        assert clipping_bound([1, 2, 4, 8], counts, deviation=1, noise=1, groups=1) == 8
        assert clipping_bound([1, 2, 4, 8], counts, deviation=1, noise=1_000, groups=1) == 1

    def test_spreads_the_bias_over_the_groups(self) -> None:
        counts = [10_000, 0, 0, 100, 0]
        assert clipping_bound([1, 2, 4, 8], counts, deviation=1, noise=20, groups=1) == 8
        assert clipping_bound([1, 2, 4, 8], counts, deviation=1, noise=20, groups=100) == 2

    def test_takes_no_noise_for_units(self) -> None:
        counts = [10_000, 0, 0, 39.0, -31.0]
        assert clipping_bound([1, 2, 4, 8], counts, deviation=10, noise=40, groups=1) == 1

    def test_sees_a_tail_that_no_cell_shows_by_itself(self) -> None:
        counts = [10_000, 25, 25, 25, 25]
        assert clipping_bound([1, 2, 4, 8], counts, deviation=10, noise=1, groups=1) > 1

    def test_is_the_declared_one_when_there_is_nothing_but_noise(self) -> None:
        assert clipping_bound([1, 2, 4, 8], [29, 0, -5, 12, 3], deviation=10, noise=1, groups=1) == 8

    @given(st.lists(st.integers(0, 10_000), min_size=6, max_size=6), st.integers(1, 50))
    def test_has_no_larger_error_than_the_declared_one(self, counts: list[int], groups: int) -> None:
        candidates = [1, 2, 4, 8, 16]
        chosen = clipping_bound(candidates, counts, deviation=0, noise=3, groups=groups)

        def error(bound: int) -> float:
            lost = sum(n * max(0, size - bound) for n, size in zip(counts, [*candidates, 16], strict=True))
            return float((3 * bound) ** 2 + lost**2 / groups)

        assert error(chosen) <= error(16)
