"""Bytes that are no request: whoever sends them is told so. gRPC by itself would call it a fault of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from yingbi.api.problem import Kind, Problem

from gateway.api.errors import Context, abort

UNREADABLE = object()
"""In the place of a request that is none."""


# Generic for type checkers only.
class ReadableRequests(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Passes on only what is a message of the method's kind; the rest ends as MALFORMED "bad_message"."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, which looks first at what it got."""
        handler = await continuation(handler_call_details)
        ours = handler_call_details.method.startswith("/yingbi.")
        if handler is None or not ours or handler.request_streaming:
            return handler
        reading = _reading(handler.request_deserializer)
        if handler.response_streaming:
            streamed = _streamed(handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(streamed, reading, handler.response_serializer)
        answered = _answered(handler.unary_unary)
        return grpc.unary_unary_rpc_method_handler(answered, reading, handler.response_serializer)


def _reading(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return UNREADABLE

    return read


def _answered(method: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    async def answering(request: Any, context: Context) -> Any:
        return await (_refuse(context) if request is UNREADABLE else method(request, context))

    return answering


def _streamed(method: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
        if request is UNREADABLE:
            await _refuse(context)
        async for reply in method(request, context):
            yield reply

    return streaming


async def _refuse(context: Context) -> NoReturn:
    said = "The bytes sent are no message of the kind that this method takes."
    await abort(context, Problem(Kind.MALFORMED, "bad_message", said, hint="use the SDK, or the messages in proto/"))
