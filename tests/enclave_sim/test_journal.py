"""The journal: what it keeps through crashes, full disks and alterations."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_sim import journal as journal_module
from enclave_sim.journal import HEADER_BYTES, MAC_BYTES, MAX_RECORD, Journal, JournalError, Record

KEY = bytes(range(32))
THREE: list[Record] = [
    {"kind": "budget", "dataset": "visits", "limit": 10**12},
    {"kind": "charge", "job": "job-1", "dataset": "visits", "rho_units": 7},
    {"kind": "open", "job": "job-1", "total": "ab" * 32},
]

values = st.text(max_size=20) | st.integers(-(2**63), 2**63)
records = st.lists(st.dictionaries(st.text(max_size=10), values, max_size=4), max_size=6)


@contextmanager
def opened(path: Path, key: bytes = KEY) -> Iterator[Journal]:
    """The journal at `path`, closed again so that the next one may open it."""
    journal = Journal(path, key)
    try:
        yield journal
    finally:
        journal.close()


def kept(path: Path) -> list[Record]:
    """What a reload finds."""
    with opened(path) as journal:
        return journal.records


def written(path: Path, appended: list[Record]) -> list[int]:
    """Append each record; the length of the file after each, and before the first."""
    ends = [0]
    with opened(path) as journal:
        for record in appended:
            journal.append(record)
            ends.append(path.stat().st_size)
    return ends


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@given(first=records, second=records)
def test_what_was_appended_is_there_after_every_reload(first: list[Record], second: list[Record]) -> None:
    """Charges, openings and cancellations are on disk before they take effect."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        written(path, first)
        assert kept(path) == first
        written(path, second)
        assert kept(path) == first + second


@given(first=records, cut=st.integers(0, 10**6), more=records)
def test_a_crash_loses_at_most_what_was_not_acknowledged(first: list[Record], cut: int, more: list[Record]) -> None:
    """Wherever it cuts the file off; and the journal goes on from there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        ends = written(path, first)
        cut %= ends[-1] + 1
        path.write_bytes(path.read_bytes()[:cut])
        whole = first[: sum(end <= cut for end in ends) - 1]
        assert kept(path) == whole
        written(path, more)
        assert kept(path) == whole + more


def test_cut_at_every_byte_it_keeps_exactly_the_whole_records(path: Path) -> None:
    """The same, exhaustively."""
    ends = written(path, THREE)
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        count = sum(end <= cut for end in ends) - 1
        assert kept(path) == THREE[:count]
        # The torn end is gone from the disk too.
        assert path.stat().st_size == ends[count]


@pytest.mark.parametrize("change", [lambda b: b ^ 1, lambda b: b ^ 0x80, lambda b: 0, lambda b: 0xFF, lambda b: b + 1])
def test_every_altered_byte_is_noticed(path: Path, change: Callable[[int], int]) -> None:
    """Also in a length: no acknowledged record is taken for the torn end of one that never was."""
    written(path, THREE)
    data = path.read_bytes()
    for position, byte in enumerate(data):
        if change(byte) % 256 == byte:
            continue
        path.write_bytes(data[:position] + bytes([change(byte) % 256]) + data[position + 1 :])
        with pytest.raises(JournalError, match="altered"):
            Journal(path, KEY)
        # Nothing is truncated on the way to the refusal.
        assert path.stat().st_size == len(data)


def test_records_cannot_be_left_out_swapped_or_repeated(path: Path) -> None:
    """Each is chained to the one before."""
    ends = written(path, THREE)
    data = path.read_bytes()
    parts = [data[start:end] for start, end in pairwise(ends)]
    for order in ([1, 2], [0, 2], [2], [1, 0, 2], [0, 1, 1, 2], [0, 1, 2, 2], [0, 0]):
        path.write_bytes(b"".join(parts[index] for index in order))
        with pytest.raises(JournalError):
            Journal(path, KEY)


def test_a_host_without_the_key_writes_no_record(path: Path) -> None:
    """Nor another enclave, nor the same one under another key."""
    written(path, THREE)
    with pytest.raises(JournalError):
        Journal(path, bytes(32))


@pytest.mark.parametrize("tail", [b"\0" * HEADER_BYTES, b"\0" * 200, b"\xff" * 64, b"\0" * 3 + b"\x01" + b"x" * 60])
def test_rubbish_at_the_end_is_no_torn_record(path: Path, tail: bytes) -> None:
    """A crash leaves the beginning of a record there, and nothing else."""
    written(path, THREE)
    with path.open("ab") as file:
        file.write(tail)
    with pytest.raises(JournalError, match="altered"):
        Journal(path, KEY)


def test_a_record_that_could_not_be_read_again_is_not_written(path: Path) -> None:
    """A long text from outside must not make the journal unreadable."""
    with opened(path) as journal:
        journal.append({"kind": "x", "text": "y" * (MAX_RECORD - 100)})
        with pytest.raises(JournalError):
            journal.append({"kind": "x", "text": "y" * MAX_RECORD})
        journal.append({"kind": "z"})
        before = journal.records
    assert kept(path) == before
    assert len(before) == 2


def test_several_threads_may_append(path: Path) -> None:
    """An enclave charges in one thread while it seals rows in another."""

    def append(journal: Journal, name: str) -> None:
        for number in range(25):
            journal.append({"kind": "charge", "job": f"{name}-{number}"})

    with opened(path) as journal:
        threads = [threading.Thread(target=append, args=(journal, name)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(journal.records) == 100
        before = journal.records
    assert kept(path) == before


def test_one_process_holds_it_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would charge one budget twice, and break each other's chain."""
    monkeypatch.setattr(journal_module, "LOCK_SECONDS", 0.1)
    with opened(path) as journal:
        journal.append(THREE[0])
        with pytest.raises(JournalError, match="in use"):
            Journal(path, KEY)
        journal.append(THREE[1])
    assert kept(path) == THREE[:2]


FULL_DISK = """
import os, resource, sys
from pathlib import Path
from enclave_sim.journal import Journal, JournalError
path, room = Path(sys.argv[1]), int(sys.argv[2])
journal = Journal(path, bytes(range(32)))
journal.append({"kind": "first"})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, hard))
for _ in range(3):
    try:
        journal.append({"kind": "lost", "text": "x" * 200})
    except JournalError:
        pass
    else:
        sys.exit("the full disk was not noticed")
assert [record["kind"] for record in journal.records] == ["first"]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal.append({"kind": "second"})
"""


@pytest.mark.parametrize("room", [0, 1, HEADER_BYTES, 100, 200 + MAC_BYTES])
def test_a_full_disk_refuses_a_record_and_harms_no_other(path: Path, room: int) -> None:
    """A real limit on the file's size, `room` bytes above what is there."""
    command = [sys.executable, "-c", FULL_DISK, str(path), str(room)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert kept(path) == [{"kind": "first"}, {"kind": "second"}]


class BrokenDisk:
    """A file that takes what is written and fails all the same, and cannot be cut either."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self._file.write(data)
        raise OSError("input/output error")

    def truncate(self, size: int) -> int:
        raise OSError("input/output error")


def test_what_could_neither_be_written_nor_cut_off_is_no_altered_record(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next record is shorter: what stood behind it kept the enclave from starting."""
    journal = Journal(path, KEY)
    journal.append({"kind": "charge", "job": "job-1"})
    with monkeypatch.context() as broken:
        broken.setattr(journal, "_file", BrokenDisk(journal._file))
        with pytest.raises(JournalError, match="cannot be written"):
            journal.append({"kind": "charge", "job": "x" * 1000})
    journal.append({"kind": "cancel", "job": "job-1"})
    journal.close()
    again = Journal(path, KEY)
    assert [record["kind"] for record in again.records] == ["charge", "cancel"]
    again.close()
