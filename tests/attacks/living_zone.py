"""A whole zone in one process: the gateway's own parts, and three enclaves that take tasks as nodes bring them.

What is left out is what carries messages: sockets, TLS and processes. A gateway can be killed and started again on the
same database, and a node can go away and come back.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import update
from yingbi.api import digests
from yingbi.api.stop_scopes import OF_STEP
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementStep, RegisteredAgreement
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest
from yingbi.api.v1.job_pb2 import Authorization, Job, Query, SubmitQueryRequest
from yingbi.api.v1.node_pb2 import Hello, NextTaskRequest, Task, TaskResult
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.stop_pb2 import Lift, SignedLift, SignedStop, Stop, StopRecord
from yingbi.stops import suspension_by

from enclave_sim.authority import Policy
from enclave_sim.enclave import Enclave
from enclave_sim.enclave_process import Worker
from enclave_sim.plan.canonical import plan_hash
from enclave_sim.plan.sensitivity import total_rho_units
from gateway.aggregation.vectors import Vectors
from gateway.api.authentication import Authentication
from gateway.governance.agreement_states import SUPERSEDED
from gateway.governance.callers import Caller, Role
from gateway.governance.registration import RegisteredDataset
from gateway.governance.stops import SUSPENSION, Scope
from gateway.jobs import records
from gateway.jobs.admission import Admission
from gateway.jobs.agreement_steps import AgreementSteps
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord
from gateway.jobs.removals import Removals
from gateway.jobs.runner import Runner
from gateway.jobs.stopping import Stopping
from gateway.storage import agreements, catalogue, people, stops
from gateway.storage.database import Database
from gateway.storage.tables import agreements as agreement_rows
from tests.attacks.three_enclaves import DELTA, Trio, visits_declaration, visits_of

GUARDED = "guarded"
"""A dataset whose jobs wait for approval."""


@dataclass(frozen=True)
class Person:
    """An account with its key."""

    caller: Caller
    key: Ed25519PrivateKey


def person(name: str, role: Role, organisation: str = "") -> Person:
    key = Ed25519PrivateKey.generate()
    return Person(Caller(name, role, name, key.public_key().public_bytes_raw().hex(), organisation or str(role)), key)


@dataclass
class Link:
    """A node between its enclave and the gateway; `told` are the kinds of tasks that it brought."""

    enclave: Enclave
    told: list[str] = field(default_factory=list)
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    async def serve(self, nodes: Nodes) -> None:
        """Until it is cancelled: then the enclave's answers go nowhere."""
        loop, results = asyncio.get_running_loop(), asyncio.Queue[TaskResult]()

        def answered(result: TaskResult) -> None:
            loop.call_soon_threadsafe(results.put_nowait, result)

        worker = Worker(self.enclave, answered)

        async def answer() -> None:
            while True:
                await nodes.complete(self.enclave.node, await results.get())

        answering = asyncio.create_task(answer())
        request = NextTaskRequest(run=self.run, hello=Hello(node=self.enclave.node))
        try:
            while True:
                task = Task()
                task.CopyFrom(await nodes.next_task(self.enclave.node, request, 20))
                if task.id:
                    request.received = task.sequence
                    self.told.append(task.WhichOneof("kind") or "")
                    await asyncio.to_thread(worker.accept, task)
        finally:
            answering.cancel()
            worker._tasks.shutdown(wait=False)


class LivingZone:
    """A gateway and its nodes; used within one event loop."""

    def __init__(self, trio: Trio, developers: int = 1) -> None:
        """`developers`: how many organisations ask, each with one person."""
        self.trio = trio
        roles = (Role.PROVIDER, Role.SUPERVISOR, Role.OPERATOR, Role.COORDINATOR)
        self.people = {role: person(f"a-{role}", role) for role in roles}
        self.developers = [person(f"dev-{n}", Role.DEVELOPER, f"org-{n}") for n in range(developers)]
        self.numbers = itertools.count(1)
        trio.add(visits_declaration(GUARDED, grade=3), [visits_of(node) for node in range(3)])
        policy = Policy(
            developers=frozenset(each.caller.key for each in self.developers),
            auto_approve=True,
            **{f"{role}s": frozenset({each.caller.key}) for role, each in self.people.items()},
        )
        trio.enclaves = [replace(each, policy=policy) for each in trio.enclaves]
        self.links = {each.node: Link(each) for each in trio.enclaves}
        self.serving: dict[str, asyncio.Task[None]] = {}
        self._folder = trio.folder / "gateway"
        self._folder.mkdir()

    async def start(self) -> None:
        """The gateway, anew on what is on disk, and all nodes that are there."""
        epoch = self.trio.enclaves[0].epoch
        self.database, feed = Database(self._folder / "gateway.db"), Feed()
        first = [each.caller for each in (*self.people.values(), *self.developers)]
        self.authentication = Authentication(await self.database.run(people.seed, first, time.time()))
        self.nodes = Nodes(lambda hello: epoch)
        self.nodes.epoch, self.nodes.signed_epoch = epoch, self.trio.enclaves[0].signed_epoch
        self.runner = Runner(self.database, self.nodes, feed, Vectors(self._folder / "vectors"))
        self.admission = Admission(self.database, self.nodes, self.runner, auto_approve=False)
        self.stopping = Stopping(self.database, self.nodes, self.runner, feed, patience=60.0)
        self.steps = AgreementSteps(self.database, self.stopping)
        self.removals = Removals(self.stopping, partial(self.authentication.change, self.database))
        await self.stopping.load()
        for name in self.links:
            self.connect(name)
        await self._until(lambda: not self.nodes.missing())

    async def add_datasets(self) -> None:
        for dataset in ("visits", GUARDED):
            shards = RegisterDatasetRequest(shards=self.trio.shards[dataset]).SerializeToString()
            found = RegisteredDataset(self.trio.declaration(dataset), self.trio.version(dataset), shards)
            await self.database.run(catalogue.register, found)

    async def agree(self, who: Person, supersedes: str = "") -> str:
        """An agreement about `visits`, registered as in a zone made with --auto-approve."""
        name = f"agreement-{next(self.numbers)}"
        terms = Agreement(
            agreement=name,
            dataset="visits",
            organisation=who.caller.organisation,
            provider="provider",
            supervisor="supervisor",
            purpose="a test",
            starts=Timestamp(seconds=int(time.time()) - 60),
            expires=Timestamp(seconds=int(time.time()) + 3600),
            budget_epsilon=100.0,
            budget_delta=DELTA,
            supersedes=supersedes,
        )
        await self.database.run(agreements.register, terms, time.time())
        if supersedes:
            # As the last signature of a supplement does.
            replaced = update(agreement_rows).where(agreement_rows.c.agreement == supersedes).values(state=SUPERSEDED)
            await self.database.run(lambda connection: connection.execute(replaced))
        return name

    def connect(self, name: str) -> None:
        self.serving[name] = asyncio.create_task(self.links[name].serve(self.nodes))

    async def disconnect(self, name: str) -> None:
        """The node's process is gone; another run of it comes back."""
        self.serving[name].cancel()
        await asyncio.gather(self.serving.pop(name), return_exceptions=True)
        self.links[name] = Link(self.links[name].enclave)

    async def kill(self) -> None:
        """The gateway is gone, as by SIGKILL; the nodes' processes are not, and look for it."""
        for task in self.serving.values():
            task.cancel()
        await asyncio.gather(*self.serving.values(), return_exceptions=True)
        for link in self.links.values():
            link.told.clear()
        await self.runner.close()
        self.database.close()

    async def submit(self, who: Person, dataset: str = "visits", agreement: str = "") -> Job:
        """Ask what nobody asked before."""
        number = next(self.numbers)
        query = Query(
            dataset=dataset, sql=f"SELECT COUNT(*) AS n{number} FROM visits", epsilon=0.05, agreement=agreement
        )
        plan = (await self.admission.preview(who.caller, query)).plan
        authorization = Authorization(
            plan_hash=plan_hash(plan),
            rho_units=total_rho_units(Plan.FromString(plan)),
            delta=Plan.FromString(plan).delta,
            request_id=f"request-{number}",
            expires=Timestamp(seconds=int(time.time()) + 600),
            developer_key=who.caller.key,
            agreement=agreement,
        )
        body = authorization.SerializeToString(deterministic=True)
        signature = digests.sign(who.key, digests.AUTHORIZATION, body)
        request = SubmitQueryRequest(query=query, authorization=authorization, signature=signature)
        return await self.admission.submit(who.caller, request)

    async def stop(self, who: Person, scope: Scope, subject: str) -> StopRecord:
        before = await self.database.run(agreements.predecessors, subject)
        return await self.stopping.stop(who.caller, self.signed_stop(who, scope, subject, before))

    def signed_stop(self, who: Person, scope: Scope, subject: str, predecessors: Sequence[str] = ()) -> SignedStop:
        keys = {each.caller.organisation: each.caller.key for each in self.developers}
        stop = Stop(scope=scope, subject=subject, reason="a test", signer_key=who.caller.key, predecessors=predecessors)
        stop.organisation_key = keys.get(subject, b"")
        stop.issued.FromNanoseconds(time.time_ns())
        body = stop.SerializeToString(deterministic=True)
        return SignedStop(body=body, signature=digests.sign(who.key, digests.STOP, body))

    async def step(self, who: Person, action: str, agreement: str) -> RegisteredAgreement:
        """Suspend, resume or terminate an agreement: signed for the enclaves as clients do."""
        return await self.steps.take(who.caller, await self.signed_step(who, action, agreement))

    async def signed_step(self, who: Person, action: str, agreement: str) -> AgreementStep:
        asked = AgreementStep(agreement=agreement, action=action, reason="a test")
        if action in OF_STEP:
            before = await self.database.run(agreements.predecessors, agreement)
            asked.stop.CopyFrom(self.signed_stop(who, OF_STEP[action], agreement, before))
        elif (held := suspension_by(await self.stops_of(agreement), who.caller.organisation)) is not None:
            asked.lift.CopyFrom(self.signed_lift(who, held))
        return asked

    async def stops_of(self, agreement: str) -> list[StopRecord]:
        """The stops of an agreement that are in force, with what nodes signed."""
        return await self.database.run(lambda connection: stops.list_all(connection, agreement, in_force=True))

    async def lift(self, who: Person, cut_off: StopRecord) -> StopRecord:
        return await self.stopping.lift(who.caller, self.signed_lift(who, cut_off))

    def signed_lift(self, who: Person, cut_off: StopRecord) -> SignedLift:
        said = Lift(stop=cut_off.digest, signer_key=who.caller.key)
        if cut_off.stop.scope == SUSPENSION:
            said.agreement = cut_off.stop.subject
        else:
            said.dataset = cut_off.stop.subject
        body = said.SerializeToString(deterministic=True)
        return SignedLift(body=body, signature=digests.sign(who.key, digests.LIFT, body))

    async def record(self, job: str) -> JobRecord:
        return await self.database.run(records.get, job)

    async def ended(self, jobs: Iterable[str], ended: frozenset[int]) -> None:
        """Wait until all these jobs have ended."""
        for job in jobs:
            while (await self.record(job)).state not in ended:
                await asyncio.sleep(0.02)

    async def _until(self, holds: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up, "waited in vain"
            await asyncio.sleep(0.01)


async def live(trio: Trio, developers: int = 1) -> LivingZone:
    """A zone that runs, with both datasets."""
    zone = LivingZone(trio, developers)
    await zone.start()
    await zone.add_datasets()
    return zone
