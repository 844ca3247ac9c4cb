"""Pages are told that something changed, and ask for what they show again: server-sent events.

Only that there is something new is said, and of which job. A stream ends after some seconds and the page asks for the
next: so one whose reader is gone ends too, and who signed out elsewhere is noticed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import grpc
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from yingbi.api.problem import Problem
from yingbi.api.v1.job_pb2 import WatchChangesRequest
from yingbi.api.v1.job_pb2_grpc import JobServiceStub
from yingbi.profile import Profile
from yingbi.transport import awaited_channel_to

from yingbi_dashboard import security

STREAM_SECONDS = 10.0
_AGAIN_MILLIS = 500
_SIGNED_OUT = "event: signed-out\ndata: {}\n\n"
# Asked for again, it would be refused again.
_FOR_NOBODY = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)


class Live:
    """Follows the gateway's changes, for each page that is open."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._channel: grpc.aio.Channel | None = None

    def routes(self) -> list[Route]:
        return [Route("/changes", self._changes)]

    async def _changes(self, request: Request) -> Response:
        try:
            credential = security.checked_credential(request.cookies.get(security.SESSION, ""))
        except Problem:
            return _events(_once(_SIGNED_OUT))
        return _events(self._follow(credential))

    async def _follow(self, credential: str) -> AsyncIterator[str]:
        yield f"retry: {_AGAIN_MILLIS}\n\n"
        if self._channel is None:
            self._channel = awaited_channel_to(self._profile.reachable_at(), self._profile.ca_pem)
        metadata = (("authorization", f"Bearer {credential}"),)
        watching = JobServiceStub(self._channel).WatchChanges
        stream = watching(WatchChangesRequest(), metadata=metadata, timeout=STREAM_SECONDS)
        try:
            async for change in stream:
                yield f"event: changed\ndata: {json.dumps({'job': change.job})}\n\n"
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                yield _SIGNED_OUT
            elif error.code() in _FOR_NOBODY:
                yield "event: never\ndata: {}\n\n"
        finally:
            stream.cancel()


def _events(lines: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(lines, media_type="text/event-stream")


async def _once(line: str) -> AsyncIterator[str]:
    yield line
