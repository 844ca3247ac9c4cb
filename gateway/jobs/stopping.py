"""Stops: one transaction ends all that a stop covers and closes every door; then each node is told until it proves it.

From the transaction on nothing of it is released, whatever nodes still compute: a job that has ended cannot succeed.
Nodes are told before anything else that they are given, those that were away when they come back, and those that this
gateway had not told yet when it was killed.

Keeps: AGR-05, MON-01
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.stop_proofs import verify_proof
from yingbi.api.v1.job_pb2 import Failure
from yingbi.api.v1.node_pb2 import LiftTask, StopTask, Task, TaskResult
from yingbi.api.v1.stop_pb2 import (
    SignedLift,
    SignedStop,
    Stop,
    StopPreview,
    StopProofBody,
    StopRecord,
)

from gateway.governance import stops as rules
from gateway.governance.callers import Caller, Role
from gateway.governance.stops import AGREEMENT, JOB, ORGANISATION, SUSPENSION, Scope
from gateway.jobs import deployment_door, records, states
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.ledger import ledger
from gateway.storage import agreements, catalogue, people, stops
from gateway.storage.database import Database
from gateway.storage.stops import Told

log = logging.getLogger("gateway.stops")

# How long whoever stops waits for the nodes' proofs, at most; later ones are shown by `yingbi stops`.
PROOF_SECONDS = 2.0
# What a node refuses a lift with where it refuses the stop itself; a node of an earlier release says the second. Any
# other refusal may come from one that stopped, and whose proof was lost.
NEVER_STOPPED = frozenset({"never_stopped", "may_not_stop"})


@dataclass(frozen=True)
class _Telling:
    """A task that tells a node of a stop, or of its end."""

    told: Told
    of_lift: bool

    def task(self) -> Task:
        job = Stop.FromString(self.told.signed.body).subject if self.told.scope == JOB else ""
        if self.of_lift:
            return Task(job=job, lift=LiftTask(stop=self.told.signed, lift=self.told.lift))
        return Task(job=job, stop=StopTask(stop=self.told.signed))

    def digest(self) -> bytes:
        """What the proof names."""
        if self.told.lift is not None and self.of_lift:
            return digests.digest(digests.LIFT, self.told.lift.body)
        return self.told.digest

    def proven(self) -> set[str]:
        return self.told.lifted if self.of_lift else self.told.stopped


@dataclass(frozen=True)
class Recorded:
    """A stop that a transaction recorded, and the jobs that it ended; `told` is None where it was recorded before."""

    number: int
    told: Told | None = None
    ended: tuple[str, ...] = ()


class Stopping:
    """Stops and lifts; what nodes still have to be told of them."""

    def __init__(
        self,
        database: Database,
        nodes: Nodes,
        runner: Runner,
        feed: Feed,
        *,
        clock: Callable[[], float] = time.time,
        patience: float = PROOF_SECONDS,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._runner = runner
        self._feed = feed
        self._clock = clock
        self._patience = patience
        self._told: dict[int, Told] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()
        nodes.told_first = self._owed

    async def load(self) -> None:
        """Find what an earlier run of the gateway has not told all nodes. Before any node is heard."""
        self._told = {each.number: each for each in await self._database.run(stops.told)}
        for told in self._told.values():
            # It was killed before it knew that all had, or who had not is no node any more.
            await self._open_again(told, told.lifted)

    async def preview(self, caller: Caller, scope: Scope, subject: str) -> StopPreview:
        """What a stop would hit now; raises Problem as the stop would."""
        if scope not in rules.ACTIONS:
            raise Problem(Kind.MALFORMED, "bad_stop", "A job, an agreement, a dataset or an organisation is stopped.")
        rules.check_may_stop(caller, scope)
        return await self._database.run(_preview, caller, scope, subject)

    async def stop(self, caller: Caller, signed: SignedStop) -> StopRecord:
        """Stop what the caller signed; the record, with the proofs of nodes that answer at once. Raises Problem.

        The same stop again is the same record.
        """
        rules.read_stop_alone(caller, signed)
        return await self._carry_out(caller, signed)

    def recording(self, caller: Caller, signed: SignedStop) -> Callable[[Connection], Recorded]:
        """The step of a transaction that records a stop, once it was read, and ends all that it covers.

        `announce` what it returns. It raises Problem where this is not for the caller to stop.
        """
        nodes, at = list(self._nodes.states()), self._clock()
        return lambda connection: _record(connection, caller, signed, nodes, at)

    async def announce(self, done: Recorded, patience: float | None = None) -> StopRecord:
        """Tell the nodes of a stop that was recorded; the record, with the proofs of nodes that answer at once."""
        told = done.told
        if told is None:
            return await self._database.run(stops.describe, done.number)
        if told.members or told.scope != JOB:
            self._told[told.number] = told
        for job in done.ended:
            self._runner.end(job)
        record = await self._tell(_Telling(told, of_lift=False), self._patience if patience is None else patience)
        for job in done.ended:
            self._feed.changed(job)
        return record

    async def cancel(self, caller: Caller, job: str, reason: str = "") -> JobRecord:
        """End a job by a call that nobody signed: the same way. Raises Problem where it has ended already."""
        body = _cancellation(job, reason).SerializeToString(deterministic=True)
        # Whoever calls does not wait for nodes.
        await self._carry_out(caller, SignedStop(body=body), patience=0.0)
        return await self._database.run(records.get, job)

    def cancelling(
        self, caller: Caller, reason: str, jobs_of: Callable[[Connection], Iterable[str]]
    ) -> Callable[[Connection], list[Recorded]]:
        """The step of a transaction that ends jobs of whoever is removed in it, whoever asked for them.

        `announce` each of what it returns.
        """
        nodes, at = list(self._nodes.states()), self._clock()

        def cancel(connection: Connection, job: str) -> Recorded:
            stop = _cancellation(job, reason)
            signed = SignedStop(body=stop.SerializeToString(deterministic=True))
            return _end_jobs(connection, signed, stop, caller, nodes, at, [job])

        return lambda connection: [cancel(connection, job) for job in jobs_of(connection)]

    async def lift(self, caller: Caller, signed: SignedLift) -> StopRecord:
        """Let a dataset be used again, as soon as every node does; raises Problem."""
        rules.read_lift_alone(caller, signed)
        return await self.announce_lift(await self._database.run(stops.lift, signed, caller), signed)

    async def announce_lift(self, number: int, signed: SignedLift) -> StopRecord:
        """Tell the nodes of the end of a stop, which `stops.lift` recorded."""
        told = self._told.get(number) or await self._known(number)
        told.lift, told.lifted = signed, set()
        self._told[number] = told
        await self._open_again(told, told.lifted)
        return await self._tell(_Telling(told, of_lift=True), self._patience)

    async def close(self) -> None:
        """See what was heard to its end."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def _open_again(self, told: Told, lifted: set[str]) -> None:
        if told.lift is not None and set(self._nodes.states()) & (told.members | told.stopped) <= lifted:
            await self._database.run(stops.open_again, told.number, self._clock())

    async def _known(self, number: int) -> Told:
        return next(each for each in await self._database.run(stops.told) if each.number == number)

    async def _carry_out(self, caller: Caller, signed: SignedStop, patience: float | None = None) -> StopRecord:
        # A caller who goes away leaves no stop that nodes are not told of.
        return await asyncio.shield(self._recorded_and_told(caller, signed, patience))

    async def _recorded_and_told(self, caller: Caller, signed: SignedStop, patience: float | None) -> StopRecord:
        return await self.announce(await self._database.run(self.recording(caller, signed)), patience)

    async def _tell(self, telling: _Telling, patience: float) -> StopRecord:
        for name in self._nodes.states():
            if telling.told.is_owed(name):
                self._nodes.tell_first(name, lambda: [telling.task()], self._hearing(telling, name))
        present = {name for name, connected in self._nodes.states().items() if connected}
        try:
            async with self._changed:
                await asyncio.wait_for(self._changed.wait_for(lambda: present <= telling.proven()), patience)
        except TimeoutError:
            pass
        return await self._database.run(stops.describe, telling.told.number)

    def _owed(self, name: str) -> Iterator[tuple[Callable[[], list[Task]], Callable[[TaskResult], None]]]:
        """What a node that starts anew has to be told before all else."""
        for told in self._told.values():
            if told.is_owed(name):
                telling = _Telling(told, of_lift=told.lift is not None)
                yield self._telling_task(telling), self._hearing(telling, name)

    def _telling_task(self, telling: _Telling) -> Callable[[], list[Task]]:
        return lambda: [telling.task()]

    def _hearing(self, telling: _Telling, name: str) -> Callable[[TaskResult], None]:
        def heard(result: TaskResult) -> None:
            keeping = asyncio.ensure_future(self._keep(telling, name, result))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

        return heard

    async def _keep(self, telling: _Telling, name: str, result: TaskResult) -> None:
        told = telling.told
        try:
            body = self._proof(telling, name, result)
        except Problem as problem:
            log.warning("%s did not confirm stop %d: %s", name, told.number, problem.message)
            await self._database.run(stops.keep_refusal, told.number, name, problem.message)
            if telling.of_lift and problem.code in NEVER_STOPPED and name not in told.stopped:
                # Nothing of this is closed there.
                await self._proven(telling, name)
            return
        kept = (told.number, name, result.stopped)
        await self._database.run(
            lambda connection: stops.keep_proof(connection, *kept, of_lift=telling.of_lift, at=body.at_millis)
        )
        await self._proven(telling, name)
        if told.scope == JOB and told.members <= told.stopped:
            self._told.pop(told.number, None)

    async def _proven(self, telling: _Telling, name: str) -> None:
        if telling.of_lift:
            await self._open_again(telling.told, telling.told.lifted | {name})
        async with self._changed:
            telling.proven().add(name)
            self._changed.notify_all()

    def _proof(self, telling: _Telling, name: str, result: TaskResult) -> StopProofBody:
        if result.WhichOneof("kind") == "failure":
            raise Problem(Kind.FAILED, result.failure.code, result.failure.message)
        epoch = self._nodes.epoch
        keys = [holder.signing_key for holder in epoch.holders if holder.node == name] if epoch else []
        return verify_proof(result.stopped, name, telling.digest(), keys[0] if keys else b"")


def _preview(connection: Connection, caller: Caller, scope: Scope, subject: str) -> StopPreview:
    key = _key_of(connection, scope, subject)
    jobs = _checked_hit(connection, caller, scope, subject)
    return StopPreview(jobs=jobs, organisation_key=key, deployments=deployment_door.hit(connection, scope, subject))


def _key_of(connection: Connection, scope: Scope, subject: str) -> bytes:
    """The key that a stop names: of a developers' organisation, also of one that was removed; of others none."""
    if scope != ORGANISATION:
        return b""
    key = people.developers_key(connection, subject)
    if key is None:
        said = f"There is no developers' organisation {subject!r}."
        raise Problem(Kind.UNKNOWN, "unknown_organisation", said, field="subject")
    return key


def _checked_hit(connection: Connection, caller: Caller, scope: Scope, subject: str) -> list[str]:
    if scope == JOB:
        _own(connection, caller, subject)
    if scope == rules.DATASET:
        catalogue.find(connection, subject)
    if scope in (AGREEMENT, SUSPENSION):
        terms = agreements.life(connection, subject).terms
        rules.check_is_party(caller, subject, provider=terms.provider, supervisor=terms.supervisor)
    return stops.hit(connection, scope, subject, _predecessors(connection, scope, subject))


def _predecessors(connection: Connection, scope: Scope, subject: str) -> list[str]:
    return agreements.predecessors(connection, subject) if scope in (AGREEMENT, SUSPENSION) else []


def _check_predecessors(connection: Connection, stop: Stop) -> None:
    """Raise Problem unless enclaves are told of all that an agreement came in the place of, and of nothing else."""
    own = _predecessors(connection, stop.scope, stop.subject)
    if list(stop.predecessors) != own:
        raise Problem(
            Kind.CONFLICT,
            "other_predecessors",
            f"{stop.subject} came in the place of {', '.join(own) or 'no agreement'}: the stop has to name as many.",
            field="predecessors",
            hint="`yingbi`, the SDK and the console of this release sign those that the gateway shows",
        )


def _own(connection: Connection, caller: Caller, job: str) -> JobRecord:
    """The job, if the caller may stop it; another's does not exist for a developer. Raises Problem."""
    record = records.get(connection, job)
    if caller.role is Role.DEVELOPER and record.developer != caller.name:
        raise records.unknown(job)
    return record


def _record(connection: Connection, caller: Caller, signed: SignedStop, nodes: list[str], at: float) -> Recorded:
    """Record the stop and end all that it covers, or nothing where the same stop was recorded before."""
    stop = Stop.FromString(signed.body)
    if stop.organisation_key != _key_of(connection, stop.scope, stop.subject):
        raise Problem(Kind.CONFLICT, "other_organisation", f"The key signed for is not that of {stop.subject}.")
    digest = digests.digest(digests.STOP, signed.body)
    if (earlier := stops.find(connection, digest)) is not None:
        return Recorded(earlier)
    if stop.scope == JOB:
        record = _own(connection, caller, stop.subject)
        if record.state in states.ENDED:
            states.check_transition(record.job, record.state, states.CANCELLED)
    ended = _checked_hit(connection, caller, stop.scope, stop.subject)
    _check_predecessors(connection, stop)
    return _end_jobs(connection, signed, stop, caller, nodes, at, ended)


def _cancellation(job: str, reason: str) -> Stop:
    """What nobody signs."""
    stop = Stop(scope=JOB, subject=job, reason=reason)
    stop.issued.FromNanoseconds(time.time_ns())
    return stop


def _end_jobs(
    connection: Connection,
    signed: SignedStop,
    stop: Stop,
    caller: Caller,
    nodes: list[str],
    at: float,
    ended: Sequence[str],
) -> Recorded:
    """Record the stop, and end these jobs, which it covers."""
    told = stops.add(connection, signed, caller, ended, nodes, at)
    failure = _failure(connection, told, caller, stop)
    for job in ended:
        ledger.refund(connection, job)
        records.set_state(connection, job, states.CANCELLED, failure)
    return Recorded(told.number, told, tuple(ended))


def _failure(connection: Connection, told: Told, caller: Caller, stop: Stop) -> Failure:
    """What the ended jobs say; one's own job that was stopped without a word says that it was cancelled."""
    if stop.scope == JOB and not stop.reason:
        return Failure(code="cancelled", message=f"Job {stop.subject} was cancelled.")
    problem = stops.problem_of(connection, told.number)
    return Failure(code="cancelled" if stop.scope == JOB else problem.code, message=problem.message)
