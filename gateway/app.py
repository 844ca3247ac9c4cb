"""The gateway's process: `python -m gateway.app FOLDER --port P --ready FILE`. Wires everything together."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from yingbi.api.evidence import EvidenceError, verify_evidence, verify_key_epoch
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import (
    agreement_pb2,
    attestation_pb2,
    audit_pb2,
    dataset_pb2,
    deployment_pb2,
    job_pb2,
    operator_pb2,
    people_pb2,
    sign_in_pb2,
    stop_pb2,
    verification_pb2,
)
from yingbi.api.v1.agreement_pb2_grpc import add_AgreementServiceServicer_to_server
from yingbi.api.v1.attestation_pb2 import KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.attestation_pb2_grpc import add_AttestationServiceServicer_to_server
from yingbi.api.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from yingbi.api.v1.dataset_pb2_grpc import add_DatasetServiceServicer_to_server
from yingbi.api.v1.deployment_pb2_grpc import add_DeploymentServiceServicer_to_server
from yingbi.api.v1.job_pb2_grpc import add_JobServiceServicer_to_server
from yingbi.api.v1.node_pb2 import Hello
from yingbi.api.v1.node_pb2_grpc import add_NodeServiceServicer_to_server
from yingbi.api.v1.operator_pb2 import SignedOperatingAgreement
from yingbi.api.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server
from yingbi.api.v1.people_pb2_grpc import add_PeopleServiceServicer_to_server
from yingbi.api.v1.sign_in_pb2_grpc import add_SignInServiceServicer_to_server
from yingbi.api.v1.stop_pb2_grpc import add_StopServiceServicer_to_server
from yingbi.api.v1.verification_pb2_grpc import add_VerificationServiceServicer_to_server

from gateway.aggregation.vectors import Vectors
from gateway.api.agreements import AgreementService
from gateway.api.attestation import AttestationService
from gateway.api.audit import AuditService
from gateway.api.authentication import Authentication
from gateway.api.datasets import DatasetService
from gateway.api.deployments import DeploymentService
from gateway.api.jobs import JobService
from gateway.api.nodes import NodeService
from gateway.api.operators import OperatorService
from gateway.api.people import PeopleService
from gateway.api.readable import ReadableRequests
from gateway.api.sign_in import SignInService
from gateway.api.stops import StopService
from gateway.api.verification import VerificationService
from gateway.governance.callers import load_callers
from gateway.governance.parties import parties_of
from gateway.governance.sign_in import Site
from gateway.jobs.admission import Admission
from gateway.jobs.agreement_steps import AgreementSteps
from gateway.jobs.approval import Approvals
from gateway.jobs.deployments import Deployments
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.removals import Removals
from gateway.jobs.runner import Runner
from gateway.jobs.said_heads import SaidHeads
from gateway.jobs.stopping import Stopping
from gateway.storage import bearer_tokens, operators, people
from gateway.storage.database import Database
from gateway.storage.people import Account

HOST = "127.0.0.1"
DEFAULT_PORT = 7443
MAX_MESSAGE = 64 << 20
# How long a gateway that was told to stop may take.
LAST_SECONDS = 4
OPTIONS = [
    # Two gateways must not share a port without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
]


async def serve(folder: Path, port: int | None, ready: Path) -> None:
    """Serve until SIGTERM or SIGINT; writes the bound addresses to `ready`. Raises RuntimeError, OSError."""
    settings = json.loads((folder / "gateway.json").read_text())
    ca_pem = (folder / "ca.crt").read_bytes()
    database = Database(folder / "gateway.db")
    feed = Feed()
    signed_epoch = SignedKeyEpoch.FromString((folder / "key_epoch.pb").read_bytes())
    nodes = Nodes(lambda hello: verify_hello(hello, ca_pem, signed_epoch), SaidHeads(folder / "heads"))
    nodes.expect(signed_epoch, verify_key_epoch(signed_epoch, ca_pem))
    # Where operators decide alone, nothing has to be agreed on.
    governed = not settings["auto_approve"]
    runner = Runner(database, nodes, feed, Vectors(folder / "vectors"), governed=governed)
    admission = Admission(database, nodes, runner, auto_approve=not governed, governed=governed)
    approvals = Approvals(database, nodes, runner, feed, governed=governed)
    authentication = Authentication(await _accounts(database, folder), used=_note_use(database))

    callers_server = grpc.aio.server(options=OPTIONS, interceptors=[ReadableRequests()])
    datasets = DatasetService(database, nodes, authentication, governed=not settings["auto_approve"])
    add_DatasetServiceServicer_to_server(datasets, callers_server)
    stopping = Stopping(database, nodes, runner, feed)
    await stopping.load()
    jobs = JobService(database, admission, approvals, stopping, feed, authentication, stage=runner.stage)
    add_JobServiceServicer_to_server(jobs, callers_server)
    agreed = AgreementService(
        database,
        authentication,
        AgreementSteps(database, stopping),
        governed=governed,
        parties=lambda: parties_of(authentication),
    )
    add_AgreementServiceServicer_to_server(agreed, callers_server)
    add_AttestationServiceServicer_to_server(AttestationService(nodes, authentication), callers_server)
    deployments = DeploymentService(Deployments(database, nodes, authentication), authentication)
    add_DeploymentServiceServicer_to_server(deployments, callers_server)
    verification = VerificationService(database, nodes, authentication)
    add_VerificationServiceServicer_to_server(verification, callers_server)
    add_AuditServiceServicer_to_server(AuditService(database, authentication), callers_server)
    removals = Removals(stopping, partial(authentication.change, database))
    add_PeopleServiceServicer_to_server(PeopleService(database, authentication, removals), callers_server)
    add_OperatorServiceServicer_to_server(OperatorService(database, authentication), callers_server)
    site = Site(settings["console"]) if settings.get("console") else None
    add_SignInServiceServicer_to_server(SignInService(database, authentication, site), callers_server)
    add_StopServiceServicer_to_server(StopService(database, stopping, authentication), callers_server)
    await _add_health_and_reflection(callers_server)
    nodes_server = grpc.aio.server(options=OPTIONS, interceptors=[ReadableRequests()])
    add_NodeServiceServicer_to_server(NodeService(nodes), nodes_server)

    callers_port = _bind(callers_server, _credentials(folder, None), port)
    nodes_port = _bind(nodes_server, _credentials(folder, ca_pem), 0)
    await callers_server.start()
    await nodes_server.start()
    await runner.resume()
    _write_whole(ready, json.dumps({"gateway": f"{HOST}:{callers_port}", "nodes": f"{HOST}:{nodes_port}"}))
    await _until_signal()
    await runner.close()
    await asyncio.gather(callers_server.stop(0.2), nodes_server.stop(0.2))
    await stopping.close()
    database.close()


async def _accounts(database: Database, folder: Path) -> list[Account]:
    """Everybody who can call, with the zone's first accounts, and its own operator authorised."""
    first = load_callers(folder / "callers.json")
    await database.run(people.seed, first, time.time())
    path = folder / "operating_agreement.pb"
    made = SignedOperatingAgreement.FromString(path.read_bytes()) if path.exists() else None
    await database.run(operators.begin, first, made, time.time())
    return await database.run(people.accounts)


def _note_use(database: Database) -> Callable[[str, float], None]:
    """Notes a token's hour of use in the background: no call waits for it."""
    noting: set[asyncio.Task[None]] = set()

    def note(token_id: str, hour: float) -> None:
        task = asyncio.create_task(database.run(bearer_tokens.used, token_id, hour))
        noting.add(task)
        task.add_done_callback(noting.discard)

    return note


def verify_hello(hello: Hello, ca_pem: bytes, present: SignedKeyEpoch) -> KeyEpoch:
    """The zone's present key epoch, if the node shows it and its enclave is one of the holders; raises Problem."""
    try:
        body = verify_evidence(hello.evidence, ca_pem)
        epoch = verify_key_epoch(hello.key_epoch, ca_pem)
    except EvidenceError as error:
        raise Problem(Kind.NOT_ALLOWED, "bad_evidence", f"{hello.node}: {error}.") from error
    holders = {(holder.node, holder.signing_key) for holder in epoch.holders}
    if (body.node, body.signing_key) not in holders or body.node != hello.node:
        raise Problem(Kind.NOT_ALLOWED, "bad_evidence", f"{hello.node} is no holder of the key epoch it shows.")
    if hello.key_epoch.body != present.body:
        number = KeyEpoch.FromString(present.body).epoch
        said = f"{hello.node} is in key epoch {epoch.epoch}, which is not the zone's present one, {number}."
        raise Problem(Kind.NOT_ALLOWED, "other_epoch", said)
    return epoch


def _credentials(folder: Path, client_ca: bytes | None) -> grpc.ServerCredentials:
    pair = ((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _bind(server: grpc.aio.Server, credentials: grpc.ServerCredentials, port: int | None) -> int:
    """Bind `port`; without one the default, or a free one where that is taken. Raises RuntimeError."""
    if port is not None:
        return server.add_secure_port(f"{HOST}:{port}", credentials)
    try:
        return server.add_secure_port(f"{HOST}:{DEFAULT_PORT}", credentials)
    except RuntimeError:
        return server.add_secure_port(f"{HOST}:0", credentials)


async def _add_health_and_reflection(server: grpc.aio.Server) -> None:
    # grpc_health names its asyncio face so at run time, and its types do not.
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = [
        agreement_pb2.DESCRIPTOR.services_by_name["AgreementService"].full_name,
        attestation_pb2.DESCRIPTOR.services_by_name["AttestationService"].full_name,
        audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
        dataset_pb2.DESCRIPTOR.services_by_name["DatasetService"].full_name,
        deployment_pb2.DESCRIPTOR.services_by_name["DeploymentService"].full_name,
        job_pb2.DESCRIPTOR.services_by_name["JobService"].full_name,
        operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name,
        people_pb2.DESCRIPTOR.services_by_name["PeopleService"].full_name,
        sign_in_pb2.DESCRIPTOR.services_by_name["SignInService"].full_name,
        stop_pb2.DESCRIPTOR.services_by_name["StopService"].full_name,
        verification_pb2.DESCRIPTOR.services_by_name["VerificationService"].full_name,
    ]
    for name in ("", *names):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)


async def _until_signal() -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    # Whatever gRPC or a thread still waits for: the kernel ends the process then. Nothing is lost by it.
    signal.alarm(LAST_SECONDS)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.rename(path)


def main() -> None:
    """Take the folder's lock and serve."""
    parser = argparse.ArgumentParser(prog="gateway.app")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--ready", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    lock = os.open(arguments.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    asyncio.run(serve(arguments.folder, arguments.port, arguments.ready))


if __name__ == "__main__":
    main()
