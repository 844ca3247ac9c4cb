"""JOIN on the privacy unit: pairs of one unit's rows, within a public bound."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    Conjunction,
    Expression,
    NamedExpression,
    Projection,
    Relation,
    UnitJoin,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.relations import MAX_JOINED_ROWS, columns_of
from gateway.planning import domains
from gateway.planning.calls import compare
from gateway.planning.conditions import conjuncts
from gateway.planning.expressions import compile_condition
from gateway.planning.literals import EQUAL, unwrapped
from gateway.planning.narrowing import narrowed
from gateway.planning.scope import Attribute, Part, Scope, Term, has_parts_beyond, reference

if TYPE_CHECKING:
    from gateway.planning.sources import Reader


def join(reader: Reader, left: Scope, node: exp.Join, select: exp.Select) -> Scope:
    """The rows of a JOIN with what stands before it.

    Raises:
        Problem: another join than INNER or LEFT, or one that is not on the privacy unit.
    """
    is_left = is_left_join(reader, node)
    right = reader.item(node.this)
    if not all(part.units for part in right.parts) or not any(part.units for part in left.parts):
        raise reader.source.refuse(
            "unit_missing",
            "A subquery must keep the privacy unit to be joined.",
            at=node.this,
            hint=_hint(reader, "Select {unit} in it."),
        )
    right = _prepared(reader, left, right, is_left and _asks_for_absence(right.parts[0], select))
    right_part = replace(_without_ranks(right.parts[0]), optional=is_left)
    if is_left:
        right_part = _nullable(right_part)
    both = replace(
        left,
        parts=with_names(reader, left.parts, right_part, node.this),
        hidden=tuple(replace(column, repeats=None) for column in (*left.hidden, *right.hidden)),
    )
    condition, both = _condition(reader, left, right, both, node)
    if condition is not None and not is_left:
        both = narrowed(both, condition)
    return joined(both, left, right, UnitJoin.KIND_LEFT if is_left else UnitJoin.KIND_INNER, condition)


def is_left_join(reader: Reader, node: exp.Join) -> bool:
    """Whether rows without a partner stay.

    Raises:
        Problem: the join is neither INNER nor LEFT.
    """
    side, kind = str(node.args.get("side") or "").upper(), str(node.args.get("kind") or "").upper()
    if has_parts_beyond(node, frozenset({"this", "on", "using", "side", "kind"})) or (
        side not in ("", "LEFT") or kind not in ("", "INNER", "OUTER")
    ):
        raise reader.source.unsupported(
            "Only JOIN and LEFT JOIN can be asked.",
            at=node.this,
            hint=_hint(reader, "Write JOIN table USING ({unit})."),
        )
    return side == "LEFT"


def joined(
    both: Scope, left: Scope, right: Scope, kind: UnitJoin.Kind.ValueType, condition: Expression | None = None
) -> Scope:
    """`both` over the join of two relations without a name in common; a rank does not bound rows any more."""
    left_rows, right_rows = (max(1, min(side.join_rows, MAX_JOINED_ROWS)) for side in (left, right))
    relation = Relation(
        unit_join=UnitJoin(
            left=left.relation,
            right=right.relation,
            kind=kind,
            condition=condition,
            max_left_rows=left_rows,
            max_right_rows=right_rows,
        )
    )
    parts = tuple(_without_ranks(part) for part in both.parts) if right_rows > 1 else both.parts
    most = left_rows * right_rows
    max_rows = max(1, min(left.max_rows * right.max_rows, most))
    return replace(both, relation=relation, parts=parts, max_rows=max_rows, join_rows=most)


def _without_ranks(part: Part) -> Part:
    return replace(part, columns={key: replace(column, repeats=None) for key, column in part.columns.items()})


def _nullable(part: Part) -> Part:
    columns = {key: replace(column, nullable=True, constant=False) for key, column in part.columns.items()}
    return replace(part, columns=columns)


def _hint(reader: Reader, text: str) -> str:
    return text.format(unit=reader.declaration.privacy_unit)


def _asks_for_absence(part: Part, select: exp.Select) -> bool:
    """Whether the query asks if the unit of a part IS NULL."""
    tested = (unwrapped(node.this) for node in select.find_all(exp.Is))
    return any(
        isinstance(column, exp.Column) and column.table.lower() in part.qualifiers and column.name.lower() in part.units
        for column in tested
    )


def _prepared(reader: Reader, left: Scope, right: Scope, marked: bool) -> Scope:
    """The right side with no name that the left side has, and with a mark for its presence where it is asked for."""
    taken = {name.lower() for name in _stored_names(left)}
    part = right.parts[0]
    if not marked and not any(name.lower() in taken for name in _stored_names(right)):
        return right
    kept = {key: column for key, column in part.columns.items() if reader.names.mentions(key)}
    renamed = {
        key: replace(
            column, name=reader.names.fresh(f"{part.name}_{key}") if column.name.lower() in taken else column.name
        )
        for key, column in kept.items()
    }
    columns = [NamedExpression(name=renamed[key].name, expression=reference(column)) for key, column in kept.items()]
    mark = Attribute(reader.names.fresh("present"), COLUMN_TYPE_BOOL, domains.TRUTH, "present")
    if marked or not columns:
        columns.append(NamedExpression(name=mark.name, expression=Expression(literal=Value(bool_value=True))))
    relation = Relation(projection=Projection(input=right.relation, columns=columns))
    return replace(
        right,
        relation=relation,
        parts=(replace(part, columns=renamed, presence=mark if marked else None),),
        hidden=(mark,) if marked or not kept else (),
    )


def _stored_names(scope: Scope) -> list[str]:
    """All names of the relation's columns, those that the query cannot say included."""
    return list(relation_columns(scope))


def relation_columns(scope: Scope) -> dict[str, int]:
    """The columns of a scope's relation as the plan language sees them.

    Raises:
        Problem: the relation is larger than a plan.
    """
    try:
        return dict(columns_of(scope.relation, scope.declaration))
    except PlanError as error:
        raise scope.source.refuse(
            "too_complex", "The query has more parts than a plan holds.", at=None, hint="Ask with fewer subqueries."
        ) from error


def with_names(reader: Reader, parts: tuple[Part, ...], right: Part, at: exp.Expr) -> tuple[Part, ...]:
    """The parts, none called what another one is: a table with an alias gives its own name up.

    Raises:
        Problem: MALFORMED "ambiguous_table".
    """
    if right.name and any(part.name == right.name for part in parts):
        raise reader.source.malformed(
            "ambiguous_table",
            f"Two tables are called {right.name}.",
            at=at,
            hint=f"Give them names, as in FROM {right.name} a JOIN {right.name} b and so on.",
        )
    every = (*parts, right)
    names = [name for part in every for name in part.qualifiers]
    return tuple(
        replace(
            part,
            qualifiers=frozenset(name for name in part.qualifiers if names.count(name) == 1 or name == part.name),
        )
        for part in every
    )


def _condition(
    reader: Reader, left: Scope, right: Scope, both: Scope, node: exp.Join
) -> tuple[Expression | None, Scope]:
    using, on = node.args.get("using"), node.args.get("on")
    if using:
        return _using(reader, left, right, both, list(using))
    remaining: list[exp.Expr] = []
    found = False
    for each in conjuncts(on) if isinstance(on, exp.Expr) else []:
        if _is_unit_equality(both, each):
            found = True
        else:
            remaining.append(each)
    if not found:
        raise _not_on_unit(reader, on if isinstance(on, exp.Expr) else node.this)
    return _conjunction([compile_condition(both, each) for each in remaining]), both


def _using(
    reader: Reader, left: Scope, right: Scope, both: Scope, using: list[exp.Expr]
) -> tuple[Expression | None, Scope]:
    equal: list[Expression] = []
    merged: set[str] = set()
    found = False
    for identifier in using:
        name, column = identifier.name, exp.column(identifier.copy())
        column.update_positions(identifier)
        if name.lower() in right.parts[0].units and left.is_unit(column):
            found = True
            continue
        sides = [scope.attribute(column) for scope in (left, right)]
        if sides[0].type != sides[1].type:
            raise reader.source.malformed(
                "type_mismatch", f"{name} has different types in both tables.", at=identifier, hint="Use ON with CAST."
            )
        terms = [Term(reference(side), side.type, side.domain, side.label) for side in sides]
        equal.append(compare(terms[0], EQUAL, terms[1]).expression)
        merged.add(name.lower())
    if not found:
        raise _not_on_unit(reader, using[0])
    parts = (*both.parts[:-1], replace(both.parts[-1], merged=frozenset(merged)))
    return _conjunction(equal), replace(both, parts=parts)


def _is_unit_equality(both: Scope, node: exp.Expr) -> bool:
    """Whether a condition is that the unit of the last part is the unit of an earlier one."""
    node = unwrapped(node)
    if not isinstance(node, exp.EQ):
        return False
    sides = [unwrapped(side) for side in (node.this, node.args["expression"])]
    if not all(isinstance(side, exp.Column) and isinstance(side.this, exp.Identifier) for side in sides):
        return False
    plain = replace(both, parts=tuple(replace(part, optional=False) for part in both.parts[-1:]))
    earlier = replace(both, parts=both.parts[:-1])
    first, second = sides
    return any(_is_unit(plain, one) and _is_unit(earlier, other) for one, other in ((first, second), (second, first)))


def _is_unit(scope: Scope, column: exp.Expr) -> bool:
    if not isinstance(column, exp.Column):
        return False
    try:
        return scope.is_unit(column)
    except Problem:
        return False


def _not_on_unit(reader: Reader, at: exp.Expr) -> Problem:
    return reader.source.refuse(
        "join_not_on_unit",
        "Tables can only be joined on the privacy unit: other rows are about other people.",
        at=at,
        hint=_hint(reader, "Write JOIN table USING ({unit}), or ON a.{unit} = b.{unit} AND more conditions."),
    )


def _conjunction(conditions: list[Expression]) -> Expression | None:
    if len(conditions) <= 1:
        return conditions[0] if conditions else None
    return Expression(conjunction=Conjunction(operands=conditions))
