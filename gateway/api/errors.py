"""Problems as gRPC statuses: `google.rpc.Status` with one `ErrorInfo` (AIP-193)."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from yingbi.api.problem import Kind, Problem

log = logging.getLogger("gateway.api")

DETAILS = "grpc-status-details-bin"
# Clients refuse trailers beyond 8 KiB, and then nobody knows what was wrong. The sentence is in them twice: with each
# byte that is no ASCII as three, and in base64 with the details.
MAX_SENTENCE = 1000
MAX_DETAILS = 2000
Request = TypeVar("Request")
Reply = TypeVar("Reply")
Context = grpc.aio.ServicerContext[Any, Any]


def answers(
    method: Callable[[Any, Request, Context], Awaitable[Reply]],
) -> Callable[[Any, Request, Context], Awaitable[Reply]]:
    """Turn the problems that a unary method raises into statuses."""

    @functools.wraps(method)
    async def answering(self: Any, request: Request, context: Context) -> Reply:
        try:
            return await method(self, request, context)
        except Problem as problem:
            await abort(context, problem)
        except grpc.aio.AbortError:
            raise
        except Exception:
            log.exception("%s failed", method.__name__)
            await abort(context, INTERNAL)

    return answering


def streams(
    method: Callable[[Any, Request, Context], AsyncIterator[Reply]],
) -> Callable[[Any, Request, Context], AsyncIterator[Reply]]:
    """The same for a method that answers with a stream."""

    @functools.wraps(method)
    async def streaming(self: Any, request: Request, context: Context) -> AsyncIterator[Reply]:
        try:
            async for reply in method(self, request, context):
                yield reply
        except Problem as problem:
            await abort(context, problem)
        except grpc.aio.AbortError:
            raise
        except Exception:
            log.exception("%s failed", method.__name__)
            await abort(context, INTERNAL)

    return streaming


async def abort(context: Context, problem: Problem) -> NoReturn:
    """End the call with the problem."""
    code = grpc.StatusCode[problem.kind.status]
    details = {"field": problem.field, "position": problem.position, "hint": problem.hint, **problem.details}
    info = error_details_pb2.ErrorInfo(reason=problem.code, domain="yingbi")
    left = MAX_DETAILS
    for name, value in details.items():
        if value and left > 0:
            info.metadata[name] = cut(value, left)
            left -= len(info.metadata[name].encode())
    message = cut(problem.message, MAX_SENTENCE)
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(info)
    await context.abort(code, message, ((DETAILS, status.SerializeToString()),))


def cut(text: str, most: int) -> str:
    """The text, or as much of its beginning as `most` bytes of UTF-8 hold, and "..." where the rest was."""
    # What is no text, as half of a surrogate pair, is no message either.
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= most else data[: max(0, most - 3)].decode(errors="ignore") + "..."


INTERNAL = Problem(Kind.FAILED, "internal", "The gateway failed; its log says why.")
