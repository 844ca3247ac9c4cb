"""Messages inside messages: what is signed travels as bytes, which their sender may have made of anything. Pure."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from yingbi.api.problem import Kind, Problem

Body = TypeVar("Body", bound=Message)


def read(kind: type[Body], data: bytes, field: str) -> Body:
    """The message that the bytes in `field` of a request are; raises Problem MALFORMED "bad_message"."""
    try:
        return kind.FromString(data)
    except DecodeError as error:
        said = f"The bytes in {field} are no serialized {kind.__name__}."
        raise Problem(Kind.MALFORMED, "bad_message", said, field=field) from error
