"""The names that a query may use: one table and its columns."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, TableDeclaration
from yingbi.api.v1.plan_pb2 import ColumnReference

from enclave_sim.plan.schema import find_column, find_table, is_unit
from enclave_sim.plan.values import type_name
from gateway.planning.sql import ParsedSelect, Source


def has_parts_beyond(node: exp.Expr, allowed: frozenset[str]) -> bool:
    """Whether the node says more than its allowed parts: an allow-list of what sqlglot may have read."""
    return any(value not in (None, False, []) for name, value in node.args.items() if name not in allowed)


def reference(column: ColumnDeclaration) -> ColumnReference:
    """How a plan names a column."""
    return ColumnReference(name=column.name, type=column.type)


@dataclass(frozen=True)
class Scope:
    """The table of a query, and what the query calls it."""

    source: Source
    declaration: DatasetDeclaration
    table: TableDeclaration
    names: frozenset[str]
    """What may stand before the dot of a column, in lower case."""

    def column(self, node: exp.Column) -> ColumnDeclaration:
        """The declared column that the query means.

        Raises:
            Problem: UNKNOWN "unknown_column" or "unknown_table".
        """
        if has_parts_beyond(node, frozenset({"this", "table"})) or not isinstance(node.this, exp.Identifier):
            raise self.source.unsupported(
                "A column is named as column or table.column.", at=node, hint="Name the column alone."
            )
        if node.table and node.table.lower() not in self.names:
            raise _unknown_table(self.source, self.declaration, node.table, node)
        column = find_column(self.table, node.name)
        if column is None:
            raise self._unknown_column(node)
        return column

    def attribute(self, node: exp.Column) -> ColumnDeclaration:
        """As `column`, for uses that the privacy unit is not open to.

        Raises:
            Problem: also REFUSED "privacy_unit".
        """
        column = self.column(node)
        if is_unit(column):
            raise self.source.refuse(
                "privacy_unit",
                f"{column.name} is the privacy unit: it may be counted, but not shown, filtered or grouped on.",
                at=node,
                hint=f"Ask for COUNT(DISTINCT {column.name}).",
            )
        return column

    def keys(self) -> list[str]:
        """The columns that may be grouped by."""
        return [column.name for column in self.table.columns if column.values]

    def _unknown_column(self, node: exp.Column) -> Problem:
        names = [column.name for column in self.table.columns]
        near = nearest(node.name, names)
        known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        return Problem(
            Kind.UNKNOWN,
            "unknown_column",
            f"Table {self.table.name} has no column {node.name}.",
            field="sql",
            position=self.source.position_of(node),
            hint=f"Did you mean {near}?" if near else f"The columns are {known}.",
        )


def table_scope(parsed: ParsedSelect, declaration: DatasetDeclaration) -> Scope:
    """The scope of a query over one table of the dataset.

    Raises:
        Problem: UNKNOWN "unknown_table", or REFUSED "not_supported" for anything but one plain table.
    """
    source, from_ = parsed.source, parsed.select.args.get("from_")
    if not isinstance(from_, exp.From):
        raise source.malformed(
            "sql_syntax",
            "The query names no table.",
            at=parsed.select,
            hint=f"Add FROM and one of {', '.join(table.name for table in declaration.tables)}.",
        )
    node = from_.this
    if not _is_plain_table(node) or has_parts_beyond(from_, frozenset({"this"})):
        raise source.unsupported(
            "Only a table of the dataset can stand after FROM.", at=node, hint="Write FROM and one table's name."
        )
    table = find_table(declaration, node.name)
    if table is None or (node.db and node.db.lower() != declaration.dataset.lower()):
        raise _unknown_table(source, declaration, f"{node.db}.{node.name}" if node.db else node.name, node)
    names = {table.name.lower(), *([node.alias.lower()] if node.alias else [])}
    return Scope(source, declaration, table, frozenset(names))


def describe(column: ColumnDeclaration) -> str:
    """'value (float64)'."""
    return f"{column.name} ({type_name(column.type)})"


def _is_plain_table(node: object) -> bool:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        return False
    alias = node.args.get("alias")
    return not has_parts_beyond(node, frozenset({"this", "db", "alias"})) and (
        alias is None or not has_parts_beyond(alias, frozenset({"this"}))
    )


def _unknown_table(source: Source, declaration: DatasetDeclaration, name: str, at: exp.Expr) -> Problem:
    names = [table.name for table in declaration.tables]
    near = nearest(name, names)
    return Problem(
        Kind.UNKNOWN,
        "unknown_table",
        f"Dataset {declaration.dataset} has no table {name}.",
        field="sql",
        position=source.position_of(at),
        hint=f"Did you mean {near}?" if near else f"The tables are {', '.join(names)}.",
    )
