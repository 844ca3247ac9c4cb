"""Subqueries that stay within a privacy unit: what a SELECT after FROM or in WITH makes of each unit's rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_INT64,
    NamedExpression,
    Projection,
    Relation,
    UnitAggregation,
    UnitRanking,
)

from gateway.planning import domains
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.grouping import Grouping, distinct_rows, is_aggregate
from gateway.planning.items import Item, across_units, ordering, with_aliases
from gateway.planning.literals import unwrapped
from gateway.planning.narrowing import select_rows
from gateway.planning.scope import Attribute, Part, Scope, Term, has_parts_beyond, reference

if TYPE_CHECKING:
    from gateway.planning.sources import Reader

_UNDERSTOOD = frozenset(
    {"expressions", "from_", "joins", "where", "group", "having", "qualify", "distinct", "with_", "laterals"}
)


def read_rows(reader: Reader, select: exp.Select, alias: str) -> Scope:
    """The rows of a subquery as a scope of one part.

    Raises:
        Problem: whatever cannot be asked; "across_units" for what aggregates over units.
    """
    _refuse_parts(reader, select)
    scope = reader.scope(select)
    inside = reader.inside(select)
    items = _items(inside, scope, select)
    grouped = select.args.get("group") is not None or any(
        _has_aggregate(node) for node in (*(item.node for item in items), _condition(select, "having"))
    )
    if grouped:
        if select.args.get("distinct"):
            raise reader.source.unsupported(
                "DISTINCT beside GROUP BY cannot be asked.", at=select, hint="Leave it out."
            )
        scope = Grouping(inside, scope, items, select).read()
    elif select.args.get("having"):
        raise reader.source.unsupported("HAVING needs GROUP BY.", at=select.args["having"], hint="Use WHERE.")
    scope = _ranked(inside, scope, [*(item.node for item in items), _condition(select, "qualify")])
    scope = _qualified(inside, scope, select, items)
    if select.args.get("distinct"):
        return _distinct(inside, scope, items, select, alias)
    return _selected(inside, scope, items, alias)


def aggregate_units(reader: Reader, scope: Scope, select: exp.Select, node: exp.Expr) -> Scope:
    """One row for each unit, with one expression over aggregates of its rows.

    Raises:
        Problem: the expression is no such one.
    """
    if not _has_aggregate(node) or select.args.get("group") or select.args.get("having"):
        raise reader.source.unsupported(
            "A subquery in a condition takes one aggregate of the unit's rows.",
            at=node,
            hint="Write (SELECT MAX(x) FROM table b WHERE b.unit = a.unit).",
        )
    item = Item(node, "value")
    return _selected(reader, Grouping(reader, scope, [item], select, one_unit=True).read(), [item], "")


def _refuse_parts(reader: Reader, select: exp.Select) -> None:
    distinct = select.args.get("distinct")
    if distinct is not None and has_parts_beyond(distinct, frozenset()):
        raise reader.source.unsupported(
            "DISTINCT ON cannot be asked.", at=distinct, hint="Use QUALIFY ROW_NUMBER() OVER (PARTITION BY ...) = 1."
        )
    for name, part in select.args.items():
        if part and name not in _UNDERSTOOD:
            node = part[0] if isinstance(part, list) else part
            word = name.strip("_").replace("_", " ").upper()
            hint = "Leave it out: the order of a subquery's rows means nothing." if name == "order" else "Leave it out."
            if name in ("limit", "offset"):
                hint = "Use QUALIFY ROW_NUMBER() OVER (PARTITION BY unit ORDER BY x) <= n, which is within each unit."
            raise reader.source.unsupported(
                f"{word} cannot be asked in a subquery.", at=node if isinstance(node, exp.Expr) else select, hint=hint
            )


def _condition(select: exp.Select, name: str) -> exp.Expr | None:
    clause = select.args.get(name)
    return clause.this if isinstance(clause, exp.Having | exp.Qualify) else None


def _has_aggregate(node: exp.Expr | None) -> bool:
    if node is None:
        return False
    parts = node.walk(prune=lambda part: isinstance(part, exp.Query | exp.Window))
    return any(is_aggregate(part) for part in parts if not isinstance(part, exp.Window))


def _items(reader: Reader, scope: Scope, select: exp.Select) -> list[Item]:
    items: list[Item] = []
    for node in select.expressions:
        inner = unwrapped(node.this) if isinstance(node, exp.Alias) else unwrapped(node)
        star = inner if isinstance(inner, exp.Star) else inner.this if isinstance(inner, exp.Column) else None
        if isinstance(star, exp.Star):
            items += _expanded(reader, scope, star, inner.table if isinstance(inner, exp.Column) else "")
        else:
            items.append(Item(inner, node.alias or (inner.name if isinstance(inner, exp.Column) else "")))
    return items


def _expanded(reader: Reader, scope: Scope, star: exp.Star, qualifier: str) -> list[Item]:
    """The items that * stands for."""
    if has_parts_beyond(star, frozenset()):
        raise reader.source.unsupported("* takes nothing beside it.", at=star, hint="List the columns.")
    items: list[Item] = []
    seen: set[str] = set()
    for part in scope.parts:
        if qualifier and qualifier.lower() not in part.qualifiers:
            continue
        units = [] if part.optional else list(part.units.values())
        for name in [*units, *(_written(column) for column in part.columns.values())]:
            if name.lower() not in seen and not (name.lower() in part.merged and not qualifier):
                seen.add(name.lower())
                column = exp.column(exp.to_identifier(name), table=part.name or None)
                items.append(Item(column.update_positions(star), name))
    return items


def _is_unit(scope: Scope, node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and id(node) not in scope.bound and scope.is_unit(node)


def _written(column: Attribute) -> str:
    return column.label.rpartition(".")[2]


def _ranked(reader: Reader, scope: Scope, nodes: list[exp.Expr | None]) -> Scope:
    """The rows with a column for every ROW_NUMBER."""
    for node in nodes:
        for window in node.find_all(exp.Window) if node is not None else ():
            scope = _rank(reader, scope, window)
    return scope


def _rank(reader: Reader, scope: Scope, window: exp.Window) -> Scope:
    order = window.args.get("order")
    if not isinstance(window.this, exp.RowNumber) or has_parts_beyond(
        window, frozenset({"this", "partition_by", "order", "over"})
    ):
        raise reader.source.unsupported(
            "Of window functions only ROW_NUMBER can be asked.",
            at=window,
            hint="Write ROW_NUMBER() OVER (PARTITION BY unit ORDER BY x), or an aggregate with GROUP BY unit.",
        )
    partition = [unwrapped(part) for part in window.args.get("partition_by") or ()]
    others = [part for part in partition if not _is_unit(scope, part)]
    if len(others) == len(partition):
        raise reader.source.refuse(
            "across_units",
            "A rank among the rows of several units would be about other people.",
            at=window,
            hint=f"Add PARTITION BY {reader.declaration.privacy_unit}.",
        )
    keys = [compile_term(scope, part) for part in others]
    repeats = distinct_rows([key.domain for key in keys], scope.max_rows)
    rank = Attribute(
        reader.names.fresh("rank"),
        COLUMN_TYPE_INT64,
        domains.interval(1, scope.max_rows, COLUMN_TYPE_INT64),
        "ROW_NUMBER()",
        repeats,
    )
    ranking = UnitRanking(
        input=scope.relation,
        name=rank.name,
        partition_by=[key.expression for key in keys],
        order_by=[] if order is None else [ordering(scope, each) for each in order.expressions],
    )
    term = Term(reference(rank), rank.type, rank.domain, rank.label)
    return replace(
        scope,
        relation=Relation(unit_ranking=ranking),
        hidden=(*scope.hidden, rank),
        bound={**scope.bound, id(window): term},
    )


def _qualified(reader: Reader, scope: Scope, select: exp.Select, items: list[Item]) -> Scope:
    condition = _condition(select, "qualify")
    if condition is None:
        return scope
    return select_rows(scope, compile_condition(with_aliases(scope, condition, items), condition))


def _distinct(reader: Reader, scope: Scope, items: list[Item], select: exp.Select, alias: str) -> Scope:
    """SELECT DISTINCT unit, …: one row for each combination that a unit has."""
    if not any(_is_unit(scope, item.node) for item in items):
        raise across_units(reader.source, select.expressions[0], reader.declaration)
    selected = _selected(reader, scope, items, alias)
    part = selected.parts[0]
    keys = {name: replace(column, name=reader.names.fresh(name)) for name, column in part.columns.items()}
    aggregation = UnitAggregation(
        input=selected.relation,
        keys=[NamedExpression(name=keys[name].name, expression=reference(part.columns[name])) for name in keys],
    )
    most = distinct_rows([column.domain for column in keys.values()], scope.max_rows)
    return replace(
        selected,
        relation=Relation(unit_aggregation=aggregation),
        parts=(replace(part, columns=keys),),
        hidden=(),
        max_rows=most,
        join_rows=scope.join_rows if keys else 1,
    )


def _selected(reader: Reader, scope: Scope, items: list[Item], alias: str) -> Scope:
    """The columns that the outer query sees; projected only where something is computed."""
    units: dict[str, str] = {}
    terms: dict[str, tuple[Term, int | None]] = {}
    for item in items:
        name = item.name or f"column{len(terms) + 1}"
        if name.lower() in terms or name.lower() in units:
            raise reader.source.malformed(
                "repeated_column", f"Two columns are called {name}.", at=item.node, hint="Name one with AS."
            )
        if _is_unit(scope, item.node):
            units[name.lower()] = name
            continue
        term = compile_term(scope, item.node)
        repeats = {column.name: column.repeats for column in (*scope.attributes, *scope.hidden)}
        terms[name.lower()] = (replace(term, label=name), repeats.get(term.expression.column.name))
    return _as_part(reader, scope, units, terms, alias)


def _as_part(
    reader: Reader,
    scope: Scope,
    units: dict[str, str],
    terms: dict[str, tuple[Term, int | None]],
    alias: str,
) -> Scope:
    computed = any(not term.expression.HasField("column") for term, _ in terms.values())
    columns: dict[str, Attribute] = {}
    named: list[NamedExpression] = []
    for key, (term, repeats) in terms.items():
        plain = term.expression.column.name
        name = plain if plain and plain not in {column.name for column in columns.values()} else ""
        if not name:
            name, computed = reader.names.fresh(term.label), True
        columns[key] = Attribute(
            name,
            term.type,
            term.domain,
            term.label,
            repeats,
            nullable=scope.is_nullable(term.expression),
            constant=scope.is_constant(term.expression),
        )
        named.append(NamedExpression(name=name, expression=term.expression))
    relation = scope.relation
    if computed:
        relation = Relation(projection=Projection(input=relation, columns=named))
    title = f"The subquery {alias}" if alias else "The subquery"
    part = Part(alias.lower(), title, frozenset({alias.lower()} if alias else ()), columns, units)
    return Scope(scope.source, scope.declaration, relation, (part,), scope.max_rows, scope.join_rows)
