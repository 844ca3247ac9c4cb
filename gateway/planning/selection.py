"""What a SELECT list asks for, and by which keys."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration

from enclave_sim.plan import values
from enclave_sim.plan.schema import has_bounds, is_unit
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, describe, has_parts_beyond
from gateway.planning.sql import ParsedSelect

_ACCEPTED = "Ask for COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM(column) or AVG(column)."
_INSTEAD_OF_FUNCTION = {
    "mean": "Write AVG(column).",
    "median": "Quantiles cannot be asked yet; AVG(column) can.",
    "count_if": "Write COUNT(*) and put the condition into WHERE.",
    "min": "A smallest value is one person's value; ask for AVG(column), or COUNT(*) below a limit with WHERE.",
    "max": "A largest value is one person's value; ask for AVG(column), or COUNT(*) above a limit with WHERE.",
}


class Aggregate(Enum):
    """What is computed of a group."""

    ROWS = auto()
    NON_NULL = auto()
    UNITS = auto()
    SUM = auto()
    MEAN = auto()


@dataclass(frozen=True)
class ShownKey:
    """A column of the answer with the group's value of a key; `key` is an index of the query's keys."""

    name: str
    key: int


@dataclass(frozen=True)
class ShownAggregate:
    """A column of the answer with an aggregate; `column` is there for NON_NULL, SUM and MEAN."""

    name: str
    aggregate: Aggregate
    column: ColumnDeclaration | None = None


Shown: TypeAlias = ShownKey | ShownAggregate


@dataclass(frozen=True)
class Selection:
    """The columns of the answer in order, and the columns that groups are made by."""

    shown: tuple[Shown, ...]
    keys: tuple[ColumnDeclaration, ...]


@dataclass(frozen=True)
class _Item:
    """One item of the SELECT list: what it is, its alias, and its text."""

    node: exp.Expr
    alias: str | None
    text: str


def read_selection(scope: Scope, parsed: ParsedSelect) -> Selection:
    """The meaning of the SELECT list and the GROUP BY clause.

    Raises:
        Problem: with the place of whatever cannot be asked.
    """
    items = [_item(node, text) for node, text in zip(parsed.select.expressions, parsed.item_texts, strict=True)]
    if not items:
        raise scope.source.malformed("sql_syntax", "The query selects nothing.", at=parsed.select, hint=_ACCEPTED)
    for item in items:
        _refuse_star(scope, item.node)
    keys = _Keys(scope, items).read(parsed.select.args.get("group"))
    shown = tuple(_Reader(scope, keys).read(item) for item in items)
    _refuse_repeated_names(scope, shown, items)
    if not any(isinstance(item, ShownAggregate) for item in shown):
        raise scope.source.unsupported("The query asks for no statistic.", at=items[0].node, hint="Add COUNT(*).")
    return Selection(shown, keys)


def _item(node: exp.Expr, text: str) -> _Item:
    if isinstance(node, exp.Alias):
        return _Item(unwrapped(node.this), node.alias, text)
    return _Item(unwrapped(node), None, text)


def _refuse_star(scope: Scope, node: exp.Expr) -> None:
    if isinstance(node, exp.Star | exp.Columns) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
        raise scope.source.refuse("raw_columns", "Rows never leave the zone, only statistics.", at=node, hint=_ACCEPTED)


def _refuse_repeated_names(scope: Scope, shown: tuple[Shown, ...], items: list[_Item]) -> None:
    seen: set[str] = set()
    for column, item in zip(shown, items, strict=True):
        if column.name in seen:
            raise scope.source.refuse(
                "duplicate_name",
                f"Two columns of the answer would be named {column.name}.",
                at=item.node,
                hint="Name one of them with AS, or leave it out.",
            )
        seen.add(column.name)


class _Keys:
    """Reads GROUP BY: columns by name, by position in the SELECT list, or by their alias there."""

    def __init__(self, scope: Scope, items: list[_Item]) -> None:
        self._scope = scope
        self._items = items
        self._aliases = {item.alias.lower(): item.node for item in items if item.alias}

    def read(self, group: exp.Expr | None) -> tuple[ColumnDeclaration, ...]:
        if group is None:
            return ()
        if has_parts_beyond(group, frozenset({"expressions"})):
            raise self._unsupported(group)
        keys: dict[str, ColumnDeclaration] = {}
        for node in group.expressions:
            column = self._key(unwrapped(node))
            keys.setdefault(column.name, column)
        return tuple(keys.values())

    def _key(self, node: exp.Expr) -> ColumnDeclaration:
        meant = self._meant(node)
        if not isinstance(meant, exp.Column):
            raise self._unsupported(node)
        column = self._scope.attribute(meant)
        if not column.values:
            keys = self._scope.keys()
            raise self._scope.source.refuse(
                "undeclared_group_key",
                f"{column.name} has no declared values, so which groups exist would tell about people.",
                at=node,
                hint=f"Group by {' or '.join(keys)}." if keys else "No column of this table has declared values.",
            )
        return column

    def _meant(self, node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Literal) and not node.is_string:
            return self._at_position(node)
        if isinstance(node, exp.Column) and not node.table:
            names = {column.name.lower() for column in self._scope.table.columns}
            if node.name.lower() not in names:
                return self._aliases.get(node.name.lower(), node)
        return node

    def _at_position(self, node: exp.Literal) -> exp.Expr:
        text = str(node.this)
        number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
        if not 1 <= number <= len(self._items):
            raise self._scope.source.malformed(
                "bad_position",
                f"The SELECT list has no item {text[:20]}.",
                at=node,
                hint=f"Use a number from 1 to {len(self._items)}, or the column's name.",
            )
        return self._items[number - 1].node

    def _unsupported(self, node: exp.Expr) -> Problem:
        keys = self._scope.keys()
        return self._scope.source.unsupported(
            "Groups can only be made by columns with declared values.",
            at=node,
            hint=f"Group by {' or '.join(keys)}." if keys else "No column of this table has declared values.",
        )


class _Reader:
    """Reads items of the SELECT list."""

    def __init__(self, scope: Scope, keys: tuple[ColumnDeclaration, ...]) -> None:
        self._scope = scope
        self._source = scope.source
        self._key_names = [key.name for key in keys]

    def read(self, item: _Item) -> Shown:
        node, name = item.node, item.alias or item.text
        if isinstance(node, exp.Column):
            return self._key(node, item.alias)
        if type(node) is exp.Count:
            return self._count(node, name)
        if type(node) in (exp.Sum, exp.Avg):
            return self._numeric(node, name)
        raise self._unsupported(node)

    def _key(self, node: exp.Column, alias: str | None) -> Shown:
        column = self._scope.attribute(node)
        if column.name in self._key_names:
            return ShownKey(alias or column.name, self._key_names.index(column.name))
        hint = f"Add GROUP BY {column.name}." if column.values else _ACCEPTED
        raise self._source.refuse(
            "raw_columns", f"{column.name} would be shown row by row; rows never leave the zone.", at=node, hint=hint
        )

    def _count(self, node: exp.Count, name: str) -> Shown:
        counted = node.this
        if has_parts_beyond(node, frozenset({"this", "big_int"})) or counted is None:
            raise self._source.unsupported("COUNT takes one column or *.", at=node, hint="Write COUNT(*).")
        if isinstance(counted, exp.Distinct):
            return self._count_distinct(counted, name)
        counted = unwrapped(counted)
        if isinstance(counted, exp.Star) and not has_parts_beyond(counted, frozenset()):
            return ShownAggregate(name, Aggregate.ROWS)
        if isinstance(counted, exp.Literal):
            return ShownAggregate(name, Aggregate.ROWS)
        if not isinstance(counted, exp.Column) or isinstance(counted.this, exp.Star):
            raise self._source.unsupported("COUNT takes one column or *.", at=node, hint="Write COUNT(*).")
        column = self._scope.column(counted)
        if is_unit(column):
            raise self._source.refuse(
                "privacy_unit",
                f"{column.name} is the privacy unit; how many rows have it is COUNT(*).",
                at=counted,
                hint=f"Ask for COUNT(*) or COUNT(DISTINCT {column.name}).",
            )
        return ShownAggregate(name, Aggregate.NON_NULL, column)

    def _count_distinct(self, distinct: exp.Distinct, name: str) -> Shown:
        unit = self._scope.declaration.privacy_unit
        counted = [unwrapped(node) for node in distinct.expressions]
        if len(counted) == 1 and isinstance(counted[0], exp.Column):
            column = self._scope.column(counted[0])
            if is_unit(column) and not has_parts_beyond(distinct, frozenset({"expressions"})):
                return ShownAggregate(name, Aggregate.UNITS)
        raise self._source.unsupported(
            "Only the privacy unit can be counted as distinct.", at=distinct, hint=f"Write COUNT(DISTINCT {unit})."
        )

    def _numeric(self, node: exp.Expr, name: str) -> Shown:
        function = "SUM" if isinstance(node, exp.Sum) else "AVG"
        summed = unwrapped(node.this) if isinstance(node.this, exp.Expr) else node
        if has_parts_beyond(node, frozenset({"this"})) or not isinstance(summed, exp.Column):
            self._check_names(node)
            raise self._source.unsupported(
                f"{function} takes one column and nothing else.", at=node, hint=f"Write {function}(column)."
            )
        column = self._scope.attribute(summed)
        if column.type not in values.NUMERIC:
            raise self._source.refuse(
                "not_numeric",
                f"{describe(column)} is not numeric, so it has no {function}.",
                at=summed,
                hint=f"Ask for COUNT({column.name}), or {function} of {self._summable()}.",
            )
        if not has_bounds(column):
            raise self._source.refuse(
                "no_bounds",
                f"{column.name} has no declared lower and upper bound, which {function} needs.",
                at=summed,
                hint=f"Ask for COUNT({column.name}), or {function} of {self._summable()}.",
            )
        return ShownAggregate(name, Aggregate.SUM if function == "SUM" else Aggregate.MEAN, column)

    def _summable(self) -> str:
        names = [column.name for column in self._scope.table.columns if has_bounds(column)]
        return " or ".join(names) if names else "a column with bounds"

    def _check_names(self, node: exp.Expr) -> None:
        for column in node.find_all(exp.Column):
            if isinstance(column.this, exp.Identifier):
                self._scope.attribute(column)

    def _unsupported(self, node: exp.Expr) -> Problem:
        if isinstance(node, exp.Window):
            return self._source.unsupported("Window functions cannot be asked.", at=node, hint=_ACCEPTED)
        if node.find(exp.Query):
            return self._source.unsupported("Subqueries cannot be asked.", at=node, hint=_ACCEPTED)
        if isinstance(node, exp.Filter):
            hint = "Put the condition into WHERE."
            return self._source.unsupported("FILTER cannot be asked.", at=node, hint=hint)
        if isinstance(node, exp.Func) and not isinstance(node, exp.Connector | exp.Cast):
            name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
            hint = _INSTEAD_OF_FUNCTION.get(name, _ACCEPTED)
            return self._source.unsupported(f"The function {name.upper()[:40]} cannot be asked.", at=node, hint=hint)
        self._check_names(node)
        has_aggregate = node.find(exp.AggFunc) is not None
        hint = "Select the aggregates by themselves and compute with the answer." if has_aggregate else _ACCEPTED
        return self._source.unsupported("Computed columns cannot be asked.", at=node, hint=hint)
