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
    info.metadata.update({name: value for name, value in details.items() if value})
    status = status_pb2.Status(code=code.value[0], message=problem.message)
    status.details.add().Pack(info)
    await context.abort(code, problem.message, ((DETAILS, status.SerializeToString()),))


INTERNAL = Problem(Kind.FAILED, "internal", "The gateway failed; its log says why.")
