"""The plain query in DuckDB, with no privacy at all: what the private ones take their time beside."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import duckdb

from benchmarks.peers.scripts.harness import run

QUERY = 'SELECT "group", COUNT(value), SUM(value), AVG(value) FROM visits GROUP BY "group"'


def prepare(task: SimpleNamespace) -> duckdb.DuckDBPyConnection:
    """The rows as a table in memory."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE visits AS FROM read_parquet(?)", [task.data])
    return connection


def answer(connection: duckdb.DuckDBPyConnection, _: SimpleNamespace) -> Iterator[tuple[int, float, float, float]]:
    """The exact answer."""
    yield from connection.execute(QUERY).fetchall()


if __name__ == "__main__":
    run(["duckdb"], prepare, answer)
