"""Window functions over the rows of the answer: ranks, neighbours, sums over partitions and frames.

They are computed from released values, so they cost nothing; an aggregate that stands in one is measured like any
other. What they are of are formulas, and what partitions and orders rows are keys of the query or formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.plan_pb2 import Frame

from enclave_sim.plan import values
from enclave_sim.plan.windows import MAX_PLACES
from gateway.planning.expressions import compile_term
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term, has_parts_beyond

if TYPE_CHECKING:
    from gateway.planning.formulas import Formula
    from gateway.planning.keys import Keys

_ACCEPTED = (
    "Use ROW_NUMBER, RANK, DENSE_RANK, PERCENT_RANK, CUME_DIST, NTILE, LAG, LEAD, FIRST_VALUE, LAST_VALUE, COUNT, SUM, "
    "AVG, MIN or MAX."
)
_FRAMES = "Write ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW, or ROWS BETWEEN 6 PRECEDING AND CURRENT ROW."
_RANKS: dict[type[exp.Expr], plan_pb2.Window.Function.ValueType] = {
    exp.RowNumber: plan_pb2.Window.FUNCTION_ROW_NUMBER,
    exp.Rank: plan_pb2.Window.FUNCTION_RANK,
    exp.DenseRank: plan_pb2.Window.FUNCTION_DENSE_RANK,
    exp.PercentRank: plan_pb2.Window.FUNCTION_PERCENT_RANK,
    exp.CumeDist: plan_pb2.Window.FUNCTION_CUMULATIVE_DISTRIBUTION,
}
_SHIFTS: dict[type[exp.Expr], plan_pb2.Window.Function.ValueType] = {
    exp.Lag: plan_pb2.Window.FUNCTION_LAG,
    exp.Lead: plan_pb2.Window.FUNCTION_LEAD,
}
_OF_FRAMES: dict[type[exp.Expr], plan_pb2.Window.Function.ValueType] = {
    exp.FirstValue: plan_pb2.Window.FUNCTION_FIRST,
    exp.LastValue: plan_pb2.Window.FUNCTION_LAST,
    exp.Count: plan_pb2.Window.FUNCTION_COUNT,
    exp.Sum: plan_pb2.Window.FUNCTION_SUM,
    exp.Avg: plan_pb2.Window.FUNCTION_MEAN,
    exp.Min: plan_pb2.Window.FUNCTION_MINIMUM,
    exp.Max: plan_pb2.Window.FUNCTION_MAXIMUM,
}
_PARTS = frozenset({"this", "partition_by", "order", "spec", "over", "alias"})


@dataclass(frozen=True)
class WindowOrdering:
    """One item of a window's ORDER BY: a key of the query, by index, or a formula."""

    by: int | Formula
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Window:
    """A number made of several rows of the answer; as in the plan."""

    function: plan_pb2.Window.Function.ValueType
    operands: tuple[Formula, ...] = ()
    partition_by: tuple[int, ...] = ()
    order_by: tuple[WindowOrdering, ...] = ()
    frame: tuple[int | None, int | None, bool] | None = None
    """Where it starts, where it ends, and whether it does so at the row's equals."""
    offset: int = 0

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """All formulas in it."""
        return (*self.operands, *(each.by for each in self.order_by if not isinstance(each.by, int)))

    def message(self, formula: Callable[[Formula], plan_pb2.Formula]) -> plan_pb2.Formula:
        """As the plan has it."""
        orderings = []
        for each in self.order_by:
            ordering = plan_pb2.OutputOrdering(descending=each.descending, nulls_first=each.nulls_first)
            if isinstance(each.by, int):
                ordering.key = each.by
            else:
                ordering.formula.CopyFrom(formula(each.by))
            orderings.append(ordering)
        window = plan_pb2.Window(
            function=self.function,
            operands=[formula(operand) for operand in self.operands],
            partition_by=self.partition_by,
            order_by=orderings,
            offset=self.offset,
        )
        if self.frame is not None:
            start, end, peers = self.frame
            window.frame.CopyFrom(Frame(start=start, end=end, peers=peers))
        return plan_pb2.Formula(window=window)


def over_groups(scope: Scope, items: Sequence[exp.Expr]) -> str | None:
    """How the first window function that is of a column of rows is asked over groups; None if none is.

    Raises:
        Problem: the column is none of the rows.
    """
    for window in (window for item in items for window in item.find_all(exp.Window)):
        function = unwrapped(window.this)
        operand = function.args.get("this")
        column = unwrapped(operand) if isinstance(operand, exp.Expr) else None
        if isinstance(column, exp.Column) and isinstance(column.this, exp.Identifier) and type(function) in _OF_FRAMES:
            return _of_aggregate(function, compile_term(scope, column))
    return None


def _of_aggregate(function: exp.Expr, term: Term) -> str:
    name = function.sql_name() if isinstance(function, exp.Func) else "SUM"
    return f"{name}({'COUNT' if term.type not in values.NUMERIC else 'SUM'}({term.label})) OVER (...)"


def has_window(node: exp.Expr) -> bool:
    """Whether a window function stands in the expression, those of its subqueries not counted."""
    return any(isinstance(part, exp.Window) for part in node.walk(prune=lambda part: isinstance(part, exp.Query)))


class WindowReader:
    """Reads the windows of one query.

    Args:
        keys: of the query.
        number: reads a formula that has no window in it.
        is_number: whether an expression is such a formula, and so no key.
        meant: the node that a name in the window stands for: an item of the SELECT list, or itself.
    """

    def __init__(
        self,
        scope: Scope,
        keys: Keys,
        number: Callable[[exp.Expr], Formula],
        is_number: Callable[[exp.Expr], bool],
        meant: Callable[[exp.Expr], exp.Expr],
    ) -> None:
        self._scope = scope
        self._source = scope.source
        self._keys = keys
        self._number = number
        self._is_number = is_number
        self._meant = meant

    def read(self, node: exp.Window) -> Window:
        """The meaning of `function OVER (...)`.

        Raises:
            Problem: with position, for whatever cannot be asked.
        """
        if has_parts_beyond(node, _PARTS):
            raise self._source.unsupported("This form of OVER cannot be asked.", at=node, hint=_ACCEPTED)
        definition = self._definition(node)
        parts = [self._key(part, "makes no partitions of them") for part in definition.args.get("partition_by") or ()]
        order = definition.args.get("order")
        ordered = () if order is None else tuple(self._ordering(each) for each in order.expressions)
        function, operands, offset = self._function(unwrapped(node.this))
        frame = self._frame(definition, is_ordered=bool(ordered)) if function in _framed() else None
        return Window(function, operands, tuple(dict.fromkeys(parts)), ordered, frame, offset)

    def _definition(self, node: exp.Window) -> exp.Window:
        """The node whose partition, order and frame hold: itself, or the named one of the WINDOW clause."""
        name = node.args.get("alias")
        if name is None:
            return node
        if any(node.args.get(part) for part in ("partition_by", "order", "spec")):
            raise self._source.unsupported(
                "A named window takes nothing beside its name.", at=node, hint="Write OVER name, or all of it in OVER."
            )
        select = node.find_ancestor(exp.Select)
        for each in (select.args.get("windows") if select is not None else None) or ():
            if each.name.lower() == name.name.lower():
                if has_parts_beyond(each, _PARTS - {"alias", "over"}):
                    break
                found: exp.Window = each
                return found
        raise self._source.unsupported(
            f"There is no window {name.name[:40]}.", at=node, hint="Add WINDOW name AS (ORDER BY x)."
        )

    def _function(self, node: exp.Expr) -> tuple[plan_pb2.Window.Function.ValueType, tuple[Formula, ...], int]:
        kind = type(node)
        if kind in _RANKS and not has_parts_beyond(node, frozenset()):
            return _RANKS[kind], (), 0
        if kind is exp.Ntile and not has_parts_beyond(node, frozenset({"this"})):
            return plan_pb2.Window.FUNCTION_TILE, (), self._places(node, node.this, least=1)
        if kind in _SHIFTS and not has_parts_beyond(node, frozenset({"this", "offset", "default"})):
            offset, default = node.args.get("offset"), node.args.get("default")
            operands = [self._operand(node, part) for part in (node.this, default) if part is not None]
            return _SHIFTS[kind], tuple(operands), 1 if offset is None else self._places(node, offset, least=0)
        if kind is exp.Count and _counts_rows(node):
            return plan_pb2.Window.FUNCTION_COUNT_ROWS, (), 0
        if kind in _OF_FRAMES and not has_parts_beyond(node, frozenset({"this", "big_int"})):
            return _OF_FRAMES[kind], (self._operand(node, node.this),), 0
        if isinstance(node, exp.Filter):
            raise self._source.unsupported(
                "FILTER cannot be asked of a window function.",
                at=node,
                hint="Put it on the aggregate inside, as SUM(COUNT(*) FILTER (WHERE c)) OVER ().",
            )
        raise self._source.unsupported("This window function cannot be asked over groups.", at=node, hint=_ACCEPTED)

    def _operand(self, node: exp.Expr, operand: exp.Expr) -> Formula:
        """What is computed of each row: SUM(SUM(x)) OVER (), and not SUM(x) OVER (), where rows are groups."""
        if not isinstance(unwrapped(operand), exp.Column) or self._is_number(self._meant(unwrapped(operand))):
            return self._number(operand)
        name = node.sql_name() if isinstance(node, exp.Func) else "SUM"
        term = compile_term(self._scope, self._meant(unwrapped(operand)))
        if self._keys.find(term.expression) is not None:
            message = "Window functions compute with numbers of other rows, not with their keys."
            hint = f"Write {name}(COUNT(*)) OVER (...)."
        else:
            message = "Window functions are over the rows of the answer, which are groups."
            hint = f"Write {_of_aggregate(node, term)}."
        raise self._source.refuse("raw_columns", message, at=operand, hint=hint)

    def _places(self, node: exp.Expr, number: exp.Expr, least: int) -> int:
        inner = unwrapped(number)
        if isinstance(inner, exp.Literal) and not inner.is_string:
            text = str(inner.this)
            if text.isascii() and text.isdecimal() and len(text) <= 7 and least <= int(text) <= MAX_PLACES:
                return int(text)
        raise self._source.unsupported(
            f"This takes a whole number from {least} to {MAX_PLACES:,}.", at=node, hint="Write 1."
        )

    def _key(self, node: exp.Expr, so: str) -> int:
        term = compile_term(self._scope, self._meant(unwrapped(node)))
        found = self._keys.find(term.expression)
        if found is None:
            raise self._source.refuse(
                "raw_columns",
                f"{term.label} is no key of the groups, so it {so}.",
                at=node,
                hint="Use what stands in GROUP BY, or an aggregate to order by."
                if self._keys.terms
                else f"Add GROUP BY {term.label}, and put an aggregate inside, as SUM(COUNT(*)) OVER (...).",
            )
        return found

    def _ordering(self, node: exp.Expr) -> WindowOrdering:
        if not isinstance(node, exp.Ordered) or has_parts_beyond(node, frozenset({"this", "desc", "nulls_first"})):
            raise self._source.unsupported("This form of ORDER BY cannot be asked.", at=node, hint="Write ORDER BY a.")
        by = self._meant(unwrapped(node.this))
        descending, nulls_first = bool(node.args.get("desc")), bool(node.args.get("nulls_first"))
        return WindowOrdering(self._ordered_by(by), descending, nulls_first)

    def _ordered_by(self, node: exp.Expr) -> int | Formula:
        return self._number(node) if self._is_number(node) else self._key(node, "orders none of them")

    # Frames.

    def _frame(self, node: exp.Window, *, is_ordered: bool) -> tuple[int | None, int | None, bool]:
        spec = node.args.get("spec")
        if spec is None:
            return (None, 0, True) if is_ordered else (None, None, False)
        if has_parts_beyond(spec, frozenset({"kind", "start", "start_side", "end", "end_side"})):
            raise self._bad_frame(node)
        start = self._end(node, spec.args.get("start"), spec.args.get("start_side"), unbounded="PRECEDING")
        last = spec.args.get("end") or "CURRENT ROW"
        end = self._end(node, last, spec.args.get("end_side"), unbounded="FOLLOWING")
        peers = str(spec.args.get("kind")).upper() == "RANGE"
        if not peers and str(spec.args.get("kind")).upper() != "ROWS":
            raise self._bad_frame(node)
        if (peers and (start or end)) or (start is not None and end is not None and start > end):
            raise self._bad_frame(node)
        return start, end, peers and (start, end) != (None, None)

    def _end(self, node: exp.Window, end: object, side: object, *, unbounded: str) -> int | None:
        """How many rows after the present one; None for no end."""
        if end == "CURRENT ROW":
            return 0
        if end == "UNBOUNDED" and side == unbounded:
            return None
        if isinstance(end, exp.Expr) and side in ("PRECEDING", "FOLLOWING"):
            return self._places(end, end, least=0) * (-1 if side == "PRECEDING" else 1)
        raise self._bad_frame(node)

    def _bad_frame(self, node: exp.Window) -> Problem:
        return self._source.unsupported("This frame cannot be asked.", at=node, hint=_FRAMES)


def _counts_rows(node: exp.Expr) -> bool:
    return node.this is None or isinstance(unwrapped(node.this), exp.Star | exp.Literal)


def _framed() -> Sequence[int]:
    return (plan_pb2.Window.FUNCTION_COUNT_ROWS, *_OF_FRAMES.values())
