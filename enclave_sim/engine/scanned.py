"""Plans over a table's own rows: a scan, and selections of it.

Columns are taken as they are stored. DuckDB computes, for every row, what is more than a column: conditions, which
put rows that they leave out in no group, and keys, terms and filters that are expressions. So the work does not
depend on how many rows a condition keeps, and a plan without expressions needs no DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa
from yingbi.api.v1.plan_pb2 import Expression, Plan, Relation, Statistic

from enclave_sim.engine.database import Query
from enclave_sim.engine.groups import GroupNumbers, Groups
from enclave_sim.engine.inputs import Inputs, floats, input_sql, present
from enclave_sim.engine.per_unit import Batch, Input
from enclave_sim.engine.plan_reading import has_look_up, operands, statistics_of, term, terms_of
from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.scan import Stored, Tables, to_numpy
from enclave_sim.engine.sql_expressions import Values, Words
from enclave_sim.engine.sql_relations import Relations

_Columns: TypeAlias = Mapping[str, pa.ChunkedArray]


def is_scanned(plan: Plan) -> bool:
    """Whether `ScannedRows` can read the plan: DuckDB keeps the order of rows, but not when it looks something up."""
    return _scan(plan.relation).HasField("scan") and not any(has_look_up(each) for each in _expressions(plan))


class ScannedRows:
    """The rows of a plan that `is_scanned`, in their order."""

    def __init__(self, plan: Plan, tables: Tables, memory_limit: str) -> None:
        self._plan = plan
        self._table = _scan(plan.relation).scan.table
        self._names = tables[self._table].names
        self._numbers = GroupNumbers(plan)
        self._computed = _Computed(plan, tables, memory_limit)

    def batch(self, tables: Stored) -> Batch:
        """The rows of these tables, of which there is one; raises EngineError."""
        stored = tables[self._table]
        units = to_numpy(stored.units)
        if not len(units):
            return Batch(units, self._numbers.of([], 0), [None] * len(self._plan.statistics))
        columns = {name: stored.rows[own] for name, own in self._names.items()}
        computed = self._computed.run(tables, len(units))
        groups = self._groups(columns, computed, len(units))
        return Batch(units, groups, self._inputs(columns, Inputs(computed, len(units))), is_sorted=True)

    def _groups(self, columns: _Columns, computed: Sequence[pa.ChunkedArray], rows: int) -> Groups:
        places = iter(self._computed.keys)
        keys = [
            columns[key.expression.column.name] if key.expression.HasField("column") else computed[next(places)]
            for key in self._plan.group_by
        ]
        groups = self._numbers.of(keys, rows)
        for place in self._computed.conditions:
            groups = groups.where(to_numpy(computed[place]))
        return groups

    def _inputs(self, columns: _Columns, computed: Inputs) -> list[Input]:
        """The statistics' inputs; those that take the same share an array."""
        known: dict[tuple[str, bool], Input] = {}
        inputs: list[Input] = []
        for statistic, places in zip(self._plan.statistics, self._computed.inputs, strict=True):
            counted = term(statistic)
            if counted is None or not _is_plain(statistic):
                inputs.append(computed.of(statistic, places))
                continue
            what = (counted.column.name, statistic.HasField("non_null_count"))
            if what not in known:
                known[what] = present(columns[what[0]]) if what[1] else floats(columns[what[0]])
            inputs.append(known[what])
        return inputs


class _Computed:
    """What of a plan is more than a column, as the columns of one query."""

    def __init__(self, plan: Plan, tables: Tables, memory_limit: str) -> None:
        scan = _scan(plan.relation)
        used = _columns(_expressions(plan))
        relations = Relations({scan.scan.table: tables[scan.scan.table].only(used)}, Words())
        rows = relations.rows(scan)
        values = Values(rows.columns, relations.words)
        self._places: dict[str, int] = {}
        self.conditions = [self._place(f"coalesce({values.sql(each)}, false)") for each in _conditions(plan.relation)]
        keys = [key.expression for key in plan.group_by if not key.expression.HasField("column")]
        self.keys = [self._place(values.sql(key)) for key in keys]
        self.inputs = [
            [] if _is_plain(statistic) else [self._place(text) for text in input_sql(statistic, values)]
            for statistic in plan.statistics
        ]
        columns = list(self._places)
        self._query = Query(relations, columns, values.layered(rows.source), memory_limit) if columns else None

    def _place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    def run(self, tables: Stored, rows: int) -> list[pa.ChunkedArray]:
        """The columns, row by row beside the tables' own; raises EngineError."""
        columns = self._query.run(tables) if self._query else []
        if any(len(column) != rows for column in columns):
            raise EngineError("DuckDB gave other rows than it was given")
        return columns


def _scan(relation: Relation) -> Relation:
    """What is below all selections."""
    while relation.HasField("selection"):
        relation = relation.selection.input
    return relation


def _conditions(relation: Relation) -> Iterator[Expression]:
    while relation.HasField("selection"):
        yield relation.selection.condition
        relation = relation.selection.input


def _is_plain(statistic: Statistic) -> bool:
    """Whether it takes every row, or a column as it is."""
    counted = term(statistic)
    if statistic.HasField("unit_norms") or statistic.HasField("model_vector") or statistic.HasField("filter"):
        return False
    return counted is None or counted.HasField("column")


def _expressions(plan: Plan) -> Iterator[Expression]:
    """All that is computed."""
    yield from _conditions(plan.relation)
    yield from (key.expression for key in plan.group_by if not key.expression.HasField("column"))
    for statistic in statistics_of(plan):
        # What norms are taken of comes from DuckDB, columns too.
        if statistic in plan.statistics and _is_plain(statistic):
            continue
        yield from statistic.unit_norms.keys
        yield from terms_of(statistic)
        if statistic.HasField("filter"):
            yield statistic.filter


def _columns(expressions: Iterator[Expression]) -> set[str]:
    """The columns that they read."""
    names: set[str] = set()
    waiting = list(expressions)
    while waiting:
        expression = waiting.pop()
        if expression.HasField("column"):
            names.add(expression.column.name)
        waiting += operands(expression)
    return names
