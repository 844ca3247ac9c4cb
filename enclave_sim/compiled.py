"""What was compiled from C beside the Python that uses it (scripts/build_native.sh), where it was."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path


def load(library: Path, source: Path, digest: str) -> ctypes.CDLL | None:
    """The library, or None: there is none, it is of another machine or cut short, or was made from another source.

    `digest` is the name of its function that gives the SHA-256 of the source it was compiled from.
    """
    try:
        loaded = ctypes.CDLL(str(library))
        function = loaded[digest]
        function.restype = ctypes.c_char_p
        made_from = function().decode()
    except (OSError, AttributeError):
        return None
    return loaded if made_from == hashlib.sha256(source.read_bytes()).hexdigest() else None
