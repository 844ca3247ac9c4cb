"""Somebody with the gateway's database edits the audit record, or runs jobs past it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from yingbi.api.audit import GENESIS, check_chain, row_digest
from yingbi.api.problem import Problem
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.audit import EMPTY, Head, check_rows

from gateway.storage import audit
from gateway.storage.database import Database
from tests.gateway.jobs.test_admission import Account, Scene, rho

WORDS = ("person", "organisation", "action", "subject", "reason", "details")


def record(count: int) -> list[AuditRow]:
    rows: list[AuditRow] = []
    for number in range(1, count + 1):
        row = AuditRow(
            number=number,
            at_millis=number,
            person="ada",
            action="job.submit",
            subject=f"job-{number}",
            previous=rows[-1].digest if rows else GENESIS,
        )
        row.digest = row_digest(row)
        rows.append(row)
    return rows


def reason(rows: list[AuditRow], remembered: Head = EMPTY) -> str:
    with pytest.raises(Problem) as found:
        check_rows(rows, remembered)
    return found.value.details.get("row", found.value.code)


@given(st.integers(1, 8), st.sampled_from(WORDS), st.text(min_size=1))
def test_a_changed_word_is_found_with_its_row(number: int, word: str, text: str) -> None:
    rows = record(8)
    setattr(rows[number - 1], word, getattr(rows[number - 1], word) + text)
    assert reason(rows) == str(number)


@given(st.integers(1, 8), st.integers(-(2**40), 2**40).filter(bool))
def test_a_changed_time_is_found(number: int, by: int) -> None:
    rows = record(8)
    rows[number - 1].at_millis += by
    assert reason(rows) == str(number)


def test_words_moved_from_one_field_to_the_next_are_found() -> None:
    rows = record(1)
    rows[0].person, rows[0].organisation = "ad", "a"
    assert reason(rows) == "1"


@given(st.integers(1, 7))
def test_a_row_taken_out_is_found_even_where_the_rest_is_numbered_anew(number: int) -> None:
    rows = record(8)
    del rows[number - 1]
    assert reason(rows) == str(number)
    for place, row in enumerate(rows, 1):
        row.number = place
    assert reason(rows) == str(number)


def test_what_was_cut_off_or_written_anew_is_found_by_whoever_remembers() -> None:
    rows = record(8)
    remembered = Head(6, rows[5].digest)
    assert check_rows(rows, remembered).number == 8
    assert reason(rows[:5], remembered) == "audit_behind"
    forged = record(8)
    forged[2].reason = "forged"
    for place, row in enumerate(forged):
        row.previous = forged[place - 1].digest if place else GENESIS
        row.digest = row_digest(row)
    check_chain(forged)  # by itself it is whole
    assert reason(forged, remembered) == "audit_behind"


@pytest.mark.requirement("AUD-03")
def test_without_an_audit_row_there_is_no_job_and_no_charge(tmp_path: Path) -> None:
    """Regulation AUD-03: logging cannot be turned off."""
    scene = Scene(tmp_path)
    ada = Account("ada", "college")
    asyncio.run(scene.database.run(lambda connection: connection.execute(text("ALTER TABLE audit RENAME TO gone"))))
    with pytest.raises(Problem) as refusal:
        scene.submit(ada, "n", 0.5)
    assert refusal.value.code == "storage"
    assert scene.spent() == {}
    assert scene.runner.jobs == []
    asyncio.run(scene.database.run(lambda connection: connection.execute(text("ALTER TABLE gone RENAME TO audit"))))
    scene.submit(ada, "n", 0.5)
    assert 0 < max(scene.spent().values()) <= rho(0.5)
    scene.database.close()


@pytest.mark.requirement("AUD-01")
def test_a_job_whose_state_was_edited_differs_from_what_the_record_tells(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = scene.submit(Account("ada", "college"), "n", 0.5)
    scene.database.close()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as file, file:
        file.execute("UPDATE jobs SET state = 5")
    database = Database(tmp_path / "gateway.db")
    try:
        (said,) = asyncio.run(database.run(lambda connection: list(audit.differences(connection))))
        assert job.job in said
    finally:
        database.close()
