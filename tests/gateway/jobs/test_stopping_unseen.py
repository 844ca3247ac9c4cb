"""Who may stop jobs and not see them: of what is stopped nothing is shown."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import credentials
from yingbi.api.v1.job_pb2 import CancelJobRequest, Job

from gateway.api.authentication import Authentication
from gateway.api.jobs import JobService
from gateway.governance.callers import Role
from gateway.jobs import states
from gateway.jobs.feed import Feed
from gateway.jobs.stopping import Stopping
from gateway.storage import people
from tests.gateway.jobs.test_admission import DATASET, Account, Scene

ADA, RUNNER = Account("ada", "college"), Account("runner", "runner", Role.OPERATOR)
TOKEN = "runner-token"


class Call:
    """The context of a call by the operator."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {credentials.bearer(TOKEN)}"),)


@pytest.mark.requirement("APP-03")
def test_an_operator_that_may_not_operate_reads_no_job_by_stopping_it(tmp_path: Path) -> None:
    scene, call = Scene(tmp_path), Call()
    scene.register(DATASET)
    job = scene.submit(ADA, "n", 0.1)
    caller = replace(RUNNER.caller, bearer_hash=credentials.bearer_hash(credentials.bearer(TOKEN)))
    authentication = Authentication(asyncio.run(scene.database.run(people.seed, [caller], 0.0)))
    feed = Feed()
    stopping = Stopping(scene.database, scene.nodes, scene.runner, feed)
    service = JobService(scene.database, scene.admission, scene.approvals, stopping, feed, authentication)

    async def cancel() -> Any:
        context: Any = call
        return await service.CancelJob(CancelJobRequest(job=job.job, reason="enough"), context)

    assert authentication.find(f"Bearer {credentials.bearer(TOKEN)}").caller.hindrance
    assert asyncio.run(cancel()) == Job(job=job.job, state=states.CANCELLED)
    scene.database.close()
