"""How large an expression, a relation or a formula may be, whatever it says.

The walk is over messages of any kind, so nothing that the language gains later is left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message
from yingbi.api.v1.plan_pb2 import LookUp, Plan

from enclave_sim.plan.errors import require

MAX_DEPTH = 96
"""Messages inside one another. Protobuf reads 100, and a plan holds these at most three deep."""

MAX_LOOK_UPS = 32
"""Look-ups of a plan. Each is a join for an engine, and what planning joins takes grows faster than their number."""

MAX_ENTRIES = 10_000
"""Entries of all look-ups of a plan. An engine joins with them, so a row costs no more for many than for few."""

MAX_ENTRY_BYTES = 2**20
"""Their size, in bytes of the plan."""

_ENTRY = LookUp.Entry.DESCRIPTOR


def check_size(message: Message, path: str, *, max_parts: int) -> None:
    """Refuse a message that is nested more than `MAX_DEPTH` deep or has more than `max_parts` messages in it.

    Goes level by level and not by recursion: it is what makes recursion over the message safe afterwards.
    The entries of look-ups, constants that nothing nests in, are left to `check_look_ups`.

    Raises:
        PlanError: with `path`.
    """
    depth, parts, level = 0, 0, [message]
    while level:
        depth, parts = depth + 1, parts + len(level)
        require(depth <= MAX_DEPTH, path, f"is nested more than {MAX_DEPTH} messages deep")
        require(parts <= max_parts, path, f"has more than {max_parts:,} parts")
        level = [child for parent in level for child in _children(parent)]


def check_look_ups(plan: Plan) -> None:
    """Refuse a plan with more than `MAX_LOOK_UPS` look-ups, or with more entries or bytes in them than are allowed.

    Raises:
        PlanError: naming the limit.
    """
    look_ups = entries = size = 0
    waiting: list[Message] = [plan]
    while waiting:
        message = waiting.pop()
        if isinstance(message, LookUp):
            look_ups += 1
            entries += len(message.entries)
            size += sum(entry.ByteSize() for entry in message.entries)
        require(look_ups <= MAX_LOOK_UPS, "look_up", f"there are more than {MAX_LOOK_UPS} look-ups")
        require(entries <= MAX_ENTRIES, "look_up", f"there are more than {MAX_ENTRIES:,} entries in all look-ups")
        require(size <= MAX_ENTRY_BYTES, "look_up", f"all look-ups have more than {MAX_ENTRY_BYTES:,} bytes")
        waiting += _children(message)


def _children(message: Message) -> Iterator[Message]:
    for field, content in message.ListFields():
        if field.message_type is not None and field.message_type != _ENTRY:
            yield from [content] if isinstance(content, Message) else content
