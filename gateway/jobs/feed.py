"""Tells watchers that a job changed; what changed they read from the database."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Changes:
    """Which jobs changed since somebody looked last."""

    def __init__(self, *, stages: bool) -> None:
        """`stages`: also those in which only the stage at the nodes is another."""
        self.stages = stages
        self._jobs: set[str] = set()
        self._event = asyncio.Event()

    def add(self, job: str) -> None:
        """One more."""
        self._jobs.add(job)
        self._event.set()

    async def take(self) -> set[str]:
        """Wait until there is one; all that there are."""
        await self._event.wait()
        self._event.clear()
        taken, self._jobs = self._jobs, set()
        return taken


class Feed:
    """One event a watcher, set at each change of its job; and those who watch all jobs."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._of_all: set[Changes] = set()

    def changed(self, job: str) -> None:
        """Wake whoever watches `job`."""
        for event in self._watchers.get(job, ()):
            event.set()
        for changes in self._of_all:
            changes.add(job)

    def stage_changed(self, job: str) -> None:
        """Wake those alone who are told of stages: when one ends depends on the data, and states tell less."""
        for changes in self._of_all:
            if changes.stages:
                changes.add(job)

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

    def watch_all(self, *, stages: bool = False) -> Changes:
        """All changes from now on; give them back to `leave_all`."""
        changes = Changes(stages=stages)
        self._of_all.add(changes)
        return changes

    def leave_all(self, changes: Changes) -> None:
        """Stop watching."""
        self._of_all.discard(changes)
