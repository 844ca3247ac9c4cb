"""The source of a job's program, as a gateway shows it: the one that its plan names, or none."""

from __future__ import annotations

import hashlib
from importlib.util import decode_source

from yingbi.api.problem import Kind, Problem


def program_text(job: str, code: bytes, sha256: bytes) -> str | None:
    """The source that a gateway shows of a job's program; None where it shows none.

    Raises:
        Problem: BAD_EVIDENCE "other_source", where it is not the source with this SHA-256.
    """
    if not code:
        return None
    if hashlib.sha256(code).digest() != sha256:
        raise Problem(
            Kind.BAD_EVIDENCE,
            "other_source",
            f"The source shown for {job} is not that of the program in its plan.",
            hint="do not approve it; tell the zone's operator",
        )
    return _text_of(code)


def _text_of(code: bytes) -> str:
    """Source as Python reads it: in an encoding that it names, it could else look like another program."""
    try:
        return decode_source(code)
    except (SyntaxError, ValueError, LookupError):
        return code.decode(errors="replace")
