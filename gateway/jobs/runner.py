"""A job's way through the nodes: contribute, add, open, sign, release.

Every step may be repeated with the same result, so a restarted gateway simply begins again: nodes send the
contribution they stored, open the total they bound, and sign the same receipt. Vectors pass through files.

Once a job is charged, whatever becomes of it is told at a point of the time grid (`schedule`), a failure like a
release: otherwise the time of a failure would tell what the grid hides. Before that no node has looked at a row.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from sqlalchemy import Connection
from yingbi.api.evidence import roster_digest
from yingbi.api.parts import sign_tasks
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import (
    ContributeTask,
    Contribution,
    OpenedTotal,
    OpeningShare,
    OpenTask,
    Task,
    TaskResult,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import Decryption, Receipt

from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.threshold import WrongPartsError
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.layout import layout_of
from enclave_sim.plan.sensitivity import cells
from enclave_sim.plan.services import check_closed_since
from enclave_sim.shared_key import key_of
from gateway.aggregation.total import Partials, Total, add_up, consent_tasks, open_with, who_was_wrong
from gateway.aggregation.vectors import Vectors
from gateway.evidence.receipts import Bodies, assemble
from gateway.governance.registration import fits
from gateway.jobs import agreement_door, records, schedule, signatures, states
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes, Take, first_failure, no_take
from gateway.jobs.records import JobRecord
from gateway.ledger import ledger
from gateway.storage import agreements, approvals, catalogue, programs, stops
from gateway.storage.database import Database

log = logging.getLogger("gateway.jobs")

# How long a job waits for a node that went away, before it fails.
LOST_NODE_SECONDS = 15.0
# How long a job whose end cannot be written waits for room on the disk.
ROOM_SECONDS = 1.0
# How long a job that a restarted gateway takes up waits for the nodes to start and connect.
RECONNECT_SECONDS = 120.0


class Runner:
    """Runs admitted jobs, several at a time."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        feed: Feed,
        vectors: Vectors,
        *,
        wall_clock: Callable[[], float] = time.time,
        governed: bool = False,
    ) -> None:
        """`wall_clock` tells what agreements' terms are compared with: seconds since 1970.

        `governed`: no job begins under no agreement.
        """
        self._wall_clock = wall_clock
        self._governed = governed
        self._database = database
        self._vectors = vectors
        self._nodes = nodes
        self._feed = feed
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stages: dict[str, str] = {}

    async def resume(self) -> None:
        """Take up what an earlier run of the gateway left unfinished."""
        for record in await self._database.run(records.unfinished):
            self.start(record, RECONNECT_SECONDS)

    def start(self, record: JobRecord, patience: float = LOST_NODE_SECONDS) -> None:
        """Run a queued or running job in the background; waits `patience` seconds for nodes to connect."""
        self._running[record.job] = asyncio.create_task(self._run(record, patience))

    def stage(self, job: str) -> str:
        """What the nodes are doing for a running job: the name of a step of its way; empty where none has begun."""
        return self._stages.get(job, "")

    def _at(self, job: str, stage: str) -> None:
        self._stages[job] = stage
        self._feed.stage_changed(job)

    def end(self, job: str) -> None:
        """Wait no more for a job that was stopped: see `stopping`."""
        if task := self._running.pop(job, None):
            task.cancel()

    async def close(self) -> None:
        """Stop running jobs; they stay as they are in the database and are resumed at the next start."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _run(self, record: JobRecord, patience: float) -> None:
        started = time.monotonic()
        try:
            if record.state == states.RUNNING:
                await self._database.run(_check_goes_on, record, self._wall_clock())
            epoch = await self._connected(record, patience)
            _check_same_nodes(record, epoch)
            if record.state == states.QUEUED:
                record = await self._begin(record)
            limit = _deadline(Plan.FromString(record.plan))
            receipt = await asyncio.wait_for(self._compute(record, epoch), limit)
            await _next_point(started)
            await self._written(record.job, _succeed, record, receipt)
        except Problem as problem:
            await self._fail(record, problem, started)
        except TimeoutError:
            await self._fail(record, Problem(Kind.FAILED, "deadline", "The nodes did not finish in time."), started)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("job %s failed", record.job)
            internal = Problem(Kind.FAILED, "internal", "The gateway failed; its log says why.")
            await self._fail(record, internal, started)
        finally:
            self._vectors.remove(record.job)
            self._stages.pop(record.job, None)
            self._running.pop(record.job, None)
            self._feed.changed(record.job)

    async def _begin(self, record: JobRecord) -> JobRecord:
        """The charge becomes final here, before any node can unseal data for the plan; raises Problem."""
        begun = await self._database.run(_begin, record, self._wall_clock(), self._governed)
        self._feed.changed(record.job)
        return begun

    async def _compute(self, record: JobRecord, epoch: KeyEpoch) -> Receipt:
        sealed = await self._database.run(programs.of_job, record.job)
        agreed = await self._database.run(agreements.signed, record.agreement)
        approved = await self._database.run(approvals.signed, record.job)
        names = [holder.node for holder in epoch.holders]
        key = key_of(epoch)
        width = number_bytes(key.public.nsquare)
        keep = partial(self._keep, record.job, width)

        def contributing(name: str) -> Iterable[Task]:
            contribute = ContributeTask(
                plan=record.plan,
                authorization=record.authorization,
                approval=record.approval,
                approvals=approved,
                shards=record.registration.shards,
                program=sealed.get(name),
                agreement=agreed,
            )
            return [Task(job=record.job, contribute=contribute)]

        self._at(record.job, "contributing")
        answers = await self._ask_all(names, contributing, keep)
        for name, each in zip(names, answers, strict=True):
            self._nodes.heard(name, each.contribution.heads)
        signed = [_without_vector(each.contribution) for each in answers]
        self._at(record.job, "adding")
        total = await asyncio.to_thread(add_up, self._vectors.parts(record.job, names, width), signed, key)

        def consenting(_: str) -> Iterable[Task]:
            return consent_tasks(record.job, self._vectors.parts(record.job, names, width), signed)

        answers = await self._ask_all(names, consenting)
        consents = {name: each.opening_share for name, each in zip(names, answers, strict=True)}
        self._at(record.job, "opening")
        opened = await self._opened(record, epoch, total, consents)
        self._at(record.job, "signing")
        bodies = Bodies()
        answers = await self._ask_all(names, lambda _: sign_tasks(record.job, opened), bodies.take)
        assert self._nodes.signed_epoch is not None
        signatures = [each.receipt_signature.signature for each in answers]
        decryption = Decryption(total=to_bytes(total.ciphertexts, key.public.nsquare), randomness=opened.randomness)
        return assemble(bodies.one(), signatures, self._nodes.signed_epoch, decryption)

    async def _opened(
        self, record: JobRecord, epoch: KeyEpoch, total: Total, consents: dict[str, OpeningShare]
    ) -> OpenedTotal:
        """What the total holds, from as many nodes as it takes. Proofs are asked for where that went wrong."""
        key, openers = key_of(epoch), _openers(record.job, list(consents), epoch.threshold)
        decrypt = OpenTask(consents=consents.values())
        decrypted = await self._decrypted(record.job, openers, decrypt)
        shares = [decrypted.get(name, consent) for name, consent in consents.items()]
        layout = layout_of(Plan.FromString(record.plan), key.public.bits)
        try:
            return await asyncio.to_thread(open_with, shares, total, epoch, key, layout)
        except WrongPartsError:
            decrypt.prove = True
            proven = await self._decrypted(record.job, openers, decrypt)
            given = [decrypted[name] for name in openers]
            wrong = await asyncio.to_thread(who_was_wrong, given, proven.values(), total, epoch, key)
            raise wrong from None

    async def _decrypted(self, job: str, openers: list[str], decrypt: OpenTask) -> dict[str, OpeningShare]:
        partials = Partials()
        answers = await self._ask_all(openers, lambda _: [Task(job=job, open=decrypt)], partials.take)
        return {name: partials.share(name, each.opening_share) for name, each in zip(openers, answers, strict=True)}

    def _keep(self, job: str, width: int, node: str, result: TaskResult) -> None:
        contribution = result.contribution
        self._vectors.put(job, node, contribution.part.first, contribution.ciphertexts, width)
        contribution.ClearField("ciphertexts")

    async def _connected(self, record: JobRecord, patience: float) -> KeyEpoch:
        """The key epoch, once all nodes are there; a job that is taken up again was charged, and says so."""
        try:
            return await self._all_connected(patience)
        except Problem as problem:
            if record.state == states.QUEUED or "nodes" not in problem.details:
                raise
            raise _lost(problem.details["nodes"]) from problem

    async def _all_connected(self, patience: float) -> KeyEpoch:
        """After a restart, nodes come back one by one."""
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            if self._nodes.epoch is not None and not self._nodes.missing():
                break
            await asyncio.sleep(0.1)
        return self._nodes.check_connected()

    async def _ask_all(
        self, names: list[str], messages: Callable[[str], Iterable[Task]], take: Take = no_take
    ) -> list[TaskResult]:
        """Every node's result; fails when one refuses, or stays away for LOST_NODE_SECONDS."""
        asked = (self._nodes.ask(name, partial(messages, name), take) for name in names)
        asking = asyncio.ensure_future(first_failure(asked))
        watching = asyncio.ensure_future(self._watch_for_lost_nodes())
        try:
            await asyncio.wait({asking, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                watching.result()
            return await asking
        finally:
            asking.cancel()
            watching.cancel()

    async def _watch_for_lost_nodes(self) -> None:
        lost_since: dict[str, float] = {}
        while True:
            now = time.monotonic()
            missing = self._nodes.missing()
            lost_since = {name: lost_since.get(name, now) for name in missing}
            lost = [name for name, since in lost_since.items() if now - since > LOST_NODE_SECONDS]
            if lost:
                raise _lost(", ".join(lost))
            await asyncio.sleep(0.2)

    async def _fail(self, record: JobRecord, problem: Problem, started: float) -> None:
        if record.state != states.QUEUED:
            await _next_point(started)
        await self._written(record.job, _fail, record.job, records.failure_of(problem))

    async def _written(self, job: str, end: Callable[..., None], *arguments: object) -> None:
        """How the job ended, as soon as there is room to write it: nothing else would take the job up before a restart.

        Nothing is computed in these transactions, so that no node's own disk is meant.
        """
        # It may be what the job itself keeps that leaves none.
        self._vectors.remove(job)
        while True:
            try:
                return await self._database.run(end, *arguments)
            except Problem as problem:
                if problem.code != "storage":
                    raise
                log.error("%s", problem.message)
            await asyncio.sleep(ROOM_SECONDS)


def _lost(names: str) -> Problem:
    return Problem(
        Kind.UNAVAILABLE,
        "node_lost",
        f"Lost while the job ran: {names}. The budget is spent, since data may have been unsealed.",
        hint="start the node again and ask again",
    )


async def _next_point(started: float) -> None:
    """Wait for the next point of the grid that began at `started`."""
    elapsed = time.monotonic() - started
    await asyncio.sleep(schedule.next_point(elapsed) - elapsed)


def _deadline(plan: Plan) -> float:
    """Seconds that a job may take, from public parameters only; a program's blocks and models have theirs."""
    own = schedule.MODEL_SECONDS if plan.HasField("evaluation") else 0.0
    return schedule.deadline(cells(plan)) + own + 1.5 * plan.program.blocks * plan.program.block_millis / 1000


def _check_same_nodes(record: JobRecord, epoch: KeyEpoch) -> None:
    """Raise Problem where a node joined or left since the job was asked for. A new key alone is the enclaves' to judge.

    They refuse what they began under another key, and begin what none of them did.
    """
    if fits(record.registration.SerializeToString(), roster_digest(epoch)):
        return
    began = record.state == states.RUNNING
    price = "Its budget stays spent, since data may have been unsealed." if began else "Nothing was charged."
    raise Problem(
        Kind.FAILED,
        "other_epoch",
        f"A node joined or left while the job was under way. {price}",
        hint="the dataset has to be added again before it is asked again",
    )


def _openers(job: str, names: Sequence[str], threshold: int) -> list[str]:
    """The nodes that decrypt what all consented to: as many as it takes, in turn from job to job."""
    first = zlib.crc32(job.encode()) % len(names)
    return [names[(first + step) % len(names)] for step in range(threshold)]


def _without_vector(contribution: Contribution) -> Contribution:
    """All that is said of a contribution: its vector is in files."""
    return Contribution(signed=contribution.signed, proof=contribution.proof, heads=contribution.heads)


def _begin(connection: Connection, record: JobRecord, now: float, governed: bool) -> JobRecord:
    """A job may have waited for nodes, or for a gateway that was down, beyond the end of what was agreed or signed."""
    agreement_door.check(connection, record, now, governed=governed)
    signatures.check_count(connection, record, now)
    check_not_stopped(connection, record)
    check_still_open(connection, record)
    ledger.spend(connection, record.job)
    return records.move(connection, record.job, states.RUNNING)


def check_still_open(connection: Connection, record: JobRecord) -> None:
    """Raise Problem where a newer version of the dataset closed what the job does: enclaves refuse it, once charged."""
    present = catalogue.find(connection, record.dataset)
    plan = Plan.FromString(record.plan)
    if plan.dataset_version == present.version:
        return
    try:
        check_closed_since(plan, DatasetDeclaration.FromString(record.registration.declaration), present.declaration)
    except PlanError as error:
        said = f"{record.dataset} was added anew while the job waited, and closes what it asks: {error}."
        raise Problem(Kind.CONFLICT, "plan_changed", said, hint="preview and ask again") from error


def _check_goes_on(connection: Connection, record: JobRecord, now: float) -> None:
    """Raise Problem for a job, taken up after a restart, that was stopped or whose agreement has ended since.

    What superseded its agreement takes nothing from a job that had begun.
    """
    check_not_stopped(connection, record)
    agreements.check_goes_on(connection, record.agreement, now)


def _succeed(connection: Connection, record: JobRecord, receipt: Receipt) -> None:
    check_not_stopped(connection, record)
    if withheld := agreements.withheld(connection, record.agreement):
        raise withheld
    records.store_release(connection, record, receipt)
    records.set_state(connection, record.job, states.SUCCEEDED)


def check_not_stopped(connection: Connection, record: JobRecord) -> None:
    """Raise Problem where a stop in force covers the job: at every door, in the transaction that opens it."""
    stops.check_not_stopped(
        connection, dataset=record.dataset, organisation=record.organisation, agreement=record.agreement
    )


def _fail(connection: Connection, job: str, failure: Failure) -> None:
    if records.get(connection, job).state in states.ENDED:
        return  # cancelled in the meantime
    ledger.refund(connection, job)
    records.move(connection, job, states.FAILED, failure)
