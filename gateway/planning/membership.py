"""Subqueries in a condition: whether the same unit has such rows, or one value of it.

`id IN (SELECT id …)`, `EXISTS (SELECT … WHERE b.id = a.id …)` and `(SELECT MAX(x) … WHERE b.id = a.id)` are joins
with one row for each unit. A subquery that is not tied to the row's own unit would be about other people.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_INT64,
    Call,
    Expression,
    NullTest,
    Relation,
    UnitAggregation,
    UnitJoin,
    UnitMeasure,
)

from gateway.planning import calls, domains
from gateway.planning.conditions import conjuncts, negated
from gateway.planning.items import across_units
from gateway.planning.joins import joined
from gateway.planning.literals import unwrapped
from gateway.planning.lookups import is_listed
from gateway.planning.scope import Attribute, Part, Scope, Term, has_parts_beyond, reference
from gateway.planning.subqueries import aggregate_units, read_rows

if TYPE_CHECKING:
    from gateway.planning.sources import Reader


def bind_subqueries(reader: Reader, scope: Scope, condition: exp.Expr) -> tuple[Scope, list[exp.Expr]]:
    """The scope joined with all subqueries of a condition, and the conjuncts that are left to be tested.

    Raises:
        Problem: a subquery is not about the row's own unit.
    """
    remaining: list[exp.Expr] = []
    for each in conjuncts(condition):
        scope = _listed(reader, scope, each)
        if _is_membership(each) and id(each) not in scope.bound:
            # Of rows without such a partner none is left.
            scope, _ = _semi_join(reader, scope, each, UnitJoin.KIND_INNER)
            continue
        for node in list(each.walk(prune=lambda part: isinstance(part, exp.Subquery | exp.Exists | exp.Query))):
            if _is_membership(node) and id(node) not in scope.bound:
                scope, mark = _semi_join(reader, scope, node, UnitJoin.KIND_LEFT)
                is_null = Expression(null_test=NullTest(operand=reference(mark)))
                scope = _bind(scope, node, calls.truth(negated(is_null)))
            elif isinstance(node, exp.Subquery) and not isinstance(node.parent, exp.In):
                scope = _value(reader, scope, node)
        remaining.append(each)
    return scope, remaining


def _is_membership(node: exp.Expr) -> bool:
    return isinstance(node, exp.Exists) or (isinstance(node, exp.In) and node.args.get("query") is not None)


def _listed(reader: Reader, scope: Scope, condition: exp.Expr) -> Scope:
    """The scope that knows what `x IN (SELECT key FROM look-up)` means, wherever it is in a condition."""
    for node in condition.find_all(exp.In):
        query = node.args.get("query")
        select = query.this if isinstance(query, exp.Subquery) else query
        table = None if select is None else reader.public_column(select)
        if table is not None:
            scope = _bind(scope, node, is_listed(scope, node, table))
    return scope


def _bind(scope: Scope, node: exp.Expr, term: Term) -> Scope:
    return replace(scope, bound={**scope.bound, id(node): term})


def _semi_join(reader: Reader, scope: Scope, node: exp.Expr, kind: UnitJoin.Kind.ValueType) -> tuple[Scope, Attribute]:
    """The scope with one row of the subquery's unit beside each row, and a column that is NULL without one."""
    inner = _members(reader, scope, node) if isinstance(node, exp.In) else _existing(reader, scope, node)
    mark = Attribute(reader.names.fresh("matches"), COLUMN_TYPE_INT64, domains.Domain(), "matches")
    measure = UnitMeasure(name=mark.name, function=UnitMeasure.FUNCTION_COUNT_ROWS)
    ones = replace(
        inner,
        relation=Relation(unit_aggregation=UnitAggregation(input=inner.relation, measures=[measure])),
        max_rows=1,
        join_rows=1,
    )
    both = replace(scope, hidden=(*scope.hidden, mark))
    return joined(both, scope, ones, kind), mark


def _members(reader: Reader, scope: Scope, node: exp.In) -> Scope:
    """The rows of `unit IN (SELECT unit …)`."""
    subject, query = unwrapped(node.this), node.args["query"]
    select = query.this if isinstance(query, exp.Subquery) else query
    if has_parts_beyond(node, frozenset({"this", "query"})) or not isinstance(select, exp.Select):
        raise across_units(reader.source, node, reader.declaration)
    unit = reader.declaration.privacy_unit
    if not isinstance(subject, exp.Column) or not scope.is_unit(subject):
        from_ = select.args.get("from_")
        if isinstance(from_, exp.From) and isinstance(from_.this, exp.Table):
            # A table that is not there is the first thing to say.
            reader.item(from_.this)
        raise reader.source.refuse(
            "across_units",
            "Which values other people have would need a private answer of its own.",
            at=node,
            hint=f"Write {unit} IN (SELECT {unit} ...), or a list of constants.",
        )
    rows = read_rows(reader, select, "")
    if len(select.expressions) != 1 or not rows.parts[0].units:
        raise across_units(reader.source, select.expressions[0], reader.declaration)
    return rows


def _existing(reader: Reader, scope: Scope, node: exp.Expr) -> Scope:
    """The rows of `EXISTS (SELECT … FROM … b WHERE b.unit = a.unit AND …)`."""
    select = node.this.this if isinstance(node.this, exp.Subquery) else node.this
    if not isinstance(select, exp.Select):
        raise across_units(reader.source, node, reader.declaration)
    for name in ("group", "having", "qualify", "limit", "offset", "distinct", "order"):
        if select.args.get(name):
            raise reader.source.unsupported(
                "EXISTS takes FROM and WHERE only.", at=node, hint="Leave the other clauses out."
            )
    return _correlated(reader, scope, select, node)


def _correlated(reader: Reader, scope: Scope, select: exp.Select, at: exp.Expr) -> Scope:
    """The rows of a subquery whose WHERE says that its unit is the row's."""
    inner = reader.scope(select, with_where=False)
    own = select.args.get("where")
    rest: list[exp.Expr] = []
    found = False
    for each in conjuncts(own.this) if isinstance(own, exp.Where) else []:
        if _ties(inner.parts, scope, each):
            found = True
        else:
            rest.append(each)
    if not found:
        raise across_units(reader.source, at, reader.declaration)
    inside = reader.inside(select)
    for each in rest:
        inner = inside.filtered(inner, each)
    return inner


def _ties(inner: tuple[Part, ...], scope: Scope, node: exp.Expr) -> bool:
    """Whether a condition is that the unit of the subquery is the unit of the row."""
    node = unwrapped(node)
    if not isinstance(node, exp.EQ):
        return False
    sides = [unwrapped(side) for side in (node.this, node.args["expression"])]
    return any(
        _names_unit(inner, one, alone=True)
        and _names_unit(scope.parts, other, alone=False)
        and not _names_unit(inner, other, alone=False)
        for one, other in (sides, sides[::-1])
    )


def _names_unit(parts: tuple[Part, ...], node: exp.Expr, *, alone: bool) -> bool:
    """Whether a column names the unit of one of the parts, perhaps without saying of which."""
    if not isinstance(node, exp.Column) or (not node.table and not alone):
        return False
    return any(
        node.name.lower() in part.units
        and not part.optional
        and (not node.table or node.table.lower() in part.qualifiers)
        for part in parts
    )


def _value(reader: Reader, scope: Scope, node: exp.Subquery) -> Scope:
    """`(SELECT MAX(x) FROM … b WHERE b.unit = a.unit)`: an aggregate of the unit's own rows, in a column."""
    select = node.this
    if not isinstance(select, exp.Select) or len(select.expressions) != 1:
        raise across_units(reader.source, node, reader.declaration)
    inner = _correlated(reader, scope, select, node)
    item = select.expressions[0]
    rows = aggregate_units(reader, inner, select, item.this if isinstance(item, exp.Alias) else item)
    value = next(iter(rows.parts[0].columns.values()))
    counts = value.domain.lower is not None and _is_count(item)
    both = replace(scope, hidden=(*scope.hidden, replace(value, repeats=None), *rows.hidden))
    term = Term(reference(value), value.type, value.domain, value.label)
    if counts:
        zero = calls.constant(0)
        term = calls.call(Call.FUNCTION_COALESCE, term, zero)
    return _bind(joined(both, scope, rows, UnitJoin.KIND_LEFT), node, term)


def _is_count(node: exp.Expr) -> bool:
    """Whether SQL has 0 and not NULL where there are no rows."""
    inner = unwrapped(node.this if isinstance(node, exp.Alias | exp.Filter) else node)
    return isinstance(inner.this if isinstance(inner, exp.Filter) else inner, exp.Count | exp.CountIf)
