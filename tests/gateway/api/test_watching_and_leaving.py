"""Who leaves while they watch a job is told nothing more of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import people_scene  # type: ignore[import-not-found]
import pytest
from yingbi.api.v1.job_pb2 import Job, WatchJobRequest

from gateway.api.jobs import JobService
from gateway.jobs import records
from gateway.jobs.feed import Feed


class Records:
    """A database of one job, whose sequence is what a test sets."""

    sequence = 1

    async def run(self, function: Any, *arguments: Any) -> Any:
        message = Job(job="job-1", sequence=self.sequence)
        if function is records.get:
            return SimpleNamespace(message=message, developer="ada", state=None)
        return message


def test_a_stream_ends_with_its_person(tmp_path: Path) -> None:
    zone, feed, stored = people_scene.Zone(tmp_path), Feed(), Records()
    token = zone.join("developer", "ada", "analyst")
    nothing: Any = None
    service = JobService(stored, nothing, nothing, nothing, feed, zone.authentication)  # type: ignore[arg-type]

    async def watch() -> None:
        stream = service.WatchJob(WatchJobRequest(job="job-1"), people_scene.Call(token))
        assert (await anext(stream)).sequence == 1
        removal = people_scene.messages.RemovePersonRequest(person="ada", reason="left")
        await zone.service.RemovePerson(removal, people_scene.Call("developer"))
        stored.sequence = 2
        feed.changed("job-1")
        with pytest.raises(people_scene.Refused) as caught:
            await anext(stream)
        assert caught.value.code == "not_authenticated"

    asyncio.run(asyncio.wait_for(watch(), 60))
