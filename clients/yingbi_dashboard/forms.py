"""What pages post, read: forms, and bytes in base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from yingbi.api.problem import Kind, Problem

MAX_BODY = 64 * 1024
MAX_DOCUMENT = 256 * 1024
"""Of a form with a whole document, or a question, in it: each of its bytes can take three."""


async def read_form(request: Request, most: int = MAX_BODY) -> Mapping[str, str]:
    """The fields of a form of at most `most` bytes; raises Problem for what is none, or too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Problem(Kind.MALFORMED, "too_long", "The request is too long.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise Problem(Kind.MALFORMED, "form", "The request is no form.") from error


def from_base64(text: str, field: str) -> bytes:
    """The bytes; raises Problem that names the field."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(Kind.MALFORMED, field, f"The {field} is not base64.", field=field) from error


def to_base64(data: bytes) -> str:
    """The text."""
    return base64.b64encode(data).decode()
