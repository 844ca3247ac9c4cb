"""Deployed models in the gateway: kept sealed, approved, counted, and their one enclave asked. It reads no row.

Each step is one transaction, in which the door (`gateway.jobs.deployment_door`) is asked and a row of the audit record
written. So is the last one before an answer leaves, which a stop comes before or after: none is given after a stop that
covers it, and what the enclave counted stays counted.

Keeps: AUD-01, AUD-03
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.deployment_pb2 import (
    DEPLOYMENT_STATE_APPROVED,
    DEPLOYMENT_STATE_PENDING,
    DEPLOYMENT_STATE_WITHDRAWN,
    ApprovedCaller,
    CheckDeploymentTask,
    Deployment,
    DeployRequest,
    PredictionOrder,
    PredictionReply,
    PredictRequest,
    PredictTask,
    SignedDeploymentApproval,
    SignedDeploymentWithdrawal,
    WithdrawTask,
)
from yingbi.api.v1.node_pb2 import Task, TaskResult

from gateway.governance import deployments as governance
from gateway.governance.callers import Caller, Role
from gateway.jobs import deployment_door as door
from gateway.jobs.nodes import Nodes, unavailable
from gateway.storage import audit
from gateway.storage import deployments as store
from gateway.storage.database import Database
from gateway.storage.deployments import StoredDeployment

ANSWER_SECONDS = 50.0
# Its other refusals come before the enclave counts. An order that it knows was asked twice, as by a node that started
# anew, and counted.
_MAYBE_COUNTED = {"storage", "computation_failed", "order_reused"}


class Deployments:
    """Carries out what callers ask of deployed models."""

    def __init__(
        self, database: Database, nodes: Nodes, callers: Iterable[Caller], *, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` tells what limits are counted by: seconds since 1970."""
        self._database = database
        self._nodes = nodes
        self._callers = callers
        self._clock = clock

    async def deploy(self, caller: Caller, request: DeployRequest) -> Deployment:
        """Keep a model until an operator approves it; raises Problem."""
        # What nobody here understands is not kept.
        request.DiscardUnknownFields()
        terms = governance.check_deploy(caller, request)
        self._check_holder(terms.node, terms.node_key)
        new = StoredDeployment(
            developer=caller.name,
            organisation=caller.organisation,
            signed_terms=request.terms,
            provenance=request.provenance if request.HasField("provenance") else None,
            approval=None,
            withdrawal=None,
            state=DEPLOYMENT_STATE_PENDING,
            enclave_told=False,
            created=self._clock(),
        )
        await self._database.run(_keep, caller, new, request.sealed_model)
        return await self.show(caller, new.name)

    async def show(self, caller: Caller, name: str) -> Deployment:
        """A deployment that the caller may know of; raises Problem."""
        return await self._database.run(self._shown, caller, name)

    async def list_all(self, caller: Caller) -> list[Deployment]:
        """All that the caller may know of."""
        return await self._database.run(self._all_shown, caller)

    async def approve(self, caller: Caller, name: str, signed: SignedDeploymentApproval) -> Deployment:
        """Approve a pending deployment and have its enclave take it; raises Problem.

        One that is approved already is only brought to its enclave again.
        """
        found = await self._find(caller, name)
        governance.check_approval(caller, signed, found.terms, found.terms_digest, found.developer)
        await self._database.run(_approve, caller, name, signed, self._clock())
        await self._activate(await self._find(caller, name))
        return await self.show(caller, name)

    async def withdraw(self, caller: Caller, name: str, signed: SignedDeploymentWithdrawal) -> Deployment:
        """Withdraw a deployment for good, and tell its enclave; raises Problem.

        Nothing is sent to the enclave any more, whether it has been told or not. Where its node is away,
        `enclave_not_told` says so; to withdraw again tells it.
        """
        found = await self._find(caller, name)
        governance.check_withdrawal(caller, signed, found.terms, found.terms_digest)
        await self._database.run(_withdraw, caller, name, signed)
        found = await self._find(caller, name)
        task = WithdrawTask(terms=found.signed_terms, withdrawal=found.withdrawal)
        if not found.enclave_told and self._nodes.states().get(found.terms.node):
            await self._ask(found, Task(withdraw=task))
            await self._database.run(store.enclave_told, name)
        return await self.show(caller, name)

    async def predict(self, caller: Caller, request: PredictRequest) -> PredictionReply:
        """Count an order, and pass it to its enclave; raises Problem.

        A caller who goes away is counted all the same.
        """
        return await asyncio.shield(self._predict(caller, request))

    async def _predict(self, caller: Caller, request: PredictRequest) -> PredictionReply:
        order = governance.read(PredictionOrder, request.order.body)
        found = await self._find(caller, order.deployment)
        governance.check_order(caller, request, order, found.terms, found.terms_digest)
        if found.state == DEPLOYMENT_STATE_APPROVED:
            await self._activate(found)
        self._check_there(found)
        asked = _Asked(caller, found.name, rules.order_digest(request.order.body), order.rows)
        deployment = await self._database.run(_count, asked, self._clock())
        task = PredictTask(deployment=deployment, order=request.order, input=request.input)
        try:
            result = await self._ask(found, Task(predict=task))
        except Problem as problem:
            if problem.kind is Kind.FAILED and problem.code not in _MAYBE_COUNTED:
                await self._database.run(_take_back, asked)
            raise
        await self._database.run(_release, asked, self._clock())
        return result.prediction

    async def _activate(self, found: StoredDeployment) -> None:
        if found.state == DEPLOYMENT_STATE_APPROVED and self._nodes.states().get(found.terms.node):
            await self._ask(found, Task(check_deployment=await self._database.run(store.task, found)))
            await self._database.run(store.activate, found.name)

    async def _ask(self, found: StoredDeployment, task: Task) -> TaskResult:
        try:
            return await asyncio.wait_for(self._nodes.ask(found.terms.node, lambda: [task]), ANSWER_SECONDS)
        except TimeoutError as error:
            said = f"{found.terms.node} did not answer within {ANSWER_SECONDS:.0f} seconds."
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", said, hint="an order stays counted") from error

    async def _find(self, caller: Caller, name: str) -> StoredDeployment:
        return await self._database.run(store.find, name, caller)

    def _check_there(self, found: StoredDeployment) -> None:
        if found.state != DEPLOYMENT_STATE_WITHDRAWN and not self._nodes.states().get(found.terms.node):
            missing = unavailable([found.terms.node])
            missing.message = f"{found.terms.node}, which serves {found.name}, is not connected; nothing was counted."
            raise missing

    def _check_holder(self, node: str, key: bytes) -> None:
        epoch = self._nodes.epoch or self._nodes.check_connected()
        if (node, key) not in [(holder.node, holder.signing_key) for holder in epoch.holders]:
            said = f"The zone has no enclave of {node!r} with that key."
            raise Problem(Kind.CONFLICT, "unknown_node", said, field="node", hint="deploy again: nodes have changed")

    def _all_shown(self, connection: Connection, caller: Caller) -> list[Deployment]:
        return [self._describe(connection, caller, each) for each in store.list_all(connection, caller)]

    def _shown(self, connection: Connection, caller: Caller, name: str) -> Deployment:
        return self._describe(connection, caller, store.find(connection, name, caller))

    def _describe(self, connection: Connection, caller: Caller, found: StoredDeployment) -> Deployment:
        privy = governance.is_privy(caller, found.organisation)
        uses = store.uses(connection, found, self._clock())
        return Deployment(
            terms=found.signed_terms,
            state=found.state,
            developer=found.developer,
            organisation=found.organisation,
            created=Timestamp(seconds=int(found.created)),
            provenance=found.provenance if privy else None,
            candidates=self._candidates(found) if caller.role is Role.OPERATOR else [],
            uses=[use for use in uses if privy or use.organisation == caller.organisation],
            enclave_not_told=found.state == DEPLOYMENT_STATE_WITHDRAWN and not found.enclave_told,
        )

    def _candidates(self, found: StoredDeployment) -> list[ApprovedCaller]:
        """Everybody whom the terms' organisations have here: whom an operator approves."""
        return [
            ApprovedCaller(organisation=each.organisation, key=each.key)
            for each in self._callers
            if each.role is Role.DEVELOPER and each.organisation in found.terms.organisations
        ]


@dataclass(frozen=True)
class _Asked:
    """An order, as far as it is recorded: nothing of what is in its rows, nor of the answer."""

    caller: Caller
    deployment: str
    digest: bytes
    rows: int


def _keep(connection: Connection, caller: Caller, new: StoredDeployment, sealed_model: bytes) -> None:
    door.check_released(connection, new.provenance)
    door.check(connection, new, caller, new.created)
    store.check_few_pending(connection, new.organisation)
    store.add(connection, new, sealed_model)
    details = {"terms": new.terms_digest.hex(), "jobs": new.jobs, "callers": list(new.terms.organisations)}
    _record(connection, "deploy", caller, new.name, {**details, "fingerprint": new.terms.model_digest.hex()})


def _approve(connection: Connection, caller: Caller, name: str, signed: SignedDeploymentApproval, now: float) -> None:
    """Nothing is written of one that is approved already."""
    found = store.find(connection, name, caller)
    door.check(connection, found, caller, now)
    if found.state != DEPLOYMENT_STATE_APPROVED:
        store.approve(connection, name, signed)
        _record(connection, "approve", caller, name, {"terms": found.terms_digest.hex()})


def _withdraw(connection: Connection, caller: Caller, name: str, signed: SignedDeploymentWithdrawal) -> None:
    found = store.find(connection, name, caller)
    if store.withdraw(connection, name, signed):
        _record(connection, "withdraw", caller, name, {"terms": found.terms_digest.hex()})


def _count(connection: Connection, asked: _Asked, now: float) -> CheckDeploymentTask:
    """What its enclave is to predict with."""
    found = store.find(connection, asked.deployment, asked.caller)
    door.check(connection, found, asked.caller, now)
    store.count(connection, asked.deployment, asked.caller, asked.digest, asked.rows, now)
    _record_order(connection, "predict", asked)
    return store.task(connection, found)


def _take_back(connection: Connection, asked: _Asked) -> None:
    store.take_back(connection, asked.digest)
    _record_order(connection, "take_back", asked)


def _release(connection: Connection, asked: _Asked, now: float) -> None:
    """The last word before an answer leaves: it does not, where this raises Problem."""
    found = store.find(connection, asked.deployment, asked.caller)
    governance.check_active(found.name, found.state)
    door.check(connection, found, asked.caller, now)
    _record_order(connection, "answer", asked)


def _record_order(connection: Connection, step: str, asked: _Asked) -> None:
    details = {"rows": asked.rows, "order": asked.digest.hex()}
    _record(connection, step, asked.caller, asked.deployment, details)


def _record(connection: Connection, step: str, caller: Caller, name: str, details: Mapping[str, object]) -> None:
    who = {"person": caller.name, "organisation": caller.organisation}
    audit.append(connection, f"deployment.{step}", name, **who, details=details)
