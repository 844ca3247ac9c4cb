"""Counts of several ranges of one expression: exactly the filters' rows, measured together where that is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Plan, RangeCounts
from yingbi.forecasts import predicted_errors

from enclave_sim.plan.sensitivity import cells, total_rho_units, width
from enclave_sim.plan.statistics import MAX_STATISTICS
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query
from gateway.planning.range_workload import asked_variance

from .conftest import VERSION, Planner, nafld, refusal
from .reference_answers import answer_of, question_of
from .reference_clinic import database, odd_table, tables

DISJOINT = [f"days >= {place * 10} AND days < {place * 10 + 10}" for place in range(12)]
PREFIXES = [f"days < {place * 10}" for place in range(64)]


def counts(conditions: Sequence[str]) -> str:
    return ", ".join(f"COUNT(*) FILTER (WHERE {each}) AS c{place}" for place, each in enumerate(conditions))


def kinds(plan: Plan) -> list[str | None]:
    return [statistic.WhichOneof("kind") for statistic in plan.statistics]


def tree(plan: Plan) -> RangeCounts:
    return next(each.range_counts for each in plan.statistics if each.HasField("range_counts"))


def places(plan: Plan) -> list[tuple[int, int]]:
    measures = [output.measure.range_count for output in plan.outputs if output.measure.HasField("range_count")]
    return [(measure.first_leaf, measure.end_leaf) for measure in measures]


def errors(plan: Plan) -> list[float]:
    return [error for error in predicted_errors(plan).std_errors[0] if error is not None]


def alone(planned: Planner) -> float:
    """The standard error of one count that has the whole budget."""
    return errors(planned("SELECT COUNT(*) AS n FROM labs"))[0]


# What is counted

CONSTANTS = {
    "stay": ["0", "3", "7.5", "12", "30", "-2"],
    "pain": ["0", "2.5", "3", "7.25", "10", "0.1"],
    "day": ["'2024-02-29'", "'2024-03-01'", "'2024-07-04'", "'1969-12-28'"],
    "arrived": ["'2024-02-29 23:30:05'", "'2024-03-01'", "'1999-07-04 12:30'"],
    "city": ["'Bern'", "'Graz'", "'Ulm'", "''", "'H'"],
    "stay + 2": ["5", "9", "14"],
}


@st.composite
def conditions(draw: st.DrawFn, subject: str) -> str:
    one, other = (draw(st.sampled_from(CONSTANTS[subject])) for _ in range(2))
    simple = st.sampled_from(["<", "<=", ">", ">=", "="]).map(lambda operator: f"{subject} {operator} {one}")
    flipped = st.sampled_from(["<", ">="]).map(lambda operator: f"{one} {operator} {subject}")
    between, listed = f"{subject} BETWEEN {one} AND {other}", f"{subject} IN ({one})"
    return draw(
        st.one_of(simple, flipped, st.sampled_from([between, listed, f"{subject} > {one} AND {subject} <= {other}"]))
    )


@st.composite
def workloads(draw: st.DrawFn) -> list[str]:
    subject = draw(st.sampled_from(sorted(CONSTANTS)))
    rest = draw(st.sampled_from(["", " AND urgent", " AND weight < 40 AND clinic = 'north'"]))
    counted = draw(st.sampled_from(["*", subject, "note"]))
    asked = draw(st.lists(conditions(subject), min_size=2, max_size=7))
    return [f"COUNT({counted}) FILTER (WHERE {each}{rest})" for each in asked]


@pytest.fixture(scope="module")
def rows() -> Mapping[str, pa.Table]:
    """The clinic's, and odd ones of further persons; those are beyond what is declared, and may be."""
    made = tables()
    odd = odd_table()
    persons = pa.array([1000 + place for place in range(odd.num_rows)], pa.int64())
    visits = pa.concat_tables([made["visits"], odd.set_column(0, "person", persons)])
    return {**made, "visits": visits}


@pytest.fixture(scope="module")
def truth(rows: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    return database(rows)


@settings(max_examples=40, deadline=None)
@given(workloads())
def test_a_range_has_the_rows_of_its_filter_and_no_others(
    rows: Mapping[str, pa.Table], truth: duckdb.DuckDBPyConnection, asked: list[str]
) -> None:
    """Whatever is stored: NULL, values beyond the bounds, and values at the very ends of a range."""
    sql = f"SELECT {', '.join(f'{each} AS c{place}' for place, each in enumerate(asked))} FROM visits"
    ours = answer_of(question_of(sql).plan, rows).rows[0]
    assert ours == pytest.approx(truth.execute(sql).fetchall()[0], abs=1e-6)


def test_ranges_read_off_levels_are_no_others_in_groups_and_in_totals(
    rows: Mapping[str, pa.Table], truth: duckdb.DuckDBPyConnection
) -> None:
    asked = [f"stay <= {place}" for place in range(30)]
    sql = f"SELECT clinic, {counts(asked)} FROM visits WHERE clinic <> 'other' GROUP BY ROLLUP (clinic) ORDER BY clinic"
    plan = question_of(sql).plan
    assert tree(plan).levels > 1
    for ours, theirs in zip(answer_of(plan, rows).rows, truth.execute(sql).fetchall(), strict=True):
        assert ours[0] == theirs[0]
        assert ours[1:] == pytest.approx(theirs[1:], abs=1e-6)


def test_workloads_like_these_are_measured_together() -> None:
    plans = [question_of(f"SELECT {counts([f'{x} < {one[0]}', f'{x} >= {one[1]}'])} FROM visits").plan
             for x, one in CONSTANTS.items()]  # fmt: skip
    assert [kinds(plan) for plan in plans] == [["range_counts"]] * len(CONSTANTS)


def test_whole_numbers_and_days_have_nothing_between_them(planned: Planner) -> None:
    whole = planned(f"SELECT {counts(['days <= 49', 'days >= 50'])} FROM labs")
    days = planned(f"""SELECT {counts(["seen <= '2024-01-31'", "seen >= '2024-02-01'"])} FROM labs""")
    assert [places(whole), places(days)] == [[(0, 1), (1, 2)]] * 2
    assert tree(whole).branching == 2


def test_no_bounds_need_be_declared(planned: Planner) -> None:
    assert kinds(planned(f"SELECT {counts(['weeks < 4', 'weeks >= 4'])} FROM labs")) == ["range_counts"]


def test_values_in_no_range_have_no_leaf(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(['days = 1', 'days = 5', 'days = 9'])} FROM labs")
    assert places(plan) == [(0, 1), (1, 2), (2, 3)]
    assert width(plan.statistics[0]) == 3


# What it costs


def test_many_disjoint_ranges_cost_what_one_costs(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(DISJOINT)} FROM labs")
    assert (tree(plan).branching, tree(plan).levels) == (len(DISJOINT), 1)
    assert errors(plan) == pytest.approx([alone(planned)] * len(DISJOINT), rel=1e-5)
    one = planned("SELECT COUNT(*) FILTER (WHERE days < 10) AS n FROM labs")
    assert total_rho_units(plan) == pytest.approx(total_rho_units(one), rel=1e-6)


def test_all_prefixes_are_read_off_a_tree(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(PREFIXES)} FROM labs")
    assert tree(plan).levels > 1
    flat = RangeCounts(branching=len(PREFIXES), levels=1)
    assert asked_variance(tree(plan), places(plan)) < asked_variance(flat, places(plan)) / 2


ends = st.integers(-40, 40).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 41)))


@settings(max_examples=40, deadline=None)
@given(st.lists(ends, min_size=2, max_size=20, unique=True))
def test_ranges_together_are_surer_than_each_by_itself(ranges: list[tuple[int, int]]) -> None:
    """k statistics have k parts of the budget: k times the variance each."""
    plan = ranged([f"days >= {low} AND days < {high}" for low, high in ranges])
    single = errors(ranged(["days < 3"]))[0]
    together, asunder = sum(error**2 for error in errors(plan)), len(ranges) ** 2 * single**2
    if "range_counts" in kinds(plan):
        assert together < asunder * (1 + 1e-6)
    else:
        assert together == pytest.approx(asunder, rel=1e-4)


def ranged(asked: Sequence[str]) -> Plan:
    sql = f"SELECT {counts(asked)} FROM labs"
    return plan_query(sql, nafld(), dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-7)


def test_ranges_inside_one_another_gain_nothing_and_stay_as_they_are(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(['days < 50', 'days > 0'])} FROM labs")
    assert kinds(plan) == ["row_count", "row_count"]


def test_a_sum_beside_ranges_has_the_part_that_makes_all_variances_least(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(DISJOINT)}, SUM(value) AS s FROM labs")
    ranges, total = plan.statistics
    assert ranges.rho_units / total.rho_units == pytest.approx(math.sqrt(len(DISJOINT)), rel=1e-5)
    # In units of what a count and a sum have with the whole budget; any other split is worse.
    parts = ranges.rho_units / total_rho_units(plan), total.rho_units / total_rho_units(plan)
    variances = [len(DISJOINT) / parts[0] + 1 / parts[1]]
    variances += [len(DISJOINT) / (parts[0] + step) + 1 / (parts[1] - step) for step in (-0.05, 0.05)]
    assert variances[0] == min(variances)
    # With a statistic for each range the sum would have a 13th part.
    assert total.rho_units > total_rho_units(plan) / (len(DISJOINT) + 1)


def test_each_range_is_asked_once(planned: Planner) -> None:
    """A column that is there twice, or computed with, makes no range dearer."""
    once = planned(f"SELECT {counts(DISJOINT[:3])}, SUM(value) FROM labs")
    ratio = f"COUNT_IF({DISJOINT[0]}) / COUNT_IF({DISJOINT[1]})"
    twice = planned(f"SELECT {counts(DISJOINT[:3])}, {ratio} AS r, SUM(value) FROM labs")
    assert [each.rho_units for each in once.statistics] == [each.rho_units for each in twice.statistics]


# What is measured together


def test_one_range_is_a_count_like_any_other(planned: Planner) -> None:
    assert kinds(planned("SELECT COUNT_IF(days < 3) a, COUNT_IF(days < 3) b FROM labs")) == ["row_count"]


def test_one_range_in_other_words_is_measured_once(planned: Planner) -> None:
    asked = ["COUNT_IF(days < 3)", "COUNT_IF(days <= 2)", "COUNT_IF(3 > days)", "COUNT(days) FILTER (WHERE days < 3)"]
    plan = planned(f"SELECT {', '.join(f'{each} AS c{place}' for place, each in enumerate(asked))} FROM labs")
    assert kinds(plan) == ["range_counts"]
    assert errors(plan) == pytest.approx([alone(planned)] * 4, rel=1e-5)


def test_ranges_of_different_rows_are_different_statistics(planned: Planner) -> None:
    asked = [f"{days} AND {rest}" for rest in ("fasting", "test = 'hdl'") for days in ("days < 3", "days >= 3")]
    plan = planned(f"SELECT {counts([*asked, 'days < 3', 'days >= 3'])} FROM labs")
    assert kinds(plan) == ["range_counts"] * 3
    assert [statistic.HasField("filter") for statistic in plan.statistics] == [True, True, False]


def test_the_order_of_conditions_does_not_matter(planned: Planner) -> None:
    plan = planned(
        f"SELECT {counts(['days < 3 AND fasting AND value > 1', 'value > 1 AND fasting AND days > 5'])} FROM labs"
    )
    assert kinds(plan) == ["range_counts"]


def test_that_a_value_is_there_goes_without_saying(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(['days < 3 AND days IS NOT NULL', 'days >= 3'])} FROM labs")
    assert kinds(plan) == ["range_counts"]
    assert not plan.statistics[0].HasField("filter")


def test_more_ranges_than_a_plan_holds_are_refused_as_ever(planned: Planner) -> None:
    sums = "+".join(f"COUNT_IF(days={place})" for place in range(2000))
    assert refusal(planned, f"SELECT {sums} AS n FROM labs").code == "too_complex"
    asked = [f"days BETWEEN {place * 9} AND {place * 9 + 7}" for place in range(256)]
    assert refusal(planned, f"SELECT {counts(asked)} FROM labs").code == "too_many_statistics"


def test_what_most_ranges_are_of_is_taken(planned: Planner) -> None:
    asked = [
        "days < 3 AND value < 7",
        "days BETWEEN 3 AND 5 AND value < 7",
        "days > 5 AND value < 7",
        "days > 5 AND value < 9",
    ]
    plan = planned(f"SELECT {counts(asked)} FROM labs")
    assert kinds(plan) == ["range_counts", "row_count"]
    assert plan.statistics[0].filter.comparison.right.literal.float64_value == 7


def test_a_count_that_an_average_needs_anyway_is_not_measured_twice(planned: Planner) -> None:
    plan = planned(
        "SELECT AVG(value) FILTER (WHERE days < 3) m, COUNT(value) FILTER (WHERE days < 3) a, "
        "COUNT(value) FILTER (WHERE days >= 3) b FROM labs"
    )
    assert kinds(plan) == ["bounded_sum", "non_null_count", "non_null_count"]


def test_ranges_without_a_value_stay_as_they_are(planned: Planner) -> None:
    asked = ["days < 3", "days > 9", "days < 3 AND days > 9"]
    assert kinds(planned(f"SELECT {counts(asked)} FROM labs")) == ["range_counts", "row_count"]


@pytest.mark.parametrize("place", ["HAVING {first} > 10 AND {second} > 20", "HAVING {first} > 0 ORDER BY {second}"])
def test_ranges_may_stand_anywhere_among_aggregates(planned: Planner, place: str) -> None:
    rest = place.format(first="COUNT_IF(days < 3)", second="COUNT_IF(days >= 3)")
    assert kinds(planned(f"SELECT test, COUNT_IF(days < 3) AS n FROM labs GROUP BY test {rest}")) == ["range_counts"]


def test_more_ranges_can_be_asked_than_there_may_be_statistics(planned: Planner) -> None:
    asked = [f"days >= {place} AND days < {place + 7}" for place in range(0, 7 * (MAX_STATISTICS + 20), 7)]
    assert kinds(planned(f"SELECT {counts(asked)} FROM labs")) == ["range_counts"]
    values = [f"days = {place}" for place in range(256)]
    assert kinds(planned(f"SELECT {counts(values)} FROM labs")) == ["range_counts"]


def test_the_more_groups_the_fewer_levels(planned: Planner) -> None:
    """Upper levels are cells, and these take time: more than twice as many as statistics would have are not taken."""
    asked = [f"days < {place}" for place in range(0, 80, 2)]
    few = planned(f"SELECT {counts(asked)} FROM labs")
    many = planned(f"SELECT {counts(asked)} FROM labs GROUP BY MONTH(seen), DAY(seen)")
    assert tree(few).levels > 1
    assert cells(many) <= 2 * len(asked) * 12 * 31


def test_the_answer_says_that_errors_go_together(planned: Planner) -> None:
    plan = planned(f"SELECT {counts(DISJOINT)} FROM labs")
    assert [note for note in clipping_notes(plan, nafld()) if "ranges" in note] == [
        "Counts of ranges of days are sums of the same noisy counts, so their errors go together."
    ]
