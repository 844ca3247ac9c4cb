"""What one request takes after 1,000 earlier questions: `python -m benchmarks.admission`.

A real gateway's admission over a real database, and a real enclave's journal; no nodes and no network. A preview
plans the question; submitting it takes that plan, checks the signature, charges and records the job, durably. Prints
milliseconds, of wall and of processor time: on a busy machine the first has waiting in it, for the processor and for
the disk. Look at the medians.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table
from yingbi.api import digests
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, RegisterDatasetRequest, TableDeclaration
from yingbi.api.v1.job_pb2 import Authorization, Job, Preview, Query, SubmitQueryRequest
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_FLOAT64, COLUMN_TYPE_INT64, COLUMN_TYPE_STRING, Value

from enclave_sim import budget
from enclave_sim.journal import Journal, Record
from enclave_sim.plan.canonical import plan_hash
from enclave_sim.privacy.accounting import Charge
from gateway.aggregation.vectors import Vectors
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import states
from gateway.jobs.admission import Admission
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.storage import catalogue
from gateway.storage.database import Database

EARLIER = 1000
REPETITIONS = 100
DELTA = 1e-7
QUESTION = "SELECT clinic, COUNT(*), AVG(pain) FROM visits WHERE pain < {} GROUP BY clinic"
Result = TypeVar("Result")


@dataclass(frozen=True)
class Took:
    """Seconds of wall and of processor time, of all threads."""

    wall: float
    processor: float

    @classmethod
    def until_now(cls) -> Took:
        """Since some moment that is the same for all."""
        return cls(time.perf_counter(), time.process_time())

    def beyond(self, other: Took) -> Took:
        """What this is more than the other."""
        return Took(self.wall - other.wall, self.processor - other.processor)


class AllConnected(Nodes):
    """Three nodes, of which nothing is asked."""

    def __init__(self) -> None:
        super().__init__(lambda hello: KeyEpoch())
        self.epoch = KeyEpoch(holders=[KeyHolder(node=f"node-{number}", index=number) for number in (1, 2, 3)])

    def check_connected(self) -> KeyEpoch:
        assert self.epoch is not None
        return self.epoch


class NothingRuns(Runner):
    """Admitted jobs stay queued."""

    def start(self, record: JobRecord, patience: float = 0.0) -> None:
        pass


def main() -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory() as name:
        steps = asyncio.run(_gateway(Path(name))) | _enclave(Path(name))
    headings = ("median ms", "least", "most", "processor, median ms")
    table = Table("step", *headings, title=f"after {EARLIER:,} earlier questions")
    for step, took in steps.items():
        wall = [one.wall for one in took]
        figures = (statistics.median(wall), min(wall), max(wall), statistics.median(one.processor for one in took))
        table.add_row(step, *(f"{1000 * figure:.2f}" for figure in figures))
    Console().print(table)


async def _gateway(folder: Path) -> dict[str, list[Took]]:
    database, nodes, feed = Database(folder / "gateway.db"), AllConnected(), Feed()
    await database.run(catalogue.register, RegisteredDataset(_declaration(), bytes(32), _registration()))
    runner = NothingRuns(database, nodes, feed, Vectors(folder / "vectors"))
    admission = Admission(database, nodes, runner, auto_approve=True)
    developer = Developer(admission)
    for number in range(EARLIER):
        await developer.submit(developer.signed(await developer.preview(number), number))
    previews, submissions = [], []
    for number in range(EARLIER, EARLIER + REPETITIONS):
        took, preview = await _timed(developer.preview, number)
        previews.append(took)
        took, job = await _timed(developer.submit, developer.signed(preview, number))
        assert job.state == states.QUEUED
        submissions.append(took)
    database.close()
    return {
        "gateway: preview": previews,
        "gateway: admission": submissions,
    }


def _enclave(folder: Path) -> dict[str, list[Took]]:
    """An enclave's own copy of the budget: both filters from its journal, and the charge on disk."""
    declaration, journal = _declaration(), Journal(folder / "journal", bytes(32))
    journal.append({"kind": "budget", "dataset": "visits", "limit": budget.limit_of(declaration).rho_units})
    charging = []
    for number in range(EARLIER + REPETITIONS):
        job = f"job-{number}"
        began = Took.until_now()
        budget.check_charge(journal.records, declaration, Charge(1000))
        budgets: Record = {"dataset": "visits", "unit_namespace": "patient", "rho_units": 1000}
        hashes: Record = {"request": os.urandom(32).hex(), "plan_hash": os.urandom(32).hex()}
        journal.append({"kind": "charge", "job": job, **budgets, **hashes})
        charging.append(Took.until_now().beyond(began))
        journal.append({"kind": "contribution", "job": job, "stored": ""})
        journal.append({"kind": "open", "job": job, "manifest": "", "total": ""})
    journal.close()
    return {"enclave: accounting": charging[EARLIER:]}


class Developer:
    """Asks one question after another, each another one."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        self._caller = Caller("developer", Role.DEVELOPER, "", public.hex(), "developer")

    async def preview(self, number: int) -> Preview:
        """Ask what a question would cost."""
        return await self._admission.preview(self._caller, _query(number))

    def signed(self, preview: Preview, number: int) -> SubmitQueryRequest:
        """The request to ask it, which is the developer's own work."""
        authorization = Authorization(
            plan_hash=plan_hash(preview.plan), request_id=f"request-{number}", developer_key=self._caller.key
        )
        body = authorization.SerializeToString(deterministic=True)
        signature = digests.sign(self._key, digests.AUTHORIZATION, body)
        return SubmitQueryRequest(query=_query(number), authorization=authorization, signature=signature)

    async def submit(self, request: SubmitQueryRequest) -> Job:
        """Ask it."""
        return await self._admission.submit(self._caller, request)


def _query(number: int) -> Query:
    return Query(dataset="visits", sql=QUESTION.format(1 + number / 1000), epsilon=0.1)


async def _timed(step: Callable[..., Awaitable[Result]], *arguments: object) -> tuple[Took, Result]:
    began = Took.until_now()
    result = await step(*arguments)
    return Took.until_now().beyond(began), result


def _declaration() -> DatasetDeclaration:
    column = ColumnDeclaration
    clinics = [Value(string_value=f"clinic {number}") for number in range(20)]
    columns = [
        column(name="person", type=COLUMN_TYPE_INT64, role=column.ROLE_UNIT),
        column(name="clinic", type=COLUMN_TYPE_STRING, role=column.ROLE_ATTRIBUTE, values=clinics),
        column(name="pain", type=COLUMN_TYPE_FLOAT64, role=column.ROLE_ATTRIBUTE, lower=0, upper=10),
    ]
    return DatasetDeclaration(
        dataset="visits",
        zone="bench",
        title={"en": "Visits"},
        grade=1,
        source="made up for the benchmark",
        privacy_unit="person",
        unit_namespace="patient",
        max_units=30_000,
        units_disjoint=True,
        budget_epsilon=1000.0,
        budget_delta=DELTA,
        tables=[TableDeclaration(name="visits", max_rows_per_unit=4, columns=columns)],
    )


def _registration() -> bytes:
    return RegisterDatasetRequest(declaration=_declaration().SerializeToString(deterministic=True)).SerializeToString()


if __name__ == "__main__":
    main()
