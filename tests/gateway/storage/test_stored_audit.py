"""The audit record: written with what it tells or not at all, and only ever longer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from yingbi.api.audit import check_chain

from gateway.storage import audit
from gateway.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "gateway.db")
    yield database
    database.close()


def write(connection: Connection, count: int) -> None:
    for number in range(count):
        audit.append(connection, "test.done", f"thing-{number}", person="ada", organisation="college", reason="因为")


@pytest.mark.requirement("AUD-01")
def test_rows_are_numbered_without_a_gap_and_each_binds_the_one_before(database: Database) -> None:
    asyncio.run(database.run(write, 3))
    asyncio.run(database.run(write, 4))
    rows = asyncio.run(database.run(audit.page, 0, 100))
    assert [row.number for row in rows] == list(range(1, 8))
    assert check_chain(rows) == (7, rows[-1].digest)
    assert asyncio.run(database.run(audit.last)) == 7


def test_pages_follow_on_each_other(database: Database) -> None:
    asyncio.run(database.run(write, 5))
    first = asyncio.run(database.run(audit.page, 0, 3))
    rest = asyncio.run(database.run(audit.page, first[-1].number, 3))
    assert check_chain([*first, *rest])[0] == 5


@pytest.mark.requirement("AUD-01")
def test_what_is_rolled_back_leaves_no_row(database: Database) -> None:
    def fails(connection: Connection) -> None:
        write(connection, 1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(database.run(fails))
    assert asyncio.run(database.run(audit.last)) == 0


@pytest.mark.requirement("AUD-03")
@pytest.mark.parametrize("change", ["UPDATE audit SET reason = 'x'", "DELETE FROM audit WHERE number = 1"])
def test_the_database_refuses_to_change_or_delete_a_row(database: Database, change: str) -> None:
    asyncio.run(database.run(write, 2))
    with pytest.raises(IntegrityError, match="only grows"):
        asyncio.run(database.run(lambda connection: connection.execute(text(change))))


def test_jobs_of_before_there_was_a_record_are_adopted_as_they_are(tmp_path: Path) -> None:
    from tests.gateway.ledger.test_ledger_migrations import migrate

    path = tmp_path / "old.db"
    migrate(path, "0008")
    with sqlite3.connect(path) as old:
        old.execute(
            "INSERT INTO jobs (job, developer, request_id, request_digest, dataset, sql, plan, plan_hash,"
            " authorization, registration, state, sequence, created, replayed)"
            " VALUES ('job-1', 'ada', 'r', '', 'visits', 'SELECT', '', '', '', '', 5, 1, 0.0, 0)"
        )
    database = Database(path)
    try:
        rows = asyncio.run(database.run(audit.page, 0, 10))
        assert [(row.subject, row.action) for row in rows] == [("job-1", "job.state")]
        assert asyncio.run(database.run(lambda connection: list(audit.differences(connection)))) == []
    finally:
        database.close()
