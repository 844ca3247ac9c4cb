"""A virtual environment for each library: their pins contradict each other."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

INSTALL_SECONDS = 900
_READY = "ready"


class Needing(Protocol):
    """What is run in an environment of its own: `script` with `requirements`, on a machine that has `needs`."""

    @property
    def script(self) -> str: ...

    @property
    def requirements(self) -> tuple[str, ...]: ...

    @property
    def needs(self) -> str | None: ...


class NotInstalledError(Exception):
    """A library is not there; the message is the first line of why."""


def cache_folder() -> Path:
    """Where environments stay from one run to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yingbi" / "peers"


def python_for(peer: Needing, folder: Path) -> Path:
    """A Python that has what `peer` requires, made under `folder` if it is not there yet. Raises NotInstalledError."""
    if peer.needs and shutil.which(peer.needs) is None:
        raise NotInstalledError(f"needs {peer.needs}, which is not on this machine")
    if not peer.requirements:
        return Path(sys.executable)
    digest = hashlib.sha256("\n".join([sys.version, *peer.requirements]).encode()).hexdigest()[:12]
    environment = folder / f"{peer.script}-{digest}"
    python = environment / "bin" / "python"
    if not (environment / _READY).exists():
        _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
        _uv("pip", "install", "--quiet", "--python", str(python), *peer.requirements)
        (environment / _READY).touch()
    return python


def without_places(line: str) -> str:
    """`line` without addresses and paths, which are of this machine."""
    return re.sub(r"\w+://\S+|(?<![\w.])/[\w.\-]+/\S+", "…", line).strip()


def _uv(*arguments: str) -> None:
    uv = Path(sys.prefix) / "bin" / "uv"
    try:
        done = subprocess.run(
            [uv if uv.exists() else "uv", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(without_places(str(error).splitlines()[0])) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotInstalledError(without_places(lines[0]) if lines else f"uv ends with {done.returncode}")
