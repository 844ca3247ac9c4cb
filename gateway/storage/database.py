"""The gateway's database: one writer, one transaction at a time, durable when it returns.

SQLite with a write-ahead log that is on disk at the end of each transaction (synchronous=FULL): one fsync, where a
rollback journal takes four. Releases before 3.51.3, of which Python brings one, can corrupt such a database where two
connections write to it or checkpoint it at once (sqlite.org/wal.html, "The WAL-reset bug"). There is one connection
here, and it locks everybody else out for as long as it is open (locking_mode=EXCLUSIVE).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import StaticPool
from yingbi.api.problem import Kind, Problem

Result = TypeVar("Result")

_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Runs functions on the one connection, each in a transaction of its own, in the order of the calls."""

    def __init__(self, path: Path) -> None:
        """Open or create the database at `path` and bring its tables up to date; raises SQLAlchemyError."""
        self._engine = _sqlite(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        with self._engine.begin() as connection:
            _bring_up_to_date(connection)

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(connection, *arguments)` in one transaction; an exception rolls it back and is raised here.

        Once begun, a transaction is seen to its end even if the caller is cancelled.
        """
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._transact, function, arguments)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Finish what was begun and close."""
        self._thread.shutdown()
        self._engine.dispose()

    def _transact(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        try:
            with self._engine.begin() as connection:
                return function(connection, *arguments)
        except OperationalError as error:
            raise Problem(
                Kind.FAILED,
                "storage",
                f"The gateway could not write its database: {error.orig}.",
                hint="is the gateway's disk full? nothing was recorded",
            ) from error


def _bring_up_to_date(connection: Connection) -> None:
    """Run the migrations that this database lacks. Their files' names begin with their revisions."""
    latest = max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    present = inspect(connection).has_table("alembic_version")
    if present and connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == latest:
        return
    # Not before: to load it takes a fifth of a gateway's start.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _sqlite(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30}, poolclass=StaticPool
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # pysqlite would begin transactions by itself, and too late; "begin" below does.
        connection.isolation_level = None
        # The lock first: then the log's index is in memory and not shared.
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
