"""Calls by gRPC that Ctrl-C leaves whole."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar, cast

Response = TypeVar("Response")


def uninterrupted(call: Callable[[], Response]) -> Response:
    """Make the call in a thread of its own, and wait for it where an interrupt does no harm.

    A KeyboardInterrupt between gRPC's steps leaves half a call, for whose end closing the channel then waits
    for ever. Raises what the call raises.
    """
    done: SimpleQueue[tuple[Response | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except Exception as error:
            done.put((None, error))

    Thread(target=run, daemon=True).start()
    response, error = done.get()
    if error is not None:
        raise error
    return cast(Response, response)
