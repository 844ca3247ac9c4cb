"""Window functions over the rows of the answer, QUALIFY, HISTOGRAM and APPROX_TOP_K: what the plan says of them."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Formula, Frame, Operation, OutputOrdering, Plan, Window

from enclave_sim.engine.reference_expressions import evaluate
from enclave_sim.plan.values import PythonValue, to_python
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_question

from .conftest import VERSION, Planner, refusal

ROWS = text_format.Parse("measure { count { statistic: 0 } }", Formula())
GROUPED = "SELECT test, fasting, COUNT(*) AS n, {} AS w FROM labs GROUP BY test, fasting"


def window_of(planned: Planner, written: str) -> Window:
    return planned(GROUPED.format(written)).outputs[3].formula.window


def place(sql: str, problem: Problem) -> str:
    """What of the query the problem's position points to."""
    line, column = str(problem.position).split(":")
    assert line == "1"
    return sql[int(column) - 1 :]


@pytest.mark.parametrize(
    ("written", "function", "operands", "offset"),
    [
        ("ROW_NUMBER()", Window.FUNCTION_ROW_NUMBER, 0, 0),
        ("RANK()", Window.FUNCTION_RANK, 0, 0),
        ("DENSE_RANK()", Window.FUNCTION_DENSE_RANK, 0, 0),
        ("PERCENT_RANK()", Window.FUNCTION_PERCENT_RANK, 0, 0),
        ("CUME_DIST()", Window.FUNCTION_CUMULATIVE_DISTRIBUTION, 0, 0),
        ("NTILE(4)", Window.FUNCTION_TILE, 0, 4),
        ("LAG(n)", Window.FUNCTION_LAG, 1, 1),
        ("LEAD(COUNT(*), 3, -1)", Window.FUNCTION_LEAD, 2, 3),
        ("LAG(n, 0)", Window.FUNCTION_LAG, 1, 0),
        ("FIRST_VALUE(n)", Window.FUNCTION_FIRST, 1, 0),
        ("LAST_VALUE(n)", Window.FUNCTION_LAST, 1, 0),
        ("COUNT(*)", Window.FUNCTION_COUNT_ROWS, 0, 0),
        ("COUNT(AVG(value))", Window.FUNCTION_COUNT, 1, 0),
        ("SUM(n)", Window.FUNCTION_SUM, 1, 0),
        ("AVG(n / 2)", Window.FUNCTION_MEAN, 1, 0),
        ("MIN(n)", Window.FUNCTION_MINIMUM, 1, 0),
        ("MAX(n)", Window.FUNCTION_MAXIMUM, 1, 0),
    ],
)
def test_a_window_function_is_one_of_the_plan(
    planned: Planner, written: str, function: int, operands: int, offset: int
) -> None:
    window = window_of(planned, f"{written} OVER (ORDER BY test)")
    assert (window.function, len(window.operands), window.offset) == (function, operands, offset)


def test_partitions_and_orders_are_keys_or_formulas(planned: Planner) -> None:
    window = window_of(planned, "RANK() OVER (PARTITION BY Test, test ORDER BY fasting DESC, n NULLS FIRST)")
    assert list(window.partition_by) == [0]
    assert list(window.order_by) == [
        OutputOrdering(key=1, descending=True),
        OutputOrdering(formula=ROWS, nulls_first=True),
    ]


FRAMES = [
    ("", Frame()),
    ("ORDER BY n", Frame(end=0, peers=True)),
    ("ORDER BY n ROWS UNBOUNDED PRECEDING", Frame(end=0)),
    ("ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", Frame(end=0)),
    ("ORDER BY n ROWS BETWEEN 6 PRECEDING AND CURRENT ROW", Frame(start=-6, end=0)),
    ("ORDER BY n ROWS BETWEEN 1 FOLLOWING AND 2 FOLLOWING", Frame(start=1, end=2)),
    ("ORDER BY n ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING", Frame(start=0)),
    ("ORDER BY n RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", Frame(end=0, peers=True)),
    ("ORDER BY n RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", Frame()),
]


@pytest.mark.parametrize(("over", "frame"), FRAMES)
def test_a_frame_is_that_of_sql(planned: Planner, over: str, frame: Frame) -> None:
    window = window_of(planned, f"SUM(n) OVER ({over})")
    assert window.HasField("frame")
    assert window.frame == frame


def test_places_in_the_order_have_no_frame(planned: Planner) -> None:
    assert not window_of(planned, "RANK() OVER (ORDER BY n)").HasField("frame")


def test_a_window_may_be_named(planned: Planner) -> None:
    sql = GROUPED.format("RANK() OVER W") + " WINDOW v AS (), w AS (PARTITION BY test ORDER BY n)"
    window = planned(sql).outputs[3].formula.window
    assert (list(window.partition_by), len(window.order_by)) == ([0], 1)


def test_windows_cost_nothing(planned: Planner) -> None:
    plain = planned("SELECT test, COUNT(*) AS n FROM labs GROUP BY test")
    sql = "SELECT test, COUNT(*) AS n, n / SUM(n) OVER () AS s, RANK() OVER (ORDER BY n) AS r FROM labs GROUP BY test"
    plan = planned(f"{sql} QUALIFY LAG(n) OVER (ORDER BY n) > 3 ORDER BY MAX(n) OVER (PARTITION BY test)")
    assert plan.statistics == plain.statistics


def test_an_aggregate_that_only_a_window_names_is_measured(planned: Planner) -> None:
    plan = planned("SELECT test, RANK() OVER (PARTITION BY test ORDER BY AVG(value)) AS r FROM labs GROUP BY test")
    assert [each.WhichOneof("kind") for each in plan.statistics] == ["bounded_sum", "non_null_count"]


def test_qualify_may_name_aliases(planned: Planner) -> None:
    sql = GROUPED.format("RANK() OVER (PARTITION BY test ORDER BY n DESC)") + " HAVING n > 10 QUALIFY w <= 3 AND n < 99"
    presentation = planned(sql).presentation
    assert presentation.HasField("having")
    first, second = presentation.qualify.operation.operands
    assert first.operation.operator == Operation.OPERATOR_LESS_OR_EQUAL
    assert first.operation.operands[0].window.function == Window.FUNCTION_RANK
    assert second.operation.operands[0] == ROWS


def test_names_may_stand_for_items_that_are_made_of_others(planned: Planner) -> None:
    sql = "SELECT test, COUNT(*) AS n, SUM(n) OVER () AS t, n / t AS share FROM labs GROUP BY test QUALIFY share > 0.1"
    total = "SUM(COUNT(*)) OVER ()"
    plan = planned(sql)
    assert plan == planned(sql.replace("SUM(n)", "SUM(COUNT(*))").replace("n / t", f"n / {total}"))
    assert plan.presentation.qualify.operation.operands[0] == plan.outputs[3].formula


def test_names_cannot_make_a_formula_of_any_size(planned: Planner) -> None:
    items = ["COUNT(*) AS a0", *(f"a{index} + a{index} AS a{index + 1}" for index in range(15))]
    problem = refusal(planned, f"SELECT {', '.join(items)} FROM labs")
    assert problem.code == "too_complex"


def test_a_window_that_is_shown_is_ordered_by_its_place(planned: Planner) -> None:
    sql = GROUPED.format("RANK() OVER (ORDER BY n)")
    assert planned(f"{sql} ORDER BY RANK() OVER (ORDER BY COUNT(*))").presentation.order_by[0].output == 3


def test_windows_over_keys_that_nobody_declared(declaration: DatasetDeclaration) -> None:
    """They are about whatever groups the first stage finds."""
    sql = "SELECT note, COUNT(*) AS n, n / SUM(n) OVER (PARTITION BY note) AS s FROM labs GROUP BY note"
    question = plan_question(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
    assert question.plan.HasField("key_selection")
    assert question.outlook is not None
    assert list(question.outlook.outputs[2].formula.operation.operands[1].window.partition_by) == [0]


def test_the_notes_know_measures_in_windows(planned: Planner, declaration: DatasetDeclaration) -> None:
    sql = "SELECT test, RANK() OVER (ORDER BY MAX(value), SUM(days)) AS r FROM labs GROUP BY test QUALIFY r < 3"
    notes = " ".join(clipping_notes(planned(sql), declaration))
    assert "MAX by the 99.5 % one" in notes
    assert "Values of days outside" in notes
    assert "noise decides" in notes


@pytest.mark.parametrize(
    ("written", "code", "at", "hint"),
    [
        ("SUM(value) OVER ()", "raw_columns", "value) OVER ()", "Write SUM(SUM(value)) OVER (...)."),
        ("COUNT(note) OVER ()", "raw_columns", "note) OVER ()", "Write COUNT(COUNT(note)) OVER (...)."),
        ("MAX(value + 1) OVER ()", "raw_columns", "value + 1) OVE", "Use an aggregate of value"),
        ("LAG(test) OVER (ORDER BY test)", "raw_columns", "test) OVER (OR", "Write LAG(COUNT(*)) OVER (...)."),
        ("SUM(id) OVER ()", "privacy_unit", "id) OVER () AS", "COUNT(DISTINCT id)"),
        ("SUM(nothing) OVER ()", "unknown_column", "nothing) OVER", "Did you mean"),
        ("RANK() OVER (PARTITION BY value)", "raw_columns", "value)", "what stands in GROUP BY"),
        ("RANK() OVER (ORDER BY value)", "raw_columns", "value)", "an aggregate to order by"),
        ("RANK() OVER (ORDER BY 1)", "raw_columns", "1)", "an aggregate to order by"),
        ("RANK() OVER other", "not_supported", "RANK() OVER ot", "WINDOW name AS"),
        ("SUM(SUM(n) OVER ()) OVER ()", "not_supported", "SUM(n) OVER ()", "QUALIFY"),
        ("RANK() OVER (ORDER BY RANK() OVER ())", "not_supported", "RANK() OVER ()", "QUALIFY"),
        ("SUM(RANK() OVER (ORDER BY n))", "not_supported", "RANK() OVER (O", "GROUP BY unit"),
        ("SUM(DISTINCT COUNT(*)) OVER ()", "not_supported", "COUNT(*)) OVER", "aggregates and numbers"),
        ("SUM(n) FILTER (WHERE fasting) OVER ()", "not_supported", "SUM(n) FILTER", "FILTER (WHERE c)) OVER ()"),
        ("LAG(n IGNORE NULLS) OVER (ORDER BY n)", "not_supported", "LAG(n IGNORE N", "ROW_NUMBER, RANK"),
        ("NTH_VALUE(n, 2) OVER ()", "not_supported", "NTH_VALUE(n, 2", "FIRST_VALUE"),
        ("MEDIAN(n) OVER ()", "not_supported", "MEDIAN(n) OVER", "AVG, MIN or MAX"),
        ("LAG(n, n) OVER ()", "not_supported", "LAG(n, n) OVER", "Write 1."),
        ("LAG(n, -1) OVER ()", "not_supported", "LAG(n, -1) OVE", "Write 1."),
        ("NTILE(0) OVER ()", "not_supported", "NTILE(0) OVER", "Write 1."),
        ("SUM(n) OVER (ORDER BY n RANGE 3 PRECEDING)", "not_supported", "SUM(n) OVER (O", "ROWS BETWEEN 6 PRECEDING"),
        ("SUM(n) OVER (ORDER BY n GROUPS CURRENT ROW)", "not_supported", "SUM(n) OVER (O", "ROWS BETWEEN"),
        ("SUM(n) OVER (ROWS BETWEEN 1 FOLLOWING AND CURRENT ROW)", "not_supported", "SUM(n) OVER (R", "ROWS BETWEEN"),
        ("SUM(n) OVER (ROWS CURRENT ROW EXCLUDE TIES)", "not_supported", "SUM(n) OVER (R", "ROWS BETWEEN"),
    ],
)
def test_what_no_window_can_be_is_refused(planned: Planner, written: str, code: str, at: str, hint: str) -> None:
    sql = GROUPED.format(written)
    problem = refusal(planned, sql)
    assert problem.code == code
    assert place(sql, problem).startswith(at)
    assert hint in str(problem.hint)


@pytest.mark.parametrize(
    ("tail", "hint"),
    [
        ("HAVING RANK() OVER (ORDER BY COUNT(*)) < 3", "QUALIFY"),
        ("HAVING w < 3", "QUALIFY"),
        ("QUALIFY w", "Compare aggregates"),
        ("QUALIFY test = 'hdl'", "into WHERE"),
    ],
)
def test_where_no_window_can_stand(planned: Planner, tail: str, hint: str) -> None:
    problem = refusal(planned, f"{GROUPED.format('RANK() OVER (ORDER BY n)')} {tail}")
    assert problem.position
    assert hint in str(problem.hint)


def test_qualify_needs_a_window(planned: Planner) -> None:
    problem = refusal(planned, "SELECT test, COUNT(*) AS n FROM labs GROUP BY test QUALIFY n > 3")
    assert "Use HAVING" in str(problem.hint)


def test_rows_of_people_are_no_rows_of_the_answer(planned: Planner) -> None:
    """What SQL would answer with a row for each of theirs."""
    assert refusal(planned, "SELECT COUNT(*) OVER () FROM labs").hint == "Add COUNT(*)."
    assert refusal(planned, "SELECT value, RANK() OVER (ORDER BY COUNT(*)) FROM labs").code == "raw_columns"


@pytest.mark.parametrize(
    ("items", "hint"),
    [
        ("test, SUM(value) OVER (ORDER BY test)", "Add GROUP BY Test, and write SUM(SUM(value)) OVER (...)"),
        ("seen, 1 + MAX(note) OVER ()", "Add GROUP BY seen, and write MAX(COUNT(note)) OVER (...)"),
        ("test, RANK() OVER (ORDER BY COUNT(*))", "Add GROUP BY Test."),
        ("SUM(value) OVER (PARTITION BY test)", "Add GROUP BY Test, and put an aggregate inside"),
    ],
)
def test_a_window_over_rows_of_people_says_at_once_what_works(planned: Planner, items: str, hint: str) -> None:
    problem = refusal(planned, f"SELECT {items} FROM labs")
    assert problem.code == "raw_columns"
    assert hint in str(problem.hint)


@pytest.mark.parametrize(
    "written", ["RANK()", "ROW_NUMBER()", "DENSE_RANK()", "NTILE(4)", "LAG(COUNT(*))", "PERCENT_RANK()", "CUME_DIST()"]
)
def test_a_rank_needs_over(planned: Planner, written: str) -> None:
    sql = "SELECT test, COUNT(*), {} FROM labs GROUP BY test"
    problem = refusal(planned, sql.format(written))
    assert "needs OVER (ORDER BY ...)" in problem.message
    over = f"{written} OVER (ORDER BY COUNT(*) DESC)"
    assert problem.hint == f"Write {over}."
    assert planned(sql.format(over))


# HISTOGRAM.


def labels(plan: Plan, output: int) -> list[PythonValue]:
    return [to_python(label) for label in plan.outputs[output].labels]


def names(plan: Plan) -> list[str]:
    return [output.name for output in plan.outputs]


def test_a_histogram_has_ten_ranges_between_the_bounds(planned: Planner) -> None:
    plan = planned("SELECT HISTOGRAM(value) FROM labs")
    assert names(plan) == ["lower", "upper", "count"]
    assert [to_python(value) for value in plan.group_by[0].values] == list(range(1, 11))
    assert labels(plan, 0) == [30.0 * index for index in range(10)]
    assert labels(plan, 1) == [30.0 * index for index in range(1, 11)]
    assert plan.outputs[2].measure.HasField("count")


def test_whole_numbers_have_ranges_of_as_many(planned: Planner) -> None:
    plan = planned("SELECT test, HISTOGRAM(days, 3) AS d FROM labs WHERE days BETWEEN 1 AND 10 GROUP BY test")
    assert names(plan) == ["Test", "d_lower", "d_upper", "d_count"]
    assert (labels(plan, 1), labels(plan, 2)) == ([1, 5, 9], [4, 8, 10])


@pytest.mark.parametrize("written", ["HISTOGRAM(test)", "HISTOGRAM(fasting)", "HISTOGRAM(days % 3)", "HISTOGRAM(note)"])
def test_what_has_values_is_counted_by_value(declaration: DatasetDeclaration, written: str) -> None:
    asked = f"SELECT {written.removeprefix('HISTOGRAM')} AS value, COUNT(*) AS count FROM labs GROUP BY 1"
    plans = [
        plan_question(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
        for sql in (f"SELECT {written} FROM labs", asked)
    ]
    assert plans[0] == plans[1]


def test_what_stands_before_and_behind_keeps_its_place(planned: Planner) -> None:
    plan = planned("SELECT fasting, HISTOGRAM(value, 2) FILTER (WHERE days > 3), test FROM labs GROUP BY 3, 1")
    assert names(plan) == ["fasting", "lower", "upper", "count", "Test"]
    assert [output.key for output in plan.outputs if output.HasField("key")] == [1, 2, 2, 0]
    assert plan.statistics[0].HasField("filter")
    everything = planned("SELECT fasting, HISTOGRAM(value, 2) FROM labs GROUP BY ALL")
    assert [len(key.values) for key in everything.group_by] == [2, 2]
    totals = planned("SELECT test, HISTOGRAM(value, 2) FROM labs GROUP BY ROLLUP (test)")
    assert [list(each.keys) for each in totals.grouping_sets] == [[0, 1], [1]]


@settings(max_examples=40)
@given(st.integers(1, 60), st.floats(-400, 700, allow_nan=False) | st.sampled_from([0.0, 300.0, 149.99999999999997]))
def test_every_value_is_in_the_range_that_holds_it_or_in_the_nearest(
    planned: Planner, count: int, value: float
) -> None:
    plan = planned(f"SELECT HISTOGRAM(value, {count}) FROM labs")
    found = evaluate(plan.group_by[0].expression, {"value": value})
    assert isinstance(found, int)
    lower, upper = (labels(plan, index)[found - 1] for index in (0, 1))
    inside = min(max(value, 0.0), 300.0)
    assert isinstance(lower, float)
    assert isinstance(upper, float)
    # An edge that is no double may be taken for its neighbour.
    assert lower - 1e-9 <= inside <= upper + 1e-9


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(-9000, 9000), st.integers(0, 500))
def test_every_whole_number_is_in_the_range_that_says_so(planned: Planner, count: int, low: int, width: int) -> None:
    plan = planned(f"SELECT HISTOGRAM(days * 1, {count}) FROM labs WHERE days BETWEEN {low} AND {low + width}")
    if not plan.outputs[0].labels:
        return
    ends = list(zip(labels(plan, 0), labels(plan, 1), strict=True))
    for value in range(max(low, -8000), min(low + width, 8000) + 1, 11):
        found = evaluate(plan.group_by[0].expression, {"days": value})
        assert isinstance(found, int)
        lower, upper = ends[found - 1]
        assert lower <= value <= upper  # type: ignore[operator]


def test_a_bucket_is_a_key_without_any_list(planned: Planner) -> None:
    """Of what has no bounds, too: below the first is 0, from the last edge on n + 1."""
    plan = planned("SELECT WIDTH_BUCKET(weeks, 0, 52, 4) AS b, COUNT(*) AS n FROM labs GROUP BY b")
    assert [to_python(value) for value in plan.group_by[0].values] == [0, 1, 2, 3, 4, 5]
    found = [evaluate(plan.group_by[0].expression, {"weeks": weeks}) for weeks in (-1, 0, 12, 13, 51, 52, None)]
    assert found == [0, 1, 1, 2, 4, 5, None]


def test_null_is_in_no_range(planned: Planner) -> None:
    plan = planned("SELECT HISTOGRAM(value) FROM labs")
    assert evaluate(plan.group_by[0].expression, {"value": None}) is None


# APPROX_TOP_K.


@pytest.mark.parametrize("name", ["APPROX_TOP_K", "APPROX_TOP_COUNT", "approx_top_k"])
def test_the_most_frequent_values_are_the_first_by_count(planned: Planner, name: str) -> None:
    plan = planned(f"SELECT {name}(test, 2) FROM labs")
    asked = planned("SELECT test AS value, COUNT(*) AS count FROM labs GROUP BY test ORDER BY COUNT(*) DESC LIMIT 2")
    assert plan == asked


def test_of_each_group_they_are_the_first_by_count_within_it(planned: Planner) -> None:
    plan = planned("SELECT fasting, APPROX_TOP_K(test, 2) AS t FROM labs GROUP BY 1")
    asked = planned(
        "SELECT fasting, test AS t_value, COUNT(*) AS t_count FROM labs GROUP BY fasting, test "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY fasting ORDER BY COUNT(*) DESC) <= 2 ORDER BY fasting, t_count DESC"
    )
    assert plan == asked


@pytest.mark.parametrize(
    ("items", "rest", "code", "at", "hint"),
    [
        ("HISTOGRAM(value), COUNT(*)", "", "not_supported", "COUNT(*)", "GROUP BY WIDTH_BUCKET(value, 0, 300, 10)"),
        ("HISTOGRAM(value, 5), COUNT(*)", "", "not_supported", "COUNT(*)", "WIDTH_BUCKET(value, 0, 300, 5)"),
        # As many whole numbers in each: 16,001 in 3 ranges.
        ("HISTOGRAM(days, 3), COUNT(*)", "", "not_supported", "COUNT(*)", "WIDTH_BUCKET(days, -8000, 8002, 3)"),
        ("COUNT(*), HISTOGRAM(test)", "", "not_supported", "COUNT(*), HIST", "GROUP BY Test"),
        ("HISTOGRAM(value), HISTOGRAM(days)", "", "not_supported", "HISTOGRAM(days", "by itself"),
        ("HISTOGRAM(value)", "HAVING COUNT(*) > 3", "not_supported", "COUNT(*) > 3", "Leave HAVING out"),
        ("HISTOGRAM(value)", "ORDER BY 1", "not_supported", "1", "Leave ORDER BY out."),
        ("HISTOGRAM(value)", "LIMIT 3", "not_supported", "3", "Leave LIMIT out, or write"),
        ("DISTINCT HISTOGRAM(value)", "", "not_supported", "HISTOGRAM(valu", "Leave DISTINCT out"),
        ("HISTOGRAM()", "", "not_supported", "HISTOGRAM() FR", "HISTOGRAM(x, 10)"),
        ("HISTOGRAM(value, 0)", "", "not_supported", "0)", "Write HISTOGRAM(value, 10)."),
        ("HISTOGRAM(value, [0, 10])", "", "not_supported", "0, 10])", "HISTOGRAM(x, 10)"),
        ("HISTOGRAM(value, days)", "", "not_supported", "days)", "Write a number"),
        ("HISTOGRAM(test, 5)", "", "not_numeric", "test, 5)", "HISTOGRAM(Test)"),
        ("HISTOGRAM(weeks, 5)", "", "no_bounds", "weeks, 5)", "LEAST(GREATEST(weeks, lower), upper)"),
        ("HISTOGRAM(weeks)", "", "no_bounds", "weeks)", "or COUNT(*) and GROUP BY weeks"),
        ("HISTOGRAM(weeks * 0.5)", "", "no_bounds", "weeks * 0.5) F", "WHERE"),
        ("HISTOGRAM(SUM(value))", "", "not_supported", "SUM(value)) FR", "of a column"),
        ("HISTOGRAM(nothing)", "", "unknown_column", "nothing)", "Did you mean"),
        ("HISTOGRAM(id)", "", "privacy_unit", "id)", "COUNT(DISTINCT id)"),
        ("test, HISTOGRAM(value)", "", "raw_columns", "test, HISTOGRA", "GROUP BY Test"),
        ("APPROX_TOP_K(test)", "", "not_supported", "APPROX_TOP_K(t", "APPROX_TOP_K(x, 10)"),
        ("APPROX_TOP_K(test, 0)", "", "not_supported", "0)", "Write APPROX_TOP_K(Test, 10)."),
        ("APPROX_TOP_K(test, -1)", "", "not_supported", "1)", "Write APPROX_TOP_K(Test, 10)."),
        ("APPROX_TOP_K(test, 1.5)", "", "not_supported", "1.5)", "Write APPROX_TOP_K(Test, 10)."),
        ("APPROX_TOP_K(value, 3)", "", "undeclared_group_key", "value, 3)", "FLOOR(value / 10)"),
        ("APPROX_TOP_K(test, 3), AVG(value)", "", "not_supported", "AVG(value) FRO", "ORDER BY COUNT(*) DESC LIMIT 3"),
        ("APPROX_TOP_K(test, 3)", "GROUP BY ROLLUP (fasting)", "not_supported", "fasting)", "Ask for each set"),
    ],
)
def test_what_goes_with_no_rows_of_an_aggregate(
    planned: Planner, items: str, rest: str, code: str, at: str, hint: str
) -> None:
    sql = f"SELECT {items} FROM labs {rest}"
    problem = refusal(planned, sql)
    assert problem.code == code
    assert place(sql, problem).startswith(at)
    assert hint in str(problem.hint)
