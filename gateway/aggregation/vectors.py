"""Encrypted vectors on their way through the gateway: on its disk, so that its memory does not grow with them.

One file a contribution: numbers modulo n^2 of one length, one after another. What is here can be asked of the nodes
again, which stored it before they sent it; so files are not synced, and a gateway that starts removes what it finds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from yingbi.api.parts import numbers_in_part
from yingbi.api.problem import Kind, Problem


class Vectors:
    """The vectors of running jobs, by job and node."""

    def __init__(self, folder: Path) -> None:
        """An empty store in `folder`; raises OSError."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self._folder = folder

    def put(self, job: str, node: str, first: int, numbers: Sequence[bytes], width: int) -> None:
        """Put a vector's next numbers, each of `width` bytes, in their place, whether or not they came before.

        What is there already stays: a node always sends the bytes that it stored, so that a part that comes late,
        after those that follow it, changes nothing.

        Raises:
            Problem: FAILED "bad_contribution" for numbers of another length, or a part that does not follow;
                FAILED "storage" where the disk does not take them.
        """
        if any(len(number) != width for number in numbers):
            raise _bad(node, f"has numbers of other lengths than {width} bytes")
        path = self._path(job, node)
        try:
            path.parent.mkdir(exist_ok=True)
            with open(path, "r+b", opener=_open_or_create) as file:
                if first * width > file.seek(0, os.SEEK_END):
                    raise _bad(node, "lacks a part")
                file.seek(first * width)
                file.write(b"".join(numbers))
        except OSError as error:
            raise _storage("keep", error) from error

    def parts(self, job: str, nodes: Sequence[str], width: int) -> Iterator[tuple[int, list[list[bytes]]]]:
        """The same stretch of every node's vector, one stretch after another, with where it begins.

        Raises:
            Problem: FAILED "bad_contribution" for vectors of different lengths; FAILED "storage" for lost ones.
        """
        try:
            lengths = {self._path(job, node).stat().st_size for node in nodes}
        except OSError as error:
            raise _storage("read", error) from error
        if len(lengths) != 1:
            raise Problem(Kind.FAILED, "bad_contribution", "The nodes' contributions are of different lengths.")
        count = lengths.pop() // width
        step = numbers_in_part(width, len(nodes))
        for first in range(0, count, step):
            yield first, [self._read(job, node, first, min(step, count - first), width) for node in nodes]

    def remove(self, job: str) -> None:
        """Forget a job's vectors."""
        shutil.rmtree(self._folder / job, ignore_errors=True)

    def _read(self, job: str, node: str, first: int, count: int, width: int) -> list[bytes]:
        try:
            with self._path(job, node).open("rb") as file:
                file.seek(first * width)
                data = file.read(count * width)
        except OSError as error:
            raise _storage("read", error) from error
        return [data[start : start + width] for start in range(0, len(data), width)]

    def _path(self, job: str, node: str) -> Path:
        return self._folder / job / node


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


def _storage(verb: str, error: OSError) -> Problem:
    return Problem(
        Kind.FAILED,
        "storage",
        f"The gateway could not {verb} the nodes' vectors ({error.strerror}). "
        "The budget is spent, since data may have been unsealed.",
        hint="is the gateway's disk full? Make room in the zone's folder and ask again",
    )


def _bad(node: str, reason: str) -> Problem:
    return Problem(Kind.FAILED, "bad_contribution", f"The contribution of {node} {reason}.")
