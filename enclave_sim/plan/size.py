"""How large an expression, a relation or a formula may be, whatever it says.

The walk is over messages of any kind, so nothing that the language gains later is left out of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from enclave_sim.plan.errors import require

MAX_DEPTH = 96
"""Messages inside one another. Protobuf reads 100, and a plan holds these at most three deep."""


def check_size(message: Message, path: str, *, max_parts: int) -> None:
    """Refuse a message that is nested more than `MAX_DEPTH` deep or has more than `max_parts` messages in it.

    Goes level by level and not by recursion: it is what makes recursion over the message safe afterwards.

    Raises:
        PlanError: with `path`.
    """
    depth, parts, level = 0, 0, [message]
    while level:
        depth, parts = depth + 1, parts + len(level)
        require(depth <= MAX_DEPTH, path, f"is nested more than {MAX_DEPTH} messages deep")
        require(parts <= max_parts, path, f"has more than {max_parts:,} parts")
        level = [child for parent in level for child in _children(parent)]


def _children(message: Message) -> Iterator[Message]:
    for field, content in message.ListFields():
        if field.message_type is not None:
            yield from [content] if isinstance(content, Message) else content
