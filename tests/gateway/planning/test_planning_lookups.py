"""A join with a public table gives the rows that DuckDB says, at no cost, or is refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    Plan,
    Relation,
    Value,
)

from enclave_sim.engine.duckdb_engine import DuckDBEngine
from enclave_sim.engine.reference_engine import ReferenceEngine
from enclave_sim.engine.reference_expressions import evaluate
from enclave_sim.engine.reference_relations import Rows, rows_of
from enclave_sim.plan.relations import operators_of
from enclave_sim.plan.values import PythonValue, from_python, to_python
from enclave_sim.sealed.schema import UNIT_COLUMN
from gateway.planning import calls, lookup_keys
from gateway.planning.expressions import compile_term
from gateway.planning.lookup_keys import MAX_KEYS, On
from gateway.planning.lookups import MAX_LISTED
from gateway.planning.notes import clipping_notes
from gateway.planning.query import plan_query, plan_question
from gateway.planning.sources import read_source
from gateway.planning.sql import parse_select

from .conftest import VERSION, Planner, refusal

NAMES = (
    "(VALUES ('hdl', 'lipid', 1), ('chol', 'lipid', 2), ('other', NULL, 3), ('none', 'rest', 4)) AS t(code, kind, n)"
)
WEEKS = "(VALUES (1, 'first'), (2, 'second')) AS w(week, word)"

SAME_ROWS = [
    f"SELECT kind, n, value FROM labs JOIN {NAMES} ON t.code = labs.test",
    f"SELECT kind, n, value FROM labs JOIN {NAMES} ON labs.test = t.code",
    f"SELECT kind, n, value FROM labs LEFT JOIN {NAMES} ON code = test",
    f"SELECT test, value FROM labs JOIN {NAMES} ON t.code = test",
    f"SELECT t.code, kind FROM labs LEFT JOIN {NAMES} ON t.code = test",
    f"SELECT test FROM labs LEFT JOIN {NAMES} ON t.code = test WHERE t.code IS NULL",
    f"SELECT test FROM labs LEFT JOIN {NAMES} ON t.code = test WHERE t.code IS NOT NULL AND kind IS NULL",
    # NULL in every value that the query uses: the row was found.
    f"SELECT COALESCE(kind, '?') AS kind FROM labs JOIN {NAMES} ON t.code = test",
    f"SELECT test, word FROM labs LEFT JOIN {WEEKS} ON week = weeks",
    f"SELECT test, word FROM labs JOIN {WEEKS} ON week = weeks + 1 AND value > 100 AND word <> 'none'",
    f"SELECT test, week FROM labs JOIN {WEEKS} ON week = weeks",
    "SELECT test, word FROM labs JOIN (VALUES (1, 'one'), (2, 'two')) AS w(weeks, word) USING (weeks)",
    "SELECT weeks, word FROM labs LEFT JOIN (VALUES (1, 'one'), (2, 'two')) AS w(weeks, word) USING (weeks)",
    "SELECT word FROM labs JOIN (VALUES (TRUE, 'sober')) w(fasting, word) USING (fasting)",
    "SELECT word FROM labs JOIN (VALUES (DATE '2020-10-08', 'a day')) w(seen, word) USING (seen)",
    "SELECT word FROM labs JOIN (VALUES ('2020-10-08'::DATE, 2.5), (NULL, 1), ('2020-10-09', -3)) w(seen, word)"
    " USING (seen)",
    "SELECT col1 FROM labs JOIN (VALUES ('HDL', 1)) ON col0 = UPPER(test)",
    "SELECT r.col1 FROM labs JOIN (VALUES ('HDL', 1)) AS r ON r.col0 = UPPER(test)",
    "SELECT q FROM labs JOIN (VALUES ('hdl1', 'x'), ('chol2', 'y')) t(key, q) ON key = test || weeks",
    "WITH t(code, kind) AS (VALUES ('hdl', 'a')) SELECT kind FROM labs JOIN t ON code = test",
    "WITH t AS (SELECT * FROM (VALUES ('hdl', 'a')) AS s(code, kind)) SELECT u.kind FROM labs JOIN t u ON code = test",
    "SELECT kind FROM labs JOIN (SELECT * FROM (VALUES ('hdl', 'a')) AS s(code, kind)) AS r ON r.code = test",
    "WITH t(test, kind) AS (VALUES ('hdl', 'a')), l AS (SELECT id, kind, value FROM labs JOIN t USING (test)) "
    "SELECT kind, value FROM l WHERE value > 10",
    # On several keys.
    "SELECT kind FROM labs JOIN (VALUES ('hdl', 1, 'a'), ('hdl', 2, 'b'), ('chol', NULL, 'c')) t(test, weeks, kind)"
    " USING (test, weeks)",
    "SELECT kind, t.w FROM labs LEFT JOIN (VALUES ('hdl', 1, 'a'), ('hdl', 2, 'b'), ('chol', 1, NULL)) t(code, w, kind)"
    " ON t.w = weeks AND t.code = LOWER(test)",
    "SELECT kind FROM labs JOIN (VALUES (DATE '2020-10-08', TRUE, 2, 'a'), ('2020-10-09', FALSE, 3, 'b')) t(d, b, w,"
    " kind) ON d = seen AND b = fasting AND w = weeks + 1 AND kind = 'a'",
    f"SELECT code FROM labs JOIN {NAMES} ON kind = 'lipid' AND code = test AND code <> 'x'",
    # All columns.
    "SELECT kind, test, value FROM (SELECT * FROM labs JOIN (VALUES ('hdl', 'x')) t(test, kind) USING (test))",
    "SELECT code, test FROM (SELECT labs.id, labs.test, t.* FROM labs LEFT JOIN (VALUES ('hdl', 'x')) t(code, kind) "
    "ON code = test)",
    # Turned round.
    f"SELECT kind, value FROM {NAMES} JOIN labs ON t.code = test AND value > 1 JOIN patients USING (id)",
    "WITH t(test, kind) AS (VALUES ('hdl', 'a')) SELECT kind, test, value FROM t JOIN labs USING (test)",
    # As a list.
    f"SELECT test, value FROM labs WHERE test IN (SELECT code FROM {NAMES})",
    "SELECT test, value FROM labs WHERE UPPER(test) NOT IN (SELECT UPPER FROM (VALUES ('HDL')) x(upper)) OR value > 99",
    "WITH t AS (VALUES (1), (2), (2)) SELECT test, weeks FROM labs WHERE weeks IN (SELECT DISTINCT * FROM t)",
    "WITH t(a, b) AS (VALUES (1.5, 1), (2, 2)) SELECT weeks FROM labs WHERE weeks NOT IN (SELECT a FROM t)",
    # Beside joins on the unit, aggregates within it, ranks and conditions about it.
    f"SELECT kind, age, value FROM labs JOIN {NAMES} ON t.code = test JOIN patients USING (id)",
    f"SELECT kind, age FROM labs JOIN patients USING (id) LEFT JOIN {NAMES} ON t.code = test WHERE age > 50",
    f"SELECT m FROM (SELECT id, MAX(n) AS m FROM labs JOIN {NAMES} ON code = test GROUP BY id)",
    f"SELECT kind FROM (SELECT * FROM labs QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY days) = 1) "
    f"JOIN {NAMES} ON code = test",
    f"SELECT kind, value FROM labs l LEFT JOIN {NAMES} ON code = test WHERE n < 3 AND "
    "days = (SELECT MAX(days) FROM labs b WHERE b.id = l.id)",
    f"SELECT id_kind.kind, w.word FROM labs JOIN {NAMES.replace('AS t', 'AS id_kind')} ON code = test "
    f"JOIN {WEEKS} ON week = n",
]


@pytest.fixture(scope="module")
def rows(declaration: DatasetDeclaration) -> Sequence[dict[str, Any]]:
    drawn = random.Random(7)
    return [
        {
            "id": number % 30,
            "Test": drawn.choice(["hdl", "chol", "smoke", "other", None]),
            "value": drawn.choice([None, *(drawn.randrange(0, 1200) / 4 for _ in range(6))]),
            "days": number,
            "weeks": drawn.choice([None, 1, 2, 3]),
            "note": None,
            "seen": drawn.choice([None, 18543, 18544]),
            "at": None,
            "fasting": drawn.choice([None, True, False]),
        }
        for number in range(120)
    ]


PATIENTS = [{"id": unit, "age": 40.0 + unit} for unit in range(0, 30, 2)]


@pytest.fixture(scope="module")
def database(rows: Sequence[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE labs (id BIGINT, Test VARCHAR, value DOUBLE, days BIGINT, weeks BIGINT, note VARCHAR, "
        'seen DATE, "at" TIMESTAMP, fasting BOOLEAN); CREATE TABLE patients (id BIGINT, age DOUBLE)'
    )
    for table, own in (("labs", rows), ("patients", PATIENTS)):
        for row in own:
            marks = ", ".join("DATE '1970-01-01' + ?::INT" if name == "seen" else "?" for name in row)
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", list(row.values()))
    return connection


@pytest.mark.parametrize("sql", SAME_ROWS)
def test_the_rows_are_those_of_duckdb(
    declaration: DatasetDeclaration, rows: Sequence[dict[str, Any]], database: duckdb.DuckDBPyConnection, sql: str
) -> None:
    parsed = parse_select(sql)
    scope = read_source(parsed.source, parsed.select, declaration)
    terms = [compile_term(scope, item.unalias()) for item in parsed.select.expressions]
    found = rows_of(scope.relation, {"labs": _of_units(rows), "patients": _of_units(PATIENTS)})
    ours = [tuple(evaluate(term.expression, row) for term in terms) for own in found.of_units.values() for row in own]
    theirs = database.execute(sql).fetchall()
    assert theirs, "the case says nothing"
    assert sorted(map(repr, map(_rounded, ours))) == sorted(map(repr, map(_rounded, theirs)))
    assert max(len(own) for own in found.of_units.values()) <= scope.join_rows


def _of_units(rows: Sequence[dict[str, Any]]) -> Rows:
    of_units: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        of_units.setdefault(row["id"], []).append({name: value for name, value in row.items() if name != "id"})
    return Rows(tuple(name for name in rows[0] if name != "id"), of_units)


def _rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        round(float(item), 9) if isinstance(item, int | float) or type(item).__name__ == "Decimal" else item
        for item in row
    )


def values_of(plan: Plan) -> list[list[Any]]:
    return [[to_python(value) for value in key.values if value.WhichOneof("kind")] for key in plan.group_by]


GROUPS = [
    # What the declared tests can be called; 'rest' is nobody's.
    (f"kind FROM labs JOIN {NAMES} ON code = test", [["lipid"]]),
    # The key of a test that is not declared.
    (f"kind FROM labs JOIN {NAMES} ON code = note", [["lipid", "rest"]]),
    (f"n FROM labs LEFT JOIN {NAMES} ON code = note", [[1, 2, 3, 4]]),
    (f"word FROM labs JOIN {WEEKS} ON week = weeks", [["first", "second"]]),
    # A found row's key is one of the keys, unless values are declared.
    (f"weeks FROM labs JOIN {WEEKS} ON week = weeks", [[1, 2]]),
    (f"test FROM labs JOIN {NAMES} ON code = test", [["hdl", "chol", "smoke"]]),
    (f"t.code FROM labs JOIN {NAMES} ON code = test", [["hdl", "chol"]]),
    ("seen FROM labs JOIN (VALUES ('2024-01-31'), ('2024-02-01')) d(seen) USING (seen)", None),
]


@pytest.mark.parametrize(("rest", "expected"), GROUPS)
def test_groups_by_what_was_looked_up_need_no_declaration(
    planned: Planner, rest: str, expected: list[list[Any]] | None
) -> None:
    column = rest.split(maxsplit=1)[0]
    found = values_of(planned(f"SELECT {column}, COUNT(*) FROM {rest.partition(' FROM ')[2]} GROUP BY {column}"))
    if expected is not None:
        assert found == expected
    else:
        assert [[str(day) for day in key] for key in found] == [["2024-01-31", "2024-02-01"]]


def test_sums_of_what_was_looked_up_have_bounds(planned: Planner) -> None:
    plan = planned("SELECT AVG(price) FROM labs JOIN (VALUES ('hdl', 3), ('chol', 12.5)) t(test, price) USING (test)")
    summed = next(each.bounded_sum for each in plan.statistics if each.HasField("bounded_sum"))
    assert (summed.lower, summed.upper) == (3, 12.5)


def test_a_look_up_costs_nothing(planned: Planner) -> None:
    plain = planned("SELECT test, COUNT(*) FROM labs GROUP BY test")
    joined = planned(f"SELECT test, COUNT(*) FROM labs JOIN {NAMES} ON code = test GROUP BY test")
    assert joined.clipping == plain.clipping
    assert joined.statistics == plain.statistics
    assert not [each for each in operators_of(joined.relation) if each.HasField("unit_join")]


def test_a_table_is_in_the_plan_once_for_each_column_that_is_used(planned: Planner) -> None:
    plan = planned(
        f"SELECT n, COUNT(*) FILTER (WHERE n = 2 OR n IS NULL), AVG(value) FROM labs JOIN {NAMES} "
        "ON code = test WHERE n < 4 GROUP BY n HAVING COUNT(*) > 3"
    )
    assert entries(plan) == 4
    # Where no column says whether the key was found, the key does.
    assert entries(planned(f"SELECT kind, COUNT(*) FROM labs JOIN {NAMES} ON code = test GROUP BY kind")) == 8
    assert entries(planned(f"SELECT kind, COUNT(*) FROM labs LEFT JOIN {NAMES} ON code = test GROUP BY kind")) == 4
    assert entries(planned(f"SELECT COUNT(*) FROM labs JOIN {NAMES} ON code = test")) == 4
    assert entries(planned(f"SELECT COUNT(*) FROM labs LEFT JOIN {NAMES} ON code = test")) == 0


def entries(plan: Plan) -> int:
    """Entries in the plan; what is looked up stands in projections."""
    projections: list[Relation] = [each for each in operators_of(plan.relation) if each.HasField("projection")]
    columns = [column.expression for each in projections for column in each.projection.columns]
    assert str(plan).count("entries {") == sum(len(column.look_up.entries) for column in columns)
    return sum(len(column.look_up.entries) for column in columns)


def test_columns_that_the_query_does_not_name_are_not_read(planned: Planner) -> None:
    plan = planned(f"SELECT n, COUNT(*) FROM labs JOIN {NAMES} ON code = test WHERE value > 1 GROUP BY n")
    projection = next(each.projection for each in operators_of(plan.relation) if each.HasField("projection"))
    assert {column.name.lower() for column in projection.columns} == {"test", "value", "n"}


def test_looking_up_is_possible_where_units_are_at_several_providers(declaration: DatasetDeclaration) -> None:
    shared = DatasetDeclaration()
    shared.CopyFrom(declaration)
    shared.units_disjoint = False
    sql = f"SELECT kind, COUNT(*) FROM labs JOIN {NAMES} ON code = test GROUP BY kind"
    assert plan_query(sql, shared, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)


def test_a_key_that_nobody_declared_is_selected_among_rows_with_what_was_looked_up(
    declaration: DatasetDeclaration,
) -> None:
    sql = f"SELECT kind, note, COUNT(*) FROM labs JOIN {NAMES} ON code = test GROUP BY kind, note"
    question = plan_question(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7)
    (key,) = question.plan.key_selection.keys
    assert key.column.name == "note"
    assert question.outlook is not None
    assert values_of(question.outlook)[0] == ["lipid"]
    rows = pa.table({UNIT_COLUMN: [1, 2, 3], "Test": ["hdl", "smoke", None], "note": ["a", "b", "c"]})
    for engine in (DuckDBEngine(), ReferenceEngine()):
        assert engine.unit_keys(question.plan, lambda _, columns: rows.select(list(columns))).keys == [("a",)]


KEY = st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text("01:a中", max_size=4), st.dates())


def joined(row: Sequence[PythonValue]) -> str:
    """The string that several keys are looked up by, by the expression that the plan has for it."""
    operand = On({str(index): calls.constant(value) for index, value in enumerate(row)}).operand
    plain = evaluate(operand.expression, {})
    assert lookup_keys._joined([from_python(value) for value in row]) == Value(string_value=str(plain))
    return str(plain)


@given(st.lists(KEY, min_size=2, max_size=4), st.data())
def test_several_keys_are_one_string_that_no_others_are(row: list[PythonValue], data: st.DataObject) -> None:
    """Of the same types: text is cut elsewhere, so that what is put together is alike."""
    alike = {str: st.text("01:a中", max_size=4), bool: st.booleans(), int: st.integers(-20, 20)}
    other: list[Any] = [data.draw(st.just(value) | alike.get(type(value), st.dates())) for value in row]
    assert (joined(row) == joined(other)) == (row == other)


def test_notes_say_that_a_look_up_is_public(planned: Planner, declaration: DatasetDeclaration) -> None:
    plan = planned(f"SELECT kind, COUNT(*) FROM labs JOIN {NAMES} ON code = test GROUP BY kind")
    assert "kind is looked up by Test in 4 entries, which the plan and its receipt show." in clipping_notes(
        plan, declaration
    )


REFUSED = [
    # What stands at the place, the code, and what the message says.
    ("JOIN (VALUES ('a', 1), ('b', 2), ('a', 3)) t(k, v) ON k = note", "'a', 3", "repeated_key", "rows 1 and 3"),
    ("JOIN (VALUES ('a', 1), ('a', 1)) t(k, v) ON k = note", "'a', 1)) t", "repeated_key", "would count twice"),
    ("LEFT JOIN (VALUES (1, 'a'), (1.0, 'b')) t(k, v) ON k = weeks", "1.0", "repeated_key", "'1' is in rows 1 and 2"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON k = weeks", "'a', 1", "type_mismatch", "weeks (int64)"),
    ("JOIN (VALUES (1, 1)) t(k, v) ON k = note", "1, 1", "type_mismatch", "note (string)"),
    ("JOIN (VALUES (1.5, 1)) t(k, v) ON k = weeks", "1.5", "type_mismatch", "of type float64"),
    ("JOIN (VALUES ('2024-02-30', 1)) t(k, v) ON k = seen", "'2024-02-30'", "bad_literal", "not a date"),
    ("JOIN (VALUES (1.5, 1)) t(k, v) ON k = value", "k = value", "type_mismatch", "fractions"),
    ("JOIN (VALUES ('a', 1), ('b', 'x')) t(k, v) ON k = note WHERE v > 0", "'x'", "type_mismatch", "v of the look-up"),
    ("JOIN (VALUES ('a', NULL)) t(k, v) ON k = note WHERE v > 0", "'a', NULL", "lookup", "NULL in every row"),
    ("JOIN (VALUES (NULL, 1)) t(k, v) ON k = note", "1))", "lookup", "k of the look-up t is NULL"),
    ("JOIN (VALUES ('a', 1), ('b')) t(k, v) ON k = note", "'b'", "lookup", "a length of 1"),
    ("JOIN (VALUES ('a', 1)) t(k) ON k = note", "'a', 1", "lookup", "2 columns, and names for 1"),
    ("JOIN (VALUES ('a', 1)) t(k, K) ON k = note", "'a', 1", "repeated_column", "called K"),
    ("JOIN (VALUES ('a', days)) t(k, v) ON k = note", "days", "not_supported", "constants"),
    ("JOIN (VALUES ('a', 1 + 1)) t(k, v) ON k = note", "1 + 1", "not_supported", "constants"),
    (
        "JOIN (VALUES ('HDL', 1)) t(k, v) ON k = test",
        "k = test",
        "no_such_key",
        "No declared value of Test is a key of t",
    ),
    ("LEFT JOIN (VALUES ('HDL', 1)) t(test, v) USING (test)", "test)", "no_such_key", "is a key of t"),
    ("JOIN (VALUES ('x', 1)) t(k, v) ON v = weeks AND k = test", "k = test", "no_such_key", "is a key of t"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON TRUE", "'a', 1", "join_not_on_key", "columns of its own"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON k < note", "k < note", "join_not_on_key", "columns of its own"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON k = v", "k = v", "join_not_on_key", "columns of its own"),
    (", (VALUES ('a', 1)) t(k, v)", "'a', 1", "join_not_on_key", "columns of its own"),
    ("JOIN (VALUES ('a', 1)) t(k, v) USING (note)", "note)", "join_not_on_key", "columns of its own"),
    ("JOIN (VALUES ('a', 1), ('a', 1)) t(note, weeks) USING (note, weeks)", "'a', 1)) t", "repeated_key", "'a', '1'"),
    ("JOIN (VALUES ('a', 1)) t(note, days) USING (note, weeks)", "note, weeks)", "join_not_on_key", "of its own"),
    ("JOIN (VALUES ('a', '2024-01-31')) t(note, at) USING (note, at)", "note, at)", "type_mismatch", "beside others"),
    ("JOIN (VALUES (1, 'a')) t(note, weeks) USING (note, weeks)", "1, 'a'", "type_mismatch", "note (string)"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON k = 'a'", "k = 'a'", "join_not_on_key", "columns of its own"),
    ("LEFT JOIN (VALUES ('a', 1)) t(k, v) ON k = note AND v > 0", "v > 0", "not_supported", "equalities"),
    ("FULL JOIN (VALUES ('a', 1)) t(k, v) ON k = note", "'a', 1", "not_supported", "LEFT JOIN"),
    ("JOIN (VALUES ('a', 1)) t(note, v) ON note = test", "note = test", "ambiguous_column", "note"),
    ("JOIN (VALUES ('a', 1)) t(k, days) ON k = note WHERE days > 1", "days > 1", "ambiguous_column", "days"),
    ("JOIN (VALUES ('a', 1)) labs(k, v) ON k = note", "'a', 1", "ambiguous_table", "labs"),
    (
        "JOIN (VALUES ('a', 1)) t(code, v) ON t.cod = note",
        "t.cod = note",
        "unknown_column",
        "look-up t has no column cod",
    ),
    ("JOIN (VALUES ('a', 1)) t(code, v) ON cod = note", "cod = note", "unknown_column", "look-up t has no column cod"),
    ("JOIN (VALUES ('a', 1)) t(code, v) USING (cod)", "cod)", "unknown_column", "look-up t has no column cod"),
    (
        "JOIN (VALUES ('a', 1)) t(k, v) ON k = note WHERE w > 1",
        "w > 1",
        "unknown_column",
        "labs or the look-up t has no",
    ),
    ("JOIN (VALUES (7, 1)) t(k, v) ON k = id", "id", "privacy_unit", "privacy unit"),
    ("JOIN (VALUES (7, 1)) t(id, v) USING (id)", "id)", "privacy_unit", "privacy unit"),
    ("JOIN (VALUES ('a', 1)) t(k, v) ON k = note WHERE w > 1", "w > 1", "unknown_column", "w"),
]


@pytest.mark.parametrize(
    ("rest", "hint"),
    [
        ("JOIN (VALUES ('a', 1)) t(code, v) ON t.cod = note", "Did you mean code?"),
        ("JOIN (VALUES ('a', 1)) t(code, v) ON t.x = note", "The columns are code, v."),
        ("JOIN region USING (note)", "--lookup region=FILE"),
        ("WHERE note IN (SELECT note FROM region)", "--lookup region=FILE"),
        ("JOIN patient USING (note)", "Did you mean patients?"),
        ("WHERE note IN (SELECT k FROM (VALUES ('a', 1)) t(k, v) WHERE v > 0)", "Leave rows out where t is written"),
        (
            "JOIN (VALUES ('1', 'a')) t(weeks, v) USING (weeks)",
            "in a file, in every row of weeks; or join on CAST(weeks",
        ),
    ],
)
def test_the_hint_is_about_the_look_up(planned: Planner, rest: str, hint: str) -> None:
    assert hint in str(refusal(planned, f"SELECT COUNT(*) FROM labs {rest}").hint)


def test_what_the_hint_about_texts_says_can_be_asked(planned: Planner) -> None:
    assert planned("SELECT COUNT(*) FROM labs JOIN (VALUES ('1', 'a')) t(k, v) ON k = CAST(weeks AS VARCHAR)")


@pytest.mark.parametrize(("join", "there", "code", "said"), REFUSED)
def test_what_is_no_look_up_is_refused_with_its_place(
    planned: Planner, join: str, there: str, code: str, said: str
) -> None:
    sql = f"SELECT COUNT(*) FROM labs {join}"
    problem = refusal(planned, sql)
    assert (problem.code, said in problem.message) == (code, True), problem.message
    assert problem.hint
    line, _, column = str(problem.position).partition(":")
    assert (line, sql[int(column) - 1 :].startswith(there)) == ("1", True), sql[int(column) - 1 :]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT COUNT(*) FROM (VALUES ('a')) t(k)",
        "WITH t(k) AS (VALUES ('a')) SELECT COUNT(*) FROM t",
        "WITH t(k) AS (VALUES ('a')) SELECT COUNT(*) FROM t LEFT JOIN labs ON k = note",
        "WITH t(k) AS (VALUES ('a')) SELECT COUNT(*) FROM t JOIN t AS s ON t.k = s.k",
        "SELECT COUNT(*) FROM labs WHERE EXISTS (SELECT 1 FROM (VALUES (1)) t(k) WHERE t.k = labs.weeks)",
    ],
)
def test_a_look_up_stands_beside_rows_and_not_for_them(planned: Planner, sql: str) -> None:
    problem = refusal(planned, sql)
    assert (problem.code, problem.hint) == (
        "not_supported",
        "Write FROM and a table of the dataset, then JOIN the look-up.",
    )


LISTS = [
    ("id IN (SELECT k FROM t)", "privacy_unit", "privacy unit"),
    ("note IN (SELECT k FROM t)", "type_mismatch", "note (string)"),
    ("weeks IN (SELECT gone FROM t)", "unknown_column", "has no column gone"),
    ("weeks IN (SELECT k + 1 FROM t)", "unknown_column", "has no column k + 1"),
    ("weeks IN (SELECT some FROM t)", "not_supported", "has NULL in it"),
    ("weeks IN (FROM t)", "unknown_column", "has no column *"),
    ("weeks IN (SELECT k FROM t WHERE k > 1)", "not_supported", "so no WHERE"),
    ("COUNT(*) IN (SELECT k FROM t)", "not_supported", "cannot be asked"),
]


@pytest.mark.parametrize(("condition", "code", "said"), LISTS)
def test_what_is_no_list_of_values_is_refused(planned: Planner, condition: str, code: str, said: str) -> None:
    problem = refusal(
        planned, f"WITH t(k, some) AS (VALUES (1, 1), (2, NULL)) SELECT COUNT(*) FROM labs WHERE {condition}"
    )
    assert (problem.code, said in problem.message) == (code, True), problem.message
    assert problem.position
    assert problem.hint


def test_a_list_of_many_values_is_joined_instead(declaration: DatasetDeclaration) -> None:
    column = {"k": COLUMN_TYPE_INT64}
    sql = "SELECT COUNT(*) FROM labs WHERE weeks IN (SELECT k FROM t)"
    most = table("t", column, *([number] for number in range(MAX_LISTED)))
    assert asked(declaration, sql, most)
    with pytest.raises(Problem) as caught:
        asked(declaration, sql, table("t", column, *([number] for number in range(MAX_LISTED + 1))))
    assert (caught.value.code, caught.value.hint) == ("too_complex", "JOIN the look-up.")


def test_keys_have_a_largest_number_and_a_largest_length(declaration: DatasetDeclaration) -> None:
    names = [f"k{number}" for number in range(MAX_KEYS + 1)]
    many = table("many", dict.fromkeys(names, COLUMN_TYPE_INT64), list(range(len(names))))
    ties = [f"{name} = weeks + {number}" for number, name in enumerate(names)]
    sql = "SELECT COUNT(*) FROM labs JOIN many ON "
    assert asked(declaration, sql + " AND ".join(ties[:MAX_KEYS]), many)
    with pytest.raises(Problem) as caught:
        asked(declaration, sql + " AND ".join(ties), many)
    assert (caught.value.code, caught.value.position) == ("too_complex", "1:40")
    # Beside both stand a length of three digits and a colon.
    for length, fits in ((498, True), (499, False)):
        pairs = table("many", {"a": COLUMN_TYPE_STRING, "b": COLUMN_TYPE_STRING}, ["x" * length, "y" * length])
        if fits:
            assert asked(declaration, f"{sql} a = note AND b = UPPER(note)", pairs)
        else:
            with pytest.raises(Problem, match="too long together"):
                asked(declaration, f"{sql} a = note AND b = UPPER(note)", pairs)


def test_a_column_near_what_was_meant_is_found_beside_a_look_up(planned: Planner) -> None:
    problem = refusal(planned, f"SELECT AVG(valeu) FROM labs JOIN {NAMES} ON code = test")
    assert problem.hint == "Did you mean value?"
    problem = refusal(planned, f"SELECT AVG(knd) FROM labs JOIN {NAMES} ON code = test")
    assert problem.hint == "Did you mean kind?"


COLUMN = LookUpTable.Column


def table(name: str, columns: dict[str, Any], *rows: Sequence[Any]) -> LookUpTable:
    return LookUpTable(
        name=name,
        columns=[COLUMN(name=column, type=kind) for column, kind in columns.items()],
        rows=[LookUpTable.Row(values=[Value() if each is None else from_python(each) for each in row]) for row in rows],
    )


KINDS = table("kinds", {"code": COLUMN_TYPE_STRING, "kind": COLUMN_TYPE_STRING}, ["hdl", "lipid"], ["smoke", None])


def asked(declaration: DatasetDeclaration, sql: str, *tables: LookUpTable) -> Plan:
    return plan_query(sql, declaration, dataset_version=VERSION, parties=3, epsilon=1, delta=1e-7, lookups=tables)


def test_a_table_that_is_sent_means_what_values_mean(declaration: DatasetDeclaration) -> None:
    written = "(VALUES ('hdl', 'lipid'), ('smoke', NULL)) AS kinds(code, kind)"
    for join in ("JOIN {} ON kinds.code = test", "LEFT JOIN {} ON code = test"):
        sql = f"SELECT kind, COUNT(*) FROM labs {join} GROUP BY kind"
        assert asked(declaration, sql.format("Kinds"), KINDS) == asked(declaration, sql.format(written))


def test_a_sent_text_may_be_a_day_as_a_written_one(declaration: DatasetDeclaration) -> None:
    days = table("days", {"day": COLUMN_TYPE_STRING, "n": COLUMN_TYPE_FLOAT64}, ["2024-01-31", 1.0], [None, 2.0])
    plan = asked(declaration, "SELECT n, COUNT(*) FROM labs JOIN days ON day = seen GROUP BY n", days)
    assert values_of(plan) == [[1.0]]


def test_a_name_of_with_comes_before_a_table_that_is_sent(declaration: DatasetDeclaration) -> None:
    sql = "WITH kinds(code, kind) AS (VALUES ('hdl', 'x')) SELECT kind, COUNT(*) FROM labs JOIN kinds ON code = test"
    assert values_of(asked(declaration, f"{sql} GROUP BY kind", KINDS)) == [["x"]]


def test_positions_are_those_of_the_text_whatever_is_sent(declaration: DatasetDeclaration) -> None:
    twice = table("twice", {"code": COLUMN_TYPE_STRING}, ["hdl"], ["hdl"])
    with pytest.raises(Problem) as caught:
        asked(declaration, "SELECT COUNT(*)\nFROM labs JOIN twice ON code = test", twice)
    assert (caught.value.code, caught.value.position) == ("repeated_key", "2:16")
    assert "rows 1 and 2 of the look-up twice" in caught.value.message


def test_rows_that_repeat_a_key_are_told_to_the_sender_by_the_name_it_sent_them_under(
    declaration: DatasetDeclaration,
) -> None:
    twice = table("twice", {"code": COLUMN_TYPE_STRING}, ["hdl"], ["ldl"], ["hdl"])
    with pytest.raises(Problem) as caught:
        asked(declaration, "SELECT COUNT(*) FROM labs JOIN Twice AS t ON t.code = test", twice)
    assert caught.value.details == {"look_up": "twice", "rows": "1,3"}
    with pytest.raises(Problem) as caught:
        asked(declaration, "SELECT COUNT(*) FROM labs JOIN (VALUES ('a'), ('a')) twice(code) ON code = test", twice)
    assert (caught.value.code, caught.value.details) == ("repeated_key", {})


STRINGS = {"a": COLUMN_TYPE_STRING}
SENT: list[tuple[str, list[LookUpTable]]] = [
    ("another table called labs", [table("labs", STRINGS, ["x"])]),
    ("another table called KINDS", [KINDS, table("KINDS", STRINGS, ["x"])]),
    ("is called ''", [table("", STRINGS, ["x"])]),
    ("is called", [table("x" * 64, STRINGS, ["x"])]),
    ("Two columns of the look-up t are called A", [table("t", {"a": COLUMN_TYPE_STRING, "A": COLUMN_TYPE_STRING})]),
    ("has 0 columns", [LookUpTable(name="t", rows=[LookUpTable.Row()])]),
    ("and 0 rows", [table("t", STRINGS)]),
    ("Row 2 of the look-up t has 2 values", [table("t", STRINGS, ["x"], ["y", "z"])]),
    ("row 1 of t.a is int64, not string", [table("t", STRINGS, [1])]),
    ("row 1 of t.a is no finite value", [table("t", {"a": COLUMN_TYPE_FLOAT64}, [float("inf")])]),
    ("row 2 of t.a is no finite value", [table("t", STRINGS, [None], ["影" * 334])]),
    ("10,001 rows; 10,000 are allowed", [table("t", {"a": COLUMN_TYPE_INT64}, *([n] for n in range(10_001)))]),
    ("1,048,576 are allowed", [table("t", STRINGS, *(["x" * 1000] for _ in range(1_100)))]),
    ("33 look-ups; 32 are allowed", [table(f"t{n}", STRINGS, ["x"]) for n in range(33)]),
]


@pytest.mark.parametrize(("said", "tables"), SENT, ids=[said for said, _ in SENT])
def test_a_table_that_is_sent_wrong_is_refused(
    declaration: DatasetDeclaration, said: str, tables: list[LookUpTable]
) -> None:
    if said.startswith("Two columns"):
        tables[0].rows.add(values=[from_python("x"), from_python("y")])
    with pytest.raises(Problem) as caught:
        asked(declaration, "SELECT COUNT(*) FROM labs", *tables)
    assert said in caught.value.message
    assert (caught.value.code, caught.value.field) == ("lookup", "lookups")
    assert caught.value.hint


def test_more_entries_than_a_plan_holds_are_refused_before_anything_is_spent(declaration: DatasetDeclaration) -> None:
    columns = dict.fromkeys(("a", "b", "c"), COLUMN_TYPE_INT64)
    large = table("large", columns, *([number] * 3 for number in range(6_000)))
    sql = "SELECT {} FROM labs JOIN large ON a = weeks"
    assert entries(asked(declaration, sql.format("SUM(b)"), large)) == 6_000
    with pytest.raises(Problem) as caught:
        asked(declaration, sql.format("SUM(b), SUM(c)"), large)
    assert (caught.value.code, caught.value.position) == ("too_complex", "1:38")
    assert "12,000 entries; a plan holds 10,000" in caught.value.message
    with pytest.raises(Problem) as caught:
        asked(declaration, f"{sql.format('COUNT(*)')} JOIN large b ON b.a = labs.days", large)
    assert caught.value.code == "too_complex"
