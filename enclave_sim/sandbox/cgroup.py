"""A cgroup for the zygote and its children, where the host may make one: versions 1 and 2.

It bounds what rlimits count by process, for all of them together. Not a layer that programs are refused without: a
block's process has its own limits, and can make no other process.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PREFIX = "yingbi-sandbox-"
MOST_PROCESSES = 8


@dataclass(frozen=True)
class Cgroup:
    """The folders that were made, of one hierarchy each."""

    folders: tuple[Path, ...]

    def add(self, process: int) -> None:
        """Raises OSError."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(process))

    def remove(self) -> None:
        """When its processes have ended, which takes the kernel a moment."""
        for folder in self.folders:
            for _ in range(50):
                with contextlib.suppress(FileNotFoundError):
                    try:
                        folder.rmdir()
                    except OSError:
                        time.sleep(0.02)
                        continue
                break


def make(memory_bytes: int) -> Cgroup | None:
    """None where there is no cgroup to be had. Those of hosts that were killed are removed."""
    _remove_abandoned()
    name = f"{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
    if (ROOT / "cgroup.controllers").exists():
        wanted = {ROOT / name: {"memory.max": memory_bytes, "memory.swap.max": 0, "pids.max": MOST_PROCESSES}}
    else:
        wanted = {
            ROOT / "memory" / name: {"memory.limit_in_bytes": memory_bytes},
            ROOT / "pids" / name: {"pids.max": MOST_PROCESSES},
        }
    made = Cgroup(tuple(wanted))
    try:
        for folder, limits in wanted.items():
            folder.mkdir()
            for file, limit in limits.items():
                (folder / file).write_text(str(limit))
    except OSError:
        made.remove()
        return None
    return made


def _remove_abandoned() -> None:
    for pattern in (f"{PREFIX}*", f"memory/{PREFIX}*", f"pids/{PREFIX}*"):
        for folder in ROOT.glob(pattern):
            host = folder.name.removeprefix(PREFIX).split("-")[0]
            if not Path(f"/proc/{host}").exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
