"""DuckDB, locked in.

The database is in memory and stays empty: each query has a connection of its own, which sees the Arrow tables that it
is given, and can neither open a file, spill to disk, load an extension nor change its configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import pyarrow as pa

from enclave_sim.engine.protocol import EngineError
from enclave_sim.engine.scan import Stored, StoredRows
from enclave_sim.engine.sql_relations import POSITION, UNIT, Relations


def configuration(memory_limit: str) -> dict[str, str | bool | int | float | list[str]]:
    """What a connection may do.

    Filters stay where they are written. Moved below the columns that they read, they would be written in what these
    columns are made of, which is then computed as often as it is named: `plan.text_work` counts it once.
    """
    return {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "temp_directory": "",
        "max_temp_directory_size": "0KB",
        "memory_limit": memory_limit,
        "threads": "1",
        "disabled_optimizers": "filter_pullup,filter_pushdown",
        "lock_configuration": "true",
    }


@cache
def database(memory_limit: str) -> duckdb.DuckDBPyConnection:
    """This process's empty database; to open one takes as long as a small query."""
    return duckdb.connect(":memory:", config=configuration(memory_limit))


class Query:
    """One statement: these columns of a FROM item, over the scans that `relations` has collected."""

    def __init__(self, relations: Relations, columns: Sequence[str], source: str, memory_limit: str) -> None:
        self._relations = relations
        named = [f"{column} AS o{position}" for position, column in enumerate(columns)]
        # Only our own words, positional names and parameters.
        self.sql = f"SELECT {', '.join(named)} FROM {source}"  # noqa: S608
        self._database = database(memory_limit)

    def run(self, tables: Stored) -> list[pa.ChunkedArray]:
        """The columns over these tables; raises EngineError."""
        try:
            with self._database.cursor() as connection:
                for source, scanned in self._relations.scans.items():
                    names = self._relations.tables[scanned.table].names.values()
                    connection.register(source, _reader(tables[scanned.table], list(names), scanned.placed))
                parameters = self._relations.words.parameters
                columns: list[pa.ChunkedArray] = connection.sql(self.sql, params=parameters).to_arrow_table().columns
                return columns
        except duckdb.Error as error:
            # Not its message, nor the error as a cause: either may quote a value.
            raise EngineError(f"DuckDB could not run the plan: {type(error).__name__}") from None


def _reader(stored: StoredRows, names: Sequence[str], placed: bool) -> pa.RecordBatchReader:
    """The rows, to be read once, so that DuckDB leaves nothing of its work to Arrow."""
    columns = {UNIT: stored.units, **{name: stored.rows[name] for name in names}}
    if placed:
        columns[POSITION] = pa.array(np.arange(len(stored.units)))
    return pa.table(columns).to_reader()
