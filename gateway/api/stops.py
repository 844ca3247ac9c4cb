"""StopService."""

from __future__ import annotations

from sqlalchemy import Connection
from yingbi.api.v1 import stop_pb2 as messages
from yingbi.api.v1.stop_pb2_grpc import StopServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance import stops as rules
from gateway.governance.callers import Caller, Role
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
        found = await self._database.run(_listed, caller, request)
        return messages.ListStopsResponse(stops=found)


def _listed(connection: Connection, caller: Caller, request: messages.ListStopsRequest) -> list[messages.StopRecord]:
    if caller.role is not Role.DEVELOPER:
        return stops.list_all(connection, request.subject, in_force=request.in_force)
    found = stops.list_all(connection, request.subject, in_force=request.in_force, developer=caller.name)
    own, named = stops.jobs_of(connection, caller.name), agreements.names_of(connection, caller.organisation)
    told = (rules.told_to_developer(each, caller.organisation, own, named) for each in found)
    return [each for each in told if each is not None]
