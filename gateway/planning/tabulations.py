"""HISTOGRAM and APPROX_TOP_K: aggregates whose value is a table, answered as rows.

A cell of the answer is one number, so `SELECT g, HISTOGRAM(x) FROM t GROUP BY g` is read as the query that has a row
for each range or value of x within each g:

- HISTOGRAM(x) as GROUP BY g, x, where x has declared values or is no number, else by ranges of equal width between its
  bounds; values outside the bounds count in the nearest range, as they do in sums;
- APPROX_TOP_K(x, k) as GROUP BY g, x with the k largest counts of each g.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_INT64, Call, Comparison, Expression

from enclave_sim.plan import values
from enclave_sim.plan.values import PythonValue
from gateway.planning import calls, domains, literals
from gateway.planning.aggregates import has_aggregate
from gateway.planning.arithmetic import whole_constant
from gateway.planning.calls import call, conditional, constant
from gateway.planning.compiler import Compiler
from gateway.planning.expressions import compile_term
from gateway.planning.functions import compile_node
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term
from gateway.planning.sql import ParsedSelect
from gateway.planning.subjects import bounded

RANGES = 10
"""Of a histogram that does not say how many."""

MAX_RANGES = 10_000
MAX_PLACES = 100_000
"""The largest k of APPROX_TOP_K."""

_TOP = ("approx_top_k", "approx_top_count")
_CLAUSES = {
    "distinct": "DISTINCT",
    "having": "HAVING",
    "qualify": "QUALIFY",
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
}
"""What would be about the rows before they are made into several."""


@dataclass(frozen=True)
class Tabulated:
    """A query without such aggregates."""

    scope: Scope
    parsed: ParsedSelect
    labels: Mapping[int, tuple[PythonValue, ...]] = field(default_factory=dict)
    """Of items of the SELECT list: what the values of their key are shown as."""


@dataclass(frozen=True)
class _Call:
    """One such aggregate in the SELECT list."""

    place: int
    node: exp.Expr
    arguments: tuple[exp.Expr, ...]
    condition: exp.Where | None
    alias: str

    @property
    def name(self) -> str:
        return _name(self.node).upper()

    def named(self, column: str) -> str:
        return f"{self.alias}_{column}" if self.alias else column


@dataclass(frozen=True)
class _Ranges:
    """What rows are counted by, and the ends of each range."""

    term: Term
    lower: tuple[PythonValue, ...]
    upper: tuple[PythonValue, ...]


def tabulated(scope: Scope, parsed: ParsedSelect) -> Tabulated:
    """The query with HISTOGRAM or APPROX_TOP_K read as rows; any other as it is.

    Raises:
        Problem: with position, where what it is of has no ranges or values, or something else stands beside it that
            cannot go with its rows.
    """
    found = [call for call in map(_call, range(len(parsed.item_texts)), parsed.select.expressions) if call]
    if not found:
        return Tabulated(scope, parsed)
    asked = found[0]
    _refuse_company(scope, parsed, asked)
    if _name(asked.node) in _TOP:
        return Tabulated(scope, _top(scope, parsed, asked))
    return _histogram(scope, parsed, asked)


def _call(place: int, item: exp.Expr) -> _Call | None:
    node = unwrapped(item.this) if isinstance(item, exp.Alias) else unwrapped(item)
    condition = None
    if isinstance(node, exp.Filter) and isinstance(node.args["expression"], exp.Where):
        condition, node = node.args["expression"], unwrapped(node.this)
    if _name(node) not in ("histogram", *_TOP):
        return None
    arguments = node.expressions
    if isinstance(node, exp.ApproxTopK):
        arguments = [node.args[name] for name in ("this", "expression", "counters") if node.args.get(name) is not None]
    return _Call(place, node, tuple(arguments), condition, item.alias if isinstance(item, exp.Alias) else "")


def _name(node: exp.Expr) -> str:
    if isinstance(node, exp.ApproxTopK):
        return "approx_top_k"
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def _refuse_company(scope: Scope, parsed: ParsedSelect, asked: _Call) -> None:
    for place, item in enumerate(parsed.select.expressions):
        if place != asked.place and has_aggregate(item):
            raise scope.source.unsupported(
                f"{asked.name} is answered with rows of its own, so no other aggregate goes with it.",
                at=item,
                hint=_instead(scope, asked),
            )
    for name, written in _CLAUSES.items():
        clause = parsed.select.args.get(name)
        if clause:
            raise scope.source.unsupported(
                f"{asked.name} is answered with rows of its own, in order, so {written} cannot stand beside it.",
                at=clause if isinstance(clause, exp.Expr) else asked.node,
                hint=_without(scope, asked, written),
            )


def _without(scope: Scope, asked: _Call, written: str) -> str:
    if written == "ORDER BY" or not asked.arguments:
        return f"Leave {written} out."
    return f"Leave {written} out, or write {_plainly(scope, asked)}."


def _instead(scope: Scope, asked: _Call) -> str:
    if not asked.arguments:
        return "Ask for it by itself."
    return f"Ask for it by itself, or write {_plainly(scope, asked)}."


def _plainly(scope: Scope, asked: _Call) -> str:
    """The same rows without such an aggregate, as far as what it says can be read."""
    term = compile_term(scope, asked.arguments[0])
    count = _said(asked)
    if asked.name != "HISTOGRAM":
        return f"COUNT(*) and GROUP BY {term.label} ORDER BY COUNT(*) DESC LIMIT {count or 10}"
    is_ranged = term.type in values.NUMERIC and (count or term.domain.values is None)
    ends = bounded(term) if is_ranged else None
    if ends is None:
        return f"COUNT(*) and GROUP BY {term.label}"
    lower, upper, most = ends.lower, ends.upper, count or RANGES
    if term.type == COLUMN_TYPE_INT64:
        size, most = _sizes(int(lower), int(upper), most)
        upper = lower + size * most
    return f"COUNT(*) and GROUP BY WIDTH_BUCKET({term.label}, {lower:.15g}, {upper:.15g}, {most})"


def _said(asked: _Call) -> int | None:
    """The number of ranges or values that the query says, if it is one that can be asked."""
    number = unwrapped(asked.arguments[1]) if len(asked.arguments) > 1 else None
    text = str(number.this) if isinstance(number, exp.Literal) and not number.is_string else ""
    most = MAX_RANGES if asked.name == "HISTOGRAM" else MAX_PLACES
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= most else None


# HISTOGRAM.


def _histogram(scope: Scope, parsed: ParsedSelect, asked: _Call) -> Tabulated:
    if not 1 <= len(asked.arguments) <= 2:
        raise _bad_arguments(scope, asked, "an expression, and how many ranges", "Write HISTOGRAM(x, 10).")
    subject = asked.arguments[0]
    _refuse_aggregates(scope, asked)
    term = compile_term(scope, subject)
    ranges = _ranges(scope, asked, term)
    if ranges is None:
        items = [_item(subject, asked.named("value")), _count(asked)]
        return Tabulated(scope, _with(parsed, asked, items, _group(parsed, subject)))
    # A name for the range in the tree, which no query can write itself; what it means is bound to it.
    node = exp.Anonymous(this="RANGE_OF", expressions=[subject])
    items = [_item(node, asked.named("lower")), _item(node, asked.named("upper")), _count(asked)]
    rewritten = _with(parsed, asked, items, _group(parsed, node))
    labels = {asked.place: ranges.lower, asked.place + 1: ranges.upper}
    return Tabulated(replace(scope, bound={**scope.bound, id(node): ranges.term}), rewritten, labels)


def _ranges(scope: Scope, asked: _Call, term: Term) -> _Ranges | None:
    """The ranges that rows are counted in; None where they are counted by value."""
    count = RANGES
    if len(asked.arguments) > 1:
        if isinstance(unwrapped(asked.arguments[1]), exp.Array):
            raise scope.source.unsupported(
                "HISTOGRAM takes how many ranges there are, and not their edges.",
                at=asked.arguments[1],
                hint="Write HISTOGRAM(x, 10), or COUNT(*) and GROUP BY CASE WHEN x < 1 THEN 'low' ELSE 'high' END.",
            )
        example = f"HISTOGRAM({term.label}, {RANGES})"
        count = whole_constant(Compiler(scope, compile_node), asked.arguments[1], "HISTOGRAM", 1, MAX_RANGES, example)
        if term.type not in values.NUMERIC:
            raise scope.source.refuse(
                "not_numeric",
                f"{term.label} is not numeric, so it has no ranges.",
                at=asked.arguments[0],
                hint=f"Write HISTOGRAM({term.label}), which counts by value.",
            )
    elif term.domain.values is not None or term.type not in values.NUMERIC:
        return None
    subject = bounded(term)
    if subject is None or not math.isfinite((subject.upper - subject.lower) * count):
        raise _no_bounds(scope, asked, term)
    if term.type == COLUMN_TYPE_INT64:
        return _whole_ranges(term, int(subject.lower), int(subject.upper), count, asked)
    lower, upper = subject.lower, subject.upper
    edges = [lower + (upper - lower) * index / count for index in range(count)] + [upper]
    return _Ranges(_range_of(term, lower, upper, count), tuple(edges[:-1]), tuple(edges[1:]))


def _whole_ranges(term: Term, lower: int, upper: int, most: int, asked: _Call) -> _Ranges | None:
    """Ranges of as many whole numbers each, at most so many; both ends belong to a range."""
    size, count = _sizes(lower, upper, most)
    if size == 1 and len(asked.arguments) == 1:
        return None
    starts = [lower + index * size for index in range(count)]
    ends = [min(start + size - 1, upper) for start in starts]
    return _Ranges(_range_of(term, lower, lower + size * count, count), tuple(starts), tuple(ends))


def _sizes(lower: int, upper: int, most: int) -> tuple[int, int]:
    """How many whole numbers are in each range, and how many ranges there are."""
    size = -(-(upper - lower + 1) // most)
    return size, -(-(upper - lower + 1) // size)


def _range_of(term: Term, lower: float, upper: float, count: int) -> Term:
    """The number of the range, from 1, in which a value lies; the nearest one for a value outside, NULL for NULL."""
    number = calls.as_float(term)
    # Multiplied first: whole numbers then come to the right range exactly.
    steps = call(Call.FUNCTION_MULTIPLY, call(Call.FUNCTION_SUBTRACT, number, _float(lower)), _float(count))
    share = call(Call.FUNCTION_FLOOR, call(Call.FUNCTION_DIVIDE, steps, _float(upper - lower)))
    inside = call(Call.FUNCTION_LEAST, call(Call.FUNCTION_TO_INT64, share), constant(count - 1))
    ranged = conditional(
        [
            (_compared(number, literals.LESS, lower), constant(1)),
            (_compared(number, literals.GREATER_OR_EQUAL, upper), constant(count)),
            # Not for NULL, which LEAST passes over.
            (_compared(number, literals.GREATER_OR_EQUAL, lower), call(Call.FUNCTION_ADD, inside, constant(1))),
        ],
        None,
    )
    return calls.with_domain(ranged, domains.listing(range(1, count + 1), COLUMN_TYPE_INT64))


def _float(number: float) -> Term:
    return constant(float(number))


def _compared(number: Term, operator: Comparison.Operator.ValueType, edge: float) -> Expression:
    return calls.compare(number, operator, _float(edge)).expression


def _no_bounds(scope: Scope, asked: _Call, term: Term) -> Problem:
    by_value = f"; or COUNT(*) and GROUP BY {term.label}" if term.type == COLUMN_TYPE_INT64 else ""
    return scope.source.refuse(
        "no_bounds",
        f"{term.label} has no publicly known lower and upper bound to make ranges between.",
        at=asked.arguments[0],
        hint=f"Write HISTOGRAM(LEAST(GREATEST({term.label}, lower), upper)) with numbers for lower and upper, and "
        f"WHERE {term.label} IS NOT NULL{by_value}.",
    )


# APPROX_TOP_K.


def _top(scope: Scope, parsed: ParsedSelect, asked: _Call) -> ParsedSelect:
    if len(asked.arguments) != 2:
        raise _bad_arguments(scope, asked, "an expression and how many values", f"Write {asked.name}(x, 10).")
    _refuse_aggregates(scope, asked)
    subject, k = asked.arguments
    example = f"{asked.name}({compile_term(scope, subject).label}, 10)"
    places = whole_constant(Compiler(scope, compile_node), k, asked.name, 1, MAX_PLACES, example)
    items = [_item(subject, asked.named("value")), _count(asked)]
    within = _keys(scope, parsed, asked)
    clauses: dict[str, exp.Expr] = {}
    by_count = exp.Ordered(this=_counted(asked), desc=True, nulls_first=False)
    if not within:
        clauses = {
            "order": exp.Order(expressions=[by_count]),
            "limit": exp.Limit(expression=exp.Literal.number(places)),
        }
    else:
        number = exp.Window(
            this=exp.RowNumber(), partition_by=within, order=exp.Order(expressions=[by_count]), over="OVER"
        )
        condition = exp.LTE(this=number, expression=exp.Literal.number(places))
        shown = [item for place, item in enumerate(parsed.select.expressions) if place != asked.place]
        first = [exp.Ordered(this=_plain(item), nulls_first=False) for item in shown]
        clauses = {"qualify": exp.Qualify(this=condition), "order": exp.Order(expressions=[*first, by_count])}
    return _with(parsed, asked, items, _group(parsed, subject), clauses)


def _keys(scope: Scope, parsed: ParsedSelect, asked: _Call) -> list[exp.Expr]:
    """What the query groups by already."""
    group = parsed.select.args.get("group")
    if group is None:
        return []
    if group.args.get("all"):
        return [_plain(item) for place, item in enumerate(parsed.select.expressions) if place != asked.place]
    for element in group.expressions:
        if isinstance(element, exp.Rollup | exp.Cube | exp.GroupingSets):
            raise scope.source.unsupported(
                f"{asked.name} cannot be asked with ROLLUP, CUBE or GROUPING SETS.",
                at=element,
                hint="Ask for each set of keys by itself.",
            )
    return _elements(parsed, group)


# The query without the aggregate.


def _with(
    parsed: ParsedSelect,
    asked: _Call,
    items: Sequence[exp.Expr],
    group: exp.Expr,
    clauses: Mapping[str, exp.Expr] | None = None,
) -> ParsedSelect:
    """The query with other items in the place of the aggregate."""
    select, texts, place = parsed.select, parsed.item_texts, asked.place
    listed = [*select.expressions[:place], *items, *select.expressions[place + 1 :]]
    rewritten = exp.Select(**{**select.args, **(clauses or {}), "expressions": listed, "group": group})
    named = [item.alias for item in items]
    return replace(parsed, select=rewritten, item_texts=(*texts[:place], *named, *texts[place + 1 :]))


def _group(parsed: ParsedSelect, key: exp.Expr) -> exp.Expr:
    """GROUP BY as it is, and the key."""
    group = parsed.select.args.get("group")
    if group is None:
        return exp.Group(expressions=[key])
    if group.args.get("all"):
        all_keys: exp.Expr = group
        return all_keys
    return exp.Group(**{**group.args, "expressions": [*_elements(parsed, group), key]})


def _elements(parsed: ParsedSelect, group: exp.Expr) -> list[exp.Expr]:
    """The elements of GROUP BY, with the items that places stand for: the places of the new items are others."""
    return [_at_place(parsed, element) for element in group.expressions]


def _at_place(parsed: ParsedSelect, element: exp.Expr) -> exp.Expr:
    text = str(element.this) if isinstance(element, exp.Literal) and not element.is_string else ""
    place = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
    return _plain(parsed.select.expressions[place - 1]) if 1 <= place <= len(parsed.select.expressions) else element


def _plain(item: exp.Expr) -> exp.Expr:
    inner: exp.Expr = item.this if isinstance(item, exp.Alias) else item
    return inner


def _item(node: exp.Expr, name: str) -> exp.Expr:
    return exp.Alias(this=node, alias=exp.to_identifier(name))


def _count(asked: _Call) -> exp.Expr:
    return _item(_counted(asked), asked.named("count"))


def _counted(asked: _Call) -> exp.Expr:
    count = exp.Count(this=exp.Star(), big_int=True)
    return count if asked.condition is None else exp.Filter(this=count, expression=asked.condition)


def _refuse_aggregates(scope: Scope, asked: _Call) -> None:
    for argument in asked.arguments:
        if has_aggregate(argument):
            raise scope.source.unsupported(
                "An aggregate inside an aggregate cannot be asked.",
                at=argument,
                hint=f"Write {asked.name} of a column.",
            )


def _bad_arguments(scope: Scope, asked: _Call, what: str, hint: str) -> Problem:
    return scope.source.unsupported(f"{asked.name} takes {what}.", at=asked.node, hint=hint)
