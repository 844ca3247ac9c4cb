"""Tells watchers that a job changed; what changed they read from the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Feed:
    """One event a watcher, set at each change of its job."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, job: str) -> None:
        """Wake whoever watches `job`."""
        for event in self._watchers.get(job, ()):
            event.set()

    def watch(self, job: str) -> asyncio.Event:
        """An event that is set at each change from now on; give it back to `leave`."""
        event = asyncio.Event()
        self._watchers[job].add(event)
        return event

    def leave(self, job: str, event: asyncio.Event) -> None:
        """Stop watching."""
        self._watchers[job].discard(event)
        if not self._watchers[job]:
            del self._watchers[job]
