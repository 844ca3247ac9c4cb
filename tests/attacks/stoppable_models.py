"""A zone with a deployed model that follows from a job, for what stops it and what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from yingbi.api import credentials
from yingbi.api.audit import check_chain
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.audit_pb2 import AuditRow
from yingbi.api.v1.deployment_pb2 import Provenance
from yingbi.api.v1.job_pb2 import SignedAuthorization
from yingbi.api.v1.node_pb2 import StopTask, TaskResult
from yingbi.api.v1.receipt_pb2 import Manifest, Receipt, ReceiptBody
from yingbi.api.v1.stop_pb2 import SignedStop

from enclave_sim import jobs, stop_tasks
from enclave_sim.authority import Policy
from enclave_sim.engine.protocol import never
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.governance.stops import AGREEMENT, DATASET, ORGANISATION, Scope
from gateway.jobs import records, states
from gateway.jobs.records import NewJob
from gateway.storage import agreements, audit, catalogue, stops
from gateway.storage.database import Database
from tests.attacks.deployed_models import public
from tests.attacks.test_deployment_gateway import (
    PEOPLE,
    InProcess,
    run,
)
from tests.attacks.three_enclaves import DELTA, NODES, PROVIDER, Trio, agreement_about
from tests.enclave_sim.test_enclave_stops import stop

COORDINATOR = Ed25519PrivateKey.generate()
JOB_ID, TRAINER = "job-1", "college"
AGREED = agreement_about("visits")


@dataclass
class Stoppable:
    """A zone in which `bmi-1` follows from a job on `visits`, under an agreement of its trainer's organisation."""

    zone: InProcess

    def signed(self, scope: Scope, subject: str) -> SignedStop:
        """By whoever may stop it."""
        keys = {
            TRAINER: public(self.zone.trio.developer),
            **{org: public(credentials.signing_key(name)) for name, org in reversed(PEOPLE.items())},
        }
        by, more = (COORDINATOR, {"organisation_key": keys[subject]}) if scope == ORGANISATION else (PROVIDER, {})
        return stop(scope, subject, by, **more)

    def stop(self, scope: Scope, subject: str) -> SignedStop:
        """At the gateway, whose nodes do not hear of it."""
        signed = self.signed(scope, subject)
        self.do(stops.add, signed, PROVIDER_ACCOUNT, [], [], time.time())
        return signed

    def tell(self, scope: Scope, subject: str) -> SignedStop:
        """The enclave that serves it, and nobody else."""
        signed = self.signed(scope, subject)
        stop_tasks.stop(self.zone.trio.enclaves[1], StopTask(stop=signed), lambda ended: None)
        return signed

    def do(self, step: Callable[..., Any], *arguments: Any) -> Any:
        return run(self.zone.database.run(step, *arguments))

    def rows(self) -> list[AuditRow]:
        found: list[AuditRow] = self.do(audit.page, 0, 10_000)
        check_chain(found)
        return found

    def steps(self) -> list[str]:
        """What the record tells of deployments."""
        return [row.action for row in self.rows() if row.action.startswith("deployment.")]

    def while_asked(self, happens: Callable[[], Awaitable[object]]) -> None:
        """When the enclave has answered, and before the gateway has heard it."""
        asked = self.zone.nodes.ask

        async def ask(*given: Any) -> TaskResult:
            result = await asked(*given)
            await happens()
            return result

        self.zone.nodes.ask = ask  # type: ignore[assignment, method-assign]


PROVIDER_ACCOUNT = Caller("hanna", Role.PROVIDER, "", public(PROVIDER).hex(), "hospital")

COVERING: dict[str, tuple[Scope, str]] = {
    "its dataset": (DATASET, "visits"),
    "its agreement": (AGREEMENT, AGREED),
    "its trainer's organisation": (ORGANISATION, TRAINER),
    "its developer's organisation": (ORGANISATION, "institute"),
    "its caller's organisation": (ORGANISATION, "clinic"),
}


def terms_of(name: str, organisation: str = TRAINER, **more: Any) -> Agreement:
    now = int(time.time())
    return Agreement(
        agreement=name,
        dataset="visits",
        organisation=organisation,
        purpose="a test",
        starts=Timestamp(seconds=now - 60),
        expires=Timestamp(seconds=now + 3600),
        budget_epsilon=10.0,
        budget_delta=DELTA,
        **more,
    )


def known_to_the_gateway(connection: Connection, trio: Trio) -> None:
    """The dataset, the agreement, and the job that was trained under it."""
    catalogue.register(connection, RegisteredDataset(trio.declaration(), trio.version(), b""))
    agreements.register(connection, terms_of(AGREED), time.time())
    job = NewJob(
        job=JOB_ID,
        developer="trainer",
        organisation=TRAINER,
        request_id="request-1",
        request_digest=bytes(32),
        dataset="visits",
        sql="",
        plan=b"",
        plan_hash=bytes(32),
        authorization=SignedAuthorization(),
        registration=b"",
        agreement=AGREED,
    )
    record = records.create(connection, job, states.SUCCEEDED)
    (receipt,) = from_jobs(JOB_ID).rounds
    records.store_release(connection, record, receipt)


def from_jobs(*names: str) -> Provenance:
    """What says which jobs released the parameters; its receipts are checked by who approves, and here by nobody."""
    bodies = (ReceiptBody(manifest=Manifest(job=name)).SerializeToString() for name in names)
    return Provenance(rounds=[Receipt(body=body) for body in bodies], salt=bytes(32))


def trained_zone(trio: Trio) -> None:
    """Enclaves that know everybody; that of node-2 has done its part of the job. The gateway knows it too."""
    callers = {public(credentials.signing_key(name)) for name in PEOPLE}
    policy = Policy(
        frozenset(callers | {public(trio.developer)}),
        frozenset({public(credentials.signing_key("operator"))}),
        auto_approve=True,
        providers=frozenset({public(PROVIDER)}),
        coordinators=frozenset({public(COORDINATOR)}),
    )
    for name in NODES:
        (trio.folder / name / "policy.json").write_text(policy.to_json())
    trio.load()
    jobs.contribute(trio.enclaves[1], JOB_ID, trio.task(trio.plan()), never)
    database = Database(trio.folder / "gateway.db")
    run(database.run(known_to_the_gateway, trio))
    database.close()
    trio.close()
