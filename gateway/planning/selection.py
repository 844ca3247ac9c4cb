"""What a SELECT list asks for: keys of the groups, and formulas over their aggregates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sqlglot import exp

from enclave_sim.plan.values import PythonValue
from gateway.planning.aggregates import ACCEPTED, has_aggregate, is_aggregate, read_aggregates
from gateway.planning.expressions import compile_term
from gateway.planning.formulas import Formula, aggregates_of, is_computed, read_formula
from gateway.planning.keys import Item, Keys, as_item, read_keys
from gateway.planning.scope import Scope
from gateway.planning.sql import ParsedSelect
from gateway.planning.windows import over_groups


@dataclass(frozen=True)
class ShownKey:
    """A column of the answer with the group's value of a key; `key` is an index of the query's keys."""

    name: str
    key: int
    labels: tuple[PythonValue, ...] = ()
    """What the key's values are shown as; empty: as they are."""


@dataclass(frozen=True)
class ShownFormula:
    """A column of the answer that is computed from aggregates."""

    name: str
    formula: Formula


Shown: TypeAlias = ShownKey | ShownFormula


@dataclass(frozen=True)
class Selection:
    """The columns of the answer in order, and the keys that groups are made by."""

    shown: tuple[Shown, ...]
    columns_of: tuple[tuple[int, ...], ...]
    """Which columns each item of the SELECT list has become."""
    items: tuple[Item, ...]
    keys: Keys


def read_selection(scope: Scope, parsed: ParsedSelect) -> Selection:
    """The meaning of the SELECT list and the GROUP BY clause.

    Raises:
        Problem: with the place of whatever cannot be asked.
    """
    items = tuple(as_item(node, text) for node, text in zip(parsed.select.expressions, parsed.item_texts, strict=True))
    if not items:
        raise scope.source.malformed("sql_syntax", "The query selects nothing.", at=parsed.select, hint=ACCEPTED)
    for item in items:
        _refuse_star(scope, item.node)
    keys = read_keys(scope, parsed.select.args.get("group"), items)
    columns = [_Reader(scope, keys, items, items[:index]).read(item) for index, item in enumerate(items)]
    _refuse_repeated_names(scope, columns, items)
    shown = tuple(column for found in columns for column in found)
    if not any(isinstance(column, ShownFormula) and aggregates_of(column.formula) for column in shown):
        raise scope.source.unsupported("The query asks for no statistic.", at=items[0].node, hint="Add COUNT(*).")
    return Selection(shown, _positions(columns), items, keys)


def labelled(selection: Selection, labels: Mapping[int, tuple[PythonValue, ...]]) -> Selection:
    """The selection with the values of the keys that some of its items are shown as something else."""
    shown = list(selection.shown)
    for item, texts in labels.items():
        for index in selection.columns_of[item]:
            column = shown[index]
            if isinstance(column, ShownKey):
                shown[index] = replace(column, labels=texts)
    return replace(selection, shown=tuple(shown))


def _positions(columns: Sequence[tuple[Shown, ...]]) -> tuple[tuple[int, ...], ...]:
    starts = [sum(len(found) for found in columns[:index]) for index in range(len(columns))]
    return tuple(tuple(range(start, start + len(found))) for start, found in zip(starts, columns, strict=True))


def _refuse_star(scope: Scope, node: exp.Expr) -> None:
    if isinstance(node, exp.Star | exp.Columns) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star)):
        raise scope.source.refuse("raw_columns", "Rows never leave the zone, only statistics.", at=node, hint=ACCEPTED)


def _refuse_repeated_names(scope: Scope, columns: Sequence[tuple[Shown, ...]], items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for found, item in zip(columns, items, strict=True):
        for column in found:
            if column.name in seen:
                raise scope.source.refuse(
                    "duplicate_name",
                    f"Two columns of the answer would be named {column.name}.",
                    at=item.node,
                    hint="Name one of them with AS, or leave it out.",
                )
            seen.add(column.name)


class _Reader:
    """Reads one item of the SELECT list; those before it may be meant by their alias."""

    def __init__(self, scope: Scope, keys: Keys, items: Sequence[Item], before: Sequence[Item]) -> None:
        self._scope = scope
        self._source = scope.source
        self._keys = keys
        self._items = items
        self._named = {item.alias.lower(): item.node for item in before if item.alias}

    def read(self, item: Item) -> tuple[Shown, ...]:
        node, name = item.node, item.alias or item.text
        if is_aggregate(node):
            found = read_aggregates(self._scope, node)
            return tuple(ShownFormula(f"{name}{ending}", aggregate) for ending, aggregate in found)
        if self._is_formula(node):
            return (ShownFormula(name, read_formula(self._scope, node, self._named, self._keys)),)
        return (self._key(item),)

    def _is_formula(self, node: exp.Expr) -> bool:
        is_number = isinstance(node, exp.Literal | exp.Neg) and not node.is_string and not node.find(exp.Column)
        is_read_there = is_number or isinstance(node, exp.Query) or has_aggregate(node)
        return is_read_there or is_computed(self._scope, node, self._named)

    def _key(self, item: Item) -> Shown:
        term = compile_term(self._scope, item.node)
        plain = isinstance(item.node, exp.Column)
        key = self._keys.find(term.expression)
        if key is not None:
            label = term.label.rpartition(".")[2] if plain else item.text
            return ShownKey(item.alias or label, key)
        if not item.node.find(exp.Column):
            raise self._source.unsupported("The query asks for no statistic here.", at=item.node, hint=ACCEPTED)
        hint = f"Add GROUP BY {term.label}." if term.domain.listed(1000) else ACCEPTED
        over = over_groups(self._scope, [each.node for each in self._items])
        if over is not None:
            hint = f"Add GROUP BY {term.label}, and write {over}: window functions are over the groups."
        raise self._source.refuse(
            "raw_columns",
            f"{term.label} would be shown row by row; rows never leave the zone.",
            at=item.node,
            hint=hint,
        )
