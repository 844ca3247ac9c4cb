"""The files that an enclave keeps of a job: its plan, its own contribution, the manifest. None holds a secret.

The host could alter them; whoever reads one checks it against the journal or a signature.
"""

from __future__ import annotations

import os
from pathlib import Path

from enclave_sim.durable import sync


class JobFiles:
    """One folder a job. Job ids are checked by the caller: they become folder names."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
        self._folder = folder
        # Whose folders are known to be on disk: one that is there may be from a run that crashed before it was.
        self._lasting: set[str] = set()

    def save(self, job: str, name: str, data: bytes) -> None:
        """Make `data` durable, whole or not at all; raises OSError."""
        folder = self._folder / job
        folder.mkdir(exist_ok=True)
        temporary = folder / f".{name}.part"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / name)
        sync(folder)
        if job not in self._lasting:
            sync(self._folder)
            self._lasting.add(job)

    def load(self, job: str, name: str) -> bytes | None:
        """What was saved, or None."""
        path = self._folder / job / name
        return path.read_bytes() if path.exists() else None
