"""FROM, JOIN, WITH, WHERE and subqueries leave the rows that DuckDB says, unit by unit, or are refused."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import duckdb
import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import UnitJoin

from enclave_sim.engine.reference_expressions import evaluate
from enclave_sim.engine.reference_relations import Rows, rows_of
from enclave_sim.plan.relations import columns_of, max_rows_bound
from enclave_sim.plan.schema import is_unit
from gateway.planning.expressions import compile_term
from gateway.planning.scope import Scope
from gateway.planning.sources import read_source
from gateway.planning.sql import parse_select

UNITS = 25


def scope_of(declaration: DatasetDeclaration, sql: str) -> Scope:
    """The rows that a SELECT aggregates."""
    parsed = parse_select(sql)
    scope = read_source(parsed.source, parsed.select, declaration)
    types = columns_of(scope.relation, declaration)
    assert {name: types[name] for name in scope.columns()} == scope.columns()
    assert max_rows_bound(scope.relation) < 2**24
    return scope


def _table(declaration: DatasetDeclaration, name: str) -> list[dict[str, Any]]:
    """Made-up rows; `days` is unique within a unit, so that every order is total. Not every unit has any."""
    drawn = random.Random(name)
    rows: list[dict[str, Any]] = []
    for unit in range(UNITS):
        days = drawn.sample(range(-50, 50), 10)
        for number in range(drawn.choice([0, 1, 1] if name == "patients" else [0, 1, 3, 6])):
            row = {
                "id": unit,
                "Test": drawn.choice(["hdl", "chol", "smoke", "other", None]),
                "value": drawn.choice([None, *(drawn.randrange(0, 1200) / 4 for _ in range(6))]),
                "days": days[number],
                "weeks": drawn.choice([None, 1, 2, 3]),
                "note": drawn.choice([None, "", "a", "B"]),
                "seen": drawn.choice([None, *range(18000, 19000, 100)]),
                "at": None,
                "fasting": drawn.choice([None, True, False]),
                "age": float(drawn.randrange(18, 100)),
            }
            table = next(table for table in declaration.tables if table.name == name)
            rows.append({column.name: row[column.name] for column in table.columns})
    return rows


@pytest.fixture(scope="module")
def tables(declaration: DatasetDeclaration) -> Mapping[str, Rows]:
    """The rows for the reference engine."""
    result: dict[str, Rows] = {}
    for table in declaration.tables:
        columns = tuple(column.name for column in table.columns if not is_unit(column))
        of_units: dict[int, list[dict[str, Any]]] = {}
        for row in _table(declaration, table.name):
            of_units.setdefault(row["id"], []).append({name: row[name] for name in columns})
        result[table.name] = Rows(columns, of_units)
    return result


@pytest.fixture(scope="module")
def database(declaration: DatasetDeclaration) -> duckdb.DuckDBPyConnection:
    """The same rows for DuckDB."""
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE labs (id BIGINT, Test VARCHAR, value DOUBLE, days BIGINT, weeks BIGINT, note VARCHAR, seen DATE,"
        ' "at" TIMESTAMP, fasting BOOLEAN)'
    )
    connection.execute("CREATE TABLE patients (id BIGINT, age DOUBLE)")
    for table in declaration.tables:
        for row in _table(declaration, table.name):
            marks = ", ".join("DATE '1970-01-01' + ?::INT" if name == "seen" else "?" for name in row)
            connection.execute(f"INSERT INTO {table.name} VALUES ({marks})", list(row.values()))
    return connection


PER_UNIT = "SELECT id, AVG(value) AS m, COUNT(*) AS n FROM labs GROUP BY id"
LAST = "SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY days DESC) AS rn FROM labs"

SAME_ROWS = [
    "SELECT id, value, days FROM labs WHERE value > 100 AND test <> 'hdl'",
    "SELECT l.id, l.value FROM labs AS l WHERE l.weeks IS NULL OR fasting",
    # Joins.
    "SELECT id, value, age FROM labs JOIN patients USING (id)",
    "SELECT l.id, value, age FROM labs l JOIN patients p ON l.id = p.id AND p.age > value / 4",
    "SELECT l.id, value, age FROM labs l LEFT JOIN patients p ON p.id = l.id AND age > 50",
    "SELECT l.id, value FROM labs l LEFT JOIN patients p ON p.id = l.id WHERE p.id IS NULL",
    "SELECT p.id, age, COALESCE(value, -1) FROM patients p LEFT JOIN labs l USING (id) "
    "WHERE l.id IS NOT NULL OR age > 50",
    "SELECT a.id, a.value, b.value FROM labs a JOIN labs b ON a.id = b.id AND a.test = b.test AND a.days < b.days",
    "SELECT a.id, test, a.days - b.days FROM labs a JOIN labs b USING (id, test)",
    "SELECT l.id, m, value FROM labs l JOIN (" + PER_UNIT + ") t ON t.id = l.id WHERE value > m",
    "SELECT a.id, b.value FROM labs a JOIN patients USING (id) JOIN labs b ON b.id = a.id WHERE a.days < b.days",
    # One row for each unit.
    "SELECT id, m, n FROM (" + PER_UNIT + ") WHERE m > 60",
    "SELECT id, s, r, k, f, c FROM "
    "(SELECT id, SUM(value) s, MAX(value) - MIN(value) r, COUNT(*) FILTER (WHERE days > 9)"
    " k, BOOL_OR(fasting) f, COUNT(DISTINCT test) c FROM labs GROUP BY 1)",
    "SELECT id, test, n FROM (SELECT id, test, COUNT(value) n FROM labs GROUP BY ALL HAVING n > 1 OR MAX(days) > 0)",
    "SELECT id, y, n FROM (SELECT id, YEAR(seen) + 1 AS y, COUNT(*) n FROM labs GROUP BY id, YEAR(seen))",
    "SELECT id, h, n FROM (SELECT id, days > 0 AS h, COUNT_IF(fasting IS TRUE) n FROM labs GROUP BY id, h)",
    "SELECT id, t FROM (SELECT DISTINCT id, UPPER(test) AS t FROM labs WHERE days > 0)",
    "SELECT id, m FROM (SELECT id, MAX(n) m FROM (SELECT id, test, COUNT(*) n FROM labs GROUP BY id, test)"
    " GROUP BY id)",
    "SELECT id, v, d FROM (SELECT id, ARG_MAX(value, days) v, MAX(days) d FROM labs GROUP BY id)",
    "SELECT id, test, v, w FROM (SELECT id, test, MIN_BY(value, days) v, FIRST(note ORDER BY days) w FROM labs"
    " GROUP BY id, test)",
    # Ranks.
    "SELECT id, value FROM (" + LAST + ") WHERE rn = 1 AND value > 60",
    "SELECT id, value, rn FROM (" + LAST + " QUALIFY rn <= 3)",
    "WITH last AS (SELECT * FROM labs QUALIFY ROW_NUMBER() OVER (PARTITION BY id, test ORDER BY days) <= 2), "
    "means AS (SELECT id, AVG(value) a FROM last GROUP BY id) SELECT id, a FROM means WHERE a IS NOT NULL",
    "SELECT id, test, n FROM (SELECT id, test, COUNT(*) n FROM labs GROUP BY id, test "
    "QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY COUNT(*) DESC, test) = 1)",
    # Subqueries in conditions.
    "SELECT id, value FROM labs WHERE id IN (SELECT id FROM patients WHERE age > 50) AND value > 9",
    "SELECT id, value FROM labs WHERE id NOT IN (SELECT id FROM patients WHERE age > 50)",
    "SELECT id, age FROM patients WHERE id IN (SELECT id FROM labs GROUP BY id HAVING AVG(value) > 150) OR age > 70",
    "SELECT id, value FROM labs l WHERE EXISTS (SELECT 1 FROM patients p WHERE p.id = l.id AND p.age > 50)",
    "SELECT id, age FROM patients p WHERE NOT EXISTS (FROM labs WHERE labs.id = p.id AND value > 200) AND age < 90",
    "SELECT id, value FROM labs l WHERE days = (SELECT MAX(days) FROM labs b WHERE b.id = l.id)",
    "SELECT id, age FROM patients p WHERE (SELECT COUNT(*) FROM labs b WHERE b.id = p.id AND fasting) < 1",
    # Names.
    "WITH a AS (SELECT id, value * 2 AS value FROM labs), b AS (SELECT id, value + 1 AS v FROM a) SELECT id, v FROM b",
    "SELECT id, value, value_2 FROM (SELECT id, value + 1 AS value, value AS value_2 FROM labs)",
    "SELECT t.id, t.age, t.x FROM (SELECT p.*, 1 AS x FROM patients p) t JOIN patients USING (id)",
]


@pytest.mark.parametrize("sql", SAME_ROWS)
def test_the_rows_are_those_of_duckdb(
    declaration: DatasetDeclaration, tables: Mapping[str, Rows], database: duckdb.DuckDBPyConnection, sql: str
) -> None:
    parsed = parse_select(sql)
    scope = scope_of(declaration, sql)
    terms = [compile_term(_scope(parsed, declaration), node) for node in parsed.select.expressions[1:]]
    rows = rows_of(_scope(parsed, declaration).relation, tables)
    ours = [
        (unit, *(evaluate(term.expression, row) for term in terms))
        for unit, own in rows.of_units.items()
        for row in own
    ]
    theirs = [tuple(row) for row in database.execute(sql).fetchall()]
    assert theirs, "the case says nothing"
    assert sorted(map(repr, map(_rounded, ours))) == sorted(map(repr, map(_rounded, theirs)))
    most = max(len(own) for own in rows.of_units.values())
    assert most <= scope.join_rows


def _scope(parsed: Any, declaration: DatasetDeclaration) -> Scope:
    return read_source(parsed.source, parsed.select, declaration)


def _rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(round(float(item), 9) if isinstance(item, int | float) else item for item in row)


MAX_ROWS = [
    ("FROM labs", 60),
    ("FROM patients", 1),
    ("FROM labs JOIN patients USING (id)", 60),
    ("FROM labs a JOIN labs b USING (id)", 3600),
    ("FROM (SELECT id, AVG(value) m FROM labs GROUP BY id)", 1),
    # Three declared values, and NULL.
    ("FROM (SELECT id, test, AVG(value) m FROM labs GROUP BY id, test)", 4),
    ("FROM (SELECT id, note, AVG(value) m FROM labs GROUP BY id, note)", 60),
    (f"FROM ({LAST}) WHERE rn <= 3", 3),
    (f"FROM ({LAST} QUALIFY rn BETWEEN 2 AND 3)", 2),
    (f"FROM ({LAST}) t JOIN labs USING (id) WHERE rn <= 3", 3600),
    (f"FROM (SELECT * FROM ({LAST}) WHERE rn <= 3) t JOIN labs USING (id)", 180),
    ("FROM labs WHERE id IN (SELECT id FROM labs)", 60),
]


@pytest.mark.parametrize(("rest", "expected"), MAX_ROWS)
def test_how_many_rows_a_unit_may_have_follows_from_the_declaration_and_the_query(
    declaration: DatasetDeclaration, rest: str, expected: int
) -> None:
    assert scope_of(declaration, f"SELECT COUNT(*) {rest}").max_rows == expected


def test_a_join_keeps_the_declared_rows_and_at_most_1023(declaration: DatasetDeclaration) -> None:
    changed = DatasetDeclaration()
    changed.CopyFrom(declaration)
    changed.tables[0].max_rows_per_unit = 2**20
    join = scope_of(changed, "SELECT COUNT(*) FROM labs LEFT JOIN patients USING (id)").relation.unit_join
    assert (join.kind, join.max_left_rows, join.max_right_rows) == (UnitJoin.KIND_LEFT, 1023, 1)


DOMAINS = [
    ("AVG(value)", (0, 300)),
    ("SUM(value)", (0, 18000)),
    ("SUM(days)", (-480000, 480000)),
    ("MIN(days)", (-8000, 8000)),
    ("COUNT(*)", (1, 60)),
    ("COUNT(value)", (0, 60)),
    ("COUNT(*) FILTER (WHERE fasting)", (0, 60)),
    ("MAX(value) - MIN(value)", (-300, 300)),
    ("ARG_MAX(value, days)", (0, 300)),
]


@pytest.mark.parametrize(("aggregate", "expected"), DOMAINS)
def test_aggregates_within_a_unit_have_bounds(
    declaration: DatasetDeclaration, aggregate: str, expected: tuple[float, float]
) -> None:
    scope = scope_of(declaration, f"SELECT COUNT(*) FROM (SELECT id, {aggregate} AS x FROM labs GROUP BY id)")
    assert scope.attributes[0].domain.bounds() == expected


def test_one_unit_row_keeps_declared_keys(declaration: DatasetDeclaration) -> None:
    scope = scope_of(declaration, "SELECT COUNT(*) FROM (SELECT id, MAX(test) AS t FROM labs GROUP BY id)")
    assert scope.keys() == ["t"]
    assert scope.attributes[0].domain.values == ("hdl", "chol", "smoke")


def test_columns_of_a_join_are_found_by_table(declaration: DatasetDeclaration) -> None:
    parsed = parse_select("SELECT a.value, b.value FROM labs a JOIN labs b USING (id)")
    scope = _scope(parsed, declaration)
    left, right = (scope.attribute(column) for column in parsed.select.expressions)
    assert (left.name, right.name) == ("value", "b_value")
    assert left.label == right.label == "value"


def test_only_columns_that_the_query_names_are_renamed(declaration: DatasetDeclaration) -> None:
    right = scope_of(declaration, "SELECT b.value FROM labs a JOIN labs b USING (id)").relation.unit_join.right
    assert [column.name for column in right.projection.columns] == ["b_value"]


REFUSED = [
    # Names.
    ("FROM lab", "unknown_table"),
    ("FROM other.labs", "unknown_table"),
    ("FROM labs WHERE valu > 3", "unknown_column"),
    ("FROM labs l WHERE x.value > 3", "unknown_table"),
    ("FROM labs a JOIN labs b USING (id) WHERE value > 3", "ambiguous_column"),
    ("FROM labs JOIN labs USING (id)", "ambiguous_table"),
    ("FROM (SELECT id, days, value AS days FROM labs)", "repeated_column"),
    ("FROM (SELECT id, value FROM labs) t WHERE days > 3", "unknown_column"),
    # The privacy unit.
    ("FROM labs WHERE id = 3", "privacy_unit"),
    ("FROM labs WHERE id IN (1, 2)", "privacy_unit"),
    ("FROM (SELECT id AS who FROM labs) t WHERE who > 3", "privacy_unit"),
    ("FROM (SELECT id + 1 AS x FROM labs)", "privacy_unit"),
    ("FROM (SELECT MAX(id) AS x FROM labs GROUP BY id)", "privacy_unit"),
    ("FROM labs l LEFT JOIN patients p ON l.id = p.id WHERE p.id > 3", "privacy_unit"),
    # Joins.
    ("FROM labs, patients", "join_not_on_unit"),
    ("FROM labs, patients WHERE labs.id = patients.id", "join_not_on_unit"),
    ("FROM labs CROSS JOIN patients", "not_supported"),
    ("FROM labs NATURAL JOIN patients", "not_supported"),
    ("FROM labs RIGHT JOIN patients USING (id)", "not_supported"),
    ("FROM labs FULL JOIN patients USING (id)", "not_supported"),
    ("FROM labs a JOIN labs b USING (days)", "join_not_on_unit"),
    ("FROM labs JOIN patients ON value = age", "join_not_on_unit"),
    ("FROM labs JOIN patients ON labs.id = age", "join_not_on_unit"),
    ("FROM labs a JOIN patients b ON a.id = b.id OR age > 3", "join_not_on_unit"),
    ("FROM labs a JOIN patients b ON a.id <> b.id", "join_not_on_unit"),
    ("FROM labs a JOIN patients b ON a.id = a.id", "join_not_on_unit"),
    ("FROM labs a LEFT JOIN patients b USING (id) JOIN patients c ON c.id = b.id", "join_not_on_unit"),
    ("FROM labs JOIN (SELECT AVG(value) m FROM labs GROUP BY id) t USING (id)", "unit_missing"),
    # Over several units.
    ("FROM (SELECT COUNT(*) n FROM labs)", "across_units"),
    ("FROM (SELECT test, COUNT(*) n FROM labs GROUP BY test)", "across_units"),
    ("FROM (SELECT DISTINCT test FROM labs)", "across_units"),
    ("FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY days) r FROM labs)", "across_units"),
    ("FROM labs WHERE value > (SELECT AVG(value) FROM labs)", "across_units"),
    ("FROM labs WHERE test IN (SELECT test FROM labs)", "across_units"),
    ("FROM labs WHERE id IN (SELECT days FROM labs)", "across_units"),
    ("FROM labs WHERE EXISTS (SELECT 1 FROM patients WHERE age > 3)", "across_units"),
    ("FROM labs l WHERE EXISTS (SELECT 1 FROM patients p WHERE p.id <> l.id)", "across_units"),
    ("FROM labs l WHERE EXISTS (SELECT 1 FROM patients p WHERE p.id = p.id)", "across_units"),
    ("FROM labs l WHERE EXISTS (SELECT 1 FROM patients p WHERE p.id = l.id OR age > 3)", "across_units"),
    ("FROM labs l WHERE days = (SELECT MAX(days) FROM labs b WHERE b.days < l.days)", "across_units"),
    # Other parts of SQL.
    ("FROM (SELECT id, value FROM labs LIMIT 3)", "not_supported"),
    ("FROM (SELECT id, value FROM labs ORDER BY value)", "not_supported"),
    ("FROM (SELECT DISTINCT ON (id) id, value FROM labs)", "not_supported"),
    ("FROM (SELECT id, value FROM labs UNION ALL SELECT id, age FROM patients)", "not_supported"),
    ("FROM (SELECT id, RANK() OVER (PARTITION BY id ORDER BY days) r FROM labs)", "not_supported"),
    ("FROM (SELECT id, SUM(value) OVER (PARTITION BY id) s FROM labs)", "not_supported"),
    ("FROM (SELECT id, MEDIAN(value) m FROM labs GROUP BY id)", "not_supported"),
    ("FROM (SELECT id, SUM(DISTINCT value) m FROM labs GROUP BY id)", "not_supported"),
    ("FROM (SELECT id, ANY_VALUE(value) m FROM labs GROUP BY id)", "not_supported"),
    ("FROM (SELECT id, test, COUNT(*) n FROM labs GROUP BY id, ROLLUP (test))", "not_supported"),
    ("FROM (SELECT id, value, COUNT(*) n FROM labs GROUP BY id)", "not_grouped"),
    ("FROM (SELECT id, SUM(note) n FROM labs GROUP BY id)", "not_numeric"),
    ("FROM (SELECT id, COUNT(*) n FROM labs GROUP BY 1, 7)", "bad_position"),
    ("FROM labs TABLESAMPLE 10%", "not_supported"),
    ("FROM (VALUES (1), (2)) t", "not_supported"),
    ("FROM read_csv('/etc/passwd')", "not_supported"),
    ("FROM 'people.parquet'", "unknown_table"),
    ("FROM labs WHERE COUNT(*) > 3", "not_supported"),
    ("FROM labs WHERE (SELECT value FROM labs b WHERE b.id = labs.id) > 3", "not_supported"),
]


@pytest.mark.parametrize(("rest", "code"), REFUSED)
def test_what_would_need_other_units_or_is_not_there_is_refused(
    declaration: DatasetDeclaration, rest: str, code: str
) -> None:
    with pytest.raises(Problem) as caught:
        scope_of(declaration, f"SELECT COUNT(*) {rest}")
    problem = caught.value
    assert problem.code == code, problem
    assert problem.position is not None
    assert problem.hint
    assert problem.message.endswith(".")


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT id, 1 x FROM labs), "
        + ", ".join(
            f"{new} AS (SELECT s.id, s.x FROM {old} s JOIN {old} t USING (id))"
            for old, new in zip("abcdef", "bcdefg", strict=True)
        )
        + " SELECT COUNT(*) FROM g",
        "SELECT COUNT(*) FROM " + "(SELECT * FROM " * 40 + "labs" + ")" * 40,
        "SELECT COUNT(*) FROM labs a0 " + " ".join(f"JOIN labs a{n} USING (id)" for n in range(1, 70)),
    ],
)
def test_more_than_a_plan_holds_is_too_complex(declaration: DatasetDeclaration, sql: str) -> None:
    with pytest.raises(Problem) as caught:
        scope_of(declaration, sql)
    assert caught.value.code == "too_complex"


def test_a_name_of_with_is_not_known_before_it_is_given(declaration: DatasetDeclaration) -> None:
    with pytest.raises(Problem) as caught:
        scope_of(declaration, "WITH a AS (SELECT id FROM b), b AS (SELECT id FROM labs) SELECT COUNT(*) FROM a")
    assert caught.value.code == "unknown_table"
