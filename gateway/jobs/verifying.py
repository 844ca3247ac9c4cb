"""Passing a verification on: to the enclave that it is for, with the word of all others that they noted the use.

The gateway sees who asks, about which dataset, at which provider, when, and a consent's digest. The request and the
answer are sealed between the caller and the enclave, and each has one length.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from google.protobuf.message import DecodeError
from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.suites import SUITES
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.node_pb2 import BeginVerificationTask, Task, TaskResult, VerifyTask, WitnessTask
from yingbi.api.v1.verification_pb2 import VerificationOrder, VerificationUse, VerifyRequest, VerifyResponse
from yingbi.api.verification import REQUEST_BYTES, Refusal, request_digest

from gateway.governance.callers import Caller
from gateway.governance.registration import RegisteredDataset, check_roster
from gateway.jobs.nodes import Nodes, first_failure
from gateway.ledger import uses
from gateway.storage import audit, catalogue, people, stops
from gateway.storage.database import Database

ANSWER_SECONDS = 45.0
_LENGTHS = frozenset(REQUEST_BYTES + suite.overhead for suite in SUITES.values())


async def verify(database: Database, nodes: Nodes, caller: Caller, request: VerifyRequest) -> VerifyResponse:
    """The enclave's sealed answer, counted as a use; raises Problem, and then no use is owed.

    A use that an enclave may have begun when its answer did not come, or was withheld after a stop, stays counted.
    """
    order = _read_order(request, caller)
    dataset = await database.run(catalogue.find, order.dataset)
    _check_dataset(dataset, order)
    epoch = nodes.check_connected()
    check_roster(order.dataset, dataset.registration, epoch)
    _check_node(order.node, epoch)
    use = uses.Use(order.consent_digest, order.dataset, order.node)
    await database.run(_count, use, dataset, caller, time.time())
    try:
        answer = await asyncio.wait_for(_answer(nodes, epoch, dataset, order.node, request), ANSWER_SECONDS)
    except Problem as problem:
        await database.run(uses.take_back, use)
        raise _told(problem) from problem
    except TimeoutError as error:
        raise _too_late(order.node) from error
    return VerifyResponse(sealed_answer=answer, use=await database.run(_release, use, caller, time.time()))


def _count(connection: Connection, use: uses.Use, dataset: RegisteredDataset, caller: Caller, now: float) -> None:
    """Count and record a use, unless the dataset or whoever asks was stopped or removed.

    Nothing says whom it is about.
    """
    people.check_has_not_left(connection, caller)
    stops.check_not_stopped(connection, dataset=use.dataset, organisation=caller.organisation, agreement="")
    uses.count(connection, use, dataset.declaration, caller, now)
    who = {"person": caller.name, "organisation": caller.organisation}
    audit.append(connection, "verification.ask", use.dataset, **who, details={"node": use.node})


def _release(connection: Connection, use: uses.Use, caller: Caller, now: float) -> VerificationUse:
    """What the caller used with it; the answer is withheld where the dataset or whoever asks was stopped meanwhile.

    So it is from who was removed meanwhile.
    """
    people.check_has_not_left(connection, caller)
    stops.check_not_stopped(connection, dataset=use.dataset, organisation=caller.organisation, agreement="")
    return uses.used(connection, use.dataset, caller, now)


async def _answer(
    nodes: Nodes, epoch: KeyEpoch, dataset: RegisteredDataset, node: str, request: VerifyRequest
) -> bytes:
    begun = await nodes.ask(node, lambda: [Task(begin_verification=BeginVerificationTask())])
    noting = Task(witness=WitnessTask(order=request.order, run=begun.verification_begun.run))
    peers = [holder.node for holder in epoch.holders if holder.node != node]
    said = await first_failure(nodes.ask(peer, partial(_messages, noting)) for peer in peers)
    task = VerifyTask(
        order=request.order,
        sealed_request=request.sealed_request,
        shards=RegisterDatasetRequest.FromString(dataset.registration).shards,
        witnesses=[result.witness for result in said],
    )
    answered: TaskResult = await nodes.ask(node, lambda: [Task(verify=task)])
    return answered.verified.sealed_answer


def _messages(task: Task) -> list[Task]:
    """A task of its own for each node, which numbers it."""
    copied = Task()
    copied.CopyFrom(task)
    return [copied]


def _read_order(request: VerifyRequest, caller: Caller) -> VerificationOrder:
    try:
        order = VerificationOrder.FromString(request.order.body)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, "bad_order", "The order is no VerificationOrder.", field="order") from error
    signature = request.order.signature
    if order.developer_key != caller.key or not digests.is_signed(
        caller.key, digests.VERIFICATION_ORDER, request.order.body, signature
    ):
        raise Problem(Kind.NOT_ALLOWED, "bad_signature", "The order is not signed by the caller.", field="order")
    if order.request_digest != request_digest(request.sealed_request):
        raise Problem(Kind.MALFORMED, "bad_order", "The order is for another request.", field="sealed_request")
    if len(request.sealed_request) not in _LENGTHS or len(order.consent_digest) != 32:
        raise Problem(
            Kind.MALFORMED, "bad_request", "The request is not sealed, or not padded.", field="sealed_request"
        )
    return order


def _check_dataset(dataset: RegisteredDataset, order: VerificationOrder) -> None:
    if not dataset.declaration.HasField("verification"):
        said = f"Nothing of {order.dataset} can be verified: its provider does not offer it."
        raise Problem(Kind.REFUSED, "no_verification", said, field="dataset")
    if dataset.version != order.dataset_version:
        raise catalogue.changed()


def _check_node(node: str, epoch: KeyEpoch) -> None:
    names = [holder.node for holder in epoch.holders]
    if node not in names:
        near = nearest(node, names)
        said = f"The zone has no node {node!r}; it has {', '.join(names)}."
        raise Problem(Kind.UNKNOWN, "unknown_node", said, field="node", hint=f"did you mean {near}?" if near else None)


def _told(problem: Problem) -> Problem:
    """What the caller is told of an enclave's refusal."""
    return Refusal("consent_used").problem() if problem.code == "consent_used" else problem


def _too_late(node: str) -> Problem:
    said = f"{node} did not answer within {ANSWER_SECONDS:.0f} seconds. The consent may be used; so the use is counted."
    return Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint="ask the issuer for a new consent, and ask again")
