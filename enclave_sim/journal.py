"""An enclave's own durable record: charges, openings and cancellations, hash-chained.

A record takes effect only once it is on disk: `append` returns after fsync. Each record carries
HMAC-SHA256(key, previous MAC || record) under a key of the enclave, so that the host can neither alter,
reorder nor insert one. Cutting bytes off the end looks like a crash and is not noticed here, but by the peers who have
seen what was there: see `enclave_sim.heads`.

Layout of a record: four bytes of length, big-endian; the first four bytes of HMAC-SHA256(key, previous MAC
|| length), so that an altered length is not taken for a torn end; the record as canonical JSON; 32 bytes of
MAC.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from enclave_sim.durable import sync

HEADER_BYTES = 8
MAC_BYTES = 32
MAX_RECORD = 1 << 16
# How long to wait for an earlier process of the same enclave to end.
LOCK_SECONDS = 5.0
Record = dict[str, str | int]
Check = Callable[[Sequence[Record]], None]


class JournalError(Exception):
    """The journal's file was altered, or cannot be written; names the file."""


class Journal:
    """An append-only file of records. One process holds it at a time; its threads may all append."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open or create the journal at `path`; raises JournalError where it is in use or does not verify.

        A record that a crash cut off was never acknowledged, so its torn bytes at the end are removed.
        """
        self._path = path
        self._key = key
        self._mac = b"\0" * MAC_BYTES
        self.records: list[Record] = []
        # After each record. To whoever lacks the key they say no more than from where on two journals differ.
        self.macs: list[bytes] = []
        self._appending = threading.Lock()
        # Whether bytes of a record that could not be written may be behind the last one.
        self._torn = False
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        try:
            self._lock()
            self._end = self._load(self._file.read())
            self._file.truncate(self._end)
            sync(path.parent)
        except BaseException:
            self._file.close()
            raise

    def append(self, record: Record, check: Check | None = None) -> None:
        """Make `record` durable; raises JournalError, leaving the journal as it was, where that fails.

        Raises too what `check` raises of the records just before: none comes between them and this one.
        """
        payload = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        if len(payload) > MAX_RECORD:
            raise JournalError(f"{self._path.name}: a record has at most {MAX_RECORD} bytes, not {len(payload)}")
        with self._appending:
            if check is not None:
                check(self.records)
            mac = self._mac_after(payload)
            self._write(self._header(len(payload)) + payload + mac)
            self._mac = mac
            self.macs.append(mac)
            self.records.append(record)

    def close(self) -> None:
        """Close the file, so that another process may open it."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            if self._torn:
                self._cut()
            self._file.seek(self._end)
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"wrote {written} of {len(data)} bytes")
            os.fsync(self._file.fileno())
        except OSError as error:
            self._torn = True
            with suppress(OSError):
                self._cut()
            raise JournalError(f"{self._path.name}: cannot be written: {error}") from error
        self._end += len(data)

    def _cut(self) -> None:
        """Nothing stays of a record that failed: behind a shorter one its end would be read as an altered record."""
        self._file.truncate(self._end)
        self._torn = False

    def _lock(self) -> None:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise JournalError(f"{self._path.name}: is in use by another process") from error
                time.sleep(0.05)

    def _load(self, data: bytes) -> int:
        start = 0
        while start + HEADER_BYTES <= len(data):
            header = data[start : start + HEADER_BYTES]
            length = int.from_bytes(header[:4], "big")
            if not hmac.compare_digest(header, self._header(length)):
                raise self._altered()
            end = start + HEADER_BYTES + length + MAC_BYTES
            if end > len(data):
                break
            payload, mac = data[start + HEADER_BYTES : end - MAC_BYTES], data[end - MAC_BYTES : end]
            if not hmac.compare_digest(mac, self._mac_after(payload)):
                raise self._altered()
            self._mac = mac
            self.macs.append(mac)
            self.records.append(json.loads(payload))
            start = end
        return start

    def _altered(self) -> JournalError:
        return JournalError(f"{self._path.name}: record {len(self.records) + 1} was altered")

    def _header(self, length: int) -> bytes:
        # No record has four bytes of JSON, so these MACs are never those of a record.
        prefix = length.to_bytes(4, "big")
        return prefix + self._mac_after(prefix)[:4]

    def _mac_after(self, data: bytes) -> bytes:
        return hmac.new(self._key, self._mac + data, hashlib.sha256).digest()
