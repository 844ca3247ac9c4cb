"""Questions of one batch that group the same rows by different keys: one plan, answers as alone, smaller errors."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.answer import table_of
from yingbi.api import zcdp
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.views import viewed
from yingbi.forecasts import predicted_errors

from enclave_sim.plan.sensitivity import cells_of as cells_of_statistic
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning.batch import Batch, plan_batch
from gateway.planning.notes import clipping_notes
from gateway.planning.plan_measures import measures_of
from gateway.planning.query import plan_query
from gateway.planning.statistics import share_budget

from .reference_answers import VERSION, answer_of, cells_of
from .reference_clinic import clinic

ALL = zcdp.rho_units_for(1.0, 1e-7, zcdp.kept_delta0_units(1e-7))
DECADE = "FLOOR(age / 10) AS decade"
ADULT = "CASE WHEN age < 30 THEN 'young' WHEN age < 60 THEN 'middle' ELSE 'old' END AS life"
BY_SEX = "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex"
BY_DECADE = f"SELECT {DECADE}, COUNT(*) AS n FROM people GROUP BY decade"
BY_BOTH = f"SELECT {DECADE}, sex, COUNT(*) AS n FROM people GROUP BY decade, sex"
WHOLE = "SELECT COUNT(*) AS n FROM people"
# One row a person: keys that are declared, not listed, or missing.
PEOPLE = pa.table(
    {
        UNIT_COLUMN: range(8),
        "age": pa.array([20, 25, 41, None, 77, 120, 33, 64]),
        "sex": pa.array(["f", "m", None, "f", "x", "m", "f", "m"]),
    }
)


def together(*queries: str) -> Batch:
    batch = plan_batch(queries, clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)
    for plan in batch.plans:
        check_plan(plan, clinic(), dataset_version=VERSION)
    return batch


def views(batch: Batch) -> list[Plan]:
    return [viewed(batch.plans[question.plan], question.view) for question in batch.questions]


def alone(query: str, rho_units: int) -> Plan:
    plan = plan_query(query, clinic(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)
    share_budget(plan, rho_units)
    return plan


def errors(plan: Plan) -> list[float]:
    forecast = predicted_errors(plan)
    linear = [error for row in forecast.std_errors for error in row]
    return [error or 0.0 for error in (*linear, *(each.std_error for each in forecast.average_errors))]


def test_one_plan_measures_what_every_question_is_by() -> None:
    batch = together(BY_DECADE, BY_BOTH, WHOLE)
    (plan,) = batch.plans
    measured = [list(each.marginal.keys) if each.HasField("marginal") else None for each in plan.statistics]
    assert measured == [[0], None, []]
    assert 0.999 * ALL < batch.rho_units <= ALL


def test_answers_are_those_of_each_question_alone() -> None:
    """A row whose other key is missing or not listed counts, as the SQL of each question says."""
    queries = [
        BY_DECADE,
        BY_BOTH,
        WHOLE,
        BY_SEX.replace("COUNT(*) AS n", "AVG(age) AS a, SUM(age) AS s, COUNT(*) AS n"),
    ]
    batch = together(*queries)
    assert len(batch.plans) == 1
    opened = cells_of(batch.plans[0], {"people": PEOPLE})
    for query, view in zip(queries, views(batch), strict=True):
        expected, found = answer_of(alone(query, ALL), {"people": PEOPLE}), table_of(view, opened)
        assert found.columns == expected.columns
        for row, of_row in zip(found.rows, expected.rows, strict=True):
            assert list(row) == [pytest.approx(each, abs=0.01) if isinstance(each, float) else each for each in of_row]


def test_each_question_keeps_its_own_names_order_and_conditions() -> None:
    query = (
        BY_BOTH.replace("sex, COUNT", "sex AS s, COUNT") + " HAVING COUNT(*) > 0.5 ORDER BY n DESC, decade DESC LIMIT 2"
    )
    opened = cells_of(together(BY_DECADE, query, WHOLE).plans[0], {"people": PEOPLE})
    table = table_of(views(together(BY_DECADE, query, WHOLE))[1], opened)
    assert [column.name for column in table.columns] == ["decade", "s", "n"]
    assert len(table.rows) == 2
    assert all(row[2] == pytest.approx(1) for row in table.rows)


def test_every_question_is_more_exact_than_alone() -> None:
    queries = [BY_DECADE, BY_BOTH, WHOLE]
    for query, view in zip(queries, views(together(*queries)), strict=True):
        ones = errors(alone(query, ALL // 3))
        assert all(pooled < 0.95 * one for pooled, one in zip(errors(view), ones, strict=True) if one)


@pytest.mark.parametrize(
    "queries",
    [
        # What they have in common is their total alone.
        [BY_DECADE, BY_DECADE.replace("/ 10", "/ 9")],
        # Of other rows; of units with several rows, which count differently by other keys; with what has no marginals.
        [BY_DECADE, BY_BOTH.replace("GROUP", "WHERE age > 30 GROUP")],
        ["SELECT urgent, COUNT(*) FROM visits GROUP BY urgent", "SELECT COUNT(*) FROM visits"],
        [BY_DECADE, BY_BOTH.replace("COUNT(*) AS n", "MEDIAN(age) AS n")],
        [BY_DECADE, BY_BOTH.replace("COUNT(*) AS n", "COUNT(DISTINCT person) AS n")],
        [BY_DECADE, BY_BOTH.replace("COUNT(*) AS n", "RANK() OVER (ORDER BY COUNT(*)) AS n")],
        # Groups in another order.
        [BY_BOTH, BY_BOTH.replace("BY decade, sex", "BY sex, decade")],
    ],
)
def test_questions_that_would_gain_nothing_or_mean_something_else_keep_plans_of_their_own(queries: list[str]) -> None:
    assert len(together(*queries).plans) == 2


def test_more_than_a_plan_holds_is_divided() -> None:
    """Of 32 questions with three statistics each a plan has 64."""
    keys = [DECADE, "sex", ADULT, "FLOOR(age / 25) AS quarter", "age > 50 AS late"]
    chosen = [[key for place, key in enumerate(keys) if number >> place & 1] for number in range(32)]
    queries = [
        f"SELECT {', '.join([*own, 'COUNT(*) AS n', 'AVG(age) AS a'])} FROM people"
        + (f" GROUP BY {', '.join(key.rpartition(' ')[2] for key in own)}" if own else "")
        for own in chosen
    ]
    batch = together(*queries)
    assert 1 < len(batch.plans) < 32
    assert 0.99 * ALL < batch.rho_units <= ALL


def test_notes_are_about_the_keys_of_the_question() -> None:
    first, second, third = (
        " ".join(clipping_notes(view, clinic())) for view in views(together(BY_DECADE, BY_BOTH, WHOLE))
    )
    assert "Rows whose decade is NULL or not a listed value are in no group." in first
    assert "Rows whose decade or sex is NULL" in second
    assert "in no group" not in third
    assert "by other keys" in first
    assert "by other keys" in third
    assert "Totals" not in first + second + third


_KEYS = {"decade": DECADE, "life": ADULT, "sex": "sex"}
_AGGREGATES = st.sampled_from(["COUNT(*) AS n", "AVG(age) AS n", "SUM(age) AS n, COUNT(age) AS m", "VAR_POP(age) AS n"])


@st.composite
def _queries(draw: st.DrawFn) -> str:
    keys = [key for key in _KEYS if draw(st.booleans())]
    shown = ", ".join([*(_KEYS[key] for key in keys), draw(_AGGREGATES)])
    grouped = draw(st.sampled_from(["{}", "{}", "ROLLUP ({})"])).format(", ".join(keys))
    return f"SELECT {shown} FROM people{f' GROUP BY {grouped}' if keys else ''}"


@given(st.lists(_queries(), min_size=1, max_size=5))
@settings(max_examples=10, deadline=None)
def test_no_question_is_less_exact_than_alone_and_all_cost_no_more(queries: list[str]) -> None:
    batch, share = together(*queries), ALL // len(queries)
    ones = [alone(query, share) for query in queries]
    assert batch.rho_units <= min(ALL, sum(map(total_rho_units, ones)) * (1 + 1e-5))
    opened = [cells_of(plan, {"people": PEOPLE}) for plan in batch.plans]
    for question, view, one in zip(batch.questions, views(batch), ones, strict=True):
        for pooled, single in zip(errors(view), errors(one), strict=True):
            assert pooled <= single * (1 + 1e-5)
        if any(measure.WhichOneof("kind") == "mean" for measure in measures_of(view)):
            continue  # Of nothing, but for rounding, means are anything.
        expected, found = answer_of(one, {"people": PEOPLE}), table_of(view, opened[question.plan])
        assert column(found.rows) == pytest.approx(column(expected.rows), abs=0.05, rel=1e-3)


def test_many_runs_show_the_predicted_errors() -> None:
    batch, runs = together(BY_DECADE, BY_BOTH, WHOLE), 60
    opened = [noise(batch.plans[0]) for _ in range(runs)]
    for view in views(batch):
        ordered = Plan()
        ordered.CopyFrom(view)
        ordered.ClearField("presentation")
        tables = [column(table_of(ordered, each).rows) for each in opened]
        for error, *found in zip(predicted_errors(ordered).std_errors, *tables, strict=True):
            assert statistics.pstdev(found) == pytest.approx(error[-1], rel=0.45)


def noise(plan: Plan) -> list[int]:
    shares = [
        [draw for each in plan.statistics for draw in sample_share(cells_of_statistic(plan, each), each.sigma)]
        for _ in range(plan.noise.parties)
    ]
    return [sum(draws) for draws in zip(*shares, strict=True)]


def column(rows: Sequence[Sequence[object]]) -> list[float]:
    return [float(row[-1]) if isinstance(row[-1], int | float) else 0.0 for row in rows]
