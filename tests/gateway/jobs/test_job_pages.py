"""A list of jobs comes in pages that fit a message, however long the receipts in them are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import SignedAuthorization
from yingbi.api.v1.receipt_pb2 import Receipt

from gateway.jobs import records, states
from gateway.jobs.records import NewJob
from gateway.storage.database import Database

JOBS = 4


def new_job(number: int) -> NewJob:
    return NewJob(
        job=f"job-{number}",
        developer="ada",
        organisation="college",
        request_id=f"request-{number}",
        request_digest=b"",
        dataset="visits",
        sql="",
        plan=b"",
        plan_hash=bytes([number]) * 32,
        authorization=SignedAuthorization(),
        registration=RegisterDatasetRequest().SerializeToString(),
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "gateway.db")
    yield database
    database.close()


def add_jobs(database: Database, receipt_bytes: int) -> None:
    for number in range(JOBS):
        record = asyncio.run(database.run(records.create, new_job(number), states.RUNNING))
        receipt = Receipt(body=bytes(receipt_bytes))
        asyncio.run(database.run(records.store_release, record, receipt))
        asyncio.run(database.run(records.move, record.job, states.SUCCEEDED))


def pages(database: Database, size: int) -> list[list[str]]:
    """The ids of all jobs, page by page."""
    found, before = [], None
    while True:
        jobs, before = asyncio.run(database.run(records.page, None, size, before))
        assert all(len(job.receipt.body) for job in jobs)
        found.append([job.job for job in jobs])
        if before is None:
            return found


NEWEST_FIRST = [f"job-{number}" for number in reversed(range(JOBS))]


@pytest.mark.parametrize("size", [1, 3, JOBS])
def test_short_jobs_fill_a_page(database: Database, size: int) -> None:
    add_jobs(database, 100)
    assert pages(database, size) == [NEWEST_FIRST[first : first + size] for first in range(0, JOBS, size)]


@pytest.mark.parametrize(("share", "in_page"), [(3, 3), (1, 1)])
def test_long_receipts_make_short_pages_that_lack_no_job(
    database: Database, share: int, in_page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE_BYTES", 30_000)
    add_jobs(database, 30_000 // share)
    found = pages(database, 50)
    assert found == [NEWEST_FIRST[first : first + in_page] for first in range(0, JOBS, in_page)]
