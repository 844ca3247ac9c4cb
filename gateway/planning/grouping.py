"""GROUP BY unit: aggregates of one unit's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_INT64,
    Conjunction,
    Disjunction,
    Expression,
    NamedExpression,
    NullTest,
    Ordering,
    Projection,
    Relation,
    Selection,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
    UnitRanking,
)

from enclave_sim.plan import values
from gateway.planning import calls, literals
from gateway.planning.conditions import certain, negated
from gateway.planning.domains import Domain
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.items import Item, across_units, ordering, with_aliases
from gateway.planning.joins import joined
from gateway.planning.literals import unwrapped
from gateway.planning.measures import knowledge, read_measure, unsupported
from gateway.planning.narrowing import select_rows
from gateway.planning.scope import Attribute, Part, Scope, Term, has_parts_beyond, reference

if TYPE_CHECKING:
    from gateway.planning.sources import Reader


def distinct_rows(keys: Sequence[Domain], rows: int) -> int:
    """Different combinations of keys, NULL among them, that are in so many rows at most."""
    lists = [domain.listed() for domain in keys]
    return rows if None in lists else max(1, min(rows, prod(len(items or ()) + 1 for items in lists)))


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a node is an aggregate by itself."""
    return isinstance(node, exp.AggFunc | exp.Filter | exp.WithinGroup | exp.IgnoreNulls | exp.RespectNulls)


class Grouping:
    """One SELECT with GROUP BY unit: finds its aggregates, computes each once, and binds them in its expressions."""

    def __init__(
        self, reader: Reader, scope: Scope, items: list[Item], select: exp.Select, *, one_unit: bool = False
    ) -> None:
        self._reader, self._scope, self._items, self._select = reader, scope, items, select
        self._source = reader.source
        self._one_unit = one_unit
        self._keys: list[tuple[Attribute, Term]] = []
        self._measures: dict[bytes, tuple[UnitMeasure, Attribute]] = {}
        self._picked: dict[bytes, tuple[exp.Expr, Expression | None, Attribute]] = {}
        self._bound: dict[int, Term] = {}

    def read(self) -> Scope:
        """The rows after grouping and HAVING, with every key and aggregate of the SELECT list bound.

        Raises:
            Problem: whatever cannot be asked; "across_units" without the unit among the keys.
        """
        if not self._one_unit:
            self._read_keys()
        having = self._select.args.get("having")
        condition = having.this if isinstance(having, exp.Having) else None
        qualify = self._select.args.get("qualify")
        expressions = [item.node for item in self._items]
        for node in (*expressions, condition, qualify.this if isinstance(qualify, exp.Qualify) else None):
            if node is not None:
                self._bind(node)
        scope = self._grouped()
        if condition is None:
            return scope

        return select_rows(scope, compile_condition(with_aliases(scope, condition, self._items), condition))

    # Keys.

    def _read_keys(self) -> None:

        group = self._select.args.get("group")
        if group is None:
            raise across_units(self._source, self._items[0].node, self._reader.declaration)
        if has_parts_beyond(group, frozenset({"expressions", "all"})):
            raise self._source.unsupported(
                "ROLLUP, CUBE and GROUPING SETS cannot be asked in a subquery.", at=group, hint="Write GROUP BY keys."
            )
        has_unit = False
        for node in self._group_nodes(group):
            if isinstance(node, exp.Column) and self._scope.is_unit(node):
                has_unit = True
                continue
            term = compile_term(self._scope, node)
            name = self._reader.names.fresh(next((i.name for i in self._items if i.node is node and i.name), "key"))
            self._keys.append((Attribute(name, term.type, term.domain, term.label), term))
        if not has_unit:
            raise across_units(self._source, group, self._reader.declaration)

    def _group_nodes(self, group: exp.Expr) -> list[exp.Expr]:
        if group.args.get("all"):
            parts = [item.node for item in self._items]
            return [node for node in parts if not any(is_aggregate(part) for part in node.walk())]
        return [self._meant(unwrapped(node)) for node in group.expressions]

    def _meant(self, node: exp.Expr) -> exp.Expr:
        """The item that a position or an alias stands for."""
        if isinstance(node, exp.Literal) and not node.is_string:
            text = str(node.this)
            number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
            if not 1 <= number <= len(self._items):
                raise self._source.malformed(
                    "bad_position", f"The SELECT list has no item {text[:20]}.", at=node, hint="Name the column."
                )
            return self._items[number - 1].node
        if isinstance(node, exp.Column) and not node.table:
            known = {name for part in self._scope.parts for name in (*part.columns, *part.units)}
            if node.name.lower() not in known:
                return next((i.node for i in self._items if i.name.lower() == node.name.lower()), node)
        return node

    # Aggregates.

    def _bind(self, node: exp.Expr) -> None:
        """Find the keys and aggregates in an expression, from the top downwards."""
        node = unwrapped(node)
        if id(node) in self._bound:
            return
        if is_aggregate(node):
            attribute = self._aggregate(node)
            self._bound[id(node)] = _term(attribute)
            return
        key = self._key(node)
        if key is not None:
            self._bound[id(node)] = _term(key)
            return
        if isinstance(node, exp.Column):
            self._check_column(node)
        for child in node.iter_expressions():
            if not isinstance(child, exp.Query):
                self._bind(child)

    def _key(self, node: exp.Expr) -> Attribute | None:
        if not self._keys or literals.read_constant(self._source, node) is not None:
            return None
        try:
            expression = compile_term(self._scope, node).expression
        except Problem:
            return None
        return next((attribute for attribute, term in self._keys if term.expression == expression), None)

    def _check_column(self, node: exp.Column) -> None:
        names = {item.name.lower() for item in self._items}
        known = {name for part in self._scope.parts for name in (*part.columns, *part.units)}
        if not node.table and node.name.lower() in names - known:
            return
        if not self._scope.is_unit(node):
            raise self._source.malformed(
                "not_grouped",
                f"{node.name} is neither grouped by nor in an aggregate.",
                at=node,
                hint=f"Add it to GROUP BY, or write MAX({node.name}).",
            )

    def _aggregate(self, node: exp.Expr) -> Attribute:
        condition: Expression | None = None
        if isinstance(node, exp.Filter):
            where = node.args["expression"]
            condition = compile_condition(self._scope, where.this)
            node = unwrapped(node.this)
        if isinstance(node, exp.ArgMax | exp.ArgMin | exp.First):
            return self._pick(node, condition)
        measure = read_measure(self._scope, node, condition)
        key = measure.SerializeToString(deterministic=True)
        if key not in self._measures:
            attribute = self._described(measure, node)
            measure.name = attribute.name
            self._measures[key] = (measure, attribute)
        return self._measures[key][1]

    def _described(self, measure: UnitMeasure, node: exp.Expr) -> Attribute:
        column_type, domain = knowledge(self._scope, measure, node)
        return Attribute(self._reader.names.fresh(self._wanted(node)), column_type, domain, node.sql(dialect="duckdb"))

    def _wanted(self, node: exp.Expr) -> str:
        alias = (item.name for item in self._items if item.name and unwrapped(item.node) is node)
        return next(alias, node.key if node.key.isidentifier() else "measure")

    # ARG_MAX, ARG_MIN, FIRST: values of one row of the unit.

    def _pick(self, node: exp.Expr, condition: Expression | None) -> Attribute:
        key = repr((node.sql(dialect="duckdb"), condition and condition.SerializeToString(deterministic=True))).encode()
        if key not in self._picked:
            value = compile_term(self._scope, self._picked_value(node))
            name = self._reader.names.fresh(self._wanted(node))
            attribute = Attribute(name, value.type, value.domain, node.sql(dialect="duckdb"))
            self._picked[key] = (node, condition, attribute)
        return self._picked[key][2]

    def _picked_value(self, node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.First):
            if has_parts_beyond(node, frozenset({"this", "expression"})):
                raise unsupported(self._scope, node)
            value: exp.Expr = node.this
            return value
        if not isinstance(node.this, exp.Order) or has_parts_beyond(node, frozenset({"this"})):
            raise self._source.unsupported(
                "FIRST needs an order.", at=node, hint="Write FIRST(x ORDER BY y), or ARG_MIN(x, y)."
            )
        ordered: exp.Expr = node.this.this
        return ordered

    def _picked_order(self, node: exp.Expr) -> list[Ordering]:

        if isinstance(node, exp.First):
            return [ordering(self._scope, each) for each in node.this.expressions]
        by = compile_term(self._scope, node.args["expression"])
        return [Ordering(expression=by.expression, descending=isinstance(node, exp.ArgMax))]

    def _picked_rows(
        self, node: exp.Expr, condition: Expression | None, attribute: Attribute
    ) -> tuple[Relation, list[Attribute]]:
        """One row for each unit and combination of the keys: the first in the order, with its keys and value."""
        value, order = compile_term(self._scope, self._picked_value(node)), self._picked_order(node)
        wanted = [condition] if condition is not None else []
        if not isinstance(node, exp.First):
            tested = (value.expression, order[0].expression)
            wanted += [negated(Expression(null_test=NullTest(operand=operand))) for operand in tested]
        rows = self._scope.relation
        if wanted:
            rows = Relation(
                selection=Selection(input=rows, condition=Expression(conjunction=Conjunction(operands=wanted)))
            )
        rank = self._reader.names.fresh("rank")
        ranking = UnitRanking(
            input=rows, name=rank, partition_by=[term.expression for _, term in self._keys], order_by=order
        )
        is_first = literals.comparison(
            reference(Attribute(rank, COLUMN_TYPE_INT64, Domain(), rank)),
            literals.EQUAL,
            values.from_python(1),
        )
        first = Relation(selection=Selection(input=Relation(unit_ranking=ranking), condition=is_first))
        keys = [replace(key, name=self._reader.names.fresh(key.name)) for key, _ in self._keys]
        columns = [
            NamedExpression(name=key.name, expression=term.expression)
            for key, (_, term) in zip(keys, self._keys, strict=True)
        ]
        columns.append(NamedExpression(name=attribute.name, expression=value.expression))
        return Relation(projection=Projection(input=first, columns=columns)), keys

    # All together.

    def _grouped(self) -> Scope:
        measures = [measure for measure, _ in self._measures.values()]
        hidden = [attribute for _, attribute in self._measures.values()]
        if not measures and not self._keys:
            count = UnitMeasure(name=self._reader.names.fresh("rows"), function=UnitMeasure.FUNCTION_COUNT_ROWS)
            measures.append(count)
            hidden.append(Attribute(count.name, COLUMN_TYPE_INT64, Domain(), count.name))
        aggregation = UnitAggregation(
            input=self._scope.relation,
            keys=[NamedExpression(name=key.name, expression=term.expression) for key, term in self._keys],
            measures=measures,
        )
        scope = replace(
            self._scope,
            relation=Relation(unit_aggregation=aggregation),
            parts=tuple(_only_unit(part) for part in self._scope.parts),
            hidden=(*(key for key, _ in self._keys), *hidden),
            bound={**self._scope.bound, **self._bound},
            max_rows=self._rows(),
            join_rows=self._scope.join_rows if self._keys else 1,
        )
        for node, condition, attribute in self._picked.values():
            scope = self._with_picked(scope, node, condition, attribute)
        return scope

    def _with_picked(self, scope: Scope, node: exp.Expr, condition: Expression | None, attribute: Attribute) -> Scope:
        rows, keys = self._picked_rows(node, condition, attribute)
        same = [_same(key, other) for (key, _), other in zip(self._keys, keys, strict=True)]
        match = None if not same else Expression(conjunction=Conjunction(operands=same))
        right = replace(scope, relation=rows, parts=(), hidden=())
        both = replace(scope, hidden=(*scope.hidden, attribute, *keys))
        beside = joined(both, scope, right, UnitJoin.KIND_LEFT, match)
        return replace(beside, max_rows=scope.max_rows, join_rows=scope.join_rows)

    def _rows(self) -> int:
        """A unit's rows after grouping: one for each combination of keys, of which it has no more than rows."""
        return distinct_rows([term.domain for _, term in self._keys], self._scope.max_rows)


def _same(left: Attribute, right: Attribute) -> Expression:
    sides = [_term(left), _term(right)]
    nulls = [Expression(null_test=NullTest(operand=side.expression)) for side in sides]
    equal = calls.compare(sides[0], literals.EQUAL, sides[1]).expression
    both = Expression(conjunction=Conjunction(operands=nulls))
    return certain(_either(equal, both))


def _either(left: Expression, right: Expression) -> Expression:
    return Expression(disjunction=Disjunction(operands=[left, right]))


def _term(attribute: Attribute) -> Term:
    return Term(reference(attribute), attribute.type, attribute.domain, attribute.label)


def _only_unit(part: Part) -> Part:
    return replace(part, columns={})
