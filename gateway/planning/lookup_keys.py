"""What a join with a public table is on: which of its columns equal what of a row, and the keys that this makes.

A look-up has one operand. Several keys become one string, from which each can be told: every part but the last has
its length before it, so no two rows of keys make the same string.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from sqlglot import exp
from yingbi.api.problem import Problem, nearest
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    COLUMN_TYPE_TIMESTAMP,
    COLUMN_TYPE_UNSPECIFIED,
    Call,
    Value,
)

from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from gateway.planning import calls, literals
from gateway.planning.conditions import conjuncts
from gateway.planning.expressions import compile_term
from gateway.planning.folding import apply
from gateway.planning.literals import Constant, Null, unwrapped
from gateway.planning.public_tables import PublicTable
from gateway.planning.scope import Scope, Term, describe, unknown_column

if TYPE_CHECKING:
    from gateway.planning.sources import Reader

MAX_KEYS = 16
"""Columns that one join is on."""

_SHOWN = 5
"""Values in a hint."""


@dataclass(frozen=True)
class On:
    """The keys of a join, at least one, and whatever else must hold."""

    keys: Mapping[str, Term]
    """What each key column of the table equals, by its name in lower case."""
    ties: tuple[exp.Expr, ...] = ()
    """The conditions that say so; none for USING."""
    rest: tuple[exp.Expr, ...] = ()

    @property
    def merged(self) -> frozenset[str]:
        """Names that without a table before the dot mean the row's own column."""
        return frozenset() if self.ties else frozenset(self.keys)

    @cached_property
    def operand(self) -> Term:
        """What is looked up: the one key, or all of them as a string."""
        terms = list(self.keys.values())
        if len(terms) == 1:
            return terms[0]
        texts = [_text(term) for term in terms]
        parts = [part for text in texts[:-1] for part in (_length(text), calls.constant(":"), text)]
        return calls.call(Call.FUNCTION_CONCATENATE, *parts, texts[-1])


def _text(term: Term) -> Term:
    return term if term.type == COLUMN_TYPE_STRING else calls.call(Call.FUNCTION_TO_STRING, term)


def _length(text: Term) -> Term:
    return _text(calls.call(Call.FUNCTION_LENGTH, text))


def _joined(keys: Sequence[Value]) -> Value:
    """What `On.operand` is for these values of the keys."""
    if len(keys) == 1:
        return keys[0]
    plain = [values.to_python(key) for key in keys]
    texts = [key if isinstance(key, str) else str(apply(Call.FUNCTION_TO_STRING, (key,))) for key in plain]
    return Value(string_value="".join(f"{len(text)}:{text}" for text in texts[:-1]) + texts[-1])


def _some(items: Sequence[values.PythonValue]) -> str:
    """The first values, as SQL has them."""
    written = [_quoted(item) for item in items[:_SHOWN]]
    return ", ".join(written) + (", ..." if len(items) > _SHOWN else "")


def _quoted(item: values.PythonValue) -> str:
    return f"'{str(item)[:40]}'" if isinstance(item, str | datetime.date) else str(item).upper()


@dataclass(frozen=True)
class Key:
    """The keys of one row of the table: as they are looked up, and each by its column."""

    looked_up: Value
    parts: Mapping[str, Value]


class Keys:
    """Reads what a join with a public table is on."""

    def __init__(self, reader: Reader, left: Scope, node: exp.Join, table: PublicTable) -> None:
        self._left, self._node, self._table = left, node, table
        self._source = reader.source

    def on(self) -> On:
        """The keys of the join.

        Raises:
            Problem: there is none, or it is of a type that nothing can be looked up by.
        """
        using, on = self._node.args.get("using"), self._node.args.get("on")
        if using:
            found = self._using(list(using))
        else:
            found = self._equalities(conjuncts(on) if isinstance(on, exp.Expr) else [])
        at = self._place()
        if not found.keys:
            self._refuse_unknown(using or (list(on.find_all(exp.Column)) if isinstance(on, exp.Expr) else []))
            raise self._source.refuse(
                "join_not_on_key",
                "A look-up is joined on columns of its own, which say what a row is looked up by.",
                at=at,
                hint=f"Write JOIN {self._table.name or 'region'} ON {self._table.name or 'region'}."
                f"{self._table.columns[0]} = column, or USING ({self._table.columns[0]}).",
            )
        self._check_types(found, at)
        return found

    def _refuse_unknown(self, names: Sequence[exp.Expr]) -> None:
        """Refuse a name of the join that is near to a column of the table, and that nothing else has."""
        own = self._table.name.lower()
        for node in names:
            qualifier = node.table.lower() if isinstance(node, exp.Column) else own
            held = any(node.name.lower() in (*part.columns, *part.units) for part in self._left.parts)
            if self._table.index(node.name) is not None or (held and not qualifier) or qualifier not in ("", own):
                continue
            near = nearest(node.name, list(self._table.columns))
            if near or (qualifier and isinstance(node, exp.Column)):
                hint = f"Did you mean {near}?" if near else f"The columns are {', '.join(self._table.columns[:20])}."
                title = f"{self._table.title[0].upper()}{self._table.title[1:]}"
                raise unknown_column(self._source, node, title, hint)

    def _using(self, using: Sequence[exp.Expr]) -> On:
        keys: dict[str, Term] = {}
        for identifier in using:
            if self._table.index(identifier.name) is None:
                return On({})
            column = exp.column(identifier.copy())
            column.update_positions(identifier)
            keys[identifier.name.lower()] = compile_term(self._left, column)
        return On(keys)

    def _equalities(self, conditions: Sequence[exp.Expr]) -> On:
        keys: dict[str, Term] = {}
        ties: list[exp.Expr] = []
        rest: list[exp.Expr] = []
        for each in conditions:
            sides = self._sides(each)
            if sides is None or sides[0] in keys:
                rest.append(each)
            else:
                keys[sides[0]] = compile_term(self._left, sides[1])
                ties.append(each)
        return On(keys, tuple(ties), tuple(rest))

    def _sides(self, condition: exp.Expr) -> tuple[str, exp.Expr] | None:
        """A column of the table, in lower case, and what of a row it equals, if a condition says such a thing."""
        condition = unwrapped(condition)
        if not isinstance(condition, exp.EQ):
            return None
        sides = [unwrapped(side) for side in (condition.this, condition.args["expression"])]
        for one, other in (sides, sides[::-1]):
            columns = list(other.find_all(exp.Column))
            if columns and self._is_own(one) and not any(self._is_own(column) for column in columns):
                return one.name.lower(), other
        return None

    def _is_own(self, node: exp.Expr) -> bool:
        """Whether a column is one of the table's."""
        if not isinstance(node, exp.Column) or self._table.index(node.name) is None:
            return False
        if node.table:
            return node.table.lower() == self._table.name.lower()
        holders = [part.name for part in self._left.parts if node.name.lower() in (*part.columns, *part.units)]
        if holders:
            raise self._source.malformed(
                "ambiguous_column",
                f"More than one table has a column {node.name}.",
                at=node,
                hint=f"Write {' or '.join(f'{name}.{node.name}' for name in (*holders, self._table.name) if name)}.",
            )
        return True

    def _check_types(self, on: On, at: exp.Expr) -> None:
        for index, term in enumerate(on.keys.values()):
            place = on.ties[index] if on.ties else at
            if term.type == COLUMN_TYPE_FLOAT64:
                raise self._source.malformed(
                    "type_mismatch",
                    f"{describe(term)} is no key: fractions are seldom equal.",
                    at=place,
                    hint="Use CAST(... AS BIGINT) where it is whole.",
                )
            if term.type == COLUMN_TYPE_TIMESTAMP and len(on.keys) > 1:
                raise self._source.malformed(
                    "type_mismatch",
                    f"{describe(term)} is no key beside others.",
                    at=place,
                    hint="Use CAST(... AS DATE), or join on it alone.",
                )
        if len(on.keys) > MAX_KEYS:
            raise self._source.refuse(
                "too_complex", f"A look-up is joined on at most {MAX_KEYS} keys.", at=at, hint="Join on fewer."
            )

    def of(self, on: On) -> Mapping[int, Key]:
        """The keys by their row; rows with a key that is NULL, which nothing equals, are left out.

        Raises:
            Problem: a key is there twice, all are NULL, or one is of another type than what it equals.
        """
        found, seen = dict[int, Key](), dict[values.PythonValue, int]()
        columns = {name: self._table.cells(name) for name in on.keys}
        for number in range(len(self._table.rows)):
            cells = {name: column[number] for name, column in columns.items()}
            if any(isinstance(cell.content, Null) for cell in cells.values()):
                continue
            parts = {name: self._value(name, cell, on.keys[name]) for name, cell in cells.items()}
            key = _joined(list(parts.values()))
            plain, first = values.to_python(key), next(iter(cells.values()))
            if plain in seen:
                raise self._repeated(parts, seen[plain], number, first)
            if len(key.string_value.encode()) > MAX_STRING_BYTES:
                raise self._source.malformed(
                    "lookup",
                    f"The keys of row {number + 1:,} of {self._table.title} are too long together.",
                    at=first.node,
                    hint=f"At most {MAX_STRING_BYTES:,} bytes are looked up.",
                )
            seen[plain], found[number] = number, Key(key, parts)
        if not found:
            raise self._source.malformed(
                "lookup",
                f"{' or '.join(on.keys)} of {self._table.title} is NULL in every row.",
                at=self._node.this,
                hint="Give it values to look up by.",
            )
        self._check_declared(on, found.values())
        return found

    def _check_declared(self, on: On, keys: Collection[Key]) -> None:
        """Refuse keys of which no declared value is one: every group would be empty, and charged."""
        for index, (name, term) in enumerate(on.keys.items()):
            held = list(dict.fromkeys(values.to_python(key.parts[name]) for key in keys))
            declared = term.domain.values
            if not declared or not set(declared).isdisjoint(held):
                continue
            raise self._source.refuse(
                "no_such_key",
                f"No declared value of {term.label} is a key of {self._table.name or 'the look-up'}, so no row would "
                "be found.",
                at=on.ties[index] if on.ties else self._place(),
                hint=f"The values of {term.label} are {_some(declared)}; the keys in {name} are {_some(held)}.",
            )

    def _place(self) -> exp.Expr:
        """What the join is on, or the table where it says nothing."""
        using, on = self._node.args.get("using"), self._node.args.get("on")
        place: exp.Expr = on if isinstance(on, exp.Expr) else using[0] if using else self._node.this
        return place

    def _value(self, name: str, cell: Constant, operand: Term) -> Value:
        content = cell.content
        value = None if isinstance(content, Null) else literals.valued(self._source, content, operand.type, cell.node)
        if value is not None:
            return value
        own = COLUMN_TYPE_UNSPECIFIED if isinstance(content, Null) else literals.natural_type(content)
        hint = f"Write keys as {literals.EXAMPLES[operand.type]}; in a file, in every row of {name}."
        if (own, operand.type) == (COLUMN_TYPE_INT64, COLUMN_TYPE_STRING):
            hint = f"{hint[:-1]}; or use CAST(... AS BIGINT) on the other side."
        if (own, operand.type) == (COLUMN_TYPE_STRING, COLUMN_TYPE_INT64):
            hint = f"{hint[:-1]}; or join on CAST({operand.label} AS VARCHAR)."
        raise self._source.malformed(
            "type_mismatch",
            f"{describe(operand)} is looked up in {name} of {self._table.title}, which has a value of type "
            f"{values.type_name(own)}.",
            at=cell.node,
            hint=hint,
        )

    def _repeated(self, parts: Mapping[str, Value], first: int, second: int, cell: Constant) -> Problem:
        written = ", ".join(repr(str(values.to_python(part))) for part in parts.values())
        problem = self._source.malformed(
            "repeated_key",
            f"{written} is in rows {first + 1:,} and {second + 1:,} of {self._table.title}: "
            "what it is looked up for would count twice.",
            at=cell.node,
            hint=f"Keep one row for each {' and '.join(parts)}, as DISTINCT does, or join on more of its columns.",
        )
        if not self._table.sent_as:
            return problem
        # Whoever sent the table knows where it has these rows.
        return replace(problem, details={"look_up": self._table.sent_as, "rows": f"{first + 1},{second + 1}"})
