"""Several questions planned together: what is shared, what each pays, and that nobody is worse off for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yingbi.answer import Table, check_readable, table_of
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.views import viewed
from yingbi.forecasts import Forecast, predicted_errors

from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.plan.validation import check_plan
from gateway.planning.batch import MAX_QUESTIONS, Batch, plan_batch
from gateway.planning.distinct import set_thresholds
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query
from gateway.planning.statistics import share_budget

from .conftest import VERSION, nafld
from .reference_answers import answer_of, cells_of, question_of
from .reference_clinic import clinic, tables
from .sql_reference_queries import AGGREGATES, ANSWER, FORMULAS, GROUPS, QUERIES

EPSILON, DELTA = 1.0, 1e-7
ALL = zcdp.rho_units_for(EPSILON, DELTA, zcdp.kept_delta0_units(DELTA))
SUM = "SELECT test, SUM(value) AS s FROM labs GROUP BY test"
MEAN = "SELECT test, AVG(value) AS m, COUNT(*) AS n FROM labs GROUP BY test"


def together(*queries: str, epsilon: float = EPSILON) -> Batch:
    batch = plan_batch(queries, nafld(), dataset_version=VERSION, parties=3, epsilon=epsilon, delta=DELTA)
    for plan in batch.plans:
        check_plan(plan, nafld(), dataset_version=VERSION)
        assert (plan.epsilon, plan.delta) == (epsilon, DELTA)
    return batch


def alone(query: str, rho_units: int) -> Plan:
    plan = plan_query(query, nafld(), dataset_version=VERSION, parties=3, epsilon=EPSILON, delta=DELTA)
    share_budget(plan, rho_units)
    return plan


def views(batch: Batch) -> list[Plan]:
    return [viewed(batch.plans[question.plan], question.view) for question in batch.questions]


def refused(*queries: str, epsilon: float = EPSILON) -> Problem:
    with pytest.raises(Problem) as caught:
        together(*queries, epsilon=epsilon)
    return caught.value


def kinds(plan: Plan) -> list[str | None]:
    return [statistic.WhichOneof("kind") for statistic in plan.statistics]


class TestWhatIsShared:
    def test_one_plan_measures_what_two_questions_need_once(self) -> None:
        (plan,) = together(MEAN, "SELECT test, COUNT(*) AS rows FROM labs GROUP BY test HAVING COUNT(*) > 9").plans
        assert kinds(plan) == ["bounded_sum", "non_null_count", "row_count"]

    def test_a_plain_sum_is_derived_where_another_question_asks_for_the_mean(self) -> None:
        (plan,) = together(SUM, MEAN).plans
        assert kinds(plan) == ["bounded_sum", "non_null_count", "row_count"]
        assert plan.statistics[0].bounded_sum.centre == 150

    def test_questions_about_other_rows_or_groups_have_plans_of_their_own(self) -> None:
        batch = together(SUM, "SELECT SUM(value) FROM labs", SUM.replace("GROUP", "WHERE value > 3 GROUP"), MEAN)
        assert [question.plan for question in batch.questions] == [0, 1, 2, 0]

    def test_the_plan_shows_every_column_once_under_the_first_questions_number(self) -> None:
        (plan,) = together(SUM, MEAN, SUM).plans
        assert [output.name for output in plan.outputs] == ["1: Test", "1: s", "2: m", "2: n"]
        assert not plan.HasField("presentation")

    def test_each_question_keeps_its_own_names_order_and_totals(self) -> None:
        sql = "SELECT test AS t, COUNT(*) AS n FROM labs GROUP BY ROLLUP (test) HAVING COUNT(*) > 5 ORDER BY n LIMIT 2"
        batch = together(MEAN, sql)
        first, second = views(batch)
        assert len(batch.plans) == 1
        assert [output.name for output in first.outputs] == ["Test", "m", "n"]
        assert not first.grouping_sets
        assert [output.name for output in second.outputs] == ["t", "n"]
        assert [list(each.keys) for each in second.grouping_sets] == [[0], []]
        assert (second.presentation.limit, second.presentation.order_by[0].output) == (2, 1)

    def test_a_question_by_itself_is_planned_as_ever(self) -> None:
        sql = f"{MEAN} ORDER BY m"
        expected = plan_query(sql, nafld(), dataset_version=VERSION, parties=3, epsilon=EPSILON, delta=DELTA)
        batch = together(sql)
        assert batch.plans == (expected,)
        assert views(batch) == [expected]

    def test_joins_that_name_different_columns_are_joined_once(self) -> None:
        source = "FROM labs JOIN (SELECT id, value FROM labs WHERE test = 'hdl') AS hdl USING (id)"
        batch = together(
            f"SELECT AVG(labs.value) {source}", f"SELECT COUNT(*) {source}", f"SELECT AVG(hdl.value) {source}"
        )
        assert len(batch.plans) == 1

    def test_what_one_plan_cannot_hold_is_divided(self) -> None:
        def sums(first: int) -> str:
            return f"SELECT {', '.join(f'SUM(LEAST(value, {n}))' for n in range(first, first + 40))} FROM labs"

        batch = together(sums(1), sums(41), sums(21))
        assert [question.plan for question in batch.questions] == [0, 1, 0]
        assert [len(plan.statistics) for plan in batch.plans] == [60, 40]

    def test_what_would_take_long_to_compute_is_divided(self) -> None:
        """Who verifies a receipt computes every column of the shared plan, for 16,001 days here."""
        queries = [
            f"SELECT days, {', '.join(f'VAR_POP(value) * {n + first}' for n in range(4))} FROM labs GROUP BY days"
            for first in (10, 20)
        ]
        batch = together(*queries)
        assert [question.plan for question in batch.questions] == [0, 1]
        assert len(together(*[query.replace("GROUP", "WHERE days < -7000 GROUP") for query in queries]).plans) == 1
        for plan in batch.plans:
            check_readable(plan)

    def test_notes_are_about_what_the_question_asks(self) -> None:
        rows, units = views(together("SELECT COUNT(*) FROM labs", "SELECT COUNT(DISTINCT id) FROM labs"))
        assert clipping_notes(rows, nafld()) == clipping_notes(alone("SELECT COUNT(*) FROM labs", ALL), nafld())
        assert clipping_notes(units, nafld()) == ["Each unit counts fully in every group that it has rows in."]


class TestWhatItCosts:
    def test_all_plans_together_cost_what_was_offered(self) -> None:
        batch = together(SUM, MEAN, "SELECT COUNT(*) FROM patients", "SELECT MEDIAN(age) FROM patients")
        assert 0.999 * ALL < batch.rho_units <= ALL
        assert [round(total_rho_units(plan) / ALL, 3) for plan in batch.plans] == [0.5, 0.5]

    def test_a_statistic_has_what_all_questions_lay_on_it(self) -> None:
        (plan,) = together("SELECT COUNT(*) FROM labs", "SELECT COUNT(*), SUM(value) FROM labs").plans
        assert [statistic.rho_units for statistic in plan.statistics] == pytest.approx(
            [0.75 * ALL, 0.25 * ALL], rel=1e-5
        )


_VALUES = ("value", "days", "value * 2 - 7", "ABS(days)")
_CONDITIONS = ("fasting", "value > 100", "test = 'hdl'")
_AGGREGATES = st.one_of(
    st.sampled_from(["COUNT(*)", "COUNT(DISTINCT id)", "CORR(value, days)", "SUM(value) / COUNT(*)"]),
    st.builds("{}({})".format, st.sampled_from(["COUNT", "SUM", "AVG", "MEDIAN"]), st.sampled_from(_VALUES)),
    st.builds("VAR_POP({})".format, st.sampled_from(_VALUES)),
    st.builds("SUM({}) - 3 * COUNT({})".format, st.sampled_from(_VALUES), st.sampled_from(_VALUES)),
    st.builds("SUM({}) FILTER (WHERE {})".format, st.sampled_from(_VALUES), st.sampled_from(_CONDITIONS)),
    st.builds("COUNT_IF({})".format, st.sampled_from(_CONDITIONS)),
)


@st.composite
def _queries(draw: st.DrawFn) -> str:
    shown = draw(st.lists(_AGGREGATES, min_size=1, max_size=4, unique=True))
    where = draw(st.sampled_from(["", "", " WHERE fasting"]))
    key = draw(st.sampled_from(["", "test", "test"]))
    columns = ", ".join([*([key] if key else []), *shown])
    return f"SELECT {columns} FROM labs{where}{f' GROUP BY {key}' if key else ''}"


def errors(forecast: Forecast) -> list[float]:
    """Every standard error that is foretold: of what is linear for each group, of ratios and quantiles by size.

    Infinite where nothing is told, as for a ratio to what may be 0; keys have none in any plan.
    """
    linear = [error for row in forecast.std_errors for error in row]
    found = linear + [entry.std_error for entry in forecast.average_errors]
    return [math.inf if error is None else error for error in found]


def no_worse(batch: Batch, queries: Sequence[str]) -> None:
    share = ALL // len(queries)
    ones = [alone(query, share) for query in queries]
    # The prices of one and of the other are each rounded to whole steps of σ.
    assert batch.rho_units <= min(ALL, sum(map(total_rho_units, ones)) * (1 + 1e-6))
    for view, one in zip(views(batch), ones, strict=True):
        for shared, single in zip(errors(predicted_errors(view)), errors(predicted_errors(one)), strict=True):
            assert shared <= single * (1 + 1e-6)


@given(st.lists(_queries(), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
@example([SUM, MEAN])
@example(
    [
        SUM,
        "SELECT test, AVG(value), COUNT(*), SUM(days), COUNT(days), MEDIAN(days) FROM labs GROUP BY test",
    ]
)
@example(["SELECT SUM(days + 1) FROM labs", "SELECT AVG(days + 1), COUNT(*), SUM(value), COUNT(DISTINCT id) FROM labs"])
def test_no_question_is_less_exact_than_alone_and_all_cost_no_more(queries: list[str]) -> None:
    """Each asked alone at its share of ρ. Sharing in equal parts, or a sum derived at half the share, would fail."""
    no_worse(together(*queries), queries)


def test_questions_that_need_the_same_are_more_exact_than_alone() -> None:
    batch = together(SUM, MEAN)
    for view, query in zip(views(batch), (SUM, MEAN), strict=True):
        shared, single = (errors(predicted_errors(plan)) for plan in (view, alone(query, ALL // 2)))
        assert all(a <= b for a, b in zip(shared, single, strict=True))
        assert any(a < 0.9 * b for a, b in zip(shared, single, strict=True))


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("sql", "kind", "code", "position"),
        [
            ("SELEC 1", Kind.MALFORMED, "sql_syntax", "1:1"),
            ("SELECT valeu FROM labs", Kind.UNKNOWN, "unknown_column", "1:8"),
            ("SELECT value FROM labs", Kind.REFUSED, "raw_columns", "1:8"),
            ("SELECT note, COUNT(*) FROM labs GROUP BY note", Kind.REFUSED, "first_stage_in_batch", "1:42"),
            ("SELECT COUNT(*), SUM(weeks) FROM labs", Kind.REFUSED, "no_bounds", "1:22"),
        ],
    )
    def test_one_bad_question_is_named(self, sql: str, kind: Kind, code: str, position: str) -> None:
        problem = refused(SUM, sql, MEAN)
        assert (problem.kind, problem.code, problem.position) == (kind, code, position)
        assert problem.details["question"] == "2"
        assert problem.message.startswith("Question 2: ")
        assert problem.hint

    @pytest.mark.parametrize("count", [0, MAX_QUESTIONS + 1])
    def test_too_few_or_too_many(self, count: int) -> None:
        problem = refused(*[SUM] * count)
        assert (problem.kind, problem.code) == (Kind.MALFORMED, "batch")

    def test_a_price_that_cannot_be_divided_as_often(self) -> None:
        many = ", ".join(f"SUM(LEAST(value, {n}))" for n in range(1, 21))
        queries = [f"SELECT {many} FROM labs WHERE value > {n}" for n in range(8)]
        assert refused(*queries, epsilon=4e-5).code == "too_little_epsilon"


def test_every_aggregate_and_clause_of_the_sql_page_answers_in_a_batch_as_alone() -> None:
    """Without noise the same numbers; and with errors, of formulas and roots too, that are no larger."""
    of_answers = (each.example for each in QUERIES if each.section in (AGGREGATES, FORMULAS, GROUPS, ANSWER))
    questions = [sql for sql in of_answers if not question_of(sql).outlook]
    rows = tables()
    for number in range(0, len(questions), MAX_QUESTIONS):
        queries = questions[number : number + MAX_QUESTIONS]
        batch = plan_batch(queries, clinic(), dataset_version=VERSION, parties=3, epsilon=EPSILON, delta=DELTA)
        opened = [cells_of(plan, rows) for plan in batch.plans]
        assert len(batch.plans) < len(queries)
        for sql, question, view in zip(queries, batch.questions, views(batch), strict=True):
            one = question_of(sql).plan
            share_budget(one, ALL // len(queries))
            set_thresholds(one, one)
            expected = answer_of(one, rows)
            found = table_of(view, opened[question.plan])
            assert found.columns == expected.columns
            _same_and_no_less_exact(found, expected, sql)


def _same_and_no_less_exact(found: Table, expected: Table, sql: str) -> None:
    assert len(found.rows) == len(expected.rows)
    for row, errors_, of_row, of_errors in zip(
        found.rows, found.std_errors, expected.rows, expected.std_errors, strict=True
    ):
        for value, error, exact, largest in zip(row, errors_, of_row, of_errors, strict=True):
            # Values are rounded to grids of different steps.
            assert value == (pytest.approx(exact, rel=1e-3, abs=1e-3) if isinstance(exact, float) else exact), sql
            assert largest is None or (error is not None and error <= largest * 1.001), sql


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize(
    "queries",
    [
        (
            "SELECT SUM(value) FROM labs WHERE value > 5",
            "SELECT AVG(value) FROM (SELECT * FROM labs WHERE value > 5) t",
        ),
        ("SELECT SUM(value) FROM labs", "SELECT AVG(value) FROM (SELECT * FROM labs) t"),
        ("WITH t AS (SELECT * FROM labs) SELECT AVG(value) FROM t", "SELECT SUM(value) FROM labs"),
    ],
)
def test_questions_about_the_same_rows_in_other_words_go_together(queries: tuple[str, str], required: bool) -> None:
    """A sub-query knows what its table declares, and its condition says: that a value is there."""
    declaration = nafld()
    next(column for column in declaration.tables[0].columns if column.name == "value").required = required
    batch = plan_batch(queries, declaration, dataset_version=VERSION, parties=3, epsilon=EPSILON, delta=DELTA)
    assert len(batch.plans) == 1
