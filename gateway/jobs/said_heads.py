"""The latest that each node's enclave said of its own journal, kept to remind it when it starts anew.

A courtesy, no safeguard: an enclave that was restored from a backup learns at once, before anything is spent, what its
peers would refuse it for after a charge. Files are not synced; one that is lost or old reminds of less.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from yingbi.api.v1.node_pb2 import HeadsBody, SignedHeads


class SaidHeads:
    """One file a node."""

    def __init__(self, folder: Path) -> None:
        """What is in `folder`, which is made where it is missing; raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder

    def put(self, node: str, said: SignedHeads) -> None:
        """Keep what `node` said, if it is of a later state of its journal than what is kept."""
        before = self.of(node)
        if before is None or _place(before) < _place(said):
            temporary = self._folder / f".{node}.part"
            temporary.write_bytes(said.SerializeToString())
            temporary.rename(self._folder / node)

    def of(self, node: str) -> SignedHeads | None:
        """What `node` said last, or None."""
        path = self._folder / node
        try:
            return SignedHeads.FromString(path.read_bytes()) if path.exists() else None
        except DecodeError:
            return None


def _place(said: SignedHeads) -> tuple[int, int]:
    """The key epoch and the number of records; the gateway checks no signature here, the enclave does."""
    try:
        body = HeadsBody.FromString(said.body)
    except DecodeError:
        return 0, 0
    return body.key_epoch, max((head.counter for head in body.heads), default=0)
