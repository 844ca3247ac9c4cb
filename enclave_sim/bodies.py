"""Reading what others signed, before it is known whether they did."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

Body = TypeVar("Body", bound=Message)


def read_body(kind: type[Body], data: bytes) -> Body:
    """The message in signed bytes; an empty one where there is none.

    An empty body names nobody, no job and no plan. So it fails the checks that every body has to pass, whoever signed
    the bytes, and the refusal is that of a body that is somebody else's.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        return kind()
