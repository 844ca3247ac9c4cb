"""Draw a table as text, write a plan in a line, read its cells: the words of the specification tests."""

import ast
import datetime
from collections.abc import Sequence

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import (
    BoundedSum,
    Clipping,
    ColumnReference,
    ColumnType,
    Comparison,
    Conjunction,
    Disjunction,
    DistinctUnits,
    Expression,
    GroupKey,
    Membership,
    Negation,
    Noise,
    NonNullCount,
    NullTest,
    Plan,
    RowCount,
    Statistic,
    Value,
)

from enclave_sim.engine.protocol import Engine, OpenTable
from enclave_sim.plan import values
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

TYPES = {name: kind for kind, name in values.TYPE_NAMES.items()}
OPERATORS = {
    "=": Comparison.OPERATOR_EQUAL,
    "<>": Comparison.OPERATOR_NOT_EQUAL,
    "<": Comparison.OPERATOR_LESS,
    "<=": Comparison.OPERATOR_LESS_OR_EQUAL,
    ">": Comparison.OPERATOR_GREATER,
    ">=": Comparison.OPERATOR_GREATER_OR_EQUAL,
}
ROW_COUNT = Statistic(row_count=RowCount())
DISTINCT_UNITS = Statistic(distinct_units=DistinctUnits())


def drawn(picture: str) -> pa.Table:
    """The table in `picture`: a line `unit | name:type | …`, then one a row, sorted by unit."""
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in picture.strip().splitlines()]
    columns = {UNIT_COLUMN: pa.array([int(row[0]) for row in rows], pa.int64())}
    for position, title in enumerate(header[1:], start=1):
        name, kind = title.split(":")
        cells = [_cell(row[position], kind) for row in rows]
        columns[name] = pa.array(cells, ARROW_TYPES[column_type(kind)])
    return pa.table(columns)


def column_type(kind: str) -> ColumnType.ValueType:
    """The plan's type of this name, as in a declaration."""
    return ColumnType.ValueType(TYPES[kind])


def _cell(text: str, kind: str) -> object:
    if text == "NULL":
        return None
    match kind:
        case "float64":
            return float(text)
        case "date":
            return datetime.date.fromisoformat(text)
        case "timestamp":
            return datetime.datetime.fromisoformat(text)
        case _:
            return ast.literal_eval(text)


def opener(table: pa.Table) -> OpenTable:
    """What an engine gets instead of a sealed shard."""

    def open_table(name: str, columns: Sequence[str]) -> pa.Table:
        assert name == "visits"
        return table.select(list(columns))

    return open_table


def reference(title: str) -> ColumnReference:
    name, kind = title.split(":")
    return ColumnReference(name=name, type=column_type(kind))


def column(title: str) -> Expression:
    return Expression(column=reference(title))


def literal(value: values.PythonValue) -> Expression:
    return Expression(literal=values.from_python(value))


def compare(title: str, operator: str, value: values.PythonValue | Expression) -> Expression:
    right = value if isinstance(value, Expression) else literal(value)
    comparison = Comparison(operator=OPERATORS[operator], left=column(title), right=right)
    return Expression(comparison=comparison)


def all_of(*operands: Expression) -> Expression:
    return Expression(conjunction=Conjunction(operands=operands))


def any_of(*operands: Expression) -> Expression:
    return Expression(disjunction=Disjunction(operands=operands))


def negated(operand: Expression) -> Expression:
    return Expression(negation=Negation(operand=operand))


def one_of(title: str, *members: values.PythonValue) -> Expression:
    constants = [values.from_python(member) for member in members]
    return Expression(membership=Membership(column=reference(title), values=constants))


def is_null(title: str) -> Expression:
    return Expression(null_test=NullTest(column=reference(title)))


def key(title: str, *members: values.PythonValue | Value) -> GroupKey:
    constants = [member if isinstance(member, Value) else values.from_python(member) for member in members]
    return GroupKey(column=reference(title), values=constants)


def non_null(title: str) -> Statistic:
    return Statistic(non_null_count=NonNullCount(column=reference(title)))


def bounded_sum(title: str, lower: float, upper: float, centre: float, half_range: float) -> Statistic:
    term = BoundedSum(column=reference(title), lower=lower, upper=upper, centre=centre, half_range=half_range)
    return Statistic(bounded_sum=term)


def plan(
    *statistics: Statistic,
    where: Expression | None = None,
    by: Sequence[GroupKey] = (),
    max_rows: int = 1000,
    max_groups: int = 1000,
    fraction_bits: int = 0,
) -> Plan:
    """A plan over the table `visits`; by default unclipped, in whole numbers."""
    return Plan(
        table="visits",
        filter=where,
        group_by=by,
        statistics=statistics,
        clipping=Clipping(max_rows=max_rows, max_groups=max_groups),
        fraction_bits=fraction_bits,
        noise=Noise(parties=1, parties_per_unit=1),
    )


def cells(engine: Engine, table: pa.Table, asked: Plan) -> list[int]:
    """The cells of the plan on the table."""
    return engine.contribution(asked, opener(table))
