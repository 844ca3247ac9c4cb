"""Standing approvals: which there are, what runs under them, and how whoever gave one withdraws it.

They are given from the command line: the template's hash is worked out there from the plan that is shown, and no script
of a page can do that yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.job_pb2 import StandingApproval
from yingbi.api.v1.people_pb2 import Me
from yingbi.jobs import Job
from yingbi.standing import Standing, constants, standing_approvals
from yingbi.transport import Gateway

from yingbi_dashboard.forms import read_form
from yingbi_dashboard.highlight import Piece, pieces
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

MOST_SHOWN = 50
"""The newest: each is shown with the request that it was given with."""
KIND_NAMES = {
    StandingApproval.KIND_ROUNDS: "standing.rounds",
    StandingApproval.KIND_CONSTANTS: "standing.constants",
}
STATE_NAMES = {
    "in force": "standing.in_force",
    "revoked": "standing.revoked",
    "over": "standing.over",
    "used up": "standing.used_up",
}


@dataclass(frozen=True)
class Range:
    """A constant that may be another: what it was when somebody looked, and between which values it may be."""

    position: str
    looked_at: str
    lower: str
    upper: str


@dataclass(frozen=True)
class Entry:
    """A standing approval, with what it was given with."""

    standing: Standing
    kind: str
    state: str
    request: list[Piece]
    """Empty where the reader may not see that job."""
    ranges: list[Range]
    may_revoke: bool

    @property
    def left(self) -> int:
        """How many jobs may still run under it."""
        return max(self.standing.message.terms.max_jobs - self.standing.message.jobs, 0)

    @property
    def rho(self) -> tuple[float, float]:
        """What was spent under it, and what may be."""
        message = self.standing.message
        return message.rho_units / zcdp.RHO_UNITS, message.terms.rho_units / zcdp.RHO_UNITS


def entry_of(standing: Standing, job: Job | None, me: Me) -> Entry:
    """How one reader sees a standing approval; `job` is the one that it was given with, where they may see it."""
    terms = standing.message.terms
    looked_at = dict(enumerate(constants(job))) if job is not None else {}
    ranges = standing.to_json()["constants"]
    assert isinstance(ranges, dict)
    return Entry(
        standing,
        KIND_NAMES.get(terms.kind, "standing.other"),
        STATE_NAMES[standing.state],
        pieces(job.message.sql) if job is not None else [],
        [Range(position, looked_at.get(int(position), ""), *bounds) for position, bounds in ranges.items()],
        may_revoke=standing.state == "in force" and terms.organisation == me.organisation.organisation,
    )


def routes(console: Serving) -> list[Route]:
    """The page, and what it posts."""

    async def listed(request: Request) -> Response:
        is_all = request.query_params.get("all") == "yes"
        me, entries, more = await console.ask(request, partial(_read, is_all=is_all))
        return console.page(request, "standing.html", me=me, entries=entries, more=more, is_all=is_all)

    async def revoke(request: Request) -> Response:
        name = request.path_params["standing"]
        reason = (await read_form(request)).get("reason", "").replace("\r\n", "\n").strip()
        if not reason:
            raise Problem(Kind.MALFORMED, "reason", "Whoever withdraws an approval says why.", field="reason")
        await console.ask(request, lambda gateway: gateway.revoke_standing(name, reason))
        return JSONResponse({"next": "/standing"})

    return [Route("/standing", listed), Route("/standing/{standing}/revoke", revoke, methods=["POST"])]


def _read(gateway: Gateway, *, is_all: bool) -> tuple[Me, list[Entry], int]:
    """Who reads, the newest standing approvals, and how many more there are."""
    me, found = who_is(gateway), standing_approvals(gateway, over=is_all)
    entries = [entry_of(each, _given_with(gateway, each), me) for each in found[:MOST_SHOWN]]
    return me, entries, max(len(found) - MOST_SHOWN, 0)


def _given_with(gateway: Gateway, standing: Standing) -> Job | None:
    """None where the reader may not see it: developers see their own jobs."""
    try:
        return Job(gateway.get_job(standing.message.job), gateway)
    except Problem as problem:
        if problem.kind is not Kind.UNKNOWN:
            raise
        return None
