"""One command at a time where two would get in each other's way."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from yingbi.api.problem import Kind, Problem

from gateway.zone.folder import ZoneFolder

# Others hold the lock of `up`: they change what `up` would start, or work in an enclave's folder.
_SAID = {"up": "`yingbi up`, `node`, `upgrade` or `escrow`", "dataset add": "`yingbi dataset add`"}


@contextmanager
def only_one(folder: ZoneFolder, command: str) -> Iterator[None]:
    """Hold the zone's lock for `command`; raises Problem where another process does.

    The kernel gives the lock back when its holder ends, however it ends (flock(2)).
    """
    folder.run.mkdir(exist_ok=True)
    # Not inherited: a process that `up` starts must not hold it on.
    descriptor = os.open(folder.run / f"{command.replace(' ', '-')}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, folder, command)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: ZoneFolder, command: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Problem(
            Kind.REFUSED, "busy", f"Another {_SAID[command]} is at work in {folder.root}.", hint="wait for it to end"
        ) from error
