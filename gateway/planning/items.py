"""What the clauses of a per-unit SELECT share: its items, what they are called, orders, and one refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Ordering

from gateway.planning.expressions import compile_term
from gateway.planning.scope import Scope, has_parts_beyond
from gateway.planning.sql import Source


@dataclass(frozen=True)
class Item:
    """One item of the SELECT list: what it is, and what the outer query calls it."""

    node: exp.Expr
    name: str


def across_units(source: Source, at: exp.Expr, declaration: DatasetDeclaration) -> Problem:
    """The problem with a subquery that would need the rows of several units."""
    unit = declaration.privacy_unit
    return source.refuse(
        "across_units",
        "This subquery is over several units, and would need a private answer of its own.",
        at=at,
        hint=f"Ask it first and write its answer as a constant, or keep to one unit with GROUP BY {unit}.",
    )


def ordering(scope: Scope, node: exp.Expr) -> Ordering:
    """One item of an ORDER BY within a unit; NULLs come last.

    Raises:
        Problem: NULLS FIRST, or an expression that cannot be asked.
    """
    if not isinstance(node, exp.Ordered) or has_parts_beyond(node, frozenset({"this", "desc", "nulls_first"})):
        raise scope.source.unsupported("This order cannot be asked.", at=node, hint="Write ORDER BY x DESC.")
    if node.args.get("nulls_first"):
        raise scope.source.unsupported("NULLS FIRST cannot be asked.", at=node, hint="NULLs come last.")
    return Ordering(expression=compile_term(scope, node.this).expression, descending=bool(node.args.get("desc")))


def with_aliases(scope: Scope, condition: exp.Expr, items: list[Item]) -> Scope:
    """The scope in which names that no column has mean the items that are called so."""
    named = {item.name.lower(): item.node for item in items if item.name}
    known = {name for part in scope.parts for name in (*part.columns, *part.units)}
    bound = dict(scope.bound)
    for column in condition.find_all(exp.Column):
        name = column.name.lower()
        if not column.table and name in named and name not in known and id(column) not in bound:
            bound[id(column)] = compile_term(scope, named[name])
    return replace(scope, bound=bound)
