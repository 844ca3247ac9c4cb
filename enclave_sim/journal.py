"""An enclave's own durable record: charges, openings and cancellations, hash-chained.

A record takes effect only once it is on disk: `append` returns after fsync. Each record carries
HMAC-SHA256(key, previous MAC || record) under a key of the enclave, so that the host can neither alter,
reorder nor insert one. Cutting whole records off the end is not noticed here: the counter that peers
countersign comes with the issue "Inside".

Layout of a record: four bytes of length, big-endian; the record as canonical JSON; 32 bytes of MAC.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path

MAC_BYTES = 32
# No record comes near this, so a longer one is an altered length and not a torn end.
MAX_RECORD = 1 << 16
Record = dict[str, str | int]


class JournalError(Exception):
    """The journal's file was altered, or cannot be written; names the file."""


class Journal:
    """An append-only file of records. Not safe for several threads; its owner holds a lock."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open or create the journal at `path`; raises JournalError where it does not verify.

        A record that a crash cut off was never acknowledged, so its torn bytes at the end are removed.
        """
        self._path = path
        self._key = key
        self._mac = b"\0" * MAC_BYTES
        self.records: list[Record] = []
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._end = self._load(self._file.read())
        self._file.truncate(self._end)
        self._file.seek(self._end)
        _sync_folder(path.parent)

    def append(self, record: Record) -> None:
        """Make `record` durable; raises JournalError, leaving the journal as it was, where that fails."""
        payload = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        mac = self._next_mac(payload)
        data = len(payload).to_bytes(4, "big") + payload + mac
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"wrote {written} of {len(data)} bytes")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise JournalError(f"{self._path.name}: cannot be written: {error}") from error
        self._end += len(data)
        self._mac = mac
        self.records.append(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _load(self, data: bytes) -> int:
        end = 0
        for payload, mac, after in _split(data, self._path.name):
            if not hmac.compare_digest(mac, self._next_mac(payload)):
                raise JournalError(f"{self._path.name}: record {len(self.records) + 1} was altered")
            self._mac = mac
            self.records.append(json.loads(payload))
            end = after
        return end

    def _next_mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, self._mac + payload, hashlib.sha256).digest()


def _split(data: bytes, name: str) -> Iterator[tuple[bytes, bytes, int]]:
    """Each complete record of `data`: payload, MAC, and where it ends."""
    start = 0
    while start + 4 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        if length > MAX_RECORD:
            raise JournalError(f"{name}: a record's length was altered")
        end = start + 4 + length + MAC_BYTES
        if end > len(data):
            return
        yield data[start + 4 : end - MAC_BYTES], data[end - MAC_BYTES : end], end
        start = end


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
