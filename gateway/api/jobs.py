"""JobService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2 as messages
from yingbi.api.v1.job_pb2_grpc import JobServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers, streams
from gateway.governance.callers import Caller, Role, require
from gateway.jobs import records, shown
from gateway.jobs.admission import Admission
from gateway.jobs.approval import Approvals
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.runner import Runner
from gateway.jobs.states import ENDED
from gateway.storage.database import Database

MAX_PAGE = 500


class JobService(JobServiceServicer):
    """Previews, jobs and approvals."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        approvals: Approvals,
        runner: Runner,
        feed: Feed,
        authentication: Authentication,
    ) -> None:
        self._database = database
        self._admission = admission
        self._approvals = approvals
        self._runner = runner
        self._feed = feed
        self._authentication = authentication

    @answers
    async def PreviewQuery(self, request: messages.PreviewQueryRequest, context: Context) -> messages.Preview:
        caller = self._authentication.caller(context)
        return await self._admission.preview(caller, request.query)

    @answers
    async def SubmitQuery(self, request: messages.SubmitQueryRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        require(caller, Role.DEVELOPER)
        return await self._admission.submit(caller, request)

    @answers
    async def PreviewBatch(self, request: messages.PreviewBatchRequest, context: Context) -> messages.BatchPreview:
        caller = self._authentication.caller(context)
        return await self._admission.preview_batch(caller, request.batch)

    @answers
    async def SubmitBatch(self, request: messages.SubmitBatchRequest, context: Context) -> messages.BatchJobs:
        caller = self._authentication.caller(context)
        require(caller, Role.DEVELOPER)
        return await self._admission.submit_batch(caller, request)

    @answers
    async def GetJob(self, request: messages.GetJobRequest, context: Context) -> messages.Job:
        record = await self._record(self._authentication.caller(context), request.job)
        return await self._database.run(shown.describe, record)

    @streams
    async def WatchJob(self, request: messages.WatchJobRequest, context: Context) -> AsyncIterator[messages.Job]:
        caller = self._authentication.caller(context)
        sequence = request.after_sequence
        changed = self._feed.watch(request.job)
        try:
            while True:
                changed.clear()
                record = await self._record(caller, request.job)
                if record.message.sequence > sequence:
                    sequence = record.message.sequence
                    yield await self._database.run(shown.describe, record)
                if record.state in ENDED:
                    return
                await changed.wait()
        finally:
            self._feed.leave(request.job, changed)

    @answers
    async def ListJobs(self, request: messages.ListJobsRequest, context: Context) -> messages.ListJobsResponse:
        caller = self._authentication.caller(context)
        developer = caller.name if caller.role is Role.DEVELOPER else None
        size = min(request.page_size or 50, MAX_PAGE)
        found, following = await self._database.run(records.page, developer, size, _token(request.page_token))
        return messages.ListJobsResponse(jobs=found, next_page_token=str(following or ""))

    @answers
    async def CancelJob(self, request: messages.CancelJobRequest, context: Context) -> messages.Job:
        record = await self._record(self._authentication.caller(context), request.job)
        cancelled = await self._runner.cancel(record.job)
        return await self._database.run(shown.describe, cancelled)

    @answers
    async def ApproveJob(self, request: messages.ApproveJobRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        require(caller, Role.OPERATOR)
        return await self._approvals.approve(caller, request.approval)

    @answers
    async def RefuseJob(self, request: messages.RefuseJobRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        require(caller, Role.OPERATOR)
        return await self._approvals.refuse(caller, request.job, request.reason)

    async def _record(self, caller: Caller, job: str) -> JobRecord:
        """The job, if it is the caller's own or the caller an operator; another's does not exist for it."""
        record = await self._database.run(records.get, job)
        if caller.role is Role.DEVELOPER and record.developer != caller.name:
            raise records.unknown(job)
        return record


def _token(text: str) -> int | None:
    if text and not text.isdecimal():
        raise Problem(Kind.MALFORMED, "page_token", "The page token is not one of ours.", field="page_token")
    return int(text) if text else None
