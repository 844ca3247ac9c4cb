"""The aggregate functions of a query: what each is of, and which rows it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import Conjunction, Expression

from enclave_sim.plan import values
from gateway.planning import moments
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term, describe, has_parts_beyond, reference
from gateway.planning.subjects import Subject, bounded

ACCEPTED = (
    "Ask for COUNT(*), COUNT(x), COUNT(DISTINCT unit), SUM(x), AVG(x), VARIANCE(x), MEDIAN(x) or QUANTILE_CONT(x, 0.9)."
)
MIN_QUANTILE, MAX_QUANTILE = 0.005, 0.995
"""What MIN and MAX are answered by: a smallest or largest value is one person's."""

_INSTEAD = {
    "any_value": "Ask for MEDIAN(x), or GROUP BY x with COUNT(*).",
    "approx_distinct": "Write COUNT(DISTINCT x).",
    "approx_top_count": "Write SELECT APPROX_TOP_K(x, 10), or GROUP BY x ORDER BY COUNT(*) DESC LIMIT 10.",
    "approx_top_k": "Write SELECT APPROX_TOP_K(x, 10), or GROUP BY x ORDER BY COUNT(*) DESC LIMIT 10.",
    "arg_max": "Ask for AVG or MEDIAN, grouped by a column with declared values.",
    "arg_min": "Ask for AVG or MEDIAN, grouped by a column with declared values.",
    "count_star": "Write COUNT(*).",
    "fsum": "Write SUM(x).",
    "favg": "Write AVG(x).",
    "histogram": "Write SELECT HISTOGRAM(x, 10), or COUNT(*) and GROUP BY WIDTH_BUCKET(x, 0, 100, 10).",
    "kurtosis": "Ask for AVG, VARIANCE or quantiles.",
    "logical_and": "Write COUNT_IF(x) / COUNT(x).",
    "logical_or": "Write COUNT_IF(x) / COUNT(x).",
    "bool_and": "Write COUNT_IF(x) / COUNT(x).",
    "bool_or": "Write COUNT_IF(x) / COUNT(x).",
    "mad": "Ask for STDDEV, or for the quartiles with QUANTILE_CONT(x, [0.25, 0.75]).",
    "mode": "GROUP BY x ORDER BY COUNT(*) DESC LIMIT 1.",
    "percentile_disc": "Write QUANTILE_CONT(x, q).",
    "regr_slope": "Write COVAR_POP(y, x) / VAR_POP(x).",
    "skewness": "Ask for AVG, VARIANCE or quantiles.",
    "stddev_population": "Write STDDEV_POP(x).",
}


_WINDOWED = (
    exp.RowNumber,
    exp.Rank,
    exp.DenseRank,
    exp.PercentRank,
    exp.CumeDist,
    exp.Ntile,
    exp.Lag,
    exp.Lead,
    exp.FirstValue,
    exp.LastValue,
)
"""Functions that mean nothing without OVER."""


class Function(Enum):
    """What is computed of a group."""

    ROWS = auto()
    NON_NULL = auto()
    UNITS = auto()
    VALUES = auto()
    SUM = auto()
    MEAN = auto()
    QUANTILE = auto()
    VAR_POP = auto()
    VAR_SAMP = auto()
    STDDEV_POP = auto()
    STDDEV_SAMP = auto()
    COVAR_POP = auto()
    COVAR_SAMP = auto()
    CORR = auto()


@dataclass(frozen=True)
class Counted:
    """What COUNT(DISTINCT x) is of, and where it stands."""

    term: Term
    node: exp.Expr = field(compare=False)


@dataclass(frozen=True)
class Aggregate:
    """One aggregate of the rows that pass the filter; `quantile` is there for QUANTILE, `counted` for VALUES."""

    function: Function
    subjects: tuple[Subject, ...] = ()
    filter: Expression | None = None
    quantile: float = 0.0
    counted: Counted | None = None


def has_aggregate(node: exp.Expr) -> bool:
    """Whether an aggregate stands in the expression, those of its subqueries not counted."""
    parts = node.walk(prune=lambda part: isinstance(part, exp.Query))
    return any(is_aggregate(part) or isinstance(part, exp.Window) for part in parts)


def is_aggregate(node: exp.Expr) -> bool:
    """Whether the expression is itself an aggregate, or a function that other systems have for one."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _INSTEAD or node.name.lower() in _BY_NAME
    if isinstance(node, _WINDOWED):
        return True
    return isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls)


def read_aggregates(scope: Scope, node: exp.Expr) -> tuple[tuple[str, Aggregate], ...]:
    """The aggregates that one call is, each with what its column's name ends in: several for a list of quantiles.

    Raises:
        Problem: with position, for whatever cannot be asked.
    """
    if isinstance(node, exp.Filter):
        condition = _filter(scope, node)
        return _Reader(scope, condition).read(unwrapped(node.this))
    return _Reader(scope, None).read(node)


def _filter(scope: Scope, node: exp.Filter) -> Expression:
    where = node.args["expression"]
    if not isinstance(where, exp.Where) or has_aggregate(where.this):
        raise scope.source.unsupported(
            "FILTER takes a condition on rows.", at=node, hint="Write FILTER (WHERE condition) after the aggregate."
        )
    return compile_condition(scope, where.this)


class _Reader:
    def __init__(self, scope: Scope, condition: Expression | None) -> None:
        self._scope = scope
        self._source = scope.source
        self._filter = condition

    def read(self, node: exp.Expr) -> tuple[tuple[str, Aggregate], ...]:
        if type(node) in _QUANTILES:
            self._refuse_parts(node, frozenset({"this", "expression", "quantile"}))
            return self._quantiles(node, *_QUANTILES[type(node)](node))
        if isinstance(node, exp.WithinGroup):
            return self._within_group(node)
        return (("", self._one(node)),)

    def _one(self, node: exp.Expr) -> Aggregate:
        if type(node) is exp.Count:
            return self._count(node)
        if type(node) is exp.CountIf:
            return self._count_if(node)
        if isinstance(node, exp.Anonymous) and node.name.lower() in _BY_NAME:
            return self._numeric(node, _BY_NAME[node.name.lower()], node.expressions)
        if type(node) in _NUMERIC:
            arguments = [node.args[name] for name in ("this", "expression") if node.args.get(name) is not None]
            self._refuse_parts(node, frozenset({"this", "expression"}))
            return self._numeric(node, _NUMERIC[type(node)], arguments)
        if type(node) in (exp.Min, exp.Max):
            self._refuse_parts(node, frozenset({"this"}))
            quantile = MIN_QUANTILE if type(node) is exp.Min else MAX_QUANTILE
            return self._quantile(node, node.this, quantile)
        raise self._unknown(node)

    def _count(self, node: exp.Count) -> Aggregate:
        if has_parts_beyond(node, frozenset({"this", "big_int"})):
            raise self._source.unsupported("COUNT takes one expression or *.", at=node, hint="Write COUNT(*).")
        if node.this is None:
            return Aggregate(Function.ROWS, filter=self._filter)
        if isinstance(node.this, exp.Distinct):
            return self._count_distinct(node.this)
        counted = unwrapped(node.this)
        if isinstance(counted, exp.Star) and not has_parts_beyond(counted, frozenset()):
            return Aggregate(Function.ROWS, filter=self._filter)
        if isinstance(counted, exp.Literal):
            return Aggregate(Function.ROWS, filter=self._filter)
        if isinstance(counted, exp.Star | exp.Columns) or isinstance(counted.this, exp.Star):
            raise self._source.unsupported("COUNT takes one expression or *.", at=node, hint="Write COUNT(*).")
        return Aggregate(Function.NON_NULL, (self._counted(counted),), self._filter)

    def _counted(self, node: exp.Expr) -> Subject:
        if isinstance(node, exp.Column):
            presence = self._scope.presence(node)
            if presence is not None:
                return Subject(reference(presence))
            if self._scope.is_unit(node):
                raise self._source.refuse(
                    "privacy_unit",
                    f"{node.name} is the privacy unit; how many rows have it is COUNT(*).",
                    at=node,
                    hint=f"Ask for COUNT(*) or COUNT(DISTINCT {node.name}).",
                )
        self._refuse_nested(node)
        expression = compile_term(self._scope, node).expression
        return Subject(expression, nullable=self._scope.is_nullable(expression))

    def _count_distinct(self, distinct: exp.Distinct) -> Aggregate:
        counted = [unwrapped(node) for node in distinct.expressions]
        plain = len(counted) == 1 and not has_parts_beyond(distinct, frozenset({"expressions"}))
        if plain and isinstance(counted[0], exp.Column) and self._scope.is_unit(counted[0]):
            return Aggregate(Function.UNITS, filter=self._filter)
        if plain and not isinstance(counted[0], exp.Star | exp.Columns | exp.Distinct):
            self._refuse_nested(counted[0])
            term = compile_term(self._scope, counted[0])
            return Aggregate(Function.VALUES, filter=self._filter, counted=Counted(term, distinct))
        for column in distinct.find_all(exp.Column):
            # Names that are not there are told first.
            self._scope.is_unit(column)
        unit = self._scope.declaration.privacy_unit
        raise self._source.unsupported(
            "COUNT(DISTINCT ...) takes one expression and nothing else.",
            at=distinct,
            hint=f"Write COUNT(DISTINCT {unit}), or COUNT(DISTINCT x) with one column x.",
        )

    def _count_if(self, node: exp.CountIf) -> Aggregate:
        self._refuse_parts(node, frozenset({"this"}))
        self._refuse_nested(node.this)
        condition = compile_condition(self._scope, node.this)
        if self._filter is not None:
            condition = Expression(conjunction=Conjunction(operands=[self._filter, condition]))
        return Aggregate(Function.ROWS, filter=condition)

    def _numeric(self, node: exp.Expr, function: Function, arguments: list[exp.Expr]) -> Aggregate:
        needed = 2 if function in (Function.COVAR_POP, Function.COVAR_SAMP, Function.CORR) else 1
        if len(arguments) != needed:
            count = "two expressions" if needed == 2 else "one expression"
            raise self._source.unsupported(f"{_name(node)} takes {count}.", at=node, hint=ACCEPTED)
        subjects = tuple(self._subject(node, argument) for argument in arguments)
        if function not in (Function.SUM, Function.MEAN) and not moments.are_squarable(subjects):
            raise self._source.refuse(
                "no_bounds",
                f"The bounds of what {_name(node)} is of are too far apart, or too near, for squares of it.",
                at=node,
                hint="Multiply or divide by a constant first.",
            )
        return Aggregate(function, subjects, self._filter)

    def _quantile(self, node: exp.Expr, argument: exp.Expr, quantile: float) -> Aggregate:
        return Aggregate(Function.QUANTILE, (self._subject(node, argument),), self._filter, quantile)

    def _quantiles(
        self, node: exp.Expr, argument: exp.Expr | None, places: exp.Expr | None, *, descending: bool = False
    ) -> tuple[tuple[str, Aggregate], ...]:
        if argument is None or places is None:
            raise self._source.unsupported(
                f"{_name(node)} takes an expression and a number from 0 to 1.",
                at=node,
                hint="Write QUANTILE_CONT(x, 0.9).",
            )
        inner = unwrapped(places)
        listed = inner.expressions if isinstance(inner, exp.Array | exp.Tuple) else None
        asked = [self._place(place) for place in (listed if listed is not None else [places])]
        if not asked:
            raise self._source.malformed(
                "bad_quantile", "The list of quantiles is empty.", at=node, hint="Write QUANTILE_CONT(x, [0.1, 0.9])."
            )
        subject = self._subject(node, argument)
        return tuple(
            (
                "" if listed is None else f"[{text}]",
                Aggregate(Function.QUANTILE, (subject,), self._filter, 1 - place if descending else place),
            )
            for text, place in asked
        )

    def _within_group(self, node: exp.WithinGroup) -> tuple[tuple[str, Aggregate], ...]:
        inner, order = node.this, node.args.get("expression")
        ordered = order.expressions if isinstance(order, exp.Order) else []
        if type(inner) is not exp.PercentileCont or inner.args.get("expression") is not None or len(ordered) != 1:
            if not isinstance(inner, exp.PercentileCont):
                raise self._unknown(inner)
            raise self._source.unsupported(
                "PERCENTILE_CONT takes a number and one expression to order by.",
                at=node,
                hint="Write PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x).",
            )
        return self._quantiles(inner, ordered[0].this, inner.this, descending=bool(ordered[0].args.get("desc")))

    def _place(self, node: exp.Expr) -> tuple[str, float]:
        inner = unwrapped(node)
        if isinstance(inner, exp.Literal) and not inner.is_string:
            try:
                place = float(inner.this)
            except ValueError:
                place = math.nan
            if 0 <= place <= 1:
                return str(inner.this), place
        raise self._source.malformed(
            "bad_quantile", "A quantile is a number from 0 to 1.", at=node, hint="Write QUANTILE_CONT(x, 0.9)."
        )

    def _subject(self, function: exp.Expr, node: exp.Expr) -> Subject:
        node = unwrapped(node)
        if isinstance(node, exp.Star | exp.Distinct | exp.Order | exp.IgnoreNulls | exp.RespectNulls):
            self._check_names(node)
            raise self._source.unsupported(
                f"{_name(function)} takes an expression and nothing else.", at=function, hint=ACCEPTED
            )
        self._refuse_nested(node)
        term = compile_term(self._scope, node)
        name = _name(function)
        if term.type not in values.NUMERIC:
            raise self._source.refuse(
                "not_numeric",
                f"{describe(term)} is not numeric, so it has no {name}.",
                at=node,
                hint=f"Ask for COUNT({term.label}), or {name} of {self._summable()}.",
            )
        subject = bounded(term) or self._no_bounds(term, name, node)
        return replace(subject, nullable=self._scope.is_nullable(term.expression))

    def _no_bounds(self, term: Term, name: str, node: exp.Expr) -> Subject:
        raise self._source.refuse(
            "no_bounds",
            f"{term.label} has no publicly known lower and upper bound, which {name} needs.",
            at=node,
            hint=f"Write {name}(LEAST(GREATEST({term.label}, lower), upper)) FILTER (WHERE {term.label} IS NOT NULL) "
            f"with numbers for lower and upper, or ask for {name} of {self._summable()}.",
        )

    def _summable(self) -> str:
        numeric = (attribute for attribute in self._scope.attributes if attribute.type in values.NUMERIC)
        names = [attribute.label for attribute in numeric if attribute.domain.bounds() is not None]
        return " or ".join(names[:5]) or "a column with declared bounds"

    def _refuse_nested(self, node: exp.Expr) -> None:
        if has_aggregate(node):
            raise self._source.unsupported(
                "An aggregate inside an aggregate cannot be asked.",
                at=node,
                hint="Aggregate each unit's rows first: FROM (SELECT unit, SUM(x) AS s FROM ... GROUP BY unit).",
            )

    def _refuse_parts(self, node: exp.Expr, allowed: frozenset[str]) -> None:
        if has_parts_beyond(node, allowed):
            self._check_names(node)
            raise self._source.unsupported(
                f"{_name(node)} takes an expression and nothing else.", at=node, hint=ACCEPTED
            )

    def _check_names(self, node: exp.Expr) -> None:
        for column in node.find_all(exp.Column):
            if isinstance(column.this, exp.Identifier):
                self._scope.attribute(column)

    def _unknown(self, node: exp.Expr) -> Problem:
        if isinstance(node, exp.IgnoreNulls) and isinstance(node.this, exp.Expr):
            node = node.this
        if isinstance(node, _WINDOWED):
            written = node.sql(dialect="duckdb")
            return self._source.unsupported(
                f"{_name(node)} needs OVER (ORDER BY ...), which says in which order the rows of the answer are.",
                at=node,
                hint=f"Write {written if len(written) <= 60 else _name(node)} OVER (ORDER BY COUNT(*) DESC).",
            )
        hint = _INSTEAD.get(_name(node).lower(), ACCEPTED)
        return self._source.unsupported(f"The function {_name(node)} cannot be asked.", at=node, hint=hint)


def _name(node: exp.Expr) -> str:
    text = node.name if isinstance(node, exp.Anonymous) else getattr(node, "sql_name", lambda: type(node).__name__)()
    return _SQL_NAMES.get(type(node), text.upper()[:40])


_NUMERIC: dict[type[exp.Expr], Function] = {
    exp.Sum: Function.SUM,
    exp.Avg: Function.MEAN,
    exp.Variance: Function.VAR_SAMP,
    exp.VariancePop: Function.VAR_POP,
    exp.Stddev: Function.STDDEV_SAMP,
    exp.StddevSamp: Function.STDDEV_SAMP,
    exp.StddevPop: Function.STDDEV_POP,
    exp.CovarSamp: Function.COVAR_SAMP,
    exp.CovarPop: Function.COVAR_POP,
    exp.Corr: Function.CORR,
}
_BY_NAME = {"mean": Function.MEAN}
_SQL_NAMES: dict[type[exp.Expr], str] = {exp.VariancePop: "VAR_POP", exp.Quantile: "QUANTILE"}
_QUANTILES: dict[type[exp.Expr], Callable[[exp.Expr], tuple[exp.Expr | None, exp.Expr | None]]] = {
    exp.Median: lambda node: (node.this, exp.Literal.number("0.5")),
    exp.PercentileCont: lambda node: (node.this, node.args.get("expression")),
    exp.Quantile: lambda node: (node.this, node.args.get("quantile")),
    exp.ApproxQuantile: lambda node: (node.this, node.args.get("quantile")),
}
