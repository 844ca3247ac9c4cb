"""StopService."""

from __future__ import annotations

from yingbi.api.v1 import stop_pb2 as messages
from yingbi.api.v1.stop_pb2_grpc import StopServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.callers import Caller, Role
from gateway.governance.stops import AGREEMENT, DATASET, ORGANISATION, SUSPENSION
from gateway.jobs.stopping import Stopping
from gateway.storage import agreements, stops
from gateway.storage.database import Database


class StopService(StopServiceServicer):
    """Stops, lifts, and what nodes signed of them."""

    def __init__(self, database: Database, stopping: Stopping, authentication: Authentication) -> None:
        self._database = database
        self._stopping = stopping
        self._authentication = authentication

    @answers
    async def PreviewStop(self, request: messages.PreviewStopRequest, context: Context) -> messages.StopPreview:
        return await self._stopping.preview(self._authentication.caller(context), request.scope, request.subject)

    @answers
    async def Stop(self, request: messages.StopRequest, context: Context) -> messages.StopRecord:
        caller = self._authentication.caller(context)
        caller.certify(request.stop)
        return await self._stopping.stop(caller, request.stop)

    @answers
    async def Lift(self, request: messages.LiftRequest, context: Context) -> messages.StopRecord:
        caller = self._authentication.caller(context)
        caller.certify(request.lift)
        return await self._stopping.lift(caller, request.lift)

    @answers
    async def ListStops(self, request: messages.ListStopsRequest, context: Context) -> messages.ListStopsResponse:
        caller = self._authentication.caller(context)
        found = await self._database.run(
            lambda connection: stops.list_all(connection, request.subject, in_force=request.in_force)
        )
        if caller.role is not Role.DEVELOPER:
            return messages.ListStopsResponse(stops=found)
        own = await self._database.run(stops.jobs_of, caller.name)
        named = await self._database.run(agreements.names_of, caller.organisation)
        return messages.ListStopsResponse(stops=[each for each in found if _concerns(each, caller, own, named)])


def _concerns(record: messages.StopRecord, caller: Caller, own: set[str], named: set[str]) -> bool:
    """Whether a developer sees the stop: of what they use. Of others' jobs that it hit they see nothing."""
    kept = [job for job in record.jobs if job in own]
    record.ClearField("jobs")
    record.jobs.extend(kept)
    if record.stop.scope == DATASET or bool(kept):
        return True
    if record.stop.scope in (AGREEMENT, SUSPENSION):
        return record.stop.subject in named
    return record.stop.scope == ORGANISATION and record.stop.subject == caller.organisation
