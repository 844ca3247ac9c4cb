"""Steps of an agreement's life. Who suspends, resumes or terminates signs in the same act what enclaves check.

One transaction changes the legal state, records the stop or its end, ends the jobs, and writes the audit rows: there is
no agreement that is suspended and not stopped, whenever the gateway is killed.

Keeps: AGR-05
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection
from yingbi.api import digests
from yingbi.api.stop_scopes import OF_STEP
from yingbi.api.v1.agreement_pb2 import AgreementStep, RegisteredAgreement

from gateway.governance import stops as rules
from gateway.governance.agreement_states import Step
from gateway.governance.callers import Caller
from gateway.jobs.stopping import Recorded, Stopping
from gateway.storage import agreements, people, stops
from gateway.storage.database import Database


@dataclass(frozen=True)
class _Taken:
    """The agreement after a step, and what nodes have to be told: of a stop, or of the end of the one with a number."""

    agreement: RegisteredAgreement
    stopped: Recorded | None = None
    lifted: int | None = None


class AgreementSteps:
    """Takes steps, and tells the nodes of those that stop or lift."""

    def __init__(self, database: Database, stopping: Stopping, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._stopping = stopping
        self._clock = clock

    async def take(self, caller: Caller, asked: AgreementStep) -> RegisteredAgreement:
        """The agreement after the step; raises Problem, and nothing has changed.

        Who suspends or terminates with the same signed stop again is told how the agreement is, and changes nothing.
        Who resumed may resume again until every node has confirmed: the lift is replaced, and nothing else.
        """
        # A caller who goes away leaves no stop that nodes are not told of.
        return await asyncio.shield(self._take(caller, asked))

    async def _take(self, caller: Caller, asked: AgreementStep) -> RegisteredAgreement:
        if asked.action in OF_STEP:
            record = self._stopping.recording(caller, asked.stop)
            taken = await self._database.run(_stop, caller, asked, record, self._clock())
        elif asked.action == Step.RESUME:
            taken = await self._database.run(_resume, caller, asked, self._clock())
        else:
            return await self._database.run(_move, asked, caller, self._clock())
        if taken.stopped is not None:
            await self._stopping.announce(taken.stopped)
        if taken.lifted is not None:
            await self._stopping.announce_lift(taken.lifted, asked.lift)
        return taken.agreement


def _move(connection: Connection, asked: AgreementStep, caller: Caller, now: float) -> RegisteredAgreement:
    people.check_has_not_left(connection, caller)
    return agreements.move(connection, asked, caller, now)


def _stop(
    connection: Connection,
    caller: Caller,
    asked: AgreementStep,
    record: Callable[[Connection], Recorded],
    now: float,
) -> _Taken:
    number = stops.find(connection, digests.digest(digests.STOP, asked.stop.body))
    # A stop of an agreement may have been sent alone, by `yingbi stop agreement`: then the step is still to be taken.
    if number is not None and _has_taken(connection, caller, asked):
        rules.read_stop_of_step(caller, asked)
        return _Taken(agreements.show(connection, asked.agreement, caller.spends_as, now), Recorded(number))
    # First the step: whose move it is says more than what is wrong with the stop.
    moved = agreements.move(connection, asked, caller, now)
    rules.read_stop_of_step(caller, asked)
    return _Taken(moved, record(connection))


def _has_taken(connection: Connection, caller: Caller, asked: AgreementStep) -> bool:
    events = agreements.life(connection, asked.agreement).events
    return any((each.action, each.organisation) == (asked.action, caller.organisation) for each in events)


def _resume(connection: Connection, caller: Caller, asked: AgreementStep, now: float) -> _Taken:
    pending = stops.being_lifted(connection, asked.agreement, caller.organisation)
    if pending and asked.HasField("lift") and rules.read_lift_of_step(caller, asked).stop in pending:
        # The step was taken, and a node refused the lift that came with it: this one takes its place.
        lifted = stops.lift(connection, asked.lift, caller)
        return _Taken(agreements.show(connection, asked.agreement, caller.spends_as, now), lifted=lifted)
    moved = _move(connection, asked, caller, now)
    # What an earlier release suspended, no enclave was told of.
    if not stops.is_suspended(connection, asked.agreement, caller.organisation):
        return _Taken(moved)
    rules.read_lift_of_step(caller, asked)
    return _Taken(moved, lifted=stops.lift(connection, asked.lift, caller))
