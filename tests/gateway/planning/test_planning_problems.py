"""What cannot be asked, and what is said about it: code, position, hint."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yingbi.api.problem import Kind, Problem

from .conftest import Planner, refusal

CASES: list[tuple[str, Kind, str, str | None]] = [
    # Not SQL.
    ("", Kind.MALFORMED, "sql_syntax", "1:1"),
    (" ; ", Kind.MALFORMED, "sql_syntax", "1:1"),
    ("hello", Kind.MALFORMED, "sql_syntax", "1:1"),
    ("SELECT COUNT(* FROM labs", Kind.MALFORMED, "sql_syntax", "1:16"),
    ("SELECT COUNT(*)\nFROM labs WHERE", Kind.MALFORMED, "sql_syntax", "2:11"),
    ("SELECT COUNT(*)\nFROM labs\nWHERE note = 'abc", Kind.MALFORMED, "sql_syntax", "3:14"),
    ('SELECT "x FROM labs', Kind.MALFORMED, "sql_syntax", "1:8"),
    ("SELECT COUNT(*) /* FROM labs", Kind.MALFORMED, "sql_syntax", "1:17"),
    ("SELECT COUNT(*)", Kind.MALFORMED, "sql_syntax", "1:8"),
    ("SELECT '\ud800'", Kind.MALFORMED, "sql_syntax", "1:9"),
    ("SELECT COUNT(*) FROM labs -- " + "x" * 100_000, Kind.MALFORMED, "sql_syntax", "1:1"),
    # Not one SELECT.
    ("DROP TABLE labs", Kind.REFUSED, "not_supported", "1:1"),
    ("INSERT INTO labs VALUES (1)", Kind.REFUSED, "not_supported", "1:1"),
    ("  explain SELECT 1", Kind.REFUSED, "not_supported", "1:3"),
    ("GRANT ALL TO me", Kind.REFUSED, "not_supported", "1:1"),
    ("SELECT COUNT(*) FROM labs; DROP TABLE labs", Kind.REFUSED, "not_supported", "1:28"),
    ("SELECT COUNT(*) FROM labs UNION SELECT COUNT(*) FROM labs", Kind.REFUSED, "not_supported", "1:8"),
    ("(SELECT COUNT(*) FROM labs)", Kind.REFUSED, "not_supported", "1:9"),
    ("WITH a AS (SELECT 1) SELECT COUNT(*) FROM a", Kind.MALFORMED, "sql_syntax", "1:19"),
    # Names.
    ("SELECT COUNT(*) FROM lab", Kind.UNKNOWN, "unknown_table", "1:22"),
    ("SELECT COUNT(*) FROM other.labs", Kind.UNKNOWN, "unknown_table", "1:22"),
    ("SELECT COUNT(*) FROM labs\nWHERE vaule > 3", Kind.UNKNOWN, "unknown_column", "2:7"),
    ("SELECT AVG(valu) FROM labs", Kind.UNKNOWN, "unknown_column", "1:12"),
    ("SELECT COUNT(*) FROM labs GROUP BY tset", Kind.UNKNOWN, "unknown_column", "1:36"),
    ("SELECT COUNT(*) FROM labs WHERE patients.age > 3", Kind.UNKNOWN, "unknown_table", "1:33"),
    # Rows.
    ("SELECT * FROM patients", Kind.REFUSED, "raw_columns", "1:8"),
    ("FROM labs", Kind.REFUSED, "raw_columns", None),
    ("SELECT l.* FROM labs l", Kind.REFUSED, "raw_columns", "1:8"),
    ("SELECT value, note FROM labs LIMIT 10", Kind.REFUSED, "raw_columns", "1:8"),
    ("SELECT test, COUNT(*) FROM labs", Kind.REFUSED, "raw_columns", "1:8"),
    ("SELECT test, value, COUNT(*) FROM labs GROUP BY test", Kind.REFUSED, "raw_columns", "1:14"),
    ("SELECT DISTINCT test FROM labs", Kind.REFUSED, "raw_columns", "1:17"),
    # The privacy unit.
    ("SELECT id, COUNT(*) FROM labs", Kind.REFUSED, "privacy_unit", "1:8"),
    ("SELECT COUNT(*) FROM labs GROUP BY id", Kind.REFUSED, "privacy_unit", "1:36"),
    ("SELECT COUNT(*) FROM labs WHERE id = 7", Kind.REFUSED, "privacy_unit", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE 7 = id", Kind.REFUSED, "privacy_unit", "1:37"),
    ("SELECT COUNT(*) FROM labs WHERE id IN (7)", Kind.REFUSED, "privacy_unit", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE id IS NULL", Kind.REFUSED, "privacy_unit", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE id BETWEEN 1 AND 2", Kind.REFUSED, "privacy_unit", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE days = id", Kind.REFUSED, "privacy_unit", "1:40"),
    ("SELECT COUNT(*) FROM labs WHERE id + 1 = 7", Kind.REFUSED, "privacy_unit", "1:33"),
    ("SELECT COUNT(id) FROM labs", Kind.REFUSED, "privacy_unit", "1:14"),
    ("SELECT SUM(id) FROM labs", Kind.REFUSED, "privacy_unit", "1:12"),
    # Aggregates and groups.
    ("SELECT SUM(test) FROM labs", Kind.REFUSED, "not_numeric", "1:12"),
    ("SELECT AVG(seen) FROM labs", Kind.REFUSED, "not_numeric", "1:12"),
    ("SELECT AVG(weeks) FROM labs", Kind.REFUSED, "no_bounds", "1:12"),
    ("SELECT COUNT(*) FROM labs GROUP BY value", Kind.REFUSED, "undeclared_group_key", "1:36"),
    ("SELECT COUNT(DISTINCT value) FROM labs", Kind.REFUSED, "undeclared_group_key", "1:23"),
    ("SELECT COUNT(DISTINCT id, test) FROM labs", Kind.REFUSED, "not_supported", "1:23"),
    ("SELECT SUM(value) OVER () FROM labs", Kind.REFUSED, "raw_columns", "1:12"),
    ("SELECT SUM(DISTINCT value) FROM labs", Kind.REFUSED, "not_supported", "1:8"),
    ("SELECT 1 FROM labs", Kind.REFUSED, "not_supported", "1:8"),
    ("SELECT (SELECT 1) FROM labs", Kind.REFUSED, "not_supported", "1:16"),
    ("SELECT test FROM labs GROUP BY test", Kind.REFUSED, "not_supported", "1:8"),
    ("SELECT COUNT(*) FROM labs GROUP BY 2", Kind.MALFORMED, "bad_position", "1:36"),
    ("SELECT COUNT(*), COUNT(*) FROM labs", Kind.REFUSED, "duplicate_name", "1:18"),
    ("SELECT APPROX_QUANTILE(value, 0.1, 2) FROM labs", Kind.REFUSED, "not_supported", "1:24"),
    ("SELECT COUNT(DISTINCT vaule) FROM labs", Kind.UNKNOWN, "unknown_column", "1:23"),
    ("SELECT COUNT(labs.*) FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT SUM(*) FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT AVG() FROM labs", Kind.MALFORMED, "sql_syntax", None),
    ("SELECT MEAN() FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT MEAN(value, days) FROM labs", Kind.REFUSED, "not_supported", "1:8"),
    ("SELECT CORR(value, note) FROM labs", Kind.REFUSED, "not_numeric", "1:20"),
    ("SELECT COUNT(*) FILTER (WHERE id = 3) FROM labs", Kind.REFUSED, "privacy_unit", "1:31"),
    ("SELECT COUNT(*) > 5 FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT COUNT(*) || 'x' FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT " + "- " * 49 + "COUNT(*) FROM labs", Kind.REFUSED, "too_complex", None),
    ("SELECT " + " + ".join(["COUNT(*)"] * 40) + " AS n FROM labs", Kind.REFUSED, "too_complex", None),
    (
        "SELECT " + ", ".join(f"SUM(days + {n})" for n in range(65)) + " FROM labs",
        Kind.REFUSED,
        "too_many_statistics",
        None,
    ),
    # The rest of SQL.
    ("SELECT COUNT(*) FROM labs, patients", Kind.REFUSED, "join_not_on_unit", "1:28"),
    ("SELECT COUNT(*) FROM (SELECT 1) x", Kind.MALFORMED, "sql_syntax", "1:30"),
    ("SELECT COUNT(*) FROM read_csv('/etc/passwd')", Kind.REFUSED, "not_supported", "1:22"),
    ("SELECT COUNT(*) FROM labs TABLESAMPLE 10%", Kind.REFUSED, "not_supported", "1:22"),
    ("SELECT DISTINCT COUNT(*) FROM labs", Kind.REFUSED, "not_supported", None),
    ("SELECT COUNT(*) INTO x FROM labs", Kind.REFUSED, "not_supported", "1:22"),
    ("SELECT COUNT(*) FROM labs FOR UPDATE", Kind.REFUSED, "not_supported", None),
    # Conditions.
    ("SELECT COUNT(*) FROM labs WHERE 1 < value < 3", Kind.MALFORMED, "type_mismatch", "1:45"),
    ("SELECT COUNT(*) FROM labs WHERE value = NULL", Kind.REFUSED, "not_supported", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE days IN (SELECT 1)", Kind.REFUSED, "across_units", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE days = ?", Kind.REFUSED, "not_supported", None),
    ("SELECT COUNT(*) FROM labs WHERE test", Kind.MALFORMED, "type_mismatch", "1:33"),
    ("SELECT COUNT(*) FROM labs WHERE days = '3'", Kind.MALFORMED, "type_mismatch", "1:40"),
    ("SELECT COUNT(*) FROM labs WHERE note = 3", Kind.MALFORMED, "type_mismatch", "1:40"),
    ("SELECT COUNT(*) FROM labs WHERE seen = TIMESTAMP '2024-01-01'", Kind.MALFORMED, "type_mismatch", "1:50"),
    ("SELECT COUNT(*) FROM labs WHERE seen = 'yesterday'", Kind.MALFORMED, "bad_literal", "1:40"),
    ("SELECT COUNT(*) FROM labs WHERE value < 1e999", Kind.MALFORMED, "bad_literal", "1:41"),
    ("SELECT COUNT(*) FROM labs WHERE value = 9007199254740993", Kind.MALFORMED, "bad_literal", "1:41"),
    ("SELECT COUNT(*) FROM labs WHERE " + "(" * 51 + "fasting", Kind.REFUSED, "too_complex", "1:83"),
    ("SELECT COUNT(*) FROM labs WHERE " + "NOT " * 45 + "fasting", Kind.REFUSED, "too_complex", None),
    (
        "SELECT COUNT(*) FROM labs WHERE days IN (" + ",".join(map(str, range(5001))) + ")",
        Kind.REFUSED,
        "too_complex",
        "1:33",
    ),
]


@pytest.mark.parametrize(("sql", "kind", "code", "position"), CASES, ids=[case[0][:60] for case in CASES])
def test_is_refused(planned: Planner, sql: str, kind: Kind, code: str, position: str | None) -> None:
    problem = refusal(planned, sql)
    assert (problem.kind, problem.code) == (kind, code)
    if position is not None:
        assert problem.position == position
    assert problem.hint
    assert problem.message.endswith(".")


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT COUNT(*) FROM lab", "Did you mean labs?"),
        ("SELECT COUNT(*) FROM labs WHERE vaule > 3", "Did you mean value?"),
        ("SELECT COUNT(*) FROM labs WHERE test = hdl", "A text stands in single quotes: write 'hdl'."),
        ('SELECT COUNT(*) FROM labs WHERE test = "hdl"', "A text stands in single quotes: write 'hdl'."),
        ("SELECT test, COUNT(*) FROM labs", "Add GROUP BY Test."),
        (
            "SELECT COUNT(*) FROM labs GROUP BY SQRT(weeks)",
            "Group by Test or fasting, or by whole numbers, as CAST(ROUND(SQRT(weeks)) AS BIGINT).",
        ),
        ("SELECT COUNT(*) FROM labs WHERE value = NULL", "Write value IS NULL or value IS NOT NULL."),
    ],
)
def test_the_hint_is_the_nearest_thing_to_ask(planned: Planner, sql: str, hint: str) -> None:
    assert refusal(planned, sql).hint == hint


def test_a_very_long_condition_is_refused_and_not_a_crash(planned: Planner) -> None:
    condition = " OR ".join(["days = 1"] * 3000)
    assert refusal(planned, f"SELECT COUNT(*) FROM labs WHERE {condition}").code == "too_complex"


VOCABULARY = """
SELECT FROM WHERE GROUP BY AND OR NOT IN IS NULL BETWEEN COUNT SUM AVG DISTINCT ( ) * , = <> < 'x' 3 -1.5 1e400
labs test value days id fasting DATE '2020-01-01' AS CASE WHEN END [ ] { } :: ; . " ' -- /* ALL JOIN ON
HAVING ORDER LIMIT ROLLUP CUBE GROUPING SETS FILTER OVER WITHIN MEDIAN QUANTILE_CONT CORR MIN + - / n DESC USING WITH
"""
WORDS = st.sampled_from(VOCABULARY.split())


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)))
@example("SELECT COUNT(*) FROM labs WHERE days = 1e99999999999999999999")
@example("SELECT COUNT(*) FROM labs WHERE days = " + "9" * 5000)
@example("SELECT @ FROM labs WHERE days = -'x'")
@example("@@")
def test_whatever_is_sent_the_answer_is_a_plan_or_a_problem(planned: Planner, sql: str) -> None:
    with contextlib.suppress(Problem):
        planned(sql)


CONDITIONS = st.recursive(
    st.sampled_from(["days > 3", "fasting", "NOT fasting", "value IS NULL", "days IN (1, 2)", "TRUE", "7.5 > days"]),
    lambda inner: st.builds("({}) {} ({})".format, inner, st.sampled_from(["AND", "OR"]), inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(CONDITIONS)
def test_whatever_is_asked_well_is_planned(planned: Planner, condition: str) -> None:
    assert planned(f"SELECT COUNT(*) FROM labs WHERE {condition}").relation.HasField("selection")
