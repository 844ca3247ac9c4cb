"""Statements whose SQL is written once: for those of every request SQLAlchemy takes longer than SQLite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement


class Prepared:
    """A statement for SQLite. What it finds are SQLite's own values: a Boolean is 0 or 1."""

    def __init__(self, statement: ClauseElement, columns: Collection[str] = ()) -> None:
        """`columns` are those of an insert, which takes all of them; a statement with parameters names its own."""
        keys = list(columns) or None
        self._sql = str(statement.compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=keys))

    def execute(
        self, connection: Connection, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> CursorResult[Any]:
        """Run it with these values, or once with each of several; more than a statement needs are let lie."""
        return connection.exec_driver_sql(self._sql, values)
