"""A governed zone with many jobs behind it, for `benchmarks.console`.

What one can wait for is done for real: the zone, eight developers' organisations, their agreements, a job that runs.
The others are then written into its database, while it is down, by the functions that the gateway writes with: so each
has its charge, its approvals and its rows of the record, and the release of the one that ran.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import yingbi
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from yingbi.api import credentials, digests
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.job_pb2 import Approval, Authorization, Failure, SignedApproval, SignedAuthorization
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import Receipt
from yingbi.profile import Profile
from yingbi.zone import Zone

from benchmarks.end_to_end import command
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import charge_of
from gateway.governance import decisions
from gateway.governance.callers import Caller, Role
from gateway.governance.grades import APPROVAL_FROM_GRADE
from gateway.governance.registration import RegisteredDataset
from gateway.jobs import records, states
from gateway.jobs.records import JobRecord, NewJob
from gateway.ledger import ledger
from gateway.planning.query import plan_query
from gateway.storage import agreements, approvals, audit, catalogue
from gateway.storage.database import Database

ORGANISATIONS = 8
NODES = 2
HALF_A_YEAR = 180 * 86_400
AT_ONCE = 500
"""Jobs that are written in one transaction."""
EPSILON, DELTA = 0.05, 1e-7
DATASETS = {"open": 2, "guarded": 3, "grave": 4}
"""Each dataset's grade."""
SHARES = {
    states.SUCCEEDED: 0.75,
    states.CANCELLED: 0.08,
    states.REFUSED: 0.07,
    states.FAILED: 0.07,
    states.WAITING: 0.03,
}
"""How many jobs end how. None is queued or running: a gateway that starts takes those up."""
QUESTIONS = (
    "SELECT COUNT(*) FROM visits WHERE pain < {}",
    "SELECT clinic, COUNT(*), AVG(pain) FROM visits WHERE pain < {} GROUP BY clinic",
    "SELECT clinic, day, COUNT(*) FROM visits WHERE pain > {} GROUP BY clinic, day",
    "SELECT SUM(pain), COUNT(DISTINCT person) FROM visits WHERE day < 20 AND pain < {}",
)
METADATA = """
dataset: {name}
zone: bench
title: {{en: "Visits"}}
grade: {grade}
source: "made up for the benchmark"
zone_type: domain
forms: [data, model, interface]
catalogue:
  category: health
  scale: "200 persons"
  precision: "single visits"
  carrier: "tables"
  scope_of_use: "benchmarks"
  external_sharing: "none"
  cross_border: "none"
  security: "sealed at the nodes"
  responsible: "whoever runs it"
  opening: {{body: "clinic", level: conditional, mode: "through the gateway"}}
  lawful_source: {{reference: "made up", document: visits.csv}}
privacy_unit: person
max_units: 1000
units_disjoint: true
budget: {{epsilon: 1000, delta: 1.0e-7}}
tables:
  visits:
    file: visits.csv
    max_rows_per_unit: 4
    columns:
      person: {{type: int64, role: unit}}
      clinic: {{type: int64, values: {clinics}}}
      day:    {{type: int64, values: {days}}}
      pain:   {{type: float64, lower: 0, upper: 10}}
"""
AGREEMENT = """
agreement: {name}
dataset: {dataset}
organisation: {organisation}
purpose: "a benchmark of the console"
scenario: "its own figures"
starts: 2020-01-01
expires: 2999-01-01
budget: {{epsilon: 900, delta: 1.0e-7}}
responsibility: "whoever runs it"
supervision: "none"
revocation: "at any time, with a reason"
"""


@dataclass(frozen=True)
class Asker:
    """A developers' organisation: its first account, the key of both, and its agreements by dataset."""

    name: str
    profile: Profile
    agreements: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Ed25519PrivateKey:
        return credentials.signing_key(self.profile.token)


def begin(zone: Path, folder: Path) -> tuple[list[Asker], str]:
    """Data, organisations and agreements in a zone that is up, and the id of a job that ran in it."""
    for name, grade in DATASETS.items():
        command("dataset", "add", zone, _data(folder / name, name, grade))
    with yingbi.connect(folder=zone, role="coordinator") as coordinator:
        named = [f"college-{number}" for number in range(1, ORGANISATIONS)]
        filed = [Asker(name, coordinator.people.file_organisation(name, "developer")[1]) for name in named]
    with yingbi.connect(folder=zone) as developer:
        askers = [Asker("developer", developer.profile), *filed]
    for asker in askers:
        for dataset in DATASETS:
            asker.agreements[dataset] = _agree(zone, folder, asker, dataset)
    with Zone(askers[0].profile) as developer:
        job = developer.dataset("open").sql(QUESTIONS[1].format(5)).run(epsilon=EPSILON, progress=False).job
    return askers, job.id


def fill(zone: Path, askers: Sequence[Asker], ran: str, count: int) -> None:
    """Write so many jobs into the database of a zone that is down, spread over half a year until now."""
    filling = _Filling(zone, askers, ran)
    database, now = Database(zone / "gateway" / "gateway.db"), time.time()
    moments = [now - HALF_A_YEAR * (1 - number / count) for number in range(count)]
    try:
        for first in range(0, count, AT_ONCE):
            asyncio.run(database.run(filling.write, first, moments[first : first + AT_ONCE]))
    finally:
        database.close()


class _Filling:
    def __init__(self, zone: Path, askers: Sequence[Asker], ran: str) -> None:
        self._askers, self._ran, self._drawn = askers, ran, random.Random(7)
        self._deciders: dict[Role, tuple[Caller, Ed25519PrivateKey]] = {}
        for role in decisions.approvers(4):
            with yingbi.connect(folder=zone, role=role) as decider:
                key = credentials.signing_key(decider.profile.token)
            self._deciders[role] = Caller(role, role, "", _public(key).hex(), role), key

    def write(self, connection: Connection, first: int, moments: Sequence[float]) -> None:
        """One job for each moment, numbered from `first` on."""
        receipt = records.get(connection, self._ran).message.receipt
        datasets = [catalogue.find(connection, name) for name in DATASETS]
        for number, at in enumerate(moments, first):
            with patch("time.time", return_value=at):
                self._job(connection, number, at, self._drawn.choice(datasets), receipt)

    def _job(
        self, connection: Connection, number: int, at: float, dataset: RegisteredDataset, receipt: Receipt
    ) -> None:
        """A job with its whole way, as the gateway's own steps leave it."""
        asker, waits = self._drawn.choice(self._askers), dataset.declaration.grade >= APPROVAL_FROM_GRADE
        agreement = agreements.find(connection, asker.agreements[dataset.declaration.dataset])
        assert agreement is not None
        end = self._drawn.choices(list(SHARES), list(SHARES.values()))[0]
        if not waits and end in (states.WAITING, states.REFUSED):
            end = states.SUCCEEDED
        new = _asked(number, at, dataset, asker, agreement)
        record = records.create(connection, new, states.WAITING if waits else states.QUEUED)
        if waits:
            self._decide(connection, record, dataset.declaration.grade, end, at)
        if end in (states.WAITING, states.REFUSED):
            return
        charge = charge_of(Plan.FromString(new.plan))
        assert ledger.reserve(connection, new.job, dataset.declaration, asker.name, charge, agreement, now=at)
        if waits:
            records.set_state(connection, new.job, states.QUEUED)
        if end == states.CANCELLED:
            ledger.refund(connection, new.job)
            records.set_state(connection, new.job, end, Failure(code="cancelled", message="It was a mistake."))
            return
        ledger.spend(connection, new.job)
        records.set_state(connection, new.job, states.RUNNING)
        if end == states.FAILED:
            records.set_state(connection, new.job, end, Failure(code="node_lost", message="node-2 was lost."))
            return
        records.store_release(connection, record, receipt)
        records.set_state(connection, new.job, end)

    def _decide(self, connection: Connection, record: JobRecord, grade: int, end: states.State, at: float) -> None:
        if end == states.REFUSED:
            failure = Failure(code="refused", message="provider refused the job by purpose: not what was agreed")
            records.set_state(connection, record.job, end, failure)
            return
        kinds = decisions.approvers(grade)
        # Of those that wait for two, every other one has the first.
        given = kinds if end != states.WAITING else kinds[: len(kinds) - 1] * self._drawn.randint(0, 1)
        for kind in given:
            caller, key = self._deciders[kind]
            approvals.keep(connection, record.job, record.organisation, caller, _approved(record, caller, key), at)
            audit.append(connection, "job.approve", record.job, person=caller.name, organisation=caller.organisation)


def _asked(number: int, at: float, dataset: RegisteredDataset, asker: Asker, agreement: Agreement) -> NewJob:
    """A request for what nobody asked before, signed."""
    sql = QUESTIONS[number % len(QUESTIONS)].format(f"{1 + number / 2000:.4f}")
    plan = plan_query(
        sql, dataset.declaration, dataset_version=dataset.version, parties=NODES, epsilon=EPSILON, delta=DELTA
    )
    data = encode(plan)
    body = Authorization(
        plan_hash=plan_hash(data),
        rho_units=charge_of(plan).rho_units,
        delta=DELTA,
        request_id=f"request-{number}",
        expires=Timestamp(seconds=int(at) + 600),
        developer_key=_public(asker.key),
        agreement=agreement.agreement,
    ).SerializeToString(deterministic=True)
    return NewJob(
        job=f"job-{number:012x}",
        developer=asker.name,
        organisation=asker.name,
        request_id=f"request-{number}",
        request_digest=digests.digest("benchmark", str(number).encode()),
        dataset=dataset.declaration.dataset,
        sql=sql,
        plan=data,
        plan_hash=plan_hash(data),
        authorization=SignedAuthorization(body=body, signature=digests.sign(asker.key, digests.AUTHORIZATION, body)),
        registration=dataset.registration,
        agreement=agreement.agreement,
    )


def _approved(record: JobRecord, caller: Caller, key: Ed25519PrivateKey) -> SignedApproval:
    body = Approval(
        job=record.job,
        plan_hash=record.plan_hash,
        operator_key=_public(key),
        rho_units=charge_of(Plan.FromString(record.plan)).rho_units,
        delta=DELTA,
        organisation=caller.organisation,
    ).SerializeToString(deterministic=True)
    return SignedApproval(body=body, signature=digests.sign(key, digests.APPROVAL, body))


def _agree(zone: Path, folder: Path, asker: Asker, dataset: str) -> str:
    """The id of an agreement that is active."""
    name = f"{asker.name}-{dataset}"
    file = folder / f"{name}.yaml"
    file.write_text(AGREEMENT.format(name=name, dataset=dataset, organisation=asker.name))
    with (
        Zone(asker.profile) as developer,
        yingbi.connect(folder=zone, role="supervisor") as supervisor,
        yingbi.connect(folder=zone, role="provider") as provider,
    ):
        developer.draft_agreement(file)
        developer.move_agreement(name, "apply")
        supervisor.move_agreement(name, "assess")
        provider.move_agreement(name, "consent")
        developer.sign_agreement(name)
        provider.sign_agreement(name)
    return name


def _data(folder: Path, name: str, grade: int) -> Path:
    folder.mkdir()
    rows = "\n".join(f"{row // 2},{row % 20},{row % 30},{row % 10}" for row in range(400))
    (folder / "visits.csv").write_text(f"person,clinic,day,pain\n{rows}\n")
    path = folder / "dataset.yaml"
    path.write_text(METADATA.format(name=name, grade=grade, clinics=list(range(20)), days=list(range(30))))
    return path


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
