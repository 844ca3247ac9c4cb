"""Draw a table as text, write a plan in a line, read its cells: the words of the specification tests.

Expressions are in `expressions`, relations in `relations`.
"""

import ast
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Clipping,
    DistinctUnits,
    Expression,
    GroupKey,
    Noise,
    NonNullCount,
    Plan,
    RangeCounts,
    Relation,
    RowCount,
    Statistic,
    Value,
)

from enclave_sim.engine.protocol import Engine, OpenTable
from enclave_sim.plan import values
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

from .expressions import Operand, all_of, any_of, column, column_type, compare, is_null, literal, operand
from .relations import VISITS, ranked, selected

ROW_COUNT = Statistic(row_count=RowCount())
DISTINCT_UNITS = Statistic(distinct_units=DistinctUnits())

Tables: TypeAlias = pa.Table | Mapping[str, pa.Table]
"""Tables by name; one alone is `visits`."""


def drawn(picture: str) -> pa.Table:
    """The table in `picture`: a line `unit | name:type | …`, then one a row, sorted by unit."""
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in picture.strip().splitlines()]
    columns = {UNIT_COLUMN: pa.array([int(row[0]) for row in rows], pa.int64())}
    for position, title in enumerate(header[1:], start=1):
        name, kind = title.split(":")
        cells = [_cell(row[position], kind) for row in rows]
        columns[name] = pa.array(cells, ARROW_TYPES[column_type(kind)])
    return pa.table(columns)


def _cell(text: str, kind: str) -> object:
    if text == "NULL":
        return None
    match kind:
        case "float64":
            return float(text)
        case "date" if not text.lstrip("-").isdecimal():
            return datetime.date.fromisoformat(text)
        case "timestamp" if not text.lstrip("-").isdecimal():
            return datetime.datetime.fromisoformat(text)
        case _:
            # Days and microseconds too, for what Python's dates do not reach.
            return ast.literal_eval(text)


def opener(tables: Tables) -> OpenTable:
    """What an engine gets instead of a sealed shard."""
    by_name = tables if isinstance(tables, Mapping) else {"visits": tables}

    def open_table(name: str, columns: Sequence[str]) -> pa.Table:
        return by_name[name].select(list(columns))

    return open_table


def key(by: Operand, *members: values.PythonValue | Value) -> GroupKey:
    constants = [member if isinstance(member, Value) else values.from_python(member) for member in members]
    return GroupKey(expression=operand(by), values=constants)


def non_null(term: Operand) -> Statistic:
    return Statistic(non_null_count=NonNullCount(term=operand(term)))


def bounded_sum(term: Operand, lower: float, upper: float, centre: float, half_range: float) -> Statistic:
    summed = BoundedSum(term=operand(term), lower=lower, upper=upper, centre=centre, half_range=half_range)
    return Statistic(bounded_sum=summed)


def range_counts(term: Operand, lower: float, upper: float, branching: int, levels: int) -> Statistic:
    ranges = RangeCounts(term=operand(term), lower=lower, upper=upper, branching=branching, levels=levels)
    return Statistic(range_counts=ranges)


def counted(statistic: Statistic, where: Expression) -> Statistic:
    """The statistic with FILTER (WHERE ...)."""
    filtered = Statistic(filter=where)
    filtered.MergeFrom(statistic)
    return filtered


def plan(
    *statistics: Statistic,
    over: Relation = VISITS,
    where: Expression | None = None,
    by: Sequence[GroupKey] = (),
    max_rows: int = 1000,
    max_groups: int = 1000,
    joint_norm: int = 0,
    fraction_bits: int = 0,
) -> Plan:
    """A plan over the table `visits`, or another relation; by default unclipped, in whole numbers."""
    return Plan(
        relation=over if where is None else selected(over, where),
        group_by=by,
        statistics=statistics,
        clipping=Clipping(max_rows=max_rows, max_groups=max_groups, joint_norm=joint_norm),
        fraction_bits=fraction_bits,
        noise=Noise(parties=1, parties_per_unit=1),
    )


def cells(engine: Engine, tables: Tables, asked: Plan) -> list[int]:
    """The cells of the plan on the tables."""
    return engine.contribution(asked, opener(tables))


def assert_gives(engine: Engine, expression: Expression, picture: str) -> None:
    """The expression has in every row of `picture` the value in the last column, `is:type`."""
    header, *rows = picture.strip().splitlines()
    numbered = [f"{number} | {number} | {row}" for number, row in enumerate(rows)]
    table = drawn("\n".join([f"unit | row:int64 | {header}", *numbered]))
    expected = column(header.split("|")[-1].strip())
    asked = plan(ROW_COUNT, where=agrees(expression, expected), by=[key("row:int64", *range(len(rows)))])
    wrong = [row.strip() for row, found in zip(rows, cells(engine, table, asked), strict=True) if not found]
    assert wrong == []


def assert_rows(engine: Engine, tables: Tables, over: Relation, picture: str) -> None:
    """The relation has the rows of `picture` and no others; `place:int64` is a row's among its unit's, from 1."""
    titles, *rows = [[cell.strip() for cell in line.split("|")] for line in picture.strip().splitlines()]
    placed = ranked(over, "place", by=[literal(0)])
    expected = [tuple(row) for row in rows]
    different = sorted(set(expected))
    filters = [all_of(*(_is(title, cell) for title, cell in zip(titles, row, strict=True))) for row in different]
    asked = plan(ROW_COUNT, *(counted(ROW_COUNT, condition) for condition in filters), over=placed)
    total, *found = cells(engine, tables, asked)
    assert dict(zip(different, found, strict=True)) == Counter(expected)
    assert total == len(expected)


def agrees(left: Operand, right: Operand) -> Expression:
    """Whether both have one value, or both have none."""
    return any_of(compare(left, "=", operand(right)), all_of(is_null(left), is_null(right)))


def _is(title: str, text: str) -> Expression:
    kind = title.rsplit(":", 1)[1]
    value = _cell(text, kind)
    return is_null(title) if value is None else compare(title, "=", Expression(literal=_constant(value, kind)))


def _constant(value: Any, kind: str) -> Value:
    if kind == "date" and isinstance(value, int):
        return Value(date_days=value)
    if kind == "timestamp" and isinstance(value, int):
        return Value(timestamp_micros=value)
    return values.from_python(value)
