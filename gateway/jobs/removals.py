"""Removing an organisation or a person: in one transaction they leave, and what they asked for is stopped.

So of who was removed nothing goes on, whenever the gateway is killed; nodes are told as of any stop.

Enclaves know a developers' organisation by its key, whoever the gateway says is filed: so who removes it signs the stop
by which they refuse it. An organisation of another kind asks for nothing.

Keeps: AGR-05
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError
from sqlalchemy import Connection
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Organisation, Person, RemoveOrganisationRequest, RemovePersonRequest
from yingbi.api.v1.stop_pb2 import SignedStop

from gateway.governance import stops as rules
from gateway.governance.callers import Caller
from gateway.jobs.stopping import Recorded, Stopping
from gateway.storage import people, stops
from gateway.storage.people import Said

Result = TypeVar("Result")
Removed = TypeVar("Removed", Organisation, Person)
Leave = Callable[[Connection, Caller, str, float], Removed]
End = Callable[[Connection], Sequence[Recorded]]
"""The step that ends what whoever is removed asked for."""


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
        if signed is None:
            jobs = partial(stops.hit, scope=rules.ORGANISATION, subject=said.subject)
            end: End = self._stopping.cancelling(caller, said.reason, jobs)
            patience: float | None = 0.0  # Of what nobody signed there is no proof to wait for.
        else:
            end, patience = _by_stop(self._stopping.recording(caller, signed)), None
        # Who goes away leaves no stop that nodes are not told of.
        return await asyncio.shield(self._remove(caller, said, people.remove_organisation, end, patience))

    async def remove_person(self, caller: Caller, request: RemovePersonRequest) -> Person:
        """Remove a person of the caller's organisation, whose jobs end; raises Problem, and nothing has changed."""
        said = _said("person removed", caller, request.person, request.reason)
        end = self._stopping.cancelling(caller, said.reason, partial(stops.open_of, developer=said.subject))
        # Who goes away leaves no job running of who was removed.
        return await asyncio.shield(self._remove(caller, said, people.remove, end, 0.0))

    async def _remove(
        self, caller: Caller, said: Said, leave: Leave[Removed], end: End, patience: float | None
    ) -> Removed:
        ended: list[Recorded] = []

        def step(connection: Connection) -> Removed:
            left = leave(connection, caller, said.subject, self._clock())
            ended.extend(end(connection))
            return left

        removed = await self._change(said, step)
        for each in ended:
            await self._stopping.announce(each, patience)
        return removed


def _by_stop(record: Callable[[Connection], Recorded]) -> End:
    return lambda connection: [record(connection)]


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


def _said(action: str, caller: Caller, subject: str, reason: str) -> Said:
    if not reason.strip():
        raise Problem(Kind.MALFORMED, "reason", "A removal carries its reason.", field="reason")
    return Said(action, caller.name, caller.organisation, subject, reason.strip())
