"""From FROM, JOIN, WITH and WHERE to a relation of the plan language.

Whatever stands here keeps to the rows of one privacy unit: tables, joins on the unit, and subqueries that stay
within a unit (see `subqueries`). What would need other units' rows is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp
from yingbi.api.problem import Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration, TableDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import Relation, Scan

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.relations import columns_of, max_rows_bound
from enclave_sim.plan.schema import IDENTIFIER, RESERVED_PREFIX, find_table, is_unit
from enclave_sim.privacy.clipping import MAX_UNIT_ROWS
from gateway.planning import domains
from gateway.planning.expressions import compile_condition
from gateway.planning.joins import is_left_join, join
from gateway.planning.lookups import look_up
from gateway.planning.membership import bind_subqueries
from gateway.planning.narrowing import select_rows
from gateway.planning.public_tables import PublicTable, from_message, read_values, renamed, values_of
from gateway.planning.scope import Attribute, Part, Scope, has_parts_beyond, unknown_table
from gateway.planning.sql import Source
from gateway.planning.subqueries import read_rows

MAX_SELECTS = 32
"""SELECTs in one query, those of WITH counted as often as they are named."""


def read_source(
    source: Source,
    select: exp.Select,
    declaration: DatasetDeclaration,
    lookups: Mapping[str, LookUpTable] | None = None,
    mentioned: Collection[str] = (),
) -> Scope:
    """The rows that a SELECT aggregates: its WITH, FROM, JOIN and WHERE.

    Args:
        lookups: from `public_tables.check_tables`.
        mentioned: names of columns to keep, in lower case, beside those that the query says.

    Raises:
        Problem: with position, for whatever cannot be asked.
    """
    scope = Reader(source, declaration, Names(declaration, select, mentioned), lookups=lookups or {}).scope(select)
    try:
        columns_of(scope.relation, declaration)
    except PlanError as error:
        raise too_many(source, select) from error
    if max_rows_bound(scope.relation) > MAX_UNIT_ROWS:
        raise too_many(source, select)
    return scope


def too_many(source: Source, at: exp.Expr) -> Problem:
    """The problem with a query that is larger than a plan."""
    return source.refuse(
        "too_complex",
        "The query has more subqueries, joins or expressions than a plan holds.",
        at=at,
        hint="Ask with fewer joins and subqueries.",
    )


def names_in(root: exp.Expr) -> set[str]:
    """Every name that a query says, in lower case."""
    return {node.name.lower() for node in root.find_all(exp.Identifier)}


class Names:
    """Names for columns that no table of the dataset has, each given once; and the names that the query says."""

    def __init__(self, declaration: DatasetDeclaration, root: exp.Expr, mentioned: Collection[str] = ()) -> None:
        self._taken = {column.name.lower() for table in declaration.tables for column in table.columns}
        self._mentioned = names_in(root) | set(mentioned)
        stars = root.find_all(exp.Star)
        self._all = any(not isinstance(star.parent, exp.Count) for star in stars)
        self._selects = 0

    def fresh(self, wanted: str) -> str:
        """A name like `wanted` that is new."""
        usable = IDENTIFIER.fullmatch(wanted) and not wanted.lower().startswith(RESERVED_PREFIX)
        base = wanted[:60] if usable else "column"
        name, number = base, 2
        while name.lower() in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name.lower())
        return name

    def mentions(self, name: str) -> bool:
        """Whether the query may use a column of this name."""
        return self._all or name.lower() in self._mentioned

    def count_select(self) -> bool:
        """Whether one more SELECT may be read."""
        self._selects += 1
        return self._selects <= MAX_SELECTS


@dataclass(frozen=True)
class Cte:
    """A subquery that WITH gave a name, and the names that it may use itself."""

    select: exp.Select
    before: Mapping[str, Cte | PublicTable]


@dataclass(frozen=True)
class Reader:
    """Reads SELECTs, in whatever place of one query."""

    source: Source
    declaration: DatasetDeclaration
    names: Names
    ctes: Mapping[str, Cte | PublicTable] = field(default_factory=dict)
    lookups: Mapping[str, LookUpTable] = field(default_factory=dict)
    """Public tables sent beside the query, by name in lower case."""

    def inside(self, select: exp.Select) -> Reader:
        """The reader that also knows the names of this SELECT's WITH.

        Raises:
            Problem: the WITH is recursive or says more than names.
        """
        with_ = select.args.get("with_")
        if with_ is None:
            return self
        if has_parts_beyond(with_, frozenset({"expressions"})):
            raise self.source.unsupported("WITH RECURSIVE cannot be asked.", at=with_, hint="Leave RECURSIVE out.")
        known = dict(self.ctes)
        for cte in with_.expressions:
            alias, listed = cte.args.get("alias"), values_of(cte.this)
            if listed is not None and alias is not None:
                # Columns are named beside the table or, as WITH a AS (SELECT * FROM (VALUES ...) AS b(x)), inside.
                inner = alias if alias.args.get("columns") else listed.args.get("alias")
                known[cte.alias.lower()] = replace(read_values(self.source, listed, inner), name=cte.alias)
                continue
            plain = isinstance(cte.this, exp.Select) and not has_parts_beyond(cte, frozenset({"this", "alias"}))
            if not plain or alias is None or has_parts_beyond(alias, frozenset({"this"})):
                raise self.source.unsupported(
                    "WITH takes names and one SELECT each.",
                    at=cte,
                    hint="Write WITH name AS (SELECT ...), or WITH name(column, ...) AS (VALUES ...).",
                )
            known[cte.alias.lower()] = Cte(cte.this, dict(known))
        return replace(self, ctes=known)

    def scope(self, select: exp.Select, *, with_where: bool = True) -> Scope:
        """The rows of a SELECT before it groups, selects or windows.

        Args:
            with_where: whether its WHERE is applied.

        Raises:
            Problem: whatever cannot be asked.
        """
        if not self.names.count_select():
            raise too_many(self.source, select)
        reader, from_ = self.inside(select), select.args.get("from_")
        if not isinstance(from_, exp.From) or has_parts_beyond(from_, frozenset({"this"})):
            raise self.source.malformed(
                "sql_syntax",
                "The query names no table.",
                at=select,
                hint=f"Add FROM and one of {', '.join(table.name for table in self.declaration.tables)}.",
            )
        scope, joins = reader.first(from_.this, select)
        for each in joins:
            table = reader.public_table(each.this)
            scope = join(reader, scope, each, select) if table is None else look_up(reader, scope, each, table, select)
        if select.args.get("laterals"):
            raise self.source.unsupported(
                "LATERAL cannot be asked.", at=select.args["laterals"][0], hint="Join a subquery on the privacy unit."
            )
        where = select.args.get("where")
        return reader.filtered(scope, where.this) if with_where and isinstance(where, exp.Where) else scope

    def first(self, node: exp.Expr, select: exp.Select) -> tuple[Scope, Sequence[exp.Join]]:
        """The rows to begin with, and the joins that are left: FROM look-up JOIN table means the same turned round.

        Raises:
            Problem: as `item`.
        """
        joins, table = list(select.args.get("joins") or ()), self.public_table(node)
        if table is None or not joins or is_left_join(self, joins[0]):
            return self.item(node), joins
        return look_up(self, self.item(joins[0].this), joins[0], table, select), joins[1:]

    def public_table(self, node: exp.Expr) -> PublicTable | None:
        """The table of constants that stands after JOIN; None if something else does.

        Raises:
            Problem: it cannot be read.
        """
        alias = node.args.get("alias")
        if isinstance(node, exp.Subquery) and not has_parts_beyond(node, frozenset({"this", "alias"})):
            listed = values_of(node.this)
            if listed is not None:
                return renamed(self.source, read_values(self.source, listed, listed.args.get("alias")), alias, node)
        if isinstance(node, exp.Values):
            return read_values(self.source, node, alias)
        if not isinstance(node, exp.Table) or has_parts_beyond(node, frozenset({"this", "alias"})):
            return None
        name = node.name.lower()
        known = self.ctes.get(name)
        if known is None and name in self.lookups:
            known = from_message(self.lookups[name], node)
        return renamed(self.source, known, alias, node) if isinstance(known, PublicTable) else None

    def public_column(self, select: exp.Expr) -> PublicTable | None:
        """The one column that SELECT column FROM look-up has; None if the SELECT is something else.

        Raises:
            Problem: the look-up cannot be read, or has no such column, or the SELECT says more.
        """
        from_ = select.args.get("from_")
        table = self.public_table(from_.this) if isinstance(from_, exp.From) else None
        items = select.expressions
        if table is None or select.args.get("joins"):
            return None
        if len(items) != 1 or has_parts_beyond(select, frozenset({"expressions", "from_", "distinct"})):
            raise self.source.unsupported(
                f"After IN, a SELECT from {table.title} takes one column and nothing else, so no WHERE.",
                at=select.args.get("where") or select,
                hint=f"Leave rows out where {table.name or 'the look-up'} is written, or JOIN it: conditions on its "
                "columns then stand in WHERE.",
            )
        if isinstance(items[0], exp.Star) and len(table.columns) == 1:
            return table
        index = table.index(items[0].name) if isinstance(items[0], exp.Column) else None
        if index is None:
            raise self.source.malformed(
                "unknown_column",
                f"{table.title[0].upper()}{table.title[1:]} has no column {items[0].sql()}.",
                at=items[0],
                hint=f"The columns are {', '.join(table.columns)}.",
            )
        return replace(table, columns=(table.columns[index],), rows=tuple((row[index],) for row in table.rows))

    def filtered(self, scope: Scope, condition: exp.Expr) -> Scope:
        """The rows that fulfil a condition, in which subqueries about the same unit may stand.

        Raises:
            Problem: whatever cannot be asked.
        """
        bound, remaining = bind_subqueries(self, scope, condition)
        for each in remaining:
            bound = select_rows(bound, compile_condition(bound, each))
        return bound

    def item(self, node: exp.Expr) -> Scope:
        """What stands after FROM or JOIN: a table, a name of WITH, or a subquery.

        Raises:
            Problem: it is none of them.
        """
        if self.public_table(node) is not None:
            raise self.source.unsupported(
                "A look-up has no rows to ask about: it says something of other rows.",
                at=node,
                hint="Write FROM and a table of the dataset, then JOIN the look-up.",
            )
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Select):
            alias = node.args.get("alias")
            plain = not has_parts_beyond(node, frozenset({"this", "alias"}))
            if plain and (alias is None or not has_parts_beyond(alias, frozenset({"this"}))):
                return read_rows(self, node.this, node.alias)
        if not _is_plain_table(node):
            raise self.source.unsupported(
                "Only a table of the dataset or a subquery can stand after FROM.",
                at=node,
                hint="Write FROM and one table's name.",
            )
        cte = None if node.args.get("db") else self.ctes.get(node.name.lower())
        if isinstance(cte, Cte):
            return read_rows(replace(self, ctes=cte.before), cte.select, node.alias or node.name)
        return self._table(node)

    def _table(self, node: exp.Expr) -> Scope:
        db = node.args["db"].name if node.args.get("db") else ""
        table = find_table(self.declaration, node.name)
        if table is None or (db and db.lower() != self.declaration.dataset.lower()):
            known = [table.name for table in self.declaration.tables] + [*self.ctes, *self.lookups]
            name = f"{db}.{node.name}" if db else node.name
            # A table beside those of the dataset is most often meant to be looked up in.
            is_brought = not db and node.find_ancestor(exp.Join, exp.In) is not None
            brought = f"A table of your own comes with the question: --lookup {node.name}=FILE." if is_brought else ""
            raise unknown_table(self.source, name, known, node, self.declaration.dataset, brought)
        part = _part(table, node.alias)
        most, relation = table.max_rows_per_unit, Relation(scan=Scan(table=table.name))
        return Scope(self.source, self.declaration, relation, (part,), most, most)


def _part(table: TableDeclaration, alias: str) -> Part:
    columns = {
        column.name.lower(): Attribute(
            column.name,
            column.type,
            domains.declared(column),
            column.name,
            nullable=not column.required,
            constant=column.constant_per_unit,
        )
        for column in table.columns
        if not is_unit(column)
    }
    units = {column.name.lower(): column.name for column in table.columns if is_unit(column)}
    name = (alias or table.name).lower()
    return Part(name, f"Table {table.name}", frozenset({name}), columns, units)


def _is_plain_table(node: object) -> bool:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        return False
    alias = node.args.get("alias")
    return not has_parts_beyond(node, frozenset({"this", "db", "alias"})) and (
        alias is None or not has_parts_beyond(alias, frozenset({"this"}))
    )
