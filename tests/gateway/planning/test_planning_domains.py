"""What is known of an expression's values follows from declarations and the query's text alone."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, Call

from enclave_sim.plan.values import PythonValue
from gateway.planning import calls, domains
from gateway.planning.domains import Domain
from gateway.planning.folding import apply
from gateway.planning.scope import Attribute, Term, reference

from .test_planning_expressions import term_of

HUNDRED = 100

LISTED = [
    ("fasting", [True, False]),
    ("NOT fasting", [False, True]),
    ("value > 100", [False, True]),
    ("UPPER(test)", ["HDL", "CHOL", "SMOKE"]),
    ("SUBSTRING(test, 1, 1) || '!'", ["h!", "c!", "s!"]),
    ("LENGTH(test)", [3, 4, 5]),
    ("COALESCE(test, 'none')", ["hdl", "chol", "smoke", "none"]),
    ("NULLIF(test, 'hdl')", ["hdl", "chol", "smoke"]),
    ("CASE WHEN value < 100 THEN 'low' WHEN value < 200 THEN 'mid' ELSE 'high' END", ["low", "mid", "high"]),
    ("IF(value > 3, 1, 0)", [1, 0]),
    ("CASE WHEN TRUE THEN 1 ELSE 2 END", [1]),
    ("FLOOR(value / 100)", [0.0, 1.0, 2.0, 3.0]),
    ("FLOOR(value / 100) * 100", [0.0, 100.0, 200.0, 300.0]),
    ("CAST(ROUND(value, -2) AS BIGINT)", [0, 100, 200, 300]),
    ("days // 8000", [-1, 0, 1]),
    ("ABS(days) % 3", [0, 1, 2]),
    ("SIGN(days)", [1, -1, 0]),
    ("QUARTER(seen)", [1, 2, 3, 4]),
    ("EXTRACT(dow FROM at)", [0, 1, 2, 3, 4, 5, 6]),
    ("MONTH(seen)", list(range(1, 13))),
    ("HOUR(at)", list(range(24))),
    ("WIDTH_BUCKET(value, 100, 200, 2)", [0, 1, 2, 3]),
    ("WIDTH_BUCKET(weeks, 0, 10, 1)", [0, 1, 2]),
    ("GREATEST(LEAST(weeks, 2), 0)", [0, 1, 2]),
    ("1 + 1", [2]),
]

INTERVALS = [
    ("value", (0, 300)),
    ("days", (-8000, 8000)),
    ("value + days", (-8000, 8300)),
    ("value - 300", (-300, 0)),
    ("value * value", (0, 90000)),
    ("POWER(days, 2)", (0, 64e6)),
    ("-value", (-300, 0)),
    ("ABS(days)", (0, 8000)),
    ("SQRT(value)", (0, math.sqrt(300))),
    ("LN(value + 1)", (0, math.log(301))),
    ("value / 2", (0, 150)),
    ("LEAST(value, 10)", (0, 10)),
    ("GREATEST(LEAST(weeks, 500000), 0)", (0, 500000)),
    ("COALESCE(value, 1000)", (0, 1000)),
    ("CASE WHEN fasting THEN value ELSE -1.5 END", (-1.5, 300)),
    ("days::DOUBLE", (-8000, 8000)),
]

UNKNOWN = ["weeks", "note", "seen", "weeks + 1", "LENGTH(note)", "1 / value", "LN(value)", "DATE_TRUNC('month', seen)"]


@pytest.mark.parametrize(("sql", "expected"), LISTED)
def test_finite_lists_go_through_functions(
    declaration: DatasetDeclaration, sql: str, expected: list[PythonValue]
) -> None:
    term = term_of(declaration, sql)
    assert list(term.domain.listed(HUNDRED) or ()) == expected
    assert [type(item) for item in term.domain.listed(HUNDRED) or ()] == [type(item) for item in expected]
    assert len(term.listed() or ()) == len(expected)


@pytest.mark.parametrize(("sql", "expected"), INTERVALS)
def test_bounds_go_through_arithmetic(declaration: DatasetDeclaration, sql: str, expected: tuple[float, float]) -> None:
    assert term_of(declaration, sql).domain.bounds() == expected


@pytest.mark.parametrize("sql", UNKNOWN)
def test_where_nothing_is_declared_nothing_is_known(declaration: DatasetDeclaration, sql: str) -> None:
    domain = term_of(declaration, sql).domain
    assert (domain.listed(), domain.bounds()) == (None, None)


def test_whole_numbers_are_listed_up_to_a_limit() -> None:
    domain = domains.interval(0, 9.5, COLUMN_TYPE_INT64)
    assert domain.listed(10) == tuple(range(10))
    assert domain.listed(9) is None
    assert domains.interval(0, 10, COLUMN_TYPE_FLOAT64).listed() is None
    assert domains.interval(0, 1, COLUMN_TYPE_FLOAT64, integral=True).listed() == (0.0, 1.0)


def test_dates_between_two_days_are_listed_by_month(declaration: DatasetDeclaration) -> None:
    where = "seen BETWEEN '2023-11-15' AND '2024-02-29'"
    first = [datetime.date(2023, 11, 1), datetime.date(2023, 12, 1), datetime.date(2024, 1, 1)]
    first.append(datetime.date(2024, 2, 1))
    assert term_of(declaration, "DATE_TRUNC('month', seen)", where).domain.listed() == tuple(first)
    assert term_of(declaration, "YEAR(seen)", where).domain.listed() == (2023, 2024)
    weeks = term_of(declaration, "DATE_TRUNC('week', seen)", where).domain.listed() or ()
    assert len(weeks) == 16
    assert weeks[0] == datetime.date(2023, 11, 13)


NARROWED = [
    ("value BETWEEN 50 AND 100", "value", Domain(None, 50, 100, False, COLUMN_TYPE_FLOAT64)),
    ("value > 50 AND fasting", "value", Domain(None, 50, 300, False, COLUMN_TYPE_FLOAT64)),
    ("days > 3 AND 10 >= days", "days", Domain(None, 4, 10, True, COLUMN_TYPE_INT64)),
    ("weeks >= 0 AND weeks < 53", "weeks", Domain(None, 0, 52, True, COLUMN_TYPE_INT64)),
    ("value > 1000", "value", Domain(None, 0, 300, False, COLUMN_TYPE_FLOAT64)),
    ("value > 50 OR fasting", "value", Domain(None, 0, 300, False, COLUMN_TYPE_FLOAT64)),
    ("value <> 50", "value", Domain(None, 0, 300, False, COLUMN_TYPE_FLOAT64)),
]


@pytest.mark.parametrize(("where", "column", "expected"), NARROWED)
def test_where_narrows_what_is_known(
    declaration: DatasetDeclaration, where: str, column: str, expected: Domain
) -> None:
    assert term_of(declaration, column, where).domain == expected


def test_where_names_keys_that_nobody_declared(declaration: DatasetDeclaration) -> None:
    assert term_of(declaration, "note", "note IN ('a', 'b') AND note <> 'c'").domain.listed() == ("a", "b")
    years = term_of(declaration, "YEAR(seen)", "YEAR(seen) BETWEEN 2019 AND 2021").domain
    assert years.listed() == (2019, 2020, 2021)


def test_where_leaves_declared_keys_as_they_are(declaration: DatasetDeclaration) -> None:
    declared = term_of(declaration, "test").domain.listed()
    assert term_of(declaration, "test", "test IN ('chol', 'hdl')").domain.listed() == declared
    assert term_of(declaration, "fasting", "NOT fasting").domain.listed() == (True, False)


BINARY = [Call.FUNCTION_ADD, Call.FUNCTION_SUBTRACT, Call.FUNCTION_MULTIPLY, Call.FUNCTION_DIVIDE]
UNARY = [Call.FUNCTION_NEGATE, Call.FUNCTION_ABSOLUTE, Call.FUNCTION_FLOOR, Call.FUNCTION_CEILING]
UNARY += [Call.FUNCTION_ROUND, Call.FUNCTION_SQUARE_ROOT, Call.FUNCTION_NATURAL_LOGARITHM]
WITHIN = st.tuples(*[st.floats(-1e6, 1e6) for _ in range(3)]).map(sorted)


def _column(name: str, ends: list[float]) -> Term:
    domain = domains.interval(ends[0], ends[2], COLUMN_TYPE_FLOAT64)
    column = Attribute(name, COLUMN_TYPE_FLOAT64, domain, name)
    return Term(reference(column), column.type, domain, name)


@settings(deadline=None)
@given(st.sampled_from(BINARY), WITHIN, WITHIN)
def test_a_result_lies_in_the_interval_of_the_results(
    function: Call.Function.ValueType, left: list[float], right: list[float]
) -> None:
    result = apply(function, (left[1], right[1]))
    bounds = calls.call(function, _column("a", left), _column("b", right)).domain.bounds()
    assume(bounds is not None and result is not None)
    assert bounds is not None
    assert bounds[0] <= result <= bounds[1]  # type: ignore[operator]


@settings(deadline=None)
@given(st.sampled_from(UNARY), WITHIN)
def test_the_same_for_one_operand(function: Call.Function.ValueType, ends: list[float]) -> None:
    result = apply(function, (ends[1],))
    bounds = calls.call(function, _column("a", ends)).domain.bounds()
    assume(bounds is not None and result is not None)
    assert bounds is not None
    assert bounds[0] <= result <= bounds[1]  # type: ignore[operator]


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(0, 60), st.integers(-9, 9), st.integers(-50, 50))
def test_a_remainder_lies_in_its_interval(low: int, width: int, divisor: int, at: int) -> None:
    domain = domains.interval(low, low + width, COLUMN_TYPE_INT64)
    column = Attribute("a", COLUMN_TYPE_INT64, domain, "a")
    term = calls.call(Call.FUNCTION_MODULO, Term(reference(column), column.type, domain, "a"), calls.constant(divisor))
    result = apply(Call.FUNCTION_MODULO, (min(max(at, low), low + width), divisor))
    if result is not None:
        assert result in (term.domain.listed() or ())
