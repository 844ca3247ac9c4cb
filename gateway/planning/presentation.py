"""Which rows of the answer are shown and in which order: HAVING, QUALIFY, ORDER BY, LIMIT and OFFSET.

All of it is computed from the released numbers, so it costs nothing and reveals nothing more; an aggregate that
only HAVING or ORDER BY names is measured like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from yingbi.api.problem import Problem

from gateway.planning.aggregates import has_aggregate
from gateway.planning.expressions import compile_term
from gateway.planning.formulas import Formula, aggregates_of, is_computed, read_condition, read_formula
from gateway.planning.keys import bad_position
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, has_parts_beyond
from gateway.planning.selection import Selection, ShownFormula, ShownKey
from gateway.planning.windows import has_window

MAX_ROWS = 2**53
"""Largest LIMIT and OFFSET."""


@dataclass(frozen=True)
class Ordering:
    """One item of ORDER BY: a column of the answer, by index, or a formula."""

    by: int | Formula
    descending: bool
    nulls_first: bool


@dataclass(frozen=True)
class Presentation:
    """What is done with the rows of the answer."""

    having: Formula | None = None
    qualify: Formula | None = None
    order_by: tuple[Ordering, ...] = ()
    limit: int | None = None
    offset: int = 0

    @property
    def formulas(self) -> tuple[Formula, ...]:
        """All formulas in it."""
        conditions = tuple(each for each in (self.having, self.qualify) if each is not None)
        return conditions + tuple(ordering.by for ordering in self.order_by if not isinstance(ordering.by, int))


def read_presentation(scope: Scope, select: exp.Select, selection: Selection) -> Presentation:
    """The meaning of HAVING, QUALIFY, ORDER BY, LIMIT and OFFSET.

    Raises:
        Problem: with the place of whatever cannot be asked.
    """
    reader = _Reader(scope, selection)
    return Presentation(
        reader.having(select.args.get("having")),
        reader.qualify(select.args.get("qualify")),
        reader.order_by(select.args.get("order")),
        reader.limit(select.args.get("limit")),
        reader.offset(select.args.get("offset")),
    )


class _Reader:
    def __init__(self, scope: Scope, selection: Selection) -> None:
        self._scope = scope
        self._source = scope.source
        self._selection = selection
        self._named = {item.alias.lower(): item.node for item in selection.items if item.alias}

    def having(self, node: exp.Expr | None) -> Formula | None:
        if node is None:
            return None
        condition = read_condition(self._scope, node.this, self._named)
        if not aggregates_of(condition):
            raise self._source.unsupported(
                "HAVING without an aggregate is the same for every row.", at=node, hint="Put the condition into WHERE."
            )
        return condition

    def qualify(self, node: exp.Expr | None) -> Formula | None:
        if node is None:
            return None
        condition = read_condition(self._scope, node.this, self._named, self._selection.keys)
        if not any(map(has_window, (node.this, *(item.node for item in self._selection.items)))):
            raise self._source.unsupported(
                "QUALIFY is for conditions on window functions.", at=node, hint="Use HAVING, or leave it out."
            )
        return condition

    def order_by(self, node: exp.Expr | None) -> tuple[Ordering, ...]:
        if node is None:
            return ()
        if has_parts_beyond(node, frozenset({"expressions"})):
            raise self._source.unsupported("This form of ORDER BY cannot be asked.", at=node, hint="Write ORDER BY a.")
        return tuple(ordering for ordered in node.expressions for ordering in self._orderings(ordered))

    def limit(self, node: exp.Expr | None) -> int | None:
        if node is None:
            return None
        if isinstance(node, exp.Fetch):
            options = node.args.get("limit_options")
            extra = options is not None and has_parts_beyond(options, frozenset({"rows"}))
            return self._whole_number(node, node.args.get("count"), extra=extra)
        extra = has_parts_beyond(node, frozenset({"expression"}))
        return self._whole_number(node, node.args.get("expression"), extra=extra)

    def offset(self, node: exp.Expr | None) -> int:
        if node is None:
            return 0
        extra = has_parts_beyond(node, frozenset({"expression"}))
        return self._whole_number(node, node.args.get("expression"), extra=extra)

    def _whole_number(self, node: exp.Expr, number: object, *, extra: bool) -> int:
        if not extra and isinstance(number, exp.Literal) and not number.is_string:
            text = str(number.this)
            if text.isascii() and text.isdecimal() and len(text) <= 16 and int(text) <= MAX_ROWS:
                return int(text)
        raise self._source.unsupported(
            f"{'OFFSET' if isinstance(node, exp.Offset) else 'LIMIT'} takes a number of rows and nothing else.",
            at=node,
            hint="Write LIMIT 10 OFFSET 20.",
        )

    def _orderings(self, node: exp.Expr) -> Sequence[Ordering]:
        if not isinstance(node, exp.Ordered) or has_parts_beyond(node, frozenset({"this", "desc", "nulls_first"})):
            raise self._source.unsupported("This form of ORDER BY cannot be asked.", at=node, hint="Write ORDER BY a.")
        descending, nulls_first = bool(node.args.get("desc")), bool(node.args.get("nulls_first"))
        by = unwrapped(node.this)
        if isinstance(by, exp.Var) and by.name.upper() == "ALL":
            columns: Sequence[int | Formula] = range(len(self._selection.shown))
        else:
            columns = [self._by(by)]
        return [Ordering(column, descending, nulls_first) for column in columns]

    def _by(self, node: exp.Expr) -> int | Formula:
        if isinstance(node, exp.Literal) and not node.is_string:
            return self._at_position(node)
        named = self._item_named(node)
        if named is not None:
            return self._single(named, node)
        if has_aggregate(node) or is_computed(self._scope, node, self._named):
            formula = read_formula(self._scope, node, self._named, self._selection.keys)
            if not aggregates_of(formula):
                raise self._source.unsupported("Every row has the same.", at=node, hint="Order by a column or number.")
            return self._shown(formula)
        return self._key(node)

    def _item_named(self, node: exp.Expr) -> int | None:
        """The item whose alias the expression is: in ORDER BY, names of the answer come before those of the rows."""
        if not isinstance(node, exp.Column) or node.table:
            return None
        aliases = [(item.alias or "").lower() for item in self._selection.items]
        return aliases.index(node.name.lower()) if node.name.lower() in aliases else None

    def _at_position(self, node: exp.Literal) -> int:
        text = str(node.this)
        count = len(self._selection.items)
        number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
        if not 1 <= number <= count:
            raise bad_position(self._scope, node, count)
        return self._single(number - 1, node)

    def _single(self, item: int, node: exp.Expr) -> int:
        columns = self._selection.columns_of[item]
        if len(columns) > 1:
            raise self._source.unsupported(
                "A list of quantiles has no order.", at=node, hint="Ask for each quantile by itself."
            )
        return columns[0]

    def _shown(self, formula: Formula) -> int | Formula:
        for index, column in enumerate(self._selection.shown):
            if isinstance(column, ShownFormula) and column.formula == formula:
                return index
        return formula

    def _key(self, node: exp.Expr) -> int:
        term = compile_term(self._scope, node)
        key = self._selection.keys.find(term.expression)
        for index, column in enumerate(self._selection.shown):
            if isinstance(column, ShownKey) and column.key == key:
                return index
        raise self._not_shown(node, term.label, is_key=key is not None)

    def _not_shown(self, node: exp.Expr, label: str, *, is_key: bool) -> Problem:
        if is_key:
            return self._source.unsupported(
                f"The rows of the answer do not show {label}.", at=node, hint=f"Add {label} to the SELECT list."
            )
        return self._source.refuse(
            "raw_columns",
            f"{label} has a value for each row, and rows never leave the zone.",
            at=node,
            hint="Order by a key, or by an aggregate, as ORDER BY COUNT(*) DESC.",
        )
