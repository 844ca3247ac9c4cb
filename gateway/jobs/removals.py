"""Removing who asks: in one transaction people leave, and what they asked for is stopped, at the nodes too.

Enclaves know a developers' organisation by its key, whoever the gateway says is filed: so who removes it signs the stop
by which they refuse it. An organisation of another kind asks for nothing.

Keeps: AGR-05
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError
from sqlalchemy import Connection
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Organisation, Person, RemoveOrganisationRequest, RemovePersonRequest
from yingbi.api.v1.stop_pb2 import SignedStop

from gateway.governance import stops as rules
from gateway.governance.callers import Caller
from gateway.jobs.stopping import Recorded, Stopping
from gateway.storage import people
from gateway.storage.people import Said

Result = TypeVar("Result")
Record = Callable[[Connection], Recorded]


class Change(Protocol):
    """Carries out a step of one transaction, after which nobody calls who may not any more; raises Problem."""

    def __call__(self, said: Said, step: Callable[..., Result], *arguments: Any) -> Awaitable[Result]: ...


class Removals:
    """Removes organisations and people, and ends what they asked for."""

    def __init__(self, stopping: Stopping, change: Change, clock: Callable[[], float] = time.time) -> None:
        self._stopping = stopping
        self._change = change
        self._clock = clock

    async def remove_organisation(self, caller: Caller, request: RemoveOrganisationRequest) -> Organisation:
        """Remove an organisation with all its people; raises Problem, and nothing has changed.

        Its jobs end by the stop that the caller signed, which nodes are told of; without one, each by itself.
        """
        said = _said("organisation removed", caller, request.organisation, request.reason)
        signed = _signed_stop(caller, request)
        # Who goes away leaves no stop that nodes are not told of.
        return await asyncio.shield(self._remove_organisation(caller, said, signed))

    async def remove_person(self, caller: Caller, request: RemovePersonRequest) -> Person:
        """Remove a person of the caller's organisation, whose jobs end; raises Problem, and nothing has changed."""
        said = _said("person removed", caller, request.person, request.reason)
        # Who goes away leaves no job of who was removed.
        return await asyncio.shield(self._remove_person(caller, said))

    async def _remove_organisation(self, caller: Caller, said: Said, signed: SignedStop | None) -> Organisation:
        record = None if signed is None else self._stopping.recording(caller, signed)
        removed, stopped = await self._change(said, _remove, caller, said.subject, record, self._clock())
        if stopped is None:
            await self._stopping.cancel_of(caller, said.reason, organisation=said.subject)
        else:
            await self._stopping.announce(stopped)
        return removed

    async def _remove_person(self, caller: Caller, said: Said) -> Person:
        removed = await self._change(said, people.remove, caller, said.subject, self._clock())
        await self._stopping.cancel_of(caller, said.reason, developer=said.subject)
        return removed


def _signed_stop(caller: Caller, request: RemoveOrganisationRequest) -> SignedStop | None:
    """The stop that a removal comes with: of that organisation, by the caller; None where there is none.

    Raises Problem for another.
    """
    if not request.signed_stop:
        return None
    try:
        signed = SignedStop.FromString(request.signed_stop)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, "bad_stop", "What was signed is no stop.", field="signed_stop") from error
    caller.certify(signed)
    stop = rules.read_stop_alone(caller, signed)
    if (stop.scope, stop.subject) != (rules.ORGANISATION, request.organisation):
        said = "The stop that is signed is not that of the organisation to remove."
        raise Problem(Kind.MALFORMED, "other_stop", said, field="signed_stop")
    return signed


def _remove(
    connection: Connection, caller: Caller, name: str, record: Record | None, now: float
) -> tuple[Organisation, Recorded | None]:
    removed = people.remove_organisation(connection, caller, name, now)
    return removed, None if record is None else record(connection)


def _said(action: str, caller: Caller, subject: str, reason: str) -> Said:
    if not reason.strip():
        raise Problem(Kind.MALFORMED, "reason", "A removal carries its reason.", field="reason")
    return Said(action, caller.name, caller.organisation, subject, reason.strip())
