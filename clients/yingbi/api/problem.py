"""What can go wrong, as every part of Yingbi says it: a code, a sentence, where, and what to do.

A problem travels as `google.rpc.Status` with one `ErrorInfo` (AIP-193) and ends as an exit code of the
command line and a JSON document for scripts.
"""

from __future__ import annotations

import dataclasses
import math
from enum import Enum


class Kind(Enum):
    """Who has to act: (gRPC status name, exit code of the command line)."""

    MALFORMED = ("INVALID_ARGUMENT", 2)
    UNKNOWN = ("NOT_FOUND", 2)
    REFUSED = ("FAILED_PRECONDITION", 3)
    BUDGET = ("RESOURCE_EXHAUSTED", 3)
    NOT_ALLOWED = ("PERMISSION_DENIED", 3)
    NOT_AUTHENTICATED = ("UNAUTHENTICATED", 3)
    CONFLICT = ("ABORTED", 3)
    UNAVAILABLE = ("UNAVAILABLE", 4)
    FAILED = ("INTERNAL", 1)
    BAD_EVIDENCE = ("DATA_LOSS", 5)

    @property
    def status(self) -> str:
        """The gRPC status code's name."""
        return self.value[0]

    @property
    def exit_code(self) -> int:
        """0 ok · 1 failed · 2 malformed · 3 refused · 4 not available · 5 evidence does not verify."""
        return self.value[1]


@dataclasses.dataclass(eq=False)
class Problem(Exception):
    """A reason not to go on, for a person and for a program.

    `code` is stable and in snake_case; `message` is one sentence; `field` names a flag, a YAML path or a
    message field; `position` is a place in a text as "line:column", both from 1; `hint` is what to do.
    """

    kind: Kind
    code: str
    message: str
    field: str | None = None
    position: str | None = None
    hint: str | None = None
    details: dict[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def to_json(self) -> dict[str, object]:
        """The document that `--json` prints; absent parts are left out."""
        parts = {
            "code": self.code,
            "message": self.message,
            "field": self.field,
            "position": self.position,
            "hint": self.hint,
            **{name: _typed(name, text) for name, text in self.details.items()},
        }
        return {name: value for name, value in parts.items() if value is not None}


def _typed(name: str, text: str) -> object:
    """A detail as JSON has it: on the wire all are texts. What is no number there stays as it came."""
    try:
        match name:
            case "question":
                return int(text)
            case "questions":
                return [int(number) for number in text.split(",")]
            case "remaining_epsilon" if math.isfinite(float(text)):
                return float(text)
    except ValueError:
        pass
    return text


def kind_of_status(status: str) -> Kind:
    """The kind whose gRPC status is `status`; FAILED for a status that Yingbi does not use."""
    return next((kind for kind in Kind if kind.status == status), Kind.FAILED)


def nearest(name: str, candidates: list[str]) -> str | None:
    """The candidate that a person most likely meant by `name`, if one is near."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None
