"""The functions of dates and timestamps."""

from __future__ import annotations

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP, Call, Expression

from gateway.planning import calls, literals
from gateway.planning.calls import call, conditional, constant
from gateway.planning.compiler import Compiler
from gateway.planning.conditions import compared
from gateway.planning.scope import Term, describe

_INSTANTS = (COLUMN_TYPE_DATE, COLUMN_TYPE_TIMESTAMP)
PARTS: dict[str, Call.Function.ValueType] = {
    "year": Call.FUNCTION_YEAR,
    "quarter": Call.FUNCTION_QUARTER,
    "month": Call.FUNCTION_MONTH,
    "day": Call.FUNCTION_DAY,
    "dayofmonth": Call.FUNCTION_DAY,
    "dow": Call.FUNCTION_DAY_OF_WEEK,
    "dayofweek": Call.FUNCTION_DAY_OF_WEEK,
    "weekday": Call.FUNCTION_DAY_OF_WEEK,
    "doy": Call.FUNCTION_DAY_OF_YEAR,
    "dayofyear": Call.FUNCTION_DAY_OF_YEAR,
    "hour": Call.FUNCTION_HOUR,
    "minute": Call.FUNCTION_MINUTE,
}
PART_NODES: dict[type[exp.Expr], str] = {
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Day: "day",
    exp.DayOfMonth: "day",
    exp.DayOfWeek: "dow",
    exp.DayOfYear: "doy",
    exp.Hour: "hour",
    exp.Minute: "minute",
    exp.DayOfWeekIso: "isodow",
}
_SPANS: dict[str, Call.Function.ValueType] = {
    "year": Call.FUNCTION_TRUNCATE_TO_YEAR,
    "quarter": Call.FUNCTION_TRUNCATE_TO_QUARTER,
    "month": Call.FUNCTION_TRUNCATE_TO_MONTH,
    "week": Call.FUNCTION_TRUNCATE_TO_WEEK,
}


def part_of_node(compiler: Compiler, node: exp.Expr) -> Term:
    """YEAR(x) and the like, where sqlglot knows the function."""
    compiler.require_parts(node, frozenset({"this"}))
    return part(compiler, PART_NODES[type(node)], node.this, node)


def part_by_name(compiler: Compiler, node: exp.Anonymous, operand: exp.Expr) -> Term:
    """DOW(x) and the like, where it does not."""
    return part(compiler, node.name.lower(), operand, node)


def part(compiler: Compiler, name: str, operand: exp.Expr, at: exp.Expr) -> Term:
    """One part of a date or timestamp, by its name."""
    term = _instant(compiler, operand, name.upper())
    if name == "isodow":
        before = call(Call.FUNCTION_ADD, call(Call.FUNCTION_DAY_OF_WEEK, term), constant(6))
        return call(Call.FUNCTION_ADD, call(Call.FUNCTION_MODULO, before, constant(7)), constant(1))
    if name in ("hour", "minute") and term.type == COLUMN_TYPE_DATE:
        return conditional([(_not_null(term), constant(0))], None)
    if name not in PARTS:
        raise compiler.source.unsupported(
            f"{name.upper()[:40]} of a date cannot be asked.", at=at, hint=f"Ask for {', '.join(PARTS)}."
        )
    return call(PARTS[name], term)


def extract(compiler: Compiler, node: exp.Extract) -> Term:
    """EXTRACT(part FROM x)."""
    compiler.require_parts(node, frozenset({"this", "expression"}))
    return part(compiler, node.this.name.lower(), node.args["expression"], node)


def date_part(compiler: Compiler, node: exp.Expr, name: exp.Expr, operand: exp.Expr) -> Term:
    """DATE_PART('part', x)."""
    return part(compiler, compiler.text(name, "DATE_PART").lower(), operand, node)


def truncated(compiler: Compiler, node: exp.Expr) -> Term:
    """DATE_TRUNC('span', x), always a date."""
    compiler.require_parts(node, frozenset({"this", "unit", "input_type_preserved"}))
    name, term = node.args["unit"].name.lower(), _instant(compiler, node.this, "DATE_TRUNC")
    if name == "day":
        return term if term.type == COLUMN_TYPE_DATE else call(Call.FUNCTION_TO_DATE, term)
    if name not in _SPANS:
        raise compiler.source.unsupported(
            f"DATE_TRUNC to {name.upper()[:40]} cannot be asked.",
            at=node,
            hint=f"Use 'day' or {', '.join(repr(span) for span in _SPANS)}.",
        )
    return call(_SPANS[name], term)


def date_difference(compiler: Compiler, node: exp.DateDiff) -> Term:
    """Days and whole weeks between two dates, or the ends of months, quarters or years that lie between them."""
    compiler.require_parts(node, frozenset({"this", "expression", "unit", "date_part_boundary"}))
    unit = node.args.get("unit")
    name = "day" if unit is None else unit.name.lower()
    last, first = (_day(compiler, operand) for operand in (node.this, node.args["expression"]))
    if name == "day":
        return call(Call.FUNCTION_DAYS_BETWEEN, first, last)
    if name == "week":
        days = call(Call.FUNCTION_DAYS_BETWEEN, first, last)
        whole = call(Call.FUNCTION_SUBTRACT, days, call(Call.FUNCTION_MODULO, days, constant(7)))
        return calls.as_int(call(Call.FUNCTION_DIVIDE, calls.as_float(whole), constant(7.0)))
    spans = {"year": 1, "quarter": 4, "month": 12}
    if name not in spans:
        raise compiler.source.unsupported(
            f"DATE_DIFF in {name.upper()[:40]} cannot be asked.",
            at=node,
            hint="Use 'day', 'week', 'month', 'quarter' or 'year'.",
        )
    years = _between(Call.FUNCTION_YEAR, first, last)
    if name == "year":
        return years
    rest = _between(PARTS[name], first, last)
    return call(Call.FUNCTION_ADD, call(Call.FUNCTION_MULTIPLY, years, constant(spans[name])), rest)


def _between(function: Call.Function.ValueType, first: Term, last: Term) -> Term:
    return call(Call.FUNCTION_SUBTRACT, call(function, last), call(function, first))


def _day(compiler: Compiler, node: exp.Expr) -> Term:
    term = _instant(compiler, node, "DATE_DIFF")
    return term if term.type == COLUMN_TYPE_DATE else call(Call.FUNCTION_TO_DATE, term)


def _instant(compiler: Compiler, node: exp.Expr, user: str) -> Term:
    # sqlglot casts what stands in some of these functions.
    term = compiler.term(node)
    if term.type not in _INSTANTS:
        raise compiler.source.malformed(
            "type_mismatch",
            f"{user[:40]} takes a date or timestamp, not {describe(term)}.",
            at=node,
            hint="Write a constant as DATE '2024-01-31'.",
        )
    return term


def _not_null(term: Term) -> Expression:
    return compared(term, literals.EQUAL, term)
