"""The sandboxes in which something of a job runs at the moment, so that another thread can end them all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from enclave_sim.sandbox.sandbox import Sandbox


class InUse:
    """Of one enclave, which works on one job at a time."""

    def __init__(self) -> None:
        self._sandboxes: set[Sandbox] = set()
        self._changing = threading.Lock()

    @contextmanager
    def while_open(self, sandbox: Sandbox) -> Iterator[None]:
        """What `end` ends."""
        with self._changing:
            self._sandboxes.add(sandbox)
        try:
            yield
        finally:
            with self._changing:
                self._sandboxes.discard(sandbox)

    def end(self) -> None:
        """End all that runs, and wait until none of its processes is left; raises OSError."""
        with self._changing:
            for sandbox in self._sandboxes:
                sandbox.end()


IN_USE = InUse()
"""Those that this very process starts: of an enclave that is not confined, in tests."""
