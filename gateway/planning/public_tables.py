"""Tables of constants that a query brings with it: VALUES, or a table sent beside the SQL.

They are public: the gateway reads them, and what is used of them is part of the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlglot import exp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import LookUpTable
from yingbi.api.v1.plan_pb2 import ColumnType, Value

from enclave_sim.plan import values
from enclave_sim.plan.expressions import MAX_STRING_BYTES
from enclave_sim.plan.schema import find_table
from enclave_sim.plan.size import MAX_ENTRIES, MAX_ENTRY_BYTES, MAX_LOOK_UPS
from gateway.planning import literals
from gateway.planning.literals import Constant, Null, Number, Text, Typed
from gateway.planning.scope import has_parts_beyond
from gateway.planning.sql import Source

MAX_COLUMNS = 64
MAX_NAME_LENGTH = 63


@dataclass(frozen=True)
class PublicTable:
    """A table of constants."""

    name: str
    """As the query has it; '' for one without a name."""
    columns: tuple[str, ...]
    """Their names, different whatever their case."""
    rows: tuple[tuple[Constant, ...], ...]
    """At least one, each with a constant for every column."""
    sent_as: str = ""
    """The name that it was sent by beside the query; '' for VALUES."""

    @property
    def title(self) -> str:
        """For messages: 'the look-up region'."""
        return f"the look-up {self.name}" if self.name else "the look-up"

    def index(self, column: str) -> int | None:
        """The place of a column, whatever the case of its name."""
        lowered = [name.lower() for name in self.columns]
        return lowered.index(column.lower()) if column.lower() in lowered else None

    def cells(self, column: str) -> tuple[Constant, ...]:
        """The constants of a column that there is."""
        index = self.index(column)
        return () if index is None else tuple(row[index] for row in self.rows)


def values_of(select: exp.Expr) -> exp.Values | None:
    """The VALUES that a SELECT is and nothing else: what sqlglot makes of WITH name AS (VALUES ...)."""
    if not isinstance(select, exp.Select) or has_parts_beyond(select, frozenset({"expressions", "from_"})):
        return None
    from_ = select.args.get("from_")
    items = select.expressions
    plain = len(items) == 1 and isinstance(items[0], exp.Star) and not has_parts_beyond(items[0], frozenset())
    inner = from_.this if isinstance(from_, exp.From) else None
    return inner if plain and isinstance(inner, exp.Values) else None


def read_values(source: Source, node: exp.Values, alias: exp.Expr | None) -> PublicTable:
    """The table that VALUES writes.

    Args:
        alias: the name of the table and of its columns, if they have any; `col0`, `col1` ... otherwise.

    Raises:
        Problem: with position: cells that are no constants, rows of different lengths, names that do not fit.
    """
    if has_parts_beyond(node, frozenset({"expressions", "alias"})):
        raise source.unsupported("VALUES takes rows of constants.", at=node, hint=_EXAMPLE)
    rows = [_row(source, row) for row in node.expressions]
    for row, written in zip(rows, node.expressions, strict=True):
        if len(row) != len(rows[0]):
            raise source.malformed(
                "lookup",
                f"This row has a length of {len(row)}, and the first row of {len(rows[0])}.",
                at=written,
                hint="Write NULL for what is missing.",
            )
    if len(rows) > MAX_ENTRIES:
        raise source.refuse("too_complex", _too_many_rows(len(rows)), at=node, hint=_FEWER)
    names = _names(source, alias, len(rows[0]), node)
    return PublicTable("" if alias is None else alias.name, names, tuple(rows))


_EXAMPLE = "Write (VALUES ('A', 'north'), ('B', 'south')) AS region(code, name)."
_FEWER = "Leave out rows that no query needs."


def _too_many_rows(rows: int) -> str:
    return f"The look-up has {rows:,} rows; {MAX_ENTRIES:,} are allowed."


def _row(source: Source, row: exp.Expr) -> tuple[Constant, ...]:
    cells = row.expressions if isinstance(row, exp.Tuple) else [row]
    return tuple(_cell(source, cell) for cell in cells)


def _cell(source: Source, cell: exp.Expr) -> Constant:
    constant = literals.read_constant(source, cell)
    if constant is None:
        raise source.unsupported("A look-up consists of constants.", at=cell, hint=_EXAMPLE)
    return constant


def _names(source: Source, alias: exp.Expr | None, width: int, node: exp.Values) -> tuple[str, ...]:
    given = [] if alias is None else [column.name for column in alias.args.get("columns") or ()]
    if not given:
        return tuple(f"col{index}" for index in range(width))
    if len(given) != width:
        raise source.malformed(
            "lookup", f"The look-up has {width} columns, and names for {len(given)}.", at=node, hint=_EXAMPLE
        )
    for index, name in enumerate(given):
        if name.lower() in [other.lower() for other in given[:index]]:
            raise source.malformed("repeated_column", f"Two columns are called {name}.", at=node, hint=_EXAMPLE)
    return tuple(given)


def renamed(source: Source, table: PublicTable, alias: exp.Expr | None, node: exp.Expr) -> PublicTable:
    """The table under the alias that it has after FROM or JOIN.

    Raises:
        Problem: the alias renames columns.
    """
    if alias is None:
        return table
    if has_parts_beyond(alias, frozenset({"this"})):
        raise source.unsupported(
            "Columns of a look-up are named where its rows are.",
            at=node,
            hint="Write WITH region(code, name) AS (...).",
        )
    return replace(table, name=alias.name)


def check_tables(tables: Sequence[LookUpTable], declaration: DatasetDeclaration) -> Mapping[str, LookUpTable]:
    """The tables sent beside a query, by name in lower case.

    Raises:
        Problem: field "lookups", naming table, row and column: names that are taken or too long, cells of other
            types than their column's, more than a plan holds.
    """
    if len(tables) > MAX_LOOK_UPS:
        raise _malformed(f"There are {len(tables):,} look-ups; {MAX_LOOK_UPS} are allowed.", "Send fewer.")
    size = sum(table.ByteSize() for table in tables)
    if size > MAX_ENTRY_BYTES:
        raise _malformed(
            f"The look-ups have {size:,} bytes together; {MAX_ENTRY_BYTES:,} are allowed.",
            "Leave out rows and columns that the query does not use.",
        )
    named: dict[str, LookUpTable] = {}
    for table in tables:
        _check_names([table.name], "A look-up", "")
        if find_table(declaration, table.name) is not None or table.name.lower() in named:
            raise _malformed(f"There is another table called {table.name}.", "Give the look-up another name.")
        _check_table(table)
        named[table.name.lower()] = table
    return named


def _check_table(table: LookUpTable) -> None:
    if not 1 <= len(table.columns) <= MAX_COLUMNS or not table.rows:
        raise _malformed(
            f"The look-up {table.name} has {len(table.columns):,} columns and {len(table.rows):,} rows.",
            f"Send at least one row, and 1 to {MAX_COLUMNS} columns.",
        )
    if len(table.rows) > MAX_ENTRIES:
        raise _malformed(f"The look-up {table.name} has {len(table.rows):,} rows; {MAX_ENTRIES:,} are allowed.", _FEWER)
    _check_names([column.name for column in table.columns], "A column", f" of the look-up {table.name}")
    for number, row in enumerate(table.rows, start=1):
        if len(row.values) != len(table.columns):
            raise _malformed(
                f"Row {number} of the look-up {table.name} has {len(row.values)} values, and the look-up "
                f"{len(table.columns)} columns.",
                "Send a value without kind for NULL.",
            )
        for column, value in zip(table.columns, row.values, strict=True):
            _check_cell(value, column.type, f"row {number} of {table.name}.{column.name}")


def _check_names(names: Iterable[str], what: str, of: str) -> None:
    seen: set[str] = set()
    for name in names:
        if not 1 <= len(name) <= MAX_NAME_LENGTH:
            raise _malformed(
                f"{what}{of} is called {name[:80]!r}.", f"Give it a name of 1 to {MAX_NAME_LENGTH} characters."
            )
        if name.lower() in seen:
            raise _malformed(f"Two columns{of} are called {name}.", "Rename one; case does not count.")
        seen.add(name.lower())


def _check_cell(value: Value, kind: ColumnType.ValueType, where: str) -> None:
    if value.WhichOneof("kind") is None:
        return
    if values.type_of(value) != kind:
        raise _malformed(
            f"The value in {where} is {values.type_name(values.type_of(value))}, not {values.type_name(kind)}.",
            "Send values of the column's type.",
        )
    if not values.is_valid(value) or len(value.string_value.encode()) > MAX_STRING_BYTES:
        raise _malformed(
            f"The value in {where} is no finite value of at most {MAX_STRING_BYTES:,} bytes.",
            "Shorten it, or leave it out as NULL.",
        )


def _malformed(message: str, hint: str) -> Problem:
    return Problem(Kind.MALFORMED, "lookup", message, field="lookups", hint=hint)


def from_message(table: LookUpTable, at: exp.Expr) -> PublicTable:
    """A table sent beside the query, of `check_tables`; problems with it are shown at the place that names it."""
    columns = tuple(column.name for column in table.columns)
    return PublicTable(table.name, columns, tuple(tuple(_constants(row.values, at)) for row in table.rows), table.name)


def _constants(row: Iterable[Value], at: exp.Expr) -> Iterator[Constant]:
    """As if they had been written: a text may also be a date."""
    for value in row:
        match value.WhichOneof("kind"):
            case None:
                yield Constant(Null(), at)
            case "string_value":
                yield Constant(Text(value.string_value), at)
            case "int64_value":
                yield Constant(Number(Decimal(value.int64_value), True), at)
            case "float64_value":
                yield Constant(Number(Decimal(value.float64_value), False), at)
            case _:
                yield Constant(Typed(value), at)
