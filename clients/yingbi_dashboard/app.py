"""The console's pages and what they post. Each request makes its calls with the credential in its own cookie.

Keeps: MON-03
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import RegisteredAgreement
from yingbi.api.v1.job_pb2 import ListDecisionsResponse, SignedApproval
from yingbi.api.v1.people_pb2 import Me
from yingbi.attest import attest
from yingbi.display import BY_SIZE
from yingbi.profile import Profile
from yingbi.transport import Gateway, channel_to

from yingbi_dashboard import (
    agreements_page,
    audit_page,
    catalogue,
    operators_page,
    security,
    standing_page,
    stop_proofs,
    workbench_page,
)
from yingbi_dashboard.budget_pages import BudgetPages
from yingbi_dashboard.dataset_pages import DatasetPages
from yingbi_dashboard.decision_page import (
    KIND_NAMES,
    MODE_NAMES,
    Page,
    approval_of,
    moment,
    page_of,
    waits_for,
)
from yingbi_dashboard.enclaves import Enclaves, enclaves_of
from yingbi_dashboard.forms import from_base64 as _base64
from yingbi_dashboard.forms import read_form as _form
from yingbi_dashboard.forms import to_base64 as _text
from yingbi_dashboard.job_pages import JobPages
from yingbi_dashboard.live import Live
from yingbi_dashboard.people_pages import PeoplePages
from yingbi_dashboard.sign_in import is_signed_out, who_is
from yingbi_dashboard.sign_in_pages import SignInPages
from yingbi_dashboard.verify_page import VerifyPage

HERE = Path(__file__).parent
MOST_WAITING = 100
THEMES = ("auto", "light", "dark")
LANGUAGE_COOKIE, THEME_COOKIE = "yingbi-language", "yingbi-theme"
MAX_DAYS = 365
_EVIDENCE_SECONDS = 60.0
_STATUS = {
    Kind.MALFORMED: 400,
    Kind.UNKNOWN: 404,
    Kind.NOT_ALLOWED: 403,
    Kind.NOT_AUTHENTICATED: 401,
    Kind.UNAVAILABLE: 503,
    Kind.FAILED: 500,
}
_INTERNAL = Problem(Kind.FAILED, "internal", "The console failed; its log says why.")
Result = TypeVar("Result")
log = logging.getLogger("yingbi_dashboard")


class Console:
    """The console of one zone. Nothing of who is signed in is kept here."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._channel: grpc.Channel = channel_to(profile.reachable_at(), profile.ca_pem)
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._seen: tuple[float, Enclaves] | None = None

    def app(self) -> Starlette:
        """The application, with its checks around every page."""
        modules = (
            *(pages(self) for pages in (SignInPages, PeoplePages, JobPages, VerifyPage, BudgetPages, DatasetPages)),
            Live(self._profile),
        )
        routes = [
            Route("/", self._home),
            Route("/preferences", self._preferences, methods=["POST"]),
            Route("/inbox", self._inbox),
            Route("/inbox/rows", self._inbox_rows),
            Route("/decisions/{job}", self._decision),
            Route("/decisions/{job}/enclaves", self._enclaves),
            Route("/decisions/{job}/prepare", self._prepare, methods=["POST"]),
            Route("/decisions/{job}/approve", self._approve, methods=["POST"]),
            Route("/decisions/{job}/refuse", self._refuse, methods=["POST"]),
            *(route for module in modules for route in module.routes()),
            *agreements_page.routes(self),
            *standing_page.routes(self),
            *operators_page.routes(self),
            *stop_proofs.routes(self),
            *audit_page.routes(self),
            *workbench_page.routes(self),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        handlers: dict[Any, Any] = {Problem: self._problem, 404: self._nothing}
        guard = Middleware(BaseHTTPMiddleware, dispatch=self._guard)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)

    async def _guard(self, request: Request, follow: RequestResponseEndpoint) -> Response:
        """What holds for every request: where it comes from, and what its answer carries."""
        request.state.nonce = security.nonce()
        try:
            security.check_host(request.headers)
            if request.method not in ("GET", "HEAD"):
                security.check_same_origin(request.headers)
            response = await follow(request)
        except Problem as problem:
            response = self._problem(request, problem)
        except Exception:
            log.exception("%s %s failed", request.method, request.url.path)
            response = self._problem(request, _INTERNAL)
        response.headers.update(security.headers(request.state.nonce))
        return response

    # Pages.

    async def _home(self, request: Request) -> Response:
        """Where one begins: developers have no inbox."""
        me = await self.ask(request, who_is)
        return RedirectResponse("/jobs" if me.organisation.kind == "developer" else "/inbox", status_code=303)

    async def _inbox(self, request: Request) -> Response:
        return self.page(request, "inbox.html", **await self.ask(request, _waiting))

    async def _inbox_rows(self, request: Request) -> Response:
        return self.page(request, "inbox_rows.html", **await self.ask(request, _waiting))

    async def _decision(self, request: Request) -> Response:
        job = request.path_params["job"]

        def read(gateway: Gateway) -> tuple[Page, Me]:
            decision = gateway.get_decision(job)
            return page_of(decision, *_agreement(gateway, decision.job.agreement)), who_is(gateway)

        page, me = await self.ask(request, read)
        return self.page(request, "decision.html", page=page, me=me)

    async def _enclaves(self, request: Request) -> Response:
        """Asked apart from the page: evidence takes longer than all the rest."""
        found = await self.ask(request, self.evidence)
        return self.page(request, "enclaves.html", enclaves=found)

    # What pages post.

    async def _preferences(self, request: Request) -> Response:
        form = await _form(request)
        response = RedirectResponse(security.local_page(form.get("back", "")), status_code=303)
        for cookie, name, known in (
            (LANGUAGE_COOKIE, "language", catalogue.LANGUAGES),
            (THEME_COOKIE, "theme", THEMES),
        ):
            if form.get(name) in known:
                response.set_cookie(cookie, form[name], max_age=31_536_000, samesite="strict", httponly=True)
        return response

    async def _prepare(self, request: Request) -> Response:
        """The bytes of an approval, for the browser to check and sign."""
        form = await _form(request)
        key = _base64(form.get("key", ""), "key")
        expires = _expires(form.get("days", ""))
        decision, me = await self.ask(
            request, lambda gateway: (gateway.get_decision(request.path_params["job"]), who_is(gateway))
        )
        body = approval_of(decision, key, me.organisation.organisation, expires)
        return JSONResponse({"body": _text(body), "plan": _text(decision.job.plan)})

    async def _approve(self, request: Request) -> Response:
        form = await _form(request)
        signed = SignedApproval(
            body=_base64(form.get("body", ""), "body"), signature=_base64(form.get("signature", ""), "signature")
        )
        await self.ask(request, partial(_approved, signed=signed))
        return JSONResponse({"next": f"/decisions/{request.path_params['job']}"})

    async def _refuse(self, request: Request) -> Response:
        form, job = await _form(request), request.path_params["job"]
        returned = form.get("action") == "return"
        refuse = partial(
            _refused, job=job, reason=form.get("reason", ""), clause=form.get("clause", ""), returned=returned
        )
        await self.ask(request, refuse)
        return JSONResponse({"next": f"/decisions/{job}"})

    # How.

    async def ask(self, request: Request, call: Callable[[Gateway], Result]) -> Result:
        """What `call` gives, made with the reader's own credential; raises Problem."""
        credential = security.checked_credential(request.cookies.get(security.SESSION, ""))
        return await run_in_threadpool(call, self.gateway(credential))

    def gateway(self, credential: str) -> Gateway:
        """Calls with this credential."""
        return Gateway(self._profile, credential=credential, channel=self._channel)

    def evidence(self, gateway: Gateway) -> Enclaves:
        """What fresh evidence says of the enclaves, at most a minute old; raises Problem for who is not known."""
        if self._seen is not None and time.monotonic() - self._seen[0] < _EVIDENCE_SECONDS:
            # Whoever is not known learns nothing of it, kept or not.
            gateway.list_datasets()
            return self._seen[1]
        try:
            found = enclaves_of(attest(gateway, self._profile.trust), None)
        except Problem as problem:
            if is_signed_out(problem):
                raise
            return enclaves_of(None, problem)
        self._seen = (time.monotonic(), found)
        return found

    def page(self, request: Request, template: str, status: int = 200, **content: object) -> HTMLResponse:
        """A page or a part of one, in the reader's language."""
        language = _language_of(request)
        theme = request.cookies.get(THEME_COOKIE, "auto")
        context: dict[str, object] = {
            "t": partial(catalogue.say, language),
            "refusal": partial(catalogue.refusal, language),
            "hint_of": partial(catalogue.hint, language),
            "phrase": partial(catalogue.phrase, language),
            "named": partial(catalogue.named, language),
            "by_size": BY_SIZE,
            "language": language,
            "languages": catalogue.LANGUAGES,
            "theme": theme if theme in THEMES else "auto",
            "themes": {"auto": "theme.auto", "light": "theme.light", "dark": "theme.dark"},
            "nonce": request.state.nonce,
            "here": request.url.path,
            "signed_in": True,
            "me": Me(),
            "waits_for": waits_for,
            "kind_names": KIND_NAMES,
            "mode_names": MODE_NAMES,
            "at": lambda stamp: moment(stamp.ToDatetime(tzinfo=UTC)),
            **content,
        }
        return HTMLResponse(self._templates.get_template(template).render(context), status)

    @property
    def profile(self) -> Profile:
        """The zone's; without a token."""
        return self._profile

    def _problem(self, request: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)
        status = _STATUS.get(problem.kind, 409)
        is_part = "hx-request" in request.headers
        if request.method == "POST" and not is_part:
            return JSONResponse(_in_language_of(request, problem).to_json(), status)
        if is_signed_out(problem):
            if is_part:
                # A redirect would put the page into the page.
                page = urlsplit(request.headers.get("hx-current-url", "")).path
                return Response(status_code=200, headers={"HX-Redirect": security.sign_in_for(page)})
            return RedirectResponse(security.sign_in_for(request.url.path), status_code=303)
        # Parts are renewed again later, and then show what they should.
        template = "problem_part.html" if is_part else "problem.html"
        return self.page(request, template, 200 if is_part else status, problem=problem)

    def _nothing(self, request: Request, error: Exception) -> Response:
        problem = Problem(Kind.UNKNOWN, "unknown_page", "There is no such page.")
        return self.page(request, "problem.html", 404, problem=problem)


def _language_of(request: Request) -> str:
    return catalogue.chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))


def _in_language_of(request: Request, problem: Problem) -> Problem:
    """What it means first, where that is known in the reader's language; then the gateway's own words."""
    language, hint = _language_of(request), problem.hint or ""
    own, todo = catalogue.refusal(language, problem.code), catalogue.hint(language, problem.code, hint)
    return replace(
        problem,
        message=f"{own} {problem.message}" if own else problem.message,
        hint=f"{todo} {hint}" if todo else problem.hint,
    )


def _waiting(gateway: Gateway) -> dict[str, Any]:
    """What waits, jobs and agreements. Who asks, and sees nobody else's jobs, has agreements alone to decide about."""
    me = who_is(gateway)
    asks = me.organisation.kind == "developer"
    return {
        "me": me,
        "waiting": ListDecisionsResponse() if asks else gateway.list_decisions(MOST_WAITING),
        "agreements": agreements_page.waiting_for(me, gateway.list_agreements()),
        "agreement_steps": agreements_page.STEPS,
    }


def _agreement(gateway: Gateway, name: str) -> tuple[RegisteredAgreement | None, Problem | None]:
    """The agreement, if there is one; or why it cannot be seen, which the page says in its place."""
    if not name:
        return None, None
    try:
        return gateway.get_agreement(name), None
    except Problem as problem:
        return None, problem


def _approved(gateway: Gateway, *, signed: SignedApproval) -> object:
    """With what shows enclaves whose key signed, where it is not the organisation's own."""
    person = who_is(gateway).person
    if person.HasField("certificate"):
        signed.certificate.CopyFrom(person.certificate)
    return gateway.approve_job(signed)


def _refused(gateway: Gateway, *, job: str, reason: str, clause: str, returned: bool) -> object:
    return gateway.refuse_job(job, reason, clause, returned=returned)


def _expires(days: str) -> datetime | None:
    if not days:
        return None
    if not days.isdecimal() or not 1 <= int(days) <= MAX_DAYS:
        raise Problem(Kind.MALFORMED, "days", f"An approval counts for 1 to {MAX_DAYS} days.", field="days")
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(days))
