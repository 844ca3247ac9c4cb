"""What groups are made by: GROUP BY with columns and expressions, ROLLUP, CUBE and GROUPING SETS.

A key is an expression. Where its possible values are public, by declaration or by what is computed of declared
columns, which groups there are tells nothing about people. Where they are not, the key is `unknown`: a first stage
(`stages`) selects values for it privately.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import prod
from typing import TypeAlias

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_TIMESTAMP, Expression, GroupKey, Value

from enclave_sim.plan import values
from enclave_sim.plan.key_selection import MAX_SELECTED_KEYS
from enclave_sim.plan.validation import MAX_GROUPS
from gateway.planning.aggregates import has_aggregate
from gateway.planning.expressions import compile_term
from gateway.planning.formulas import has_column, is_computed
from gateway.planning.literals import unwrapped
from gateway.planning.scope import Scope, Term, has_parts_beyond

MAX_SETS = 64
"""Grouping sets of one query."""

Listed: TypeAlias = tuple[values.PythonValue, ...]
"""The values of a key that make groups."""

_Nodes: TypeAlias = tuple[exp.Expr, ...]


@dataclass(frozen=True)
class Item:
    """One item of the SELECT list: what it is, its alias, and its text."""

    node: exp.Expr
    alias: str | None
    text: str


@dataclass(frozen=True)
class Keys:
    """The keys of a query, and the combinations of them that rows are wanted for; none for all of them alone."""

    terms: tuple[Term, ...] = ()
    values: tuple[Listed | None, ...] = ()
    """Of each key; None for one whose values are not public."""
    sets: tuple[tuple[int, ...], ...] = ()

    @property
    def groups(self) -> int:
        """All combinations of the keys' values, as if an unknown key had one."""
        return _groups(self.values)

    @property
    def unknown(self) -> tuple[Term, ...]:
        """The keys whose values are not public."""
        return tuple(term for term, listed in zip(self.terms, self.values, strict=True) if listed is None)

    def knowing(self, found: Sequence[Listed]) -> Keys:
        """The same keys with values for the unknown ones, in their order."""
        rest = iter(found)
        return replace(self, values=tuple(next(rest) if listed is None else listed for listed in self.values))

    def find(self, expression: Expression) -> int | None:
        """Which key an expression is."""
        return next((index for index, term in enumerate(self.terms) if term.expression == expression), None)

    def messages(self) -> list[GroupKey]:
        """As the plan has them; an unknown key has one value, which has no kind."""
        return [
            GroupKey(expression=term.expression, values=_constants(listed))
            for term, listed in zip(self.terms, self.values, strict=True)
        ]


def read_keys(scope: Scope, group: exp.Expr | None, items: Sequence[Item]) -> Keys:
    """The meaning of a GROUP BY clause.

    Raises:
        Problem: "undeclared_group_key" for a key whose values are neither public nor selectable, "too_many_groups",
            and others with the place of whatever cannot be asked.
    """
    if group is None:
        return Keys()
    if group.args.get("all") is True and not has_parts_beyond(group, frozenset({"all"})):
        return _Reader(scope, items).read([(_keys_shown(scope, items),)])
    if has_parts_beyond(group, frozenset({"expressions"})):
        raise scope.source.unsupported(
            "This form of GROUP BY cannot be asked.", at=group, hint="Write GROUP BY ROLLUP (a, b)."
        )
    return _Reader(scope, items).read([_sets(scope, element) for element in group.expressions])


def counted_key(scope: Scope, keys: Keys, term: Term, node: exp.Expr) -> Keys:
    """The keys and one more, whose values are counted within the rows that the others make.

    Args:
        keys: of a query without grouping sets.
        term: none of them.

    Raises:
        Problem: "undeclared_group_key" for fractions, "too_many_groups" for an expression that may have too many
            values.
    """
    return _Reader(scope, ()).counting(keys, term, node)


def as_item(node: exp.Expr, text: str) -> Item:
    """An item of the SELECT list."""
    if isinstance(node, exp.Alias):
        return Item(unwrapped(node.this), node.alias, text)
    return Item(unwrapped(node), None, text)


def _keys_shown(scope: Scope, items: Sequence[Item]) -> _Nodes:
    """What GROUP BY ALL means: the items that no aggregate is part of."""
    named = {item.alias.lower(): item.node for item in items if item.alias}
    nodes = (item.node for item in items if not has_aggregate(item.node) and not _is_number(item.node))
    return tuple(node for node in nodes if not is_computed(scope, node, named))


def _is_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string


def _sets(scope: Scope, element: exp.Expr) -> tuple[_Nodes, ...]:
    """The sets of keys that one element of GROUP BY stands for."""
    if isinstance(element, exp.GroupingSets):
        return tuple(found for part in element.expressions for found in _sets(scope, part))
    if isinstance(element, exp.Rollup | exp.Cube):
        parts = [_nodes(part) for part in element.expressions]
        if not parts or (isinstance(element, exp.Cube) and 2 ** len(parts) > MAX_SETS):
            raise _too_many_sets(scope, element)
        chosen = _prefixes(parts) if isinstance(element, exp.Rollup) else _subsets(parts)
        return tuple(tuple(node for part in chosen_parts for node in part) for chosen_parts in chosen)
    return (_nodes(element),)


def _nodes(element: exp.Expr) -> _Nodes:
    inner = unwrapped(element)
    return tuple(inner.expressions) if isinstance(inner, exp.Tuple) else (inner,)


def _prefixes(parts: Sequence[_Nodes]) -> Iterable[Sequence[_Nodes]]:
    return [parts[:length] for length in range(len(parts), -1, -1)]


def _subsets(parts: Sequence[_Nodes]) -> Iterable[Sequence[_Nodes]]:
    return [chosen for length in range(len(parts), -1, -1) for chosen in combinations(parts, length)]


def _too_many_sets(scope: Scope, at: exp.Expr) -> Problem:
    return scope.source.refuse(
        "too_many_groups",
        f"This makes no grouping set, or more than {MAX_SETS}.",
        at=at,
        hint="Name the sets that are needed with GROUPING SETS ((a, b), (a), ()).",
    )


class _Reader:
    """Keys by name, by expression, by position in the SELECT list, or by an alias there."""

    def __init__(self, scope: Scope, items: Sequence[Item]) -> None:
        self._scope = scope
        self._source = scope.source
        self._items = items
        self._aliases = {item.alias.lower(): item.node for item in items if item.alias}
        self._terms: list[Term] = []
        self._values: list[Listed | None] = []

    def read(self, elements: Sequence[Sequence[_Nodes]]) -> Keys:
        if prod(len(element) for element in elements) > MAX_SETS:
            raise _too_many_sets(self._scope, elements[0][0][0] if elements[0][0] else self._items[0].node)
        sets = [self._set(combination) for combination in product(*elements)]
        distinct = tuple(dict.fromkeys(sets))
        all_keys = tuple(range(len(self._terms)))
        return Keys(tuple(self._terms), tuple(self._values), () if distinct in ((all_keys,), ()) else distinct)

    def _set(self, parts: Sequence[_Nodes]) -> tuple[int, ...]:
        return tuple(sorted({self._index(unwrapped(node)) for nodes in parts for node in nodes}))

    def _index(self, node: exp.Expr) -> int:
        meant = self._meant(node)
        if has_aggregate(meant):
            raise self._source.unsupported(
                "Groups cannot be made by an aggregate of them.", at=node, hint="Use HAVING, or leave it out."
            )
        term = compile_term(self._scope, meant)
        found = Keys(tuple(self._terms)).find(term.expression)
        if found is not None:
            return found
        self._add(term, self._listed(term, node), node)
        return len(self._terms) - 1

    def counting(self, keys: Keys, term: Term, node: exp.Expr) -> Keys:
        self._terms, self._values = [*keys.terms], [*keys.values]
        self._add(term, self._countable(term, node), node)
        return Keys(tuple(self._terms), tuple(self._values), (tuple(range(len(keys.terms))),))

    def _add(self, term: Term, listed: Listed | None, node: exp.Expr) -> None:
        self._values.append(listed)
        self._terms.append(term)
        self._check_size(node)

    def _meant(self, node: exp.Expr) -> exp.Expr:
        if _is_number(node):
            return self._at_position(node)
        if isinstance(node, exp.Column) and not node.table and not has_column(self._scope, node.name):
            return self._aliases.get(node.name.lower(), node)
        return node

    def _at_position(self, node: exp.Expr) -> exp.Expr:
        text = str(node.this)
        number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else 0
        if not 1 <= number <= len(self._items):
            raise bad_position(self._scope, node, len(self._items))
        return self._items[number - 1].node

    def _listed(self, term: Term, node: exp.Expr) -> Listed | None:
        listed = term.domain.listed(MAX_GROUPS)
        if listed is None and term.type != COLUMN_TYPE_FLOAT64:
            return None
        if not listed:
            raise self._undeclared(term, node)
        # -0.0 and 0.0 are one value of SQL.
        return tuple(dict.fromkeys(value + 0.0 if isinstance(value, float) else value for value in listed))

    def _countable(self, term: Term, node: exp.Expr) -> Listed | None:
        """As `_listed`; but a first stage finds too few of values that lie too close together to be listed."""
        bounds, is_float = term.domain.bounds(), term.type == COLUMN_TYPE_FLOAT64
        if term.domain.listed(MAX_GROUPS) or not (bounds or is_float):
            return self._listed(term, node)
        raise self._source.refuse(
            "undeclared_group_key" if is_float else "too_many_groups",
            f"{term.label} has no declared values, and may have "
            + ("any fraction." if is_float else f"more than {MAX_GROUPS:,}."),
            at=node,
            hint=f"Count ranges of it, as {_ranges_of(term)}.",
        )

    def _undeclared(self, term: Term, node: exp.Expr) -> Problem:
        keys = self._scope.keys()
        hint = f"Group by {' or '.join(keys[:10])}" if keys else "Group by an expression with few possible values"
        if term.domain.bounds():
            hint += f", or by ranges, as FLOOR({term.label} / 10) * 10"
        elif term.type == COLUMN_TYPE_FLOAT64:
            hint += f", or by whole numbers, as CAST(ROUND({term.label}) AS BIGINT)"
        cause = "has no declared values, and hardly two rows share one" if term.type == COLUMN_TYPE_FLOAT64 else ""
        return self._source.refuse(
            "undeclared_group_key",
            f"{term.label} {cause or 'has no possible value'}, so it makes no groups.",
            at=node,
            hint=f"{hint}.",
        )

    def _check_size(self, node: exp.Expr) -> None:
        groups = _groups(self._values)
        if groups > MAX_GROUPS:
            raise self._source.refuse(
                "too_many_groups",
                f"The query makes {groups:,} groups; {MAX_GROUPS:,} are allowed.",
                at=node,
                hint="Group by fewer columns, or by wider ranges.",
            )
        if self._values.count(None) > MAX_SELECTED_KEYS:
            raise self._source.refuse(
                "too_many_groups",
                f"The query has more than {MAX_SELECTED_KEYS} keys whose values are not declared.",
                at=node,
                hint="Group by fewer columns.",
            )


def _ranges_of(term: Term) -> str:
    """A count of ranges, 10 to 100 where bounds are known."""
    ends = term.domain.bounds()
    if ends is None:
        return f"COUNT(DISTINCT CAST(ROUND({term.label}) AS BIGINT))"
    if term.type == COLUMN_TYPE_TIMESTAMP:
        return f"COUNT(DISTINCT CAST({term.label} AS DATE))"
    width = 10.0 ** (math.floor(math.log10(max(ends[1] - ends[0], 1e-9))) - 1)
    return f"COUNT(DISTINCT FLOOR({term.label} / {width:.15g}))"


def _groups(listed: Iterable[Listed | None]) -> int:
    return prod(1 if each is None else len(each) for each in listed)


def _constants(listed: Listed | None) -> list[Value]:
    return [Value()] if listed is None else [values.from_python(value) for value in listed]


def bad_position(scope: Scope, node: exp.Expr, count: int) -> Problem:
    """The problem with a number that stands for an item of the SELECT list and means none."""
    return scope.source.malformed(
        "bad_position",
        f"The SELECT list has no item {str(node.this)[:20]}.",
        at=node,
        hint=f"Use a number from 1 to {count}, or the column's name.",
    )
