"""A plan's rows by DuckDB: one statement that gives each row's unit, key values and terms.

The database is in memory and stays empty: a part of a plan's rows has a connection of its own, which sees the
Arrow tables that it is given, and can neither open a file, spill to disk, load an extension nor change its configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from yingbi.api.v1.plan_pb2 import Plan, Statistic

from enclave_sim.engine.per_unit import Batch, Input
from enclave_sim.engine.plan_reading import term
from enclave_sim.engine.protocol import EngineError, Scalar
from enclave_sim.engine.scan import GroupNumbers, Stored, StoredRows, Tables, to_numpy
from enclave_sim.engine.sql_expressions import Values, Words
from enclave_sim.engine.sql_relations import POSITION, UNIT, Relations
from enclave_sim.privacy.clipping import Integers


class QueriedRows:
    """The rows of any plan."""

    def __init__(self, plan: Plan, tables: Tables, memory_limit: str) -> None:
        self._plan = plan
        self._numbers = GroupNumbers(plan)
        self._relations = Relations(tables, Words())
        self._sql, self._picked = _statement(plan, self._relations)
        self._database = database(memory_limit)

    def batch(self, tables: Stored) -> Batch:
        """The rows over these tables; raises EngineError."""
        units, *columns = self._run(tables).columns
        keys = len(self._plan.group_by)
        arrays = {position: to_numpy(column) for position, column in enumerate(columns) if _is_input(column)}
        inputs: list[Input] = []
        for statistic, picked in zip(self._plan.statistics, self._picked, strict=True):
            if statistic.HasField("unit_norms"):
                inputs.append(_norm_keys(statistic, [columns[position] for position in picked], len(units)))
            else:
                inputs.append(arrays[picked[0]] if picked else None)
        return Batch(to_numpy(units), self._numbers.of(columns[:keys], len(units)), inputs)

    def keys(self, tables: Stored) -> tuple[list[int], list[tuple[Scalar, ...]]]:
        """The unit and the key values of every row over these tables; raises EngineError."""
        units, *columns = self._run(tables).columns
        values = [column.to_pylist() for column in columns[: len(self._plan.group_by)]]
        return units.to_pylist(), list(zip(*values, strict=True))

    def _run(self, tables: Stored) -> pa.Table:
        try:
            with self._database.cursor() as connection:
                for source, scanned in self._relations.scans.items():
                    connection.register(source, _reader(tables[scanned.table], scanned.placed))
                return connection.sql(self._sql, params=self._relations.words.parameters).to_arrow_table()
        except duckdb.Error as error:
            # Not its message, nor the error as a cause: either may quote a value.
            raise EngineError(f"DuckDB could not run the plan: {type(error).__name__}") from None


def configuration(memory_limit: str) -> dict[str, str | bool | int | float | list[str]]:
    """What a connection may do."""
    return {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": "",
        "max_temp_directory_size": "0KB",
        "memory_limit": memory_limit,
        "threads": "1",
        "lock_configuration": "true",
    }


@cache
def database(memory_limit: str) -> duckdb.DuckDBPyConnection:
    """This process's empty database; to open one takes as long as a small query."""
    return duckdb.connect(":memory:", config=configuration(memory_limit))


def _reader(stored: StoredRows, placed: bool) -> pa.RecordBatchReader:
    """The rows, to be read once, so that DuckDB leaves nothing of its work to Arrow."""
    columns = {UNIT: stored.units, **dict(zip(stored.rows.column_names, stored.rows.columns, strict=True))}
    if placed:
        columns[POSITION] = pa.array(np.arange(len(stored.units)))
    return pa.table(columns).to_reader()


def _statement(plan: Plan, relations: Relations) -> tuple[str, list[list[int]]]:
    """The one statement, and which of its columns each statistic takes; the unit and the keys come first."""
    rows = relations.rows(plan.relation)
    values = Values(rows.columns, relations.words)
    columns = [values.sql(key.expression) for key in plan.group_by]
    places: dict[str, int] = {}
    picked: list[list[int]] = []
    for statistic in plan.statistics:
        texts = _input_sql(statistic, values)
        picked.append([places.setdefault(text, len(columns) + len(places)) for text in texts])
    named = [f"{text} AS o{position}" for position, text in enumerate([*columns, *places])]
    # Only our own words, positional names and parameters.
    return f"SELECT {', '.join([UNIT, *named])} FROM {values.layered(rows.source)}", picked  # noqa: S608


def _input_sql(statistic: Statistic, values: Values) -> list[str]:
    """BOOLEAN for the rows that count, DOUBLE for a term, nothing where every row counts; or the keys of norms."""
    passing = values.sql(statistic.filter) if statistic.HasField("filter") else None
    counting = [] if passing is None else [f"coalesce({passing}, false)"]
    if statistic.HasField("unit_norms"):
        return [*(values.sql(key) for key in statistic.unit_norms.keys), *counting]
    counted = term(statistic)
    if counted is None:
        return counting
    text = values.sql(counted)
    if statistic.HasField("non_null_count"):
        return [" AND ".join([f"({text} IS NOT NULL)", *counting])]
    value = f"CAST({text} AS DOUBLE)"
    return [value if passing is None else f"CASE WHEN {passing} THEN {value} END"]


def _is_input(column: pa.ChunkedArray) -> bool:
    return (pa.types.is_boolean(column.type) and not column.null_count) or pa.types.is_floating(column.type)


def _norm_keys(statistic: Statistic, columns: Sequence[pa.ChunkedArray], rows: int) -> Integers:
    """A number for each combination of the keys' values, NULL being one; -1 for rows that do not count."""
    keys = len(statistic.unit_norms.keys)
    codes = np.zeros(rows, np.int64)
    for column in columns[:keys]:
        own = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode").indices.to_numpy()
        _, codes = np.unique(codes * (int(own.max(initial=0)) + 1) + own, return_inverse=True)
    if statistic.HasField("filter"):
        codes[~to_numpy(columns[keys])] = -1
    return codes
