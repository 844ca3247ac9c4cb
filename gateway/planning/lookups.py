"""JOIN with a public table: what it says of a row, in columns beside the row's own.

Its key is looked up once for each row, so every row stays one row of its unit: a function of that row and of the
plan, which costs nothing. With a key that is there twice, the join would make two rows of one; it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_UNSPECIFIED,
    ColumnType,
    Expression,
    LookUp,
    Membership,
    NamedExpression,
    NullTest,
    Projection,
    Relation,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.size import MAX_ENTRIES
from enclave_sim.plan.values import PythonValue
from gateway.planning import calls, domains, literals
from gateway.planning.conditions import conjuncts, negated
from gateway.planning.domains import Domain
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.joins import is_left_join, with_names
from gateway.planning.literals import Constant, Null, unwrapped
from gateway.planning.narrowing import narrowed, select_rows
from gateway.planning.public_tables import PublicTable
from gateway.planning.scope import Attribute, Part, Scope, Term, describe, reference

if TYPE_CHECKING:
    from gateway.planning.sources import Reader

MAX_LISTED = 2_000
"""Values of a look-up that IN takes; they are parts of an expression, unlike the entries of a join."""

_HOW = "Write JOIN {name} ON {name}.{key} = column, or USING ({key})."


def look_up(reader: Reader, left: Scope, node: exp.Join, table: PublicTable, select: exp.Select) -> Scope:
    """The rows of `left` with the columns that the query uses of a public table.

    Raises:
        Problem: the join is not on one of the table's columns, whose values are different and of the type of what
            they are compared with.
    """
    return _Join(reader, left, node, table, select).rows()


def is_listed(scope: Scope, node: exp.In, table: PublicTable) -> Term:
    """Whether what stands before IN is one of the values of a table of one column.

    Raises:
        Problem: they are of different types, too many, or NULL, which would make every other value unknown.
    """
    subject, cells = compile_term(scope, node.this), table.cells(table.columns[0])
    missing = next((cell for cell in cells if isinstance(cell.content, Null)), None)
    if missing is not None:
        raise scope.source.unsupported(
            f"{table.columns[0]} of {table.title} has NULL in it, which IN cannot be asked with.",
            at=missing.node,
            hint="Leave out the rows without a value.",
        )
    listed = literals.members(scope.source, subject, list(cells))
    if len(listed) > MAX_LISTED:
        raise scope.source.refuse(
            "too_complex",
            f"{table.title[0].upper()}{table.title[1:]} has {len(listed):,} values; IN takes {MAX_LISTED:,}.",
            at=node,
            hint="JOIN the look-up.",
        )
    if not listed:
        return calls.truth(literals.never(subject))
    return calls.truth(Expression(membership=Membership(operand=subject.expression, values=listed)))


@dataclass(frozen=True)
class _On:
    """What a join is on: a column of the table, what it equals, and whatever else must hold."""

    key: str
    operand: Term
    tie: exp.Expr | None
    """The condition that says so; None for USING."""
    rest: Sequence[exp.Expr] = ()


class _Join:
    def __init__(self, reader: Reader, left: Scope, node: exp.Join, table: PublicTable, select: exp.Select) -> None:
        self._reader, self._left, self._node, self._table, self._select = reader, left, node, table, select
        self._source = reader.source
        self._optional = is_left_join(reader, node)

    def rows(self) -> Scope:
        on = self._on()
        keys = self._keys(on)
        names = self._used(on)
        columns = {name: self._column(on, keys, name) for name in names}
        mark = None if self._optional else next((c.attribute for c in columns.values() if c.always), None)
        hidden = []
        if mark is None and not self._optional:
            found = self._column(on, keys, on.key)
            mark, columns[""] = found.attribute, found
            hidden.append(found.attribute)
        self._check_size(len(keys), len(columns))
        part = self._part({name: columns[name].attribute for name in names}, on)
        scope = self._beside(part, list(columns.values()), hidden)
        if mark is not None:
            scope = self._found(scope, on, mark, list(keys.values()))
        for each in on.rest:
            scope = select_rows(scope, compile_condition(scope, each))
        return scope

    def _on(self) -> _On:
        using, on = self._node.args.get("using"), self._node.args.get("on")
        if using:
            return self._using(list(using))
        parts = conjuncts(on) if isinstance(on, exp.Expr) else []
        for index, each in enumerate(parts):
            sides = self._sides(each)
            if sides is not None:
                rest = [*parts[:index], *parts[index + 1 :]]
                if rest and self._optional:
                    raise self._source.unsupported(
                        "A LEFT JOIN with a look-up takes one condition.",
                        at=rest[0],
                        hint="Put the others into CASE WHEN ... THEN column END.",
                    )
                return _On(sides[0], compile_term(self._left, sides[1]), each, rest)
        raise self._not_on_key(on if isinstance(on, exp.Expr) else self._node.this)

    def _using(self, using: Sequence[exp.Expr]) -> _On:
        name = using[0].name
        if len(using) > 1 or self._table.index(name) is None:
            raise self._not_on_key(using[0])
        column = exp.column(using[0].copy())
        column.update_positions(using[0])
        return _On(name, compile_term(self._left, column), None)

    def _sides(self, condition: exp.Expr) -> tuple[str, exp.Expr] | None:
        """The table's column and what it equals, if a condition is such an equality."""
        condition = unwrapped(condition)
        if not isinstance(condition, exp.EQ):
            return None
        sides = [unwrapped(side) for side in (condition.this, condition.args["expression"])]
        for one, other in (sides, sides[::-1]):
            if self._is_own(one) and not any(self._is_own(column) for column in other.find_all(exp.Column)):
                return one.name, other
        return None

    def _is_own(self, node: exp.Expr) -> bool:
        """Whether a column is one of the table's."""
        if not isinstance(node, exp.Column) or self._table.index(node.name) is None:
            return False
        if node.table:
            return node.table.lower() == self._table.name.lower()
        named = [part for part in self._left.parts if node.name.lower() in (*part.columns, *part.units)]
        if named:
            part = self._part({}, None)
            raise self._source.malformed(
                "ambiguous_column",
                f"More than one table has a column {node.name}.",
                at=node,
                hint=f"Write {' or '.join(f'{each.name}.{node.name}' for each in (*named, part) if each.name)}.",
            )
        return True

    def _not_on_key(self, at: exp.Expr) -> Problem:
        name = self._table.name or "region"
        return self._source.refuse(
            "join_not_on_key",
            "A look-up is joined on one of its columns, which says what a row is looked up by.",
            at=at,
            hint=_HOW.format(name=name, key=self._table.columns[0]),
        )

    def _keys(self, on: _On) -> Mapping[int, Value]:
        """The keys by their row, those that are NULL, which nothing equals, left out."""
        operand, keys, seen = on.operand, dict[int, Value](), dict[PythonValue, int]()
        if operand.type == COLUMN_TYPE_FLOAT64:
            raise self._source.malformed(
                "type_mismatch",
                f"{describe(operand)} is no key: fractions are seldom equal.",
                at=on.tie or self._node.this,
                hint="Use CAST(... AS BIGINT) where it is whole.",
            )
        for number, cell in enumerate(self._table.cells(on.key)):
            if isinstance(cell.content, Null):
                continue
            value = literals.valued(self._source, cell.content, operand.type, cell.node)
            if value is None:
                raise self._other_type(on, cell)
            plain = values.to_python(value)
            if plain in seen:
                raise self._source.malformed(
                    "repeated_key",
                    f"{str(plain)!r} is in rows {seen[plain] + 1:,} and {number + 1:,} of {self._table.title}: "
                    "what it is looked up for would count twice.",
                    at=cell.node,
                    hint=f"Keep one row for each {on.key}, as DISTINCT does, or join on an expression of several keys, "
                    "as a || '-' || b.",
                )
            seen[plain], keys[number] = number, value
        if not keys:
            raise self._source.malformed(
                "lookup",
                f"{on.key} of {self._table.title} is NULL in every row.",
                at=self._node.this,
                hint="Give it values to look up by.",
            )
        return keys

    def _other_type(self, on: _On, cell: Constant) -> Problem:
        own = COLUMN_TYPE_UNSPECIFIED if isinstance(cell.content, Null) else literals.natural_type(cell.content)
        hint = f"Write keys as {literals.EXAMPLES[on.operand.type]}."
        if (own, on.operand.type) == (COLUMN_TYPE_INT64, COLUMN_TYPE_STRING):
            hint = f"Write keys as {literals.EXAMPLES[COLUMN_TYPE_STRING]}, or CAST(... AS BIGINT) on the other side."
        return self._source.malformed(
            "type_mismatch",
            f"{describe(on.operand)} is looked up in {on.key} of {self._table.title}, which has a value of type "
            f"{values.type_name(own)}.",
            at=cell.node,
            hint=hint,
        )

    def _used(self, on: _On) -> list[str]:
        """The table's columns that the SELECT may use, in lower case; not for the join itself."""
        used: set[str] = set()
        for node in self._select.walk(prune=lambda part: part is on.tie):
            if node is on.tie:
                continue
            if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
                return [name.lower() for name in self._table.columns]
            if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
                own = node.table.lower() == self._table.name.lower() if node.table else True
                merged = on.tie is None and not node.table and node.name.lower() == on.key.lower()
                if own and not merged:
                    used.add(node.name.lower())
        return [name.lower() for name in self._table.columns if name.lower() in used]

    def _column(self, on: _On, keys: Mapping[int, Value], name: str) -> _Column:
        """A column of the table as a look-up of the key."""
        cells = self._table.cells(name)
        if name.lower() == on.key.lower():
            kind, found = on.operand.type, dict[int, Value | None](keys)
        else:
            kind = self._type(name, cells)
            found = {number: self._value(cells[number], kind) for number in keys}
        entries = [LookUp.Entry(key=keys[number], value=found[number]) for number in keys]
        label = self._table.columns[self._table.index(name) or 0]
        domain = _domain(on.operand.domain, keys, found, kind)
        attribute = Attribute(self._reader.names.fresh(label), kind, domain, label)
        expression = Expression(look_up=LookUp(operand=on.operand.expression, entries=entries, type=kind))
        return _Column(attribute, expression, None not in found.values())

    def _type(self, name: str, cells: Iterable[Constant]) -> ColumnType.ValueType:
        """The type of a column's constants."""
        kind = COLUMN_TYPE_UNSPECIFIED
        for cell in cells:
            if isinstance(cell.content, Null):
                continue
            own = literals.natural_type(cell.content)
            if kind not in (COLUMN_TYPE_UNSPECIFIED, own) and not {kind, own} <= values.NUMERIC:
                raise self._source.malformed(
                    "type_mismatch",
                    f"{name} of {self._table.title} has values of type {values.type_name(kind)} and of type "
                    f"{values.type_name(own)}.",
                    at=cell.node,
                    hint="Write them all in one way, texts in quotes.",
                )
            kind = COLUMN_TYPE_FLOAT64 if COLUMN_TYPE_FLOAT64 in (kind, own) else own
        if kind == COLUMN_TYPE_UNSPECIFIED:
            raise self._source.malformed(
                "lookup",
                f"{name} of {self._table.title} is NULL in every row.",
                at=self._node.this,
                hint="Leave the column out, or write NULL in the query.",
            )
        return kind

    def _value(self, cell: Constant, kind: ColumnType.ValueType) -> Value | None:
        if isinstance(cell.content, Null):
            return None
        return literals.valued(self._source, cell.content, kind, cell.node)

    def _check_size(self, rows: int, columns: int) -> None:
        if rows * columns > MAX_ENTRIES:
            raise self._source.refuse(
                "too_complex",
                f"{rows:,} keys and {columns} columns of {self._table.title} make {rows * columns:,} entries; a plan "
                f"holds {MAX_ENTRIES:,}.",
                at=self._node.this,
                hint="Use fewer of its columns, or leave out rows.",
            )

    def _part(self, columns: Mapping[str, Attribute], on: _On | None) -> Part:
        name = self._table.name.lower()
        merged = frozenset({on.key.lower()} if on is not None and on.tie is None else ())
        title = self._table.title
        return Part(
            name,
            title[0].upper() + title[1:],
            frozenset({name} if name else ()),
            columns,
            {},
            merged,
            left_out=tuple(each for each in self._table.columns if each.lower() not in columns),
        )

    def _beside(self, part: Part, columns: Sequence[_Column], hidden: Sequence[Attribute]) -> Scope:
        """The rows with these columns; of their own, those that the query may use."""
        left, names = self._left, self._reader.names
        parts = with_names(self._reader, left.parts, part, self._node.this)
        if not columns:
            return replace(left, parts=parts)
        kept = [*(_with_mentioned(each, names.mentions) for each in parts[:-1]), parts[-1]]
        own = {each.name: each for each in (*(c for p in kept[:-1] for c in p.columns.values()), *left.hidden)}
        own.update({each.presence.name: each.presence for each in kept if each.presence is not None})
        named = [NamedExpression(name=name, expression=reference(each)) for name, each in own.items()]
        named += [NamedExpression(name=each.attribute.name, expression=each.expression) for each in columns]
        relation = Relation(projection=Projection(input=left.relation, columns=named))
        return replace(left, relation=relation, parts=tuple(kept), hidden=(*left.hidden, *hidden))

    def _found(self, scope: Scope, on: _On, mark: Attribute, keys: Sequence[Value]) -> Scope:
        """The rows whose key is in the table."""
        absent = Expression(null_test=NullTest(operand=reference(mark)))
        scope = select_rows(scope, negated(absent))
        column = on.operand.expression
        if column.HasField("column") and column.column.name in scope.columns():
            # Not as a selection: that the key is one of these follows.
            scope = narrowed(scope, Expression(membership=Membership(operand=column, values=keys)))
        return scope


@dataclass(frozen=True)
class _Column:
    attribute: Attribute
    expression: Expression
    always: bool
    """Whether every key has a value in it."""


def _with_mentioned(part: Part, mentions: Callable[[str], bool]) -> Part:
    """The part with the columns that the query may use."""
    columns = {key: column for key, column in part.columns.items() if mentions(key)}
    others = tuple(column.label.rpartition(".")[2] for key, column in part.columns.items() if key not in columns)
    return replace(part, columns=columns, left_out=(*part.left_out, *others))


def _domain(
    operand: Domain, keys: Mapping[int, Value], found: Mapping[int, Value | None], kind: ColumnType.ValueType
) -> Domain:
    """What can be found: for the operand's values where they are listed, else for any key."""
    results = {
        values.to_python(key): None if value is None else values.to_python(value)
        for key, value in ((keys[number], found[number]) for number in keys)
    }
    known = domains.mapped(results.get, [operand], kind, limit=domains.MAX_MAPPED)
    if known is not None and known.values:
        return known
    return domains.listing([result for result in results.values() if result is not None], kind)
