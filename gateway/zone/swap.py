"""A change of several files of a zone that is made whole or not at all, wherever it is killed.

New files are prepared in a folder beside the zone's, laid out as they will lie. One rename decides. From then on the
files are moved into place, each by a rename, and whoever comes next moves what is left: moving them twice is moving
them once. Nothing of the zone runs meanwhile.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gateway.zone.folder import ZoneFolder

PREPARED = "change.part"
DECIDED = "change"


def prepare(folder: ZoneFolder) -> ZoneFolder:
    """An empty folder for the new files, in the zone's own layout. Nothing of the zone changes until `decide`."""
    staged = ZoneFolder(folder.root / PREPARED)
    staged.root.mkdir(mode=0o700)
    return staged


def decide(folder: ZoneFolder) -> None:
    """The new files are to replace the old ones: on disk when this returns. `finish` then does it."""
    staged = folder.root / PREPARED
    for path in sorted(staged.rglob("*")):
        _sync(path)
    _sync(staged)
    staged.rename(folder.root / DECIDED)
    _sync(folder.root)


def finish(folder: ZoneFolder) -> bool:
    """Complete a change that was decided, or drop one that was not; returns whether one was completed.

    zone.json comes last: it says which nodes there are.
    """
    shutil.rmtree(folder.root / PREPARED, ignore_errors=True)
    decided = folder.root / DECIDED
    if not decided.exists():
        return False
    for path in _files(decided):
        target = folder.root / path.relative_to(decided)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.replace(target)
        _sync(target.parent)
    shutil.rmtree(decided)
    return True


def _files(decided: Path) -> Iterator[Path]:
    settings = ZoneFolder(decided).settings_file
    yield from (path for path in sorted(decided.rglob("*")) if path.is_file() and path != settings)
    if settings.exists():
        yield settings


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
