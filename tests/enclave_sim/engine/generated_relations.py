"""Invented tables and relations over them: every operator on every other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

import pyarrow as pa
from hypothesis import strategies as st
from yingbi.api.v1.plan_pb2 import Relation

from enclave_sim.engine.reference_relations import Rows, rows_of, stored
from enclave_sim.sealed.schema import ARROW_TYPES, UNIT_COLUMN

from .drawn import opener
from .expressions import Operand, any_of, column_type, is_null, negated
from .generated_expressions import CONSTANTS, KINDS, NUMERIC, STORED_ONLY, conditions, expressions
from .relations import aggregated, descending, joined, measure, projected, ranked, scan, selected

TABLES: dict[str, list[str]] = {
    "visits": ["b:bool", "i:int64", "j:int64", "x:float64", "y:float64", "s:string", "d:date", "t:timestamp"],
    "labs": ["k:int64", "v:float64", "w:string", "e:date"],
}
_SMALL: dict[str, list[object]] = {"j:int64": [0, 1, 2, 3], "y:float64": [-1.0, 0.3, 2.5, 299.99]}
"""Columns with ordinary values, beside those with any."""


@dataclass(frozen=True)
class Made:
    """A relation, the titles of its columns, and its rows by the reference engine: for plans that meet them."""

    relation: Relation
    columns: tuple[str, ...]
    rows: Rows

    @property
    def is_large(self) -> bool:
        return max((len(own) for own in self.rows.of_units.values()), default=0) > 12


class Making:
    """Makes relations over some tables, each with columns that none has had."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._numbers = count()
        open_table = opener(tables)
        names = {name: [title.split(":")[0] for title in titles] for name, titles in TABLES.items()}
        self._tables = {name: stored(name, columns, open_table) for name, columns in names.items()}

    def title(self, kind: str) -> str:
        return f"c{next(self._numbers)}:{kind}"

    def made(self, relation: Relation, columns: Sequence[str]) -> Made:
        return Made(relation, tuple(columns), rows_of(relation, self._tables))


@st.composite
def tables(draw: st.DrawFn, sizes: Sequence[int] = (0, 1, 6, 12, 12, 12), units: int = 6) -> dict[str, pa.Table]:
    """Tables with as many rows as one of `sizes` says, of up to `units` units."""
    # Values by a seed: far faster than a draw for each.
    random = draw(st.randoms(use_true_random=True))
    return {name: _table(random, titles, draw(st.sampled_from(sizes)), units) for name, titles in TABLES.items()}


def _table(random: Random, titles: Sequence[str], size: int, units: int) -> pa.Table:
    rows = [[random.choice(_stored(title)) for title in titles] for _ in range(size)]
    if size > 1:
        rows[1] = rows[0]
    columns = {UNIT_COLUMN: pa.array(sorted(random.randrange(units) for _ in rows), pa.int64())}
    for position, title in enumerate(titles):
        name, kind = title.split(":")
        columns[name] = pa.array([row[position] for row in rows], ARROW_TYPES[column_type(kind)])
    return pa.table(columns)


def _stored(title: str) -> list[object]:
    kind = title.split(":")[1]
    return [*_SMALL[title], None] if title in _SMALL else [*CONSTANTS[kind], *STORED_ONLY[kind]]


@st.composite
def relations(draw: st.DrawFn, making: Making, depth: int = 2) -> Made:
    """A relation of at most so many operators on one another."""
    if not depth or draw(st.integers(0, 4)) == 0:
        table = draw(st.sampled_from(list(TABLES)))
        return making.made(scan(table), TABLES[table])
    below = draw(relations(making, depth - 1))
    operators = [_selections, _projections, _aggregations, _rankings, _joins]
    return draw(draw(st.sampled_from(operators))(making, below, depth))


@st.composite
def _selections(draw: st.DrawFn, making: Making, below: Made, depth: int) -> Made:
    condition = draw(conditions(below.columns))
    made = making.made(selected(below.relation, condition), below.columns)
    if any(made.rows.of_units.values()):
        return made
    # Nothing is left: take what the condition leaves out, which tells as much.
    return making.made(selected(below.relation, any_of(negated(condition), is_null(condition))), below.columns)


@st.composite
def _projections(draw: st.DrawFn, making: Making, below: Made, depth: int) -> Made:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    columns: dict[str, Operand] = {making.title(kind): draw(expressions(below.columns, kind)) for kind in kinds}
    return making.made(projected(below.relation, _names(columns)), list(columns))


@st.composite
def _aggregations(draw: st.DrawFn, making: Making, below: Made, depth: int) -> Made:
    kinds = draw(st.lists(st.sampled_from(KINDS), max_size=2))
    keys: dict[str, Operand] = {making.title(kind): draw(expressions(below.columns, kind, 1)) for kind in kinds}
    measures, columns = [], list(keys)
    for _ in range(draw(st.integers(1, 3))):
        function, kind, result = draw(st.sampled_from(_MEASURES))
        columns.append(making.title(result))
        argument = draw(expressions(below.columns, kind, 1)) if kind else None
        where = draw(conditions(below.columns)) if draw(st.integers(0, 2)) == 2 else None
        measures.append(measure(columns[-1].split(":")[0], function, argument, where))
    return making.made(aggregated(below.relation, _names(keys), *measures), columns)


_MEASURES: list[tuple[str, str | None, str]] = [
    ("count_rows", None, "int64"),
    *(("count", kind, "int64") for kind in KINDS),
    *(("count_distinct", kind, "int64") for kind in KINDS),
    *((function, kind, "float64") for function in ("sum", "mean") for kind in NUMERIC * 2),
    *((function, kind, kind) for function in ("minimum", "maximum") for kind in KINDS),
]


@st.composite
def _rankings(draw: st.DrawFn, making: Making, below: Made, depth: int) -> Made:
    title = making.title("int64")
    any_kind = st.sampled_from(KINDS).flatmap(lambda kind: expressions(below.columns, kind, 1))
    by = draw(st.lists(st.one_of(any_kind, any_kind.map(descending)), min_size=1, max_size=2))
    within = draw(st.lists(any_kind, max_size=1))
    return making.made(ranked(below.relation, title.split(":")[0], by, within), (*below.columns, title))


@st.composite
def _joins(draw: st.DrawFn, making: Making, left: Made, depth: int) -> Made:
    right = draw(relations(making, depth - 1))
    if set(left.columns) & set(right.columns):
        renamed: dict[str, Operand] = {making.title(title.split(":")[1]): title for title in right.columns}
        right = making.made(projected(right.relation, _names(renamed)), list(renamed))
    columns = (*left.columns, *right.columns)
    # All of a table's rows may pair, but not all pairs again.
    limits = [draw(st.sampled_from([2, 3] if side.is_large else [1, 2, 1023])) for side in (left, right)]
    condition = draw(st.one_of(st.none(), conditions(columns)))
    kind = draw(st.sampled_from(["inner", "left"]))
    return making.made(joined(left.relation, right.relation, condition, kind, *limits), columns)


def _names(columns: dict[str, Operand]) -> dict[str, Operand]:
    return {title.split(":")[0]: expression for title, expression in columns.items()}
