"""The names that a query may use: the columns of the rows that its FROM and WHERE leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message
from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Call, ColumnReference, ColumnType, Expression, Relation, Value

from enclave_sim.plan.values import from_python, type_name
from gateway.planning.domains import MAX_LISTED, Domain
from gateway.planning.readable import UnknownColumn
from gateway.planning.sql import Source


def has_parts_beyond(node: exp.Expr, allowed: frozenset[str]) -> bool:
    """Whether the node says more than its allowed parts: an allow-list of what sqlglot may have read."""
    return any(value not in (None, False, []) for name, value in node.args.items() if name not in allowed)


@dataclass(frozen=True)
class Attribute:
    """A column of the rows."""

    name: str
    """In the plan."""
    type: ColumnType.ValueType
    domain: Domain
    label: str
    """What the query may call it."""
    repeats: int | None = None
    """For a rank: how many rows of one unit may have the same one, where that is known."""
    nullable: bool = True
    """Whether a row may have no value of it."""
    constant: bool = False
    """Whether all rows of a unit have the same, at each provider."""


@dataclass(frozen=True)
class Term:
    """A typed, total expression of the plan, with what is publicly known of its values."""

    expression: Expression
    type: ColumnType.ValueType
    domain: Domain
    label: str
    """The expression as the query writes it."""

    def listed(self, limit: int = MAX_LISTED) -> tuple[Value, ...] | None:
        """All values as constants of the plan, when they are publicly known and at most `limit`."""
        items = self.domain.listed(limit)
        return None if items is None else tuple(from_python(item) for item in items)


@dataclass(frozen=True)
class Part:
    """One item of FROM: a table or a subquery."""

    name: str
    """What the query calls it, in lower case; '' for a subquery without a name."""
    title: str
    """For messages: 'Table labs'."""
    qualifiers: frozenset[str]
    """What may stand before the dot of a column, in lower case."""
    columns: Mapping[str, Attribute]
    """By name in lower case."""
    units: Mapping[str, str]
    """Names of the privacy unit: as written, by name in lower case."""
    merged: frozenset[str] = frozenset()
    """Names that without a table before the dot mean the column of another part: those of USING."""
    optional: bool = False
    """Whether it is the right side of a LEFT JOIN, whose columns may all be missing."""
    left_out: tuple[str, ...] = ()
    """Columns that it has, but that the query does not name; for hints."""
    presence: Attribute | None = None
    """A hidden column that is NULL exactly where an optional part is missing, if one was asked for."""


@dataclass(frozen=True)
class Scope:
    """The rows that a query aggregates, and what the query calls their columns."""

    source: Source
    declaration: DatasetDeclaration
    relation: Relation
    parts: tuple[Part, ...]
    max_rows: int
    """Rows that one unit is declared to have here, at most: what clipping should leave whole."""
    join_rows: int
    """The same, but counting rows with values that are not declared, too: what a join must not cut."""
    bound: Mapping[int, Term] = field(default_factory=dict)
    """Parts of the syntax tree, by `id`, whose meaning was found before, as subqueries in WHERE."""
    hidden: tuple[Attribute, ...] = ()
    """Columns that the query has no name for."""

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """All columns but the privacy unit."""
        return tuple(attribute for part in self.parts for attribute in part.columns.values())

    def columns(self) -> dict[str, ColumnType.ValueType]:
        """The types of all columns of the relation, by their names in the plan."""
        return {attribute.name: attribute.type for attribute in (*self.attributes, *self.hidden)}

    def attribute(self, node: exp.Column) -> Attribute:
        """The column that the query means.

        Raises:
            Problem: UNKNOWN "unknown_column" or "unknown_table", MALFORMED "ambiguous_column", REFUSED
                "privacy_unit".
        """
        part, attribute = self._found(node)
        if attribute is not None:
            return attribute
        name = part.units[node.name.lower()]
        raise self.source.refuse(
            "privacy_unit",
            f"{name} is the privacy unit: it may be counted, but not shown, filtered or grouped on.",
            at=node,
            hint=f"Ask for COUNT(DISTINCT {name}).",
        )

    def is_nullable(self, expression: Expression) -> bool:
        """Whether a row may have no value of an expression over these rows, as far as is known."""
        match expression.WhichOneof("kind"):
            case "literal":
                return False
            case "column":
                columns = {attribute.name: attribute.nullable for attribute in self.attributes}
                return columns.get(expression.column.name, True)
            case "call" if expression.call.function == Call.FUNCTION_COALESCE:
                return all(self.is_nullable(operand) for operand in expression.call.operands)
        return True

    def is_constant(self, expression: Expression) -> bool:
        """Whether an expression is the same for all rows of a unit, as far as is known."""
        constant = {attribute.name for attribute in self.attributes if attribute.constant}
        return constant.issuperset(_columns_in(expression))

    def is_unit(self, node: exp.Column) -> bool:
        """Whether the column is the privacy unit, which every row has.

        Raises:
            Problem: as `attribute` for names; REFUSED "not_supported" for the unit of a part that may be missing.
        """
        part, attribute = self._found(node)
        if attribute is None and part.optional:
            raise self.source.unsupported(
                f"{node.sql()} is missing for rows without a partner.",
                at=node,
                hint="Name the unit of the left table, or use JOIN in the place of LEFT JOIN.",
            )
        return attribute is None

    def presence(self, node: exp.Column) -> Attribute | None:
        """For the unit of a part that may be missing: a column that is NULL exactly where it is."""
        part, attribute = self._found(node)
        return part.presence if attribute is None else None

    def keys(self) -> list[str]:
        """The columns that may be grouped by as they are."""
        return [attribute.label for attribute in self.attributes if attribute.domain.values is not None]

    def _found(self, node: exp.Column) -> tuple[Part, Attribute | None]:
        """The part that has the column; no attribute for the unit."""
        if has_parts_beyond(node, frozenset({"this", "table"})) or not isinstance(node.this, exp.Identifier):
            raise self.source.unsupported(
                "A column is named as column or table.column.", at=node, hint="Name the column alone."
            )
        name, qualifier = node.name.lower(), node.table.lower()
        parts = [part for part in self.parts if not qualifier or qualifier in part.qualifiers]
        if not parts:
            raise unknown_table(self.source, node.table, sorted(q for p in self.parts for q in p.qualifiers), node)
        holders = [
            part
            for part in parts
            if (name in part.columns or name in part.units) and (qualifier or name not in part.merged)
        ]
        if not holders:
            raise self._unknown_column(node, parts)
        if len(holders) > 1 and any(name in part.columns for part in holders):
            raise self._ambiguous(node, holders)
        return holders[0], holders[0].columns.get(name)

    def _ambiguous(self, node: exp.Column, holders: list[Part]) -> Problem:
        written = [f"{part.name}.{node.name}" for part in holders if part.name]
        return self.source.malformed(
            "ambiguous_column",
            f"More than one table has a column {node.name}.",
            at=node,
            hint=f"Write {' or '.join(written)}." if written else "Give the subqueries names.",
        )

    def _unknown_column(self, node: exp.Column, parts: list[Part]) -> Problem:
        names = [name for part in parts for name in (*part.units.values(), *_names(part))]
        near = nearest(node.name, names)
        known = ", ".join(dict.fromkeys(names[:20])) + (", ..." if len(names) > 20 else "")
        first, *others = (part.title for part in parts)
        titles = " or ".join([first, *(f"{title[0].lower()}{title[1:]}" for title in others)])
        hint = f"Did you mean {near}?" if near else f"The columns are {known}."
        if not node.table and any(node.name in (each.domain.values or ()) for each in self.attributes):
            hint = f"A text stands in single quotes: write '{node.name}'."
        return unknown_column(self.source, node, titles, hint)


def reference(attribute: Attribute) -> Expression:
    """How a plan names a column."""
    return Expression(column=ColumnReference(name=attribute.name, type=attribute.type))


def describe(column: Attribute | Term) -> str:
    """'value (float64)'."""
    return f"{column.label} ({type_name(column.type)})"


def unknown_column(source: Source, node: exp.Expr, title: str, hint: str) -> Problem:
    """The problem with a name that no column of what `title` says has."""
    return UnknownColumn(
        Kind.UNKNOWN,
        "unknown_column",
        f"{title} has no column {node.name}.",
        field="sql",
        position=source.position_of(node),
        hint=hint,
        column=node.name,
    )


def unknown_table(
    source: Source, name: str, known: list[str], at: exp.Expr, dataset: str = "", otherwise: str = ""
) -> Problem:
    """The problem with a name that no table of the dataset, or of the query, has; `otherwise` ends its hint
    where no name is near."""
    near = nearest(name, known)
    where = f"Dataset {dataset}" if dataset else "The query"
    hint = f"Did you mean {near}?" if near else f"The tables are {', '.join(known)}. {otherwise}".strip()
    return Problem(
        Kind.UNKNOWN,
        "unknown_table",
        f"{where} has no table {name}.",
        field="sql",
        position=source.position_of(at),
        hint=hint,
    )


def _names(part: Part) -> list[str]:
    return [*(attribute.label.rpartition(".")[2] for attribute in part.columns.values()), *part.left_out]


def _columns_in(message: Message) -> Iterator[str]:
    if isinstance(message, ColumnReference):
        yield message.name
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in value if descriptor.is_repeated else [value]:
                yield from _columns_in(part)
