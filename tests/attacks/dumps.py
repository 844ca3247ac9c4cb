"""Dumps of processes, what they are searched for, and a zone whose processes stop to be looked into.

A number may lie in memory in many forms; `forms` gives those that something here makes: Python's digits, words of
GMP and numpy, bytes on the wire, text. Of a long number a stretch of the middle is enough to tell it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.zones import Zone, wait_until

WATCHING = Path(__file__).parent / "watching"
STRETCH = 16
"""Bytes of a long number that are searched for."""
_ANCHOR = 4
_PIECE = 1 << 17
"""Bytes that are looked through at a time: what is made of them stays in the processor's cache."""


@dataclass
class WatchedZone(Zone):
    """A zone whose processes stop at points: see `watching/sitecustomize.py`."""

    @property
    def watch(self) -> Path:
        """Where processes and test leave word for each other."""
        return self.root.parent / "watch"

    @property
    def environment(self) -> dict[str, str]:
        usual = super().environment
        path = os.pathsep.join(filter(None, [str(WATCHING), usual.get("PYTHONPATH")]))
        return {**usual, "YINGBI_WATCH": str(self.watch), "PYTHONPATH": path}

    @contextmanager
    def stopping(self, point: str) -> Iterator[Callable[[int], list[int]]]:
        """Processes that come to `point` stay there until the block is left.

        What it gives waits for this many of them, and returns their ids.
        """

        def arrived(count: int) -> list[int]:
            wait_until(lambda: len(list(self.watch.glob(f"{point}.*"))) == count, seconds=60)
            return [int(said.suffix[1:]) for said in self.watch.glob(f"{point}.*")]

        order = self.watch / f"stop.{point}"
        order.touch()
        try:
            yield arrived
        finally:
            order.unlink()

    def told(self, kind: str, pid: int) -> list[list[int]]:
        """What an enclave told of one kind, in order."""
        path = self.watch / f"{kind}.{pid}"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Needles:
    """What to search for, each under the name that a find is told by."""

    def __init__(self, needles: Mapping[bytes, str]) -> None:
        """Every needle has 5 bytes or more, of which 4 together are not all the same.

        A needle at an even place has an even anchor at an even place, at an odd place an odd one: half of all places
        are looked at.
        """
        self._named = dict(needles)
        self._by_anchor: dict[bytes, list[tuple[bytes, int]]] = {}
        for needle in needles:
            for odd in (0, 1):
                place = _anchor_of(needle, odd)
                self._by_anchor.setdefault(needle[place : place + _ANCHOR], []).append((needle, place))
        # By the first and by the second two bytes of an anchor: whether any anchor has them.
        self._first, self._second = (np.zeros(1 << 16, np.bool_) for _ in range(2))
        for anchor in self._by_anchor:
            first, second = struct.unpack("<HH", anchor)
            self._first[first] = self._second[second] = True
        self._indices = np.empty(_PIECE // 2, np.intp)

    def found_in(self, content: bytes) -> set[str]:
        """The names of the needles that `content` has at any place."""
        found: set[str] = set()
        pairs = np.frombuffer(content, "<u2", count=len(content) // 2)
        for start in range(0, len(pairs) - 1, len(self._indices)):
            piece = pairs[start : start + len(self._indices)]
            if piece.any():
                places = start + np.flatnonzero(self._begins_an_anchor(piece))
                places = places[places < len(pairs) - 1]
                for place in places[self._second[pairs[places + 1]]].tolist():
                    found |= self._at(content, 2 * place)
        return found

    def _begins_an_anchor(self, pairs: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Which of them any anchor begins with. With indices of the kind that numpy wants it takes a third."""
        indices = self._indices[: len(pairs)]
        indices[:] = pairs
        return self._first.take(indices, mode="clip")

    def _at(self, content: bytes, place: int) -> set[str]:
        needles = self._by_anchor.get(content[place : place + _ANCHOR], [])
        starts = [(needle, place - before) for needle, before in needles]
        return {self._named[needle] for needle, start in starts if start >= 0 and content.startswith(needle, start)}

    def found_in_process(self, pid: int) -> set[str]:
        """The same in the memory that a process may write to, where all its values are."""
        return {name for content in _memory(pid) for name in self.found_in(content)}

    def found_in_files(self, folder: Path) -> set[str]:
        """The same in the files below a folder."""
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files, f"there is nothing in {folder}"
        return {name for path in files for name in self.found_in(path.read_bytes())}


def _anchor_of(needle: bytes, odd: int) -> int:
    """Where the four bytes begin, at an odd place or an even one, that are the least like what memory is full of."""
    places = range(odd, len(needle) - _ANCHOR + 1, 2)
    return max(places, key=lambda place: len(set(needle[place : place + _ANCHOR]) - {0, 0xFF}))


def _memory(pid: int) -> Iterator[bytes]:
    """What a process has written, mapping by mapping, without the pages that it never touched: four of five."""
    try:
        memory = cast(BinaryIO, Path(f"/proc/{pid}/mem").open("rb", buffering=0))  # noqa: SIM115
    except PermissionError:
        pytest.skip("this user may not read another process's memory")
    with memory, cast(BinaryIO, Path(f"/proc/{pid}/pagemap").open("rb", buffering=0)) as pagemap:
        for start, end in _mappings(pid):
            try:
                yield b"".join(_read(memory, *run) for run in _touched(pagemap, start, end))
            except (OSError, ValueError, OverflowError):
                continue  # the kernel's own pages, or gone meanwhile


def _touched(pagemap: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the pages are that are in memory or swapped out, which the two highest of 64 bits tell (proc(5))."""
    first, last = start // mmap.PAGESIZE, end // mmap.PAGESIZE
    entries = np.frombuffer(_read(pagemap, 8 * first, 8 * last), np.uint64)
    there = np.concatenate([[False], entries >> np.uint64(62) != 0, [False]])
    edges = (np.flatnonzero(there[1:] != there[:-1]) + first) * mmap.PAGESIZE
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _mappings(pid: int) -> list[tuple[int, int]]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    writable = [re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line) for line in lines if "[v" not in line]
    return [(int(one[1], 16), int(one[2], 16)) for one in writable if one]


def named(numbers: Mapping[str, int]) -> dict[bytes, str]:
    """All forms of these long numbers, each under its number's name."""
    return {form: name for name, number in numbers.items() for form in forms(number).values()}


def forms(number: int) -> dict[str, bytes]:
    """A number of 128 bits or more as it may lie in memory or in a file: a stretch of each form, by the form's name."""
    length = (number.bit_length() + 7) // 8
    return {
        "bytes": _middle(number.to_bytes(length, "big")),
        "words": _middle(number.to_bytes(length, "little")),
        "digits of Python": _middle(_digits(number)),
        "hexadecimal": _middle(f"{number:x}".encode()),
        "decimal": _middle(str(number).encode()),
    }


def vector_forms(numbers: Sequence[int]) -> dict[str, bytes]:
    """Positive integers between 2**32 and 2**63, two or more, as they may lie in memory: together, and each alone.

    One alone as a machine word is none of the forms: of the length that sums have here, it occurs by chance.
    """
    return {
        "int64": struct.pack(f"<{len(numbers)}q", *numbers),
        "varints": b"".join(map(_varint, numbers)),
        "zigzag varints": b"".join(_varint(2 * number) for number in numbers),
        **{f"cell {place}, {name}": form for place, number in enumerate(numbers) for name, form in _cell(number)},
    }


def _cell(number: int) -> list[tuple[str, bytes]]:
    # Python's digits with their count before them.
    return [
        ("int", ctypes.string_at(id(number) + object.__basicsize__, number.__sizeof__() - object.__basicsize__)),
        ("float", struct.pack("<d", float(number))),
        ("text", str(number).encode()),
    ]


def _digits(number: int) -> bytes:
    """The digits as this Python keeps them."""
    return ctypes.string_at(id(number) + int.__basicsize__, number.__sizeof__() - int.__basicsize__)


def _middle(form: bytes) -> bytes:
    # A whole number of Python's digits into the number, since they are found digit by digit.
    first = (len(form) - STRETCH) // 8 * 4
    return form[first : first + STRETCH]


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
