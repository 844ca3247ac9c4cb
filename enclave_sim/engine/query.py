"""A plan's rows by DuckDB: one statement that gives each row's unit, key values and terms."""

from __future__ import annotations

import numpy as np
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.engine.database import Query
from enclave_sim.engine.groups import GroupNumbers
from enclave_sim.engine.inputs import Inputs, input_sql
from enclave_sim.engine.per_unit import Batch
from enclave_sim.engine.protocol import Scalar
from enclave_sim.engine.scan import Stored, Tables, to_numpy
from enclave_sim.engine.sql_expressions import Values, Words
from enclave_sim.engine.sql_relations import UNIT, Relations


class QueriedRows:
    """The rows of any plan."""

    def __init__(self, plan: Plan, tables: Tables, memory_limit: str) -> None:
        self._plan = plan
        self._numbers = GroupNumbers(plan)
        relations = Relations(tables, Words())
        rows = relations.rows(plan.relation)
        values = Values(rows.columns, relations.words)
        columns = [UNIT, *(values.sql(key.expression) for key in plan.group_by)]
        places: dict[str, int] = {}
        self._places = [
            [places.setdefault(text, len(columns) + len(places)) for text in input_sql(statistic, values)]
            for statistic in plan.statistics
        ]
        self.query = Query(relations, [*columns, *places], values.layered(rows.source), memory_limit)

    def batch(self, tables: Stored) -> Batch:
        """The rows over these tables, in any order; raises EngineError."""
        columns = self.query.run(tables)
        units, rows = to_numpy(columns[0]).astype(np.int64, copy=False), len(columns[0])
        inputs = Inputs(columns, rows)
        of_statistics = [
            inputs.of(statistic, places) for statistic, places in zip(self._plan.statistics, self._places, strict=True)
        ]
        return Batch(units, self._numbers.of(columns[1 : 1 + len(self._plan.group_by)], rows), of_statistics)

    def keys(self, tables: Stored) -> tuple[list[int], list[tuple[Scalar, ...]]]:
        """The unit and the key values of every row over these tables; raises EngineError."""
        units, *columns = self.query.run(tables)
        values = [column.to_pylist() for column in columns]
        return units.to_pylist(), list(zip(*values, strict=True))
