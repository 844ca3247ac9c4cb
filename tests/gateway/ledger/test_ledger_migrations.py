"""Databases of earlier releases: what was spent stays spent, and the tables are those that the gateway expects."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection, create_engine, select
from yingbi.api.v1.agreement_pb2 import Agreement

import gateway.storage
from gateway.governance.agreement_states import ACTIVE
from gateway.jobs import states
from gateway.ledger import ledger
from gateway.storage import agreements
from gateway.storage.database import Database
from gateway.storage.tables import accounts, charges, jobs, metadata, programs

JOBS = {
    # By job: developer, dataset, units of rho and delta_0, and what became of them.
    "job-1": ("ada", "visits", 40, 4, "spent"),
    "job-2": ("ada", "visits", 20, 2, "reserved"),
    "job-3": ("ada", "visits", 500, 50, "refunded"),
    "job-4": ("eve", "visits", 10, 1, "spent"),
    "job-5": ("eve", "labs", 30, 3, "spent"),
}


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A database in state 0002, with charges of all kinds."""
    path = tmp_path / "gateway.db"
    migrate(path, "0002")
    with sqlite3.connect(path) as old:
        old.executemany(
            "INSERT INTO budgets VALUES (?, ?, ?, ?, ?, ?)",
            [
                ("visits", "patient", 100, 70, 10, 7),
                ("labs", "patient", 200, 30, 20, 3),
                ("staff", "staff", 9, 0, 1, 0),
            ],
        )
        old.executemany(
            "INSERT INTO namespaces VALUES (?, ?, ?, ?, ?)", [("patient", 110, 100, 11, 10), ("staff", 9, 0, 1, 0)]
        )
        for job, (developer, dataset, rho_units, delta0_units, state) in JOBS.items():
            old.execute(
                "INSERT INTO jobs (job, developer, request_id, request_digest, dataset, sql, plan, plan_hash,"
                " authorization, registration, state, sequence, created, replayed)"
                " VALUES (?, ?, ?, '', ?, 'SELECT', '', '', '', '', 1, 1, 0.0, 0)",
                (job, developer, job, dataset),
            )
            old.execute(
                "INSERT INTO charges (job, dataset, rho_units, delta0_units, state) VALUES (?, ?, ?, ?, ?)",
                (job, dataset, rho_units, delta0_units, state),
            )
    return path


def migrate(path: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(gateway.storage.__file__).parent / "migrations"))
    with create_engine(f"sqlite:///{path}").begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def run(path: Path, *functions: Any) -> list[Any]:
    """What the functions return on the migrated database, each in a transaction of its own."""
    database = Database(path)
    try:
        return [asyncio.run(database.run(function)) for function in functions]
    finally:
        database.close()


def amounts(connection: Connection) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    rows = connection.execute(select(accounts))
    return {
        (row.kind, row.name): (
            row.limit_rho_units,
            row.spent_rho_units,
            row.limit_delta0_units,
            row.spent_delta0_units,
        )
        for row in rows
    }


def test_limits_and_what_was_spent_of_them_are_kept(second: Path) -> None:
    (found,) = run(second, amounts)
    assert found == {
        ("dataset", "visits"): (100, 70, 10, 7),
        ("dataset", "labs"): (200, 30, 20, 3),
        ("dataset", "staff"): (9, 0, 1, 0),
        ("namespace", "patient"): (110, 100, 11, 10),
        ("namespace", "staff"): (9, 0, 1, 0),
        # Each developer is an organisation of its own; what was refunded was not spent.
        ("organisation", "visits/ada"): (100, 60, 10, 6),
        ("organisation", "visits/eve"): (100, 10, 10, 1),
        ("organisation", "labs/eve"): (200, 30, 20, 3),
    }


def test_every_charge_is_kept_against_each_of_its_accounts(second: Path) -> None:
    def read(connection: Connection) -> set[tuple[Any, ...]]:
        return {tuple(row) for row in connection.execute(select(charges))}

    (found,) = run(second, read)
    assert found == {
        (job, kind, name, rho_units, delta0_units, state, None)
        for job, (developer, dataset, rho_units, delta0_units, state) in JOBS.items()
        for kind, name in (
            ("dataset", dataset),
            ("namespace", "patient"),
            ("organisation", f"{dataset}/{developer}"),
        )
    }


def test_what_was_reserved_can_still_be_given_back_and_what_was_spent_cannot(second: Path) -> None:
    def refund_all(connection: Connection) -> None:
        for job in JOBS:
            ledger.refund(connection, job)

    _, found = run(second, refund_all, amounts)
    assert found["dataset", "visits"] == (100, 50, 10, 5)
    assert found["namespace", "patient"] == (110, 80, 11, 8)
    assert found["organisation", "visits/ada"] == (100, 40, 10, 4)
    assert found["organisation", "visits/eve"] == (100, 10, 10, 1)


def test_jobs_belong_to_an_organisation_of_their_developer_s_name(second: Path) -> None:
    def read(connection: Connection) -> dict[str, str]:
        return {row.job: row.organisation for row in connection.execute(select(jobs))}

    (found,) = run(second, read)
    assert found == {job: developer for job, (developer, *_) in JOBS.items()}


def test_jobs_of_before_there_were_agreements_were_asked_under_none(second: Path) -> None:
    def read(connection: Connection) -> set[str]:
        return {row.agreement for row in connection.execute(select(jobs))}

    assert run(second, read) == [{""}]


def test_the_oldest_database_gives_each_namespace_its_first_dataset_s_budget_and_all_that_was_spent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gateway.db"
    migrate(path, "0001")
    with sqlite3.connect(path) as old:
        old.executemany(
            "INSERT INTO budgets VALUES (?, ?, ?, ?)",
            [("visits", "patient", 500, 70), ("labs", "patient", 1000, 30), ("staff", "staff", 10, 1)],
        )
    (found,) = run(path, amounts)
    assert found["namespace", "patient"] == (500, 100, 0, 0)
    assert found["namespace", "staff"] == (10, 1, 0, 0)
    assert found["dataset", "labs"] == (1000, 30, 0, 0)


def test_sealed_programs_of_jobs_that_ended_are_forgotten(second: Path) -> None:
    migrate(second, "0005")
    now = dict(zip(JOBS, (states.QUEUED, states.RUNNING, *sorted(states.ENDED)), strict=False))
    with sqlite3.connect(second) as old:
        for job, state in now.items():
            old.execute("UPDATE jobs SET state = ? WHERE job = ?", (state, job))
            old.execute("INSERT INTO programs (job, node, sealed) VALUES (?, 'node-1', x'00')", (job,))

    def read(connection: Connection) -> set[int]:
        return {now[row.job] for row in connection.execute(select(programs))}

    assert run(second, read) == [{states.QUEUED, states.RUNNING}]


def test_a_new_database_has_the_tables_that_the_gateway_declares(tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert run(tmp_path / "gateway.db", differences) == [[]]


def test_agreements_of_before_are_active_and_nobody_signed_them(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    migrate(path, "0008")
    falls = Agreement(
        agreement="falls", organisation="clinic", starts=Timestamp(seconds=0), expires=Timestamp(seconds=2**32)
    )
    with sqlite3.connect(path) as old:
        row = (falls.agreement, "visits", "clinic", falls.SerializeToString(), 3)
        old.execute(
            "INSERT INTO agreements (agreement, dataset, organisation, terms, uses, registered)"
            " VALUES (?, ?, ?, ?, ?, 0.0)",
            row,
        )
    life, signed = run(
        path,
        lambda connection: agreements.life(connection, "falls"),
        lambda connection: agreements.signed(connection, "falls"),
    )
    assert (life.terms, life.state, life.events, life.signed) == (falls, ACTIVE, [], frozenset())
    assert signed is not None
    assert not signed.HasField("organisation")
    assert not signed.HasField("provider")
