"""Counts of one batch under different conditions: one statistic, answers as alone, smaller errors."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.answer import table_of
from yingbi.forecasts import predicted_errors

from enclave_sim.plan.sensitivity import total_rho_units
from gateway.planning.notes import clipping_notes

from .reference_answers import answer_of, cells_of
from .reference_clinic import clinic
from .test_planning_pooled import ALL, PEOPLE, alone, column, errors, noise, together, views

YOUNG = "SELECT COUNT(*) AS young FROM people WHERE age < 30"
MIDDLE = "SELECT COUNT(*) AS n, 100 * COUNT(*) AS many FROM people WHERE age BETWEEN 30 AND 59"
OLD = "SELECT COUNT(*) AS old FROM people WHERE age >= 60 HAVING COUNT(*) > 0.5"


def test_ranges_that_do_not_overlap_are_a_histogram_that_has_all_of_the_budget() -> None:
    batch = together(YOUNG, MIDDLE, OLD)
    (plan,) = batch.plans
    (statistic,) = plan.statistics
    assert (statistic.range_counts.branching, statistic.range_counts.levels) == (3, 1)
    assert 0.999 * ALL < batch.rho_units <= ALL
    for view, query in zip(views(batch), (YOUNG, MIDDLE, OLD), strict=True):
        assert errors(view) == pytest.approx([error / 3**0.5 for error in errors(alone(query, ALL // 3))], rel=1e-4)


def test_what_the_conditions_have_in_common_stays_with_the_rows() -> None:
    queries = [f"{YOUNG} AND sex = 'f'", "SELECT COUNT(*) AS n FROM people WHERE sex = 'f' AND age > 50"]
    (plan,) = together(*queries).plans
    (statistic,) = plan.statistics
    assert plan.relation.selection.condition.HasField("comparison")
    assert not statistic.HasField("filter")


def test_other_columns_share_other_statistics() -> None:
    sexes = [f"SELECT COUNT(*) AS {sex} FROM people WHERE sex = '{sex}'" for sex in ("f", "m")]
    assert [question.plan for question in together(YOUNG, sexes[0], MIDDLE, sexes[1]).questions] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "queries",
    [
        # Units have up to 6 visits, and a FILTER weighs them otherwise than a WHERE.
        ["SELECT COUNT(*) FROM visits WHERE stay < 3", "SELECT COUNT(*) FROM visits WHERE stay > 5"],
        [YOUNG, OLD.replace("WHERE", "WHERE sex = 'f' OR")],
        [YOUNG, "SELECT AVG(age) AS a FROM people WHERE age > 50"],
        [YOUNG, "SELECT sex, COUNT(*) AS n FROM people WHERE age > 50 GROUP BY sex"],
        [YOUNG, "SELECT COUNT(*) AS n FROM people"],
    ],
)
def test_others_keep_plans_of_their_own(queries: list[str]) -> None:
    assert len(together(*queries).plans) == 2


def test_the_answer_says_so() -> None:
    first, *_ = views(together(YOUNG, MIDDLE))
    assert "Counts of ranges of age are sums of the same noisy counts" in " ".join(clipping_notes(first, clinic()))


_CONDITIONS = st.one_of(
    st.builds("age {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "="]), st.sampled_from([20, 30, 41, 64])),
    st.builds("age BETWEEN {} AND {}".format, st.integers(18, 40), st.integers(41, 90)),
    st.sampled_from(["sex = 'f'", "age % 2 = 1", "age <> 33"]),
)


@st.composite
def _queries(draw: st.DrawFn) -> str:
    conditions = " AND ".join(draw(st.lists(_CONDITIONS, min_size=1, max_size=2)))
    key = draw(st.sampled_from(["", "", "sex"]))
    shown = draw(st.sampled_from(["COUNT(*)", "COUNT(*)", "2 * COUNT(*) - COUNT_IF(age > 35)", "COUNT_IF(age < 40)"]))
    columns = f"{key}, {shown}" if key else shown
    return f"SELECT {columns} AS n FROM people WHERE {conditions}{f' GROUP BY {key}' if key else ''}"


@given(st.lists(_queries(), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_no_question_is_less_exact_than_alone_and_all_cost_no_more(queries: list[str]) -> None:
    batch, share = together(*queries), ALL // len(queries)
    ones = [alone(query, share) for query in queries]
    assert batch.rho_units <= min(ALL, sum(map(total_rho_units, ones)) * (1 + 1e-5))
    opened = [cells_of(plan, {"people": PEOPLE}) for plan in batch.plans]
    for question, view, one in zip(batch.questions, views(batch), ones, strict=True):
        for shared, single in zip(errors(view), errors(one), strict=True):
            assert shared <= single * (1 + 1e-5)
        expected, found = answer_of(one, {"people": PEOPLE}), table_of(view, opened[question.plan])
        assert column(found.rows) == pytest.approx(column(expected.rows), abs=1e-6)


def test_many_runs_show_the_predicted_errors() -> None:
    batch, runs = together(YOUNG, MIDDLE), 150
    opened = [noise(batch.plans[0]) for _ in range(runs)]
    for view in views(batch):
        found = [column(table_of(view, each).rows)[0] for each in opened]
        assert statistics.pstdev(found) == pytest.approx(predicted_errors(view).std_errors[0][-1], rel=0.3)
