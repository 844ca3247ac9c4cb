"""Each expression of SQL means what DuckDB says it does, and what cannot be asked is refused with its place."""

from __future__ import annotations

import datetime
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Call, Comparison, Expression

from enclave_sim.plan import values
from enclave_sim.plan.expressions import result_type
from gateway.planning.expressions import compile_term
from gateway.planning.folding import apply
from gateway.planning.scope import Term
from gateway.planning.sources import read_source
from gateway.planning.sql import parse_select

Row = Mapping[str, Any]

_COMPARED: Mapping[int, Callable[[Any, Any], bool]] = {
    Comparison.OPERATOR_EQUAL: operator.eq,
    Comparison.OPERATOR_NOT_EQUAL: operator.ne,
    Comparison.OPERATOR_LESS: operator.lt,
    Comparison.OPERATOR_LESS_OR_EQUAL: operator.le,
    Comparison.OPERATOR_GREATER: operator.gt,
    Comparison.OPERATOR_GREATER_OR_EQUAL: operator.ge,
}
_PASS_OVER_NULL = {Call.FUNCTION_LEAST, Call.FUNCTION_GREATEST, Call.FUNCTION_COALESCE}
ROWS: list[Row] = [
    {
        "Test": "hdl",
        "value": 2.5,
        "days": -7,
        "weeks": 3,
        "note": " Abc_x ",
        "seen": datetime.date(2024, 2, 29),
        "at": datetime.datetime(2023, 12, 31, 23, 59, 1),
        "fasting": True,
    },
    {
        "Test": "smoke",
        "value": 299.99,
        "days": 8,
        "weeks": 0,
        "note": "",
        "seen": datetime.date(1969, 12, 28),
        "at": datetime.datetime(2024, 1, 1),
        "fasting": False,
    },
    {
        "Test": "chol",
        "value": 0.0,
        "days": 0,
        "weeks": -1,
        "note": "100%é中",
        "seen": datetime.date(2024, 1, 1),
        "at": datetime.datetime(1999, 7, 4, 12, 30),
        "fasting": None,
    },
    dict.fromkeys(("Test", "value", "days", "weeks", "note", "seen", "at", "fasting")),
]


def term_of(declaration: DatasetDeclaration, sql: str, where: str = "") -> Term:
    """What an expression over labs means, in the rows that a condition leaves."""
    parsed = parse_select(f"SELECT {sql} FROM labs" + (f" WHERE {where}" if where else ""))
    scope = read_source(parsed.source, parsed.select, declaration)
    term = compile_term(scope, parsed.select.expressions[0])
    assert result_type(term.expression, scope.columns(), "expression") == term.type
    return term


def evaluate(expression: Expression, row: Row) -> Any:
    """The value of an expression for one row, as plan.proto says it."""
    match expression.WhichOneof("kind"):
        case "column":
            return row[expression.column.name]
        case "literal":
            return values.to_python(expression.literal)
        case "comparison":
            left, right = (evaluate(side, row) for side in (expression.comparison.left, expression.comparison.right))
            missing = left is None or right is None
            return None if missing else _COMPARED[expression.comparison.operator](left, right)
        case "conjunction" | "disjunction" as kind:
            operands = [evaluate(each, row) for each in getattr(expression, kind).operands]
            decided = kind == "disjunction"
            return decided if decided in operands else None if None in operands else not decided
        case "negation":
            operand = evaluate(expression.negation.operand, row)
            return None if operand is None else not operand
        case "membership":
            operand = evaluate(expression.membership.operand, row)
            listed = [values.to_python(value) for value in expression.membership.values]
            return None if operand is None else operand in listed
        case "null_test":
            return evaluate(expression.null_test.operand, row) is None
        case "pattern":
            text = evaluate(expression.pattern.operand, row)
            parts = (
                ".*" if each == "%" else "." if each == "_" else re.escape(each) for each in expression.pattern.pattern
            )
            return None if text is None else re.fullmatch("".join(parts), text, re.DOTALL) is not None
        case "conditional":
            for branch in expression.conditional.branches:
                if evaluate(branch.condition, row):
                    return evaluate(branch.result, row)
            otherwise = expression.conditional
            return evaluate(otherwise.otherwise, row) if otherwise.HasField("otherwise") else None
        case "call":
            operands = [evaluate(each, row) for each in expression.call.operands]
            if expression.call.function in _PASS_OVER_NULL:
                operands = [each for each in operands if each is not None]
                return apply(expression.call.function, tuple(operands)) if operands else None
            return None if None in operands else apply(expression.call.function, tuple(operands))
    raise AssertionError(expression)


SAME_AS_DUCKDB = """
value + days | value - 1 | days * 2 | days * 1.5 | value / 2 | days / 2 | days / 0.5 | days % 3 | -days % 3
-value | -days | +days | abs(days) | sign(value) | sign(days) | floor(value) | ceil(value) | ceiling(value / 7)
round(value) | round(value, 1) | round(value * 1000, -2) | round(days, -1) | trunc(value - 1) | sqrt(value)
ln(value + 1) | log10(value + 1) | log(value + 1) | log2(value + 1) | log(3, value + 1)
power(value, 2) | value ** 3 | pow(days, 4) | power(value, 0.5) | power(days, 1)
days = weeks | days <> 8 | value > days | days > 2.5 | 2.5 < days | days = 2.5 | days < 1e30 | value <= 2.5
note = '' | seen > '2000-01-01' | at >= '2024-01-01' | at > DATE '2000-01-01' | fasting = TRUE
seen < DATE '2024-02-01'
days > 0 AND value > 1 | days > 0 OR value > 1 | NOT (days > 0) | NOT fasting | fasting AND days < 0 OR weeks = 0
fasting IS TRUE | fasting IS NOT TRUE | fasting IS FALSE | (days > 0) IS NOT FALSE | value IS NULL | note IS NOT NULL
value + 1 IS NULL | days IS DISTINCT FROM weeks | days IS NOT DISTINCT FROM weeks | fasting IS NOT DISTINCT FROM NULL
days IN (1, 8, 2.5) | days NOT IN (8, 9) | days + 1 IN (9, weeks) | test IN ('hdl', 'x') | value IN (2.5, 0)
days BETWEEN -7 AND weeks | value NOT BETWEEN 1 AND 10 | days BETWEEN 0.5 AND 8.5 | length(note) BETWEEN 1 AND 6
note LIKE '%b%' | note LIKE '_A%' | note NOT LIKE 'A%' | note ILIKE '%ABC%' | note NOT ILIKE ' a%' | note LIKE '100%'
starts_with(note, '100%') | ends_with(note, ' ') | contains(note, 'b') | prefix(test, 'h') | suffix(test, 'l')
CASE WHEN days > 0 THEN 'p' WHEN days < 0 THEN 'n' END | CASE test WHEN 'hdl' THEN 1 WHEN 'chol' THEN 2.5 ELSE days END
CASE WHEN fasting THEN NULL ELSE days END | CASE WHEN days = 0 THEN value ELSE 0 END | if(days > 0, value, 1)
coalesce(note, test, 'none') | ifnull(days, 0) | coalesce(days, value) | nullif(days, 0) | nullif(days, 2.5)
greatest(days, weeks) | least(value, days, 1) | greatest(days, NULL, 1)
lower(note) | upper(test) | trim(note) | length(note) | substring(note, 2, 3) | substr(note, 2) | left(note, 3)
concat(test, '-', note) | concat(days, test) | test || '-' || days | test || fasting | seen || '' | left(test, 0)
year(seen) | quarter(seen) | month(at) | day(seen) | dayofweek(seen) | dayofyear(at) | hour(at) | minute(at)
extract(dow FROM seen) | extract(doy FROM seen) | date_part('month', at) | isodow(seen) | extract(isodow FROM at)
date_trunc('year', seen) | date_trunc('quarter', seen) | date_trunc('month', seen) | date_trunc('week', seen)
date_diff('day', seen, DATE '2024-03-01') | date_diff('day', at, seen) | date_diff('week', seen, DATE '2024-03-04')
date_diff('month', seen, at) | date_diff('quarter', seen, at) | date_diff('year', at, seen) | seen - DATE '2020-01-01'
date_trunc('day', seen) | datediff('day', seen, at::DATE)
CAST(days AS DOUBLE) | CAST(value * 10 AS BIGINT) | days::VARCHAR | fasting::INT | at::DATE | days::BOOLEAN
value::BOOLEAN | fasting::VARCHAR | seen::VARCHAR | TRY_CAST(note AS BIGINT) | TRY_CAST('12' AS INT) | test::TEXT
1 + 2 * 3 | 7 % -3 | 'a' || 'b' | 1 = 1 | 2 > 3.5 | DATE '2024-03-01' - DATE '2024-02-01'
"""
EXPRESSIONS = [each.strip() for line in SAME_AS_DUCKDB.strip().split("\n") for each in line.split(" | ")]


@pytest.fixture(scope="module")
def labs() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE labs (Test VARCHAR, value DOUBLE, days BIGINT, weeks BIGINT, note VARCHAR, seen DATE, "
        '"at" TIMESTAMP, fasting BOOLEAN)'
    )
    connection.executemany("INSERT INTO labs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [list(row.values()) for row in ROWS])
    return connection


@pytest.mark.parametrize("sql", EXPRESSIONS)
def test_an_expression_means_what_duckdb_says(
    declaration: DatasetDeclaration, labs: duckdb.DuckDBPyConnection, sql: str
) -> None:
    term = term_of(declaration, sql)
    # AT is a word of DuckDB's.
    quoted = re.sub(r"\bat\b", '"at"', sql)
    expected = [row[0] for row in labs.execute(f"SELECT {quoted} FROM labs").fetchall()]
    actual = [evaluate(term.expression, row) for row in ROWS]
    for ours, theirs in zip(actual, expected, strict=True):
        if isinstance(theirs, int | float) and ours is not None:
            assert math.isclose(float(ours), float(theirs), rel_tol=1e-12, abs_tol=1e-9)
        else:
            # DATE_TRUNC of a date is a timestamp there.
            is_midnight = isinstance(theirs, datetime.datetime) and not isinstance(ours, datetime.datetime)
            assert ours == (theirs.date() if is_midnight else theirs)


OURS = [
    ("days // 2", [-4, 4, 0, None]),
    ("WIDTH_BUCKET(value, 0, 300, 3)", [1, 3, 1, None]),
    ("WIDTH_BUCKET(days, 0, 8, 2)", [0, 3, 1, None]),
    ("IFF(days > 0, 1, 0)", [0, 1, 0, 0]),
    ("days / 0", [None, None, None, None]),
    ("-8 / days", [8 / 7, -1.0, None, None]),
    ("UPPER('aé')", ["Aé"] * 4),
    ("sqrt(-1 - value)", [None, None, None, None]),
    ("ln(value - value)", [None, None, None, None]),
    ("days * 9223372036854775807", [-(2**63), 2**63 - 1, 0, None]),
    ("9223372036854775807 + 1", [2**63 - 1] * 4),
    ("CAST(value AS BIGINT)", [3, 300, 0, None]),
    ("CAST(note AS BIGINT)", [None, None, None, None]),
    (
        "DATE_TRUNC('day', at)",
        [datetime.date(2023, 12, 31), datetime.date(2024, 1, 1), datetime.date(1999, 7, 4), None],
    ),
    ("HOUR(seen)", [0, 0, 0, None]),
]


@pytest.mark.parametrize(("sql", "expected"), OURS)
def test_where_duckdb_has_another_type_fails_or_has_no_such_function(
    declaration: DatasetDeclaration, sql: str, expected: list[object]
) -> None:
    term = term_of(declaration, sql)
    assert [evaluate(term.expression, row) for row in ROWS] == expected


def test_constants_are_folded(declaration: DatasetDeclaration) -> None:
    for sql in ("1 + 2 * 3", "'a' || 'b'", "UPPER('x')", "DATE '2024-03-01' - DATE '2024-02-01'", "1 = 2"):
        assert term_of(declaration, sql).expression.HasField("literal")


REFUSED = [
    ("exp(value)", "not_supported", "1:8"),
    ("sin(value)", "not_supported", "1:8"),
    ("days + no_such(value)", "not_supported", "1:15"),
    ("random()", "not_supported", "1:8"),
    ("today()", "not_supported", "1:8"),
    ("regexp_matches(note, 'x')", "not_supported", "1:8"),
    ("note LIKE test", "not_supported", "1:18"),
    ("note LIKE 'x' ESCAPE '!'", "not_supported", "1:8"),
    ("contains(note, '_')", "not_supported", "1:23"),
    ("seen + INTERVAL 3 DAY", "not_supported", "1:8"),
    ("value::VARCHAR", "not_supported", "1:8"),
    ("note::DATE", "not_supported", "1:8"),
    ("note::DOUBLE", "not_supported", "1:8"),
    ("value % 2", "not_supported", "1:8"),
    ("power(value, days)", "not_supported", "1:21"),
    ("round(value, days)", "not_supported", "1:21"),
    ("substring(note, -1)", "not_supported", "1:25"),
    ("date_trunc('century', seen)", "not_supported", "1:8"),
    ("date_part('epoch', seen)", "not_supported", "1:8"),
    ("days + (NULL + NULL)", "not_supported", "1:8"),
    ("days = NULL", "not_supported", "1:8"),
    ("SUM(value)", "not_supported", "1:8"),
    ("(SELECT 1)", "not_supported", "1:16"),
    ("days IN (SELECT 1)", "not_supported", "1:8"),
    ("x -> x + 1", "unknown_column", "1:8"),
    ("nope + 1", "unknown_column", "1:8"),
    ("exp(nope)", "unknown_column", "1:12"),
    ("patients.age", "unknown_table", "1:8"),
    ("id + 1", "privacy_unit", "1:8"),
    ("CASE WHEN id > 3 THEN 1 END", "privacy_unit", "1:18"),
    ("note + 1", "type_mismatch", "1:15"),
    ("-note", "type_mismatch", "1:9"),
    ("note > 3", "type_mismatch", "1:15"),
    ("days = note", "type_mismatch", "1:8"),
    ("seen = at", "type_mismatch", "1:8"),
    ("note AND fasting", "type_mismatch", "1:8"),
    ("CASE WHEN days THEN 1 END", "type_mismatch", "1:18"),
    ("CASE WHEN fasting THEN 1 ELSE 'x' END", "type_mismatch", "1:18"),
    ("year(note)", "type_mismatch", "1:13"),
    ("lower(days)", "type_mismatch", "1:14"),
    ("DATE '2024-02-30'", "bad_literal", "1:13"),
    ("seen > 'soon'", "bad_literal", "1:15"),
    ("WIDTH_BUCKET(value, 3, 3, 2)", "bad_literal", "1:8"),
]


@pytest.mark.parametrize(("sql", "code", "position"), REFUSED)
def test_what_cannot_be_asked_is_refused_with_its_place_and_a_hint(
    declaration: DatasetDeclaration, sql: str, code: str, position: str
) -> None:
    with pytest.raises(Problem) as caught:
        term_of(declaration, sql)
    problem = caught.value
    assert (problem.code, problem.position) == (code, position), problem
    assert problem.message.endswith(".")
    assert problem.hint


@pytest.mark.parametrize(
    "sql",
    [
        "1" + " + days" * 60,
        "CASE WHEN fasting THEN " * 45 + "1" + " END" * 45,
        "days IN (" + ", ".join(str(number) for number in range(5000)) + ")",
    ],
)
def test_more_than_a_plan_holds_is_too_complex(declaration: DatasetDeclaration, sql: str) -> None:
    with pytest.raises(Problem) as caught:
        term_of(declaration, sql)
    assert caught.value.code == "too_complex"


def test_long_chains_of_and_or_and_concatenation_are_one_level(declaration: DatasetDeclaration) -> None:
    chain = " AND ".join(["days > 1"] * 300)
    assert len(term_of(declaration, chain).expression.conjunction.operands) == 300
    assert len(term_of(declaration, " || ".join(["test"] * 60)).expression.call.operands) == 60
