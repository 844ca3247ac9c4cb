"""The pages of jobs: all that one may see, as they go; and one with its way, its plan as a picture, and its receipt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import job_pb2 as messages
from yingbi.api.v1.people_pb2 import Me
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import ReceiptBody
from yingbi.cells import PlanError
from yingbi.display import cell_text
from yingbi.models.scores import objective_of
from yingbi.receipt import document_of
from yingbi.rounds import Released
from yingbi.transport import Gateway

from yingbi_dashboard.decision_page import STATE_NAMES
from yingbi_dashboard.forms import read_form
from yingbi_dashboard.highlight import Piece, pieces
from yingbi_dashboard.plan_picture import Box, Line, boxes_of, picture
from yingbi_dashboard.receipt_checks import Checked, checked
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

PAGE = 50
FILTERS: dict[str, messages.JobState.ValueType] = {
    STATE_NAMES[state]: state for state in messages.JobState.values() if state > messages.JOB_STATE_PREVIEWED
}
"""States that a list can be narrowed down to, by the keys of their names."""
STAGE_NAMES = {
    "": "jobs.stage_none",
    "contributing": "jobs.contributing",
    "adding": "jobs.adding",
    "opening": "jobs.opening",
    "signing": "jobs.signing",
}
CHARGE_NAMES = {
    "": "jobs.not_charged",
    "reserved": "jobs.reserved",
    "spent": "jobs.spent",
    "refunded": "jobs.refunded",
}
OBJECTIVE_NAMES = {"log_loss": "job.objective_log_loss", "squared_error": "job.objective_squared_error"}
EVENT_NAMES = {"job.submit": "job.submitted", "job.state": "job.moved"}


@dataclass(frozen=True)
class Wanted:
    """Which jobs a list shows, as its address says."""

    state: str
    dataset: str
    before: str

    @property
    def query(self) -> str:
        """For the address of another look at the same."""
        return self._query(self.before)

    def older(self, token: str) -> str:
        """For the address of the next page."""
        return self._query(token)

    def request(self) -> messages.ListJobSummariesRequest:
        states = [FILTERS[self.state]] if self.state in FILTERS else []
        return messages.ListJobSummariesRequest(
            page_size=PAGE, page_token=self.before, states=states, dataset=self.dataset
        )

    def _query(self, before: str) -> str:
        named = {"state": self.state, "dataset": self.dataset, "before": before}
        return urlencode({name: value for name, value in named.items() if value})


@dataclass(frozen=True)
class JobPage:
    """What the page of a job shows that does not change."""

    sql: list[Piece]
    plan_hash: str
    boxes: tuple[Box, ...]


class JobPages:
    """Jobs and one job."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        return [
            Route("/jobs", self._jobs),
            Route("/jobs/rows", self._rows),
            Route("/jobs/{job}", self._job),
            Route("/jobs/{job}/now", self._now),
            Route("/jobs/{job}/checks", self._checks),
            Route("/jobs/{job}/receipt.json", self._receipt),
            Route("/jobs/{job}/stop", self._stop, methods=["POST"]),
        ]

    async def _jobs(self, request: Request) -> Response:
        wanted = _wanted(request)

        def read(gateway: Gateway) -> tuple[messages.ListJobSummariesResponse, list[str], Me]:
            names = [each.declaration.dataset for each in gateway.list_datasets()]
            return gateway.list_job_summaries(wanted.request()), names, who_is(gateway)

        found, datasets, me = await self._console.ask(request, read)
        return self._console.page(
            request,
            "jobs.html",
            found=found,
            datasets=datasets,
            wanted=wanted,
            filters=FILTERS,
            me=me,
            names=_NAMES,
        )

    async def _rows(self, request: Request) -> Response:
        wanted = _wanted(request)
        found = await self._console.ask(request, lambda gateway: gateway.list_job_summaries(wanted.request()))
        return self._console.page(request, "jobs_rows.html", found=found, wanted=wanted, names=_NAMES)

    async def _job(self, request: Request) -> Response:
        name = request.path_params["job"]

        def read(gateway: Gateway) -> tuple[messages.Job, messages.JobHistory, Me]:
            return gateway.get_job(name), gateway.get_job_history(name), who_is(gateway)

        job, history, me = await self._console.ask(request, read)
        plan = bytes(job.plan)
        page = JobPage(pieces(job.sql), digests.digest(digests.PLAN, plan).hex(), boxes_of(plan))
        return self._console.page(
            request,
            "job.html",
            job=job,
            history=history,
            objective=objective_line(job),
            page=page,
            me=me,
            names=_NAMES,
            picture=picture,
        )

    async def _now(self, request: Request) -> Response:
        """The parts of a job's page that change."""
        name = request.path_params["job"]
        job, history = await self._console.ask(
            request, lambda gateway: (gateway.get_job(name), gateway.get_job_history(name))
        )
        objective = objective_line(job)
        return self._console.page(request, "job_now.html", job=job, history=history, objective=objective, names=_NAMES)

    async def _checks(self, request: Request) -> Response:
        """The receipt, checked here and now, by what the SDK checks, against the zone's CA."""
        check = partial(_checked, job=request.path_params["job"], console=self._console)
        return self._console.page(request, "receipt_checks.html", found=await self._console.ask(request, check))

    async def _receipt(self, request: Request) -> Response:
        name = request.path_params["job"]
        content = await self._console.ask(request, lambda gateway: _receipt_file(gateway, name))
        headers = {"Content-Disposition": f'attachment; filename="{name}.receipt.json"'}
        return Response(content, media_type="application/json", headers=headers)

    async def _stop(self, request: Request) -> Response:
        form, name = await read_form(request), request.path_params["job"]
        reason = form.get("reason", "").strip()
        if not reason:
            raise Problem(Kind.MALFORMED, "reason", "Whoever stops a job says why.", field="reason")
        await self._console.ask(request, lambda gateway: stop_job(gateway, name, reason))
        return JSONResponse({"next": f"/jobs/{name}"})


def stop_job(gateway: Gateway, job: str, reason: str) -> messages.Job:
    """End a job. The one place where the console stops one."""
    return gateway.cancel_job(job, reason)


def objective_line(job: messages.Job) -> Line | None:
    """Of a step of a training that is done, as its receipt has it, how well the model fitted before it; else None."""
    if not job.HasField("receipt"):
        return None
    try:
        body = ReceiptBody.FromString(job.receipt.body)
        plan = Plan.FromString(body.plan)
        found = objective_of(Released.of(plan, body.opened)) if plan.fit.HasField("round") else None
    except (DecodeError, PlanError):
        return None
    if found is None:
        return None
    return Line(
        OBJECTIVE_NAMES[found.loss.name],
        {each.name: cell_text(each.value, each.error) for each in found.measures},
    )


_NAMES = {
    "state": STATE_NAMES,
    "stage": STAGE_NAMES,
    "charge": CHARGE_NAMES,
    "event": EVENT_NAMES,
}


def _wanted(request: Request) -> Wanted:
    asked = request.query_params
    return Wanted(asked.get("state", ""), asked.get("dataset", ""), asked.get("before", ""))


def _with_receipt(gateway: Gateway, name: str) -> messages.Job:
    job = gateway.get_job(name)
    if not job.HasField("receipt"):
        raise Problem(Kind.UNKNOWN, "no_receipt", f"There is no receipt of job {name} that you may see.")
    return job


def _checked(gateway: Gateway, *, job: str, console: Serving) -> Checked:
    found = _with_receipt(gateway, job)
    content = json.dumps(document_of(found.receipt)).encode()
    return checked(content, console.profile.trust, plan=bytes(found.plan))


def _receipt_file(gateway: Gateway, name: str) -> str:
    document = document_of(_with_receipt(gateway, name).receipt)
    return json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
