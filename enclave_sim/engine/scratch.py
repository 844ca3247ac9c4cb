"""Memory that a thread uses again for every part of the rows.

Fresh arrays of this size come from the system page by page, and go back to it: that costs more than the arithmetic.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Scratch(threading.local):
    """Arrays by name. One lives until the same thread asks for its name again, whatever it holds then."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, length: int, dtype: DTypeLike) -> NDArray[Any]:
        """An array of this length, not initialised."""
        held = self._arrays.get(name)
        if held is None or len(held) < length or held.dtype != dtype:
            held = self._arrays[name] = np.empty(length, dtype)
        return held[:length]
