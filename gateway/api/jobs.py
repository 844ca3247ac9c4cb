"""JobService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from sqlalchemy import Connection
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2 as messages
from yingbi.api.v1.job_pb2_grpc import JobServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers, streams
from gateway.governance.callers import Caller, Role
from gateway.governance.policy import Action, check, may
from gateway.jobs import decisions, records, shown, summaries
from gateway.jobs.admission import Admission
from gateway.jobs.approval import Approvals, check_words
from gateway.jobs.feed import Feed
from gateway.jobs.records import JobRecord
from gateway.jobs.states import ENDED
from gateway.jobs.stopping import Stopping
from gateway.storage.database import Database

MAX_PAGE = 500
# No number of a job has more.
TOKEN_DIGITS = 18


class JobService(JobServiceServicer):
    """Previews, jobs and approvals."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        approvals: Approvals,
        stopping: Stopping,
        feed: Feed,
        authentication: Authentication,
        *,
        stage: Callable[[str], str] = lambda job: "",
    ) -> None:
        """`stage` tells what the nodes are doing for a job, where they do something."""
        self._database = database
        self._admission = admission
        self._approvals = approvals
        self._stopping = stopping
        self._feed = feed
        self._authentication = authentication
        self._stage = stage

    @answers
    async def PreviewQuery(self, request: messages.PreviewQueryRequest, context: Context) -> messages.Preview:
        caller = self._authentication.caller(context)
        return await self._admission.preview(caller, request.query)

    @answers
    async def SubmitQuery(self, request: messages.SubmitQueryRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        return self._told(await self._admission.submit(caller, request))

    @answers
    async def PreviewBatch(self, request: messages.PreviewBatchRequest, context: Context) -> messages.BatchPreview:
        caller = self._authentication.caller(context)
        return await self._admission.preview_batch(caller, request.batch)

    @answers
    async def SubmitBatch(self, request: messages.SubmitBatchRequest, context: Context) -> messages.BatchJobs:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        answer = await self._admission.submit_batch(caller, request)
        for job in answer.jobs:
            self._told(job)
        return answer

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
                # Again each time: who left meanwhile is told nothing more.
                caller = self._authentication.caller(context)
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
        check(caller, Action.ASK if caller.role is Role.DEVELOPER else Action.SEE_JOBS)
        developer = caller.name if caller.role is Role.DEVELOPER else None
        size = min(request.page_size or 50, MAX_PAGE)
        found, following = await self._database.run(_page, developer, size, _token(request.page_token))
        return messages.ListJobsResponse(jobs=found, next_page_token=str(following or ""))

    @answers
    async def CancelJob(self, request: messages.CancelJobRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        check(caller, summaries.stop_action(caller))
        check_words("reason", request.reason)
        cancelled = await self._stopping.cancel(caller, request.job, request.reason.strip())
        if caller.role is not Role.DEVELOPER and not may(caller, Action.SEE_JOBS):
            # Or what somebody asked for would be read by stopping it.
            return messages.Job(job=cancelled.job, state=cancelled.state)
        return await self._database.run(shown.describe, cancelled)

    @answers
    async def ApproveJob(self, request: messages.ApproveJobRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        check(caller, Action.DECIDE)
        caller.certify(request.approval)
        return await self._approvals.approve(caller, request.approval, request.job)

    @answers
    async def ListStanding(
        self, request: messages.ListStandingRequest, context: Context
    ) -> messages.ListStandingResponse:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK if caller.role is Role.DEVELOPER else Action.SEE_JOBS)
        found = await self._approvals.standing(caller, all_=request.all)
        return messages.ListStandingResponse(standing=found)

    @answers
    async def RevokeStanding(
        self, request: messages.RevokeStandingRequest, context: Context
    ) -> messages.StandingRecord:
        caller = self._authentication.caller(context)
        check(caller, Action.DECIDE)
        return await self._approvals.revoke(caller, request.standing, request.reason)

    @answers
    async def RefuseJob(self, request: messages.RefuseJobRequest, context: Context) -> messages.Job:
        caller = self._authentication.caller(context)
        check(caller, Action.DECIDE)
        return await self._approvals.refuse(
            caller, request.job, request.reason, request.clause, returned=request.returned
        )

    @answers
    async def GetDecision(self, request: messages.GetDecisionRequest, context: Context) -> messages.Decision:
        caller = self._authentication.caller(context)
        # Not for whoever asked: it names what others asked for, and spent.
        check(caller, Action.SEE_JOBS)
        return await self._database.run(decisions.get, caller, request.job, self._approvals.nodes)

    @answers
    async def ListDecisions(
        self, request: messages.ListDecisionsRequest, context: Context
    ) -> messages.ListDecisionsResponse:
        caller = self._authentication.caller(context)
        check(caller, Action.SEE_JOBS)
        size = min(request.page_size or 50, decisions.MAX_PAGE)
        return await self._database.run(decisions.waiting, caller, size, _token(request.page_token) or 0)

    @answers
    async def ListJobSummaries(
        self, request: messages.ListJobSummariesRequest, context: Context
    ) -> messages.ListJobSummariesResponse:
        caller, before = self._authentication.caller(context), _token(request.page_token)
        return await self._database.run(summaries.page, caller, request, before, self._stage)

    @answers
    async def GetJobHistory(self, request: messages.GetJobRequest, context: Context) -> messages.JobHistory:
        caller = self._authentication.caller(context)
        return await self._database.run(summaries.history, caller, request.job, self._stage)

    @streams
    async def WatchChanges(
        self, request: messages.WatchChangesRequest, context: Context
    ) -> AsyncIterator[messages.JobChange]:
        caller = self._authentication.caller(context)
        changes = self._feed.watch_all(stages=caller.role is Role.OPERATOR)
        try:
            # Who may see none is told so at once.
            await self._database.run(summaries.changes, caller, [])
            yield messages.JobChange()
            while True:
                changed = await changes.take()
                # Again each time: who left meanwhile is told nothing more.
                caller = self._authentication.caller(context)
                for change in await self._database.run(summaries.changes, caller, changed):
                    yield change
        finally:
            self._feed.leave_all(changes)

    def _told(self, job: messages.Job) -> messages.Job:
        """A new job, of which those who watch all jobs are told."""
        self._feed.changed(job.job)
        return job

    async def _record(self, caller: Caller, job: str) -> JobRecord:
        """The job, if it is the caller's own, or the caller may see all; another's does not exist for a developer."""
        check(caller, Action.ASK if caller.role is Role.DEVELOPER else Action.SEE_JOBS)
        record = await self._database.run(records.get, job)
        if caller.role is Role.DEVELOPER and record.developer != caller.name:
            raise records.unknown(job)
        return record


def _page(
    connection: Connection, developer: str | None, size: int, before: int | None
) -> tuple[list[messages.Job], int | None]:
    found, following = records.page(connection, developer, size, before)
    return [shown.withhold(connection, job) for job in found], following


def _token(text: str) -> int | None:
    if len(text) > TOKEN_DIGITS or (text and not (text.isascii() and text.isdecimal())):
        raise Problem(Kind.MALFORMED, "page_token", "The page token is not one of ours.", field="page_token")
    return int(text) if text else None
