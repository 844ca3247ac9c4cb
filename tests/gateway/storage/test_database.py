"""The gateway's database: durable when a transaction returns, and nobody else's while it is open."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from gateway.storage.database import Database
from gateway.storage.tables import zones


def add(connection: Connection, zone: str) -> None:
    connection.execute(insert(zones).values(zone=zone))


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(zones.c.zone)).scalars())


def test_a_transaction_that_returned_is_synced_to_the_disk(tmp_path: Path) -> None:
    """The log is synced at the end of each (2 is FULL); what makes that safe is the lock of the test below."""
    database = Database(tmp_path / "gateway.db")

    def pragmas(connection: Connection) -> list[object]:
        asked = ("journal_mode", "synchronous", "locking_mode", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in asked]

    assert asyncio.run(database.run(pragmas)) == ["wal", 2, "exclusive", 1]
    database.close()


def test_no_second_connection_reads_or_writes_while_the_gateway_s_is_open(tmp_path: Path) -> None:
    """Two connections to one write-ahead log are what SQLite before 3.51.3 can corrupt a database with."""
    database = Database(tmp_path / "gateway.db")
    asyncio.run(database.run(add, "clinic"))
    with sqlite3.connect(tmp_path / "gateway.db", timeout=0) as other, pytest.raises(sqlite3.OperationalError):
        other.execute("SELECT * FROM zones").fetchall()
    database.close()
    with sqlite3.connect(tmp_path / "gateway.db", timeout=0) as other:
        assert other.execute("SELECT * FROM zones").fetchall() == [("clinic",)]


def test_a_database_of_before_with_a_rollback_journal_is_taken_over(tmp_path: Path) -> None:
    database = Database(tmp_path / "gateway.db")
    asyncio.run(database.run(add, "clinic"))
    database.close()
    with sqlite3.connect(tmp_path / "gateway.db") as old:
        assert old.execute("PRAGMA journal_mode=PERSIST").fetchall() == [("persist",)]
        old.execute("INSERT INTO zones VALUES ('bureau')")
    again = Database(tmp_path / "gateway.db")
    assert sorted(asyncio.run(again.run(names))) == ["bureau", "clinic"]
    again.close()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "gateway.db")

    def add_and_fail(connection: Connection) -> None:
        add(connection, "clinic")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        asyncio.run(database.run(add_and_fail))
    assert asyncio.run(database.run(names)) == []
    database.close()
