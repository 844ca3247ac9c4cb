"""JOIN with a public table: what it says of a row, in columns beside the row's own.

Its key is looked up once for each row, so every row stays one row of its unit: a function of that row and of the
plan, which costs nothing. With a key that is there twice, the join would make two rows of one; it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
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
from gateway.planning import calls, domains, literals
from gateway.planning.conditions import negated
from gateway.planning.domains import Domain
from gateway.planning.expressions import compile_condition, compile_term
from gateway.planning.joins import is_left_join, with_names
from gateway.planning.literals import Constant, Null
from gateway.planning.lookup_keys import Key, Keys, On
from gateway.planning.narrowing import narrowed, select_rows
from gateway.planning.public_tables import PublicTable
from gateway.planning.scope import Attribute, Part, Scope, Term, reference

if TYPE_CHECKING:
    from gateway.planning.sources import Reader

MAX_LISTED = 2_000
"""Values of a look-up that IN takes; they are parts of an expression, unlike the entries of a join."""


def look_up(reader: Reader, left: Scope, node: exp.Join, table: PublicTable, select: exp.Select) -> Scope:
    """The rows of `left` with the columns that the query uses of a public table.

    Raises:
        Problem: the join is not on columns of the table, whose values are different and of the type of what they
            equal; or the plan would hold too much.
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


class _Join:
    def __init__(self, reader: Reader, left: Scope, node: exp.Join, table: PublicTable, select: exp.Select) -> None:
        self._reader, self._left, self._node, self._table, self._select = reader, left, node, table, select
        self._source = reader.source
        self._optional = is_left_join(reader, node)

    def rows(self) -> Scope:
        reading = Keys(self._reader, self._left, self._node, self._table)
        on = reading.on()
        if on.rest and self._optional:
            raise self._source.unsupported(
                "A LEFT JOIN with a look-up takes equalities with its columns only.",
                at=on.rest[0],
                hint="Put the others into CASE WHEN ... THEN column END.",
            )
        keys = reading.of(on)
        names = self._used(on)
        columns = {name: self._column(on, keys, name) for name in names}
        mark = None if self._optional else next((c.attribute for c in columns.values() if c.always), None)
        hidden = []
        if mark is None and not self._optional:
            found = self._column(on, keys, next(iter(on.keys)))
            mark, columns[""] = found.attribute, found
            hidden.append(found.attribute)
        self._check_size(len(keys), len(columns))
        part = self._part({name: columns[name].attribute for name in names}, on)
        scope = self._beside(part, list(columns.values()), hidden)
        if mark is not None:
            scope = self._found(scope, on, mark, keys)
        for each in on.rest:
            scope = select_rows(scope, compile_condition(scope, each))
        return scope

    def _used(self, on: On) -> list[str]:
        """The table's columns that the SELECT may use, in lower case; not for the join itself."""
        used: set[str] = set()
        ties = {id(tie) for tie in on.ties}
        for node in self._select.walk(prune=lambda part: id(part) in ties):
            if id(node) in ties:
                continue
            if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
                return [name.lower() for name in self._table.columns]
            if isinstance(node, exp.Column) and isinstance(node.this, exp.Identifier):
                own = node.table.lower() == self._table.name.lower() if node.table else True
                merged = not node.table and node.name.lower() in on.merged
                if own and not merged:
                    used.add(node.name.lower())
        return [name.lower() for name in self._table.columns if name.lower() in used]

    def _column(self, on: On, keys: Mapping[int, Key], name: str) -> _Column:
        """A column of the table, by its name in lower case, as a look-up of the keys."""
        if name in on.keys:
            kind, found = on.keys[name].type, {number: key.parts.get(name) for number, key in keys.items()}
        else:
            cells = self._table.cells(name)
            kind = self._type(name, cells)
            found = {number: self._value(cells[number], kind) for number in keys}
        pairs = [(key.looked_up, found[number]) for number, key in keys.items()]
        label = self._table.columns[self._table.index(name) or 0]
        attribute = Attribute(self._reader.names.fresh(label), kind, _domain(on.operand.domain, pairs, kind), label)
        entries = [LookUp.Entry(key=key, value=value) for key, value in pairs]
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

    def _part(self, columns: Mapping[str, Attribute], on: On) -> Part:
        name = self._table.name.lower()
        title = self._table.title
        return Part(
            name,
            title[0].upper() + title[1:],
            frozenset({name} if name else ()),
            columns,
            {},
            on.merged,
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

    def _found(self, scope: Scope, on: On, mark: Attribute, keys: Mapping[int, Key]) -> Scope:
        """The rows whose keys are in the table."""
        absent = Expression(null_test=NullTest(operand=reference(mark)))
        scope = select_rows(scope, negated(absent))
        for name, term in on.keys.items():
            column = term.expression
            if column.HasField("column") and column.column.name in scope.columns():
                # Not as a selection: that the key is one of these follows.
                listed = Membership(operand=column, values=[key.parts[name] for key in keys.values()])
                scope = narrowed(scope, Expression(membership=listed))
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


def _domain(operand: Domain, pairs: Sequence[tuple[Value, Value | None]], kind: ColumnType.ValueType) -> Domain:
    """What can be found: for the operand's values where they are listed, else for any key."""
    results = {values.to_python(key): None if value is None else values.to_python(value) for key, value in pairs}
    known = domains.mapped(results.get, [operand], kind, limit=domains.MAX_MAPPED)
    if known is not None and known.values:
        return known
    return domains.listing([result for result in results.values() if result is not None], kind)
