"""The pages of agreements: which there are, whose move it is, one with its clauses, and the steps of its life.

Which buttons are shown follows the same rules by which the gateway takes steps; it decides, and refuses the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yingbi.agreements import Agreement, State
from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2 as messages
from yingbi.api.v1 import job_pb2
from yingbi.api.v1.people_pb2 import Me
from yingbi.display import shown_source
from yingbi.stops import Stopped, of_agreement, preview, suspension_by
from yingbi.transport import Gateway

from yingbi_dashboard.decision_page import KIND_NAMES, STATE_NAMES, percent
from yingbi_dashboard.forms import MAX_DOCUMENT, from_base64, read_form, to_base64
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

STATES = {
    State.DRAFT: "agreements.draft",
    State.APPLIED: "agreements.applied",
    State.ASSESSED: "agreements.assessed",
    State.CONSENTED: "agreements.consented",
    State.SUSPENDED: "agreements.suspended",
    State.TERMINATED: "agreements.terminated",
    State.REFUSED: "agreements.refused",
    State.WITHDRAWN: "agreements.withdrawn",
    State.SUPERSEDED: "agreements.superseded",
    State.IN_FORCE: "agreements.in_force",
    State.NOT_YET: "agreements.not_yet",
    State.EXPIRED: "agreements.expired",
    State.USED_UP: "agreements.used_up",
}
STEPS = {
    "draft": "agreements.do_draft",
    "apply": "agreements.do_apply",
    "assess": "agreements.do_assess",
    "consent": "agreements.do_consent",
    "sign": "agreements.do_sign",
    "refuse": "agreements.do_refuse",
    "withdraw": "agreements.do_withdraw",
    "suspend": "agreements.do_suspend",
    "resume": "agreements.do_resume",
    "terminate": "agreements.do_terminate",
    "supersede": "agreements.do_supersede",
}
SURE = {
    "apply": "agreements.sure_apply",
    "assess": "agreements.sure_assess",
    "consent": "agreements.sure_consent",
    "sign": "agreements.sure_sign",
    "refuse": "agreements.sure_refuse",
    "withdraw": "agreements.sure_withdraw",
    "suspend": "agreements.sure_suspend",
    "resume": "agreements.sure_resume",
    "terminate": "agreements.sure_terminate",
}
"""What each step means, to be read before it is confirmed."""
MOVES = ("apply", "assess", "consent", "sign")
"""Steps that an agreement waits for, to go on."""
REASONED = ("refuse", "withdraw", "suspend", "terminate")
STOPS = ("suspend", "terminate")
_JOBS = messages.Agreement.JOBS_FIELD_NUMBER
PAGE = 200
"""Jobs that are asked for at once."""
_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_UNDER_WAY = (
    job_pb2.JOB_STATE_WAITING_FOR_APPROVAL,
    job_pb2.JOB_STATE_QUEUED,
    job_pb2.JOB_STATE_RUNNING,
)
_DRAFT, _APPLIED = messages.AGREEMENT_STATE_DRAFT, messages.AGREEMENT_STATE_APPLIED
_ASSESSED, _CONSENTED = messages.AGREEMENT_STATE_ASSESSED, messages.AGREEMENT_STATE_CONSENTED
_ACTIVE, _SUSPENDED = messages.AGREEMENT_STATE_ACTIVE, messages.AGREEMENT_STATE_SUSPENDED


@dataclass(frozen=True)
class Clause:
    """A clause as it is shown: by its number in the message that is signed, so that the browser can compare."""

    number: int
    title: str
    # Of what kind its bytes are: "text", "list", "time", "real", "whole", "key" or "truth".
    kind: str
    text: str
    # The keys of what its words mean, where they are not the parties' own.
    gloss: list[str]


@dataclass(frozen=True)
class Limit:
    """How much of a limit is used, as people read it and as percents; `title` is the key of its name."""

    title: str
    used: str
    limit: str
    percent: float


@dataclass(frozen=True)
class Entry:
    """An agreement in the list."""

    agreement: Agreement
    state: str
    # The step that waits for the reader; empty where none does.
    mine: str


@dataclass(frozen=True)
class Page:
    """One agreement, and what its reader may do with it."""

    agreement: Agreement
    state: str
    clauses: list[Clause]
    steps: list[str]
    mine: str
    terms_hash: str
    budget: Limit
    uses: Limit | None

    @property
    def stops(self) -> bool:
        """Whether the reader may take a step that jobs under way are hit by."""
        return any(step in STOPS for step in self.steps)


def routes(console: Serving) -> list[Route]:
    """The pages, and what they post."""
    pages = _Pages(console)
    return [
        Route("/agreements", pages.all, methods=["GET"]),
        Route("/agreements", pages.draft, methods=["POST"]),
        Route("/agreements/{agreement}", pages.one),
        Route("/agreements/{agreement}/hits", pages.hits),
        Route("/agreements/{agreement}/prepare", pages.prepare, methods=["POST"]),
        Route("/agreements/{agreement}/step", pages.step, methods=["POST"]),
    ]


def steps_for(me: Me, registered: messages.RegisteredAgreement) -> list[str]:
    """The steps that are this reader's to take now; first the one that the agreement waits for."""
    terms, state = registered.agreement, registered.state
    own, duties = me.organisation.organisation, frozenset(me.person.duties)
    match me.organisation.kind:
        case "developer" if own == terms.organisation and "signatory" in duties:
            return _of_asker(registered, state)
        case "supervisor" if own == terms.supervisor and "assessor" in duties:
            return ["assess", "refuse"] if state == _APPLIED else _of_stopper(registered, own)
        case "provider" if own == terms.provider and "signatory" in duties:
            return _of_provider(registered, state, own)
        case "coordinator" if "coordinator" in duties:
            return ["terminate"] if state in (_ACTIVE, _SUSPENDED) else []
        case _:
            return []


def mine(steps: Sequence[str]) -> str:
    """Of steps that somebody may take: the one that the agreement waits for, else nothing."""
    return next((step for step in steps if step in MOVES), "")


def waiting_for(me: Me, found: Sequence[messages.RegisteredAgreement]) -> list[Entry]:
    """The agreements whose next step is this reader's."""
    return [entry for entry in map(partial(_entry, me), found) if entry.mine]


def page_of(registered: messages.RegisteredAgreement, me: Me) -> Page:
    """The page of an agreement for one reader."""
    agreement, steps = Agreement(registered), steps_for(me, registered)
    budget = registered.budget
    limited = budget.HasField("max_uses")
    return Page(
        agreement=agreement,
        state=STATES[agreement.state],
        clauses=clauses_of(registered.agreement),
        steps=steps,
        mine=mine(steps),
        terms_hash=digests.digest(digests.AGREEMENT, registered.signed.terms).hex(),
        budget=Limit(
            "agreements.budget",
            f"ε {agreement.budget.spent_epsilon:.3g}",
            f"ε {budget.epsilon:g} (δ {budget.delta:g})",
            percent(budget.spent_rho_units / max(budget.limit_rho_units, 1)),
        ),
        uses=Limit(
            "agreements.uses",
            f"{budget.uses:,}",
            f"{budget.max_uses:,}",
            percent(budget.uses / max(budget.max_uses, 1)),
        )
        if limited
        else None,
    )


def clauses_of(terms: messages.Agreement) -> list[Clause]:
    """Every field of the terms that says something: nothing that is signed is left out."""
    found = []
    for field, value in terms.ListFields():
        number = field.number
        title, kind = CLAUSES[number]
        found.append(Clause(number, title, kind, _WORDS[kind](value), _gloss(number, kind, value)))
    order = list(CLAUSES)
    return sorted(found, key=lambda clause: order.index(clause.number))


def _gloss(number: int, kind: str, value: Any) -> list[str]:
    if number == _JOBS:
        return [KIND_NAMES[each] for each in value if each in KIND_NAMES]
    return ["agreements.yes" if value else "agreements.no"] if kind == "truth" else []


def _entry(me: Me, registered: messages.RegisteredAgreement) -> Entry:
    agreement = Agreement(registered)
    return Entry(agreement, STATES[agreement.state], mine(steps_for(me, registered)))


def _of_asker(registered: messages.RegisteredAgreement, state: int) -> list[str]:
    if state == _DRAFT:
        return ["apply", "withdraw"]
    if state == _CONSENTED:
        return [*([] if registered.signed.HasField("organisation") else ["sign"]), "withdraw"]
    return ["withdraw"] if state in (_APPLIED, _ASSESSED) else []


def _of_provider(registered: messages.RegisteredAgreement, state: int, own: str) -> list[str]:
    if state == _ASSESSED:
        return ["consent", "refuse"]
    if state == _CONSENTED:
        return [*([] if registered.signed.HasField("provider") else ["sign"]), "refuse"]
    return [*_of_stopper(registered, own), "terminate"] if state in (_ACTIVE, _SUSPENDED) else []


def _of_stopper(registered: messages.RegisteredAgreement, own: str) -> list[str]:
    if registered.state == _ACTIVE:
        return ["suspend"]
    if registered.state != _SUSPENDED:
        return []
    last = [event.action for event in registered.events if event.organisation == own]
    held = [action for action in last if action in ("suspend", "resume")]
    return ["resume"] if held[-1:] == ["suspend"] else ["suspend"]


def _moment(at: Timestamp) -> str:
    """To the second, as terms have it."""
    return at.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_WORDS: dict[str, Callable[[Any], str]] = {
    "text": shown_source,
    "list": lambda values: shown_source(", ".join(values)),
    "time": _moment,
    "real": repr,
    "whole": str,
    "key": bytes.hex,
    "truth": lambda value: "true" if value else "false",
}
CLAUSES = {
    1: ("agreements.id", "text"),
    2: ("agreements.dataset", "text"),
    3: ("agreements.organisation", "text"),
    12: ("agreements.scenario", "text"),
    4: ("agreements.purpose", "text"),
    5: ("agreements.starts", "time"),
    6: ("agreements.expires", "time"),
    7: ("agreements.epsilon", "real"),
    8: ("agreements.delta", "real"),
    9: ("agreements.max_uses", "whole"),
    18: ("agreements.a_day", "whole"),
    10: ("agreements.jobs", "list"),
    11: ("agreements.columns", "list"),
    30: ("agreements.parameters", "truth"),
    13: ("agreements.provider", "text"),
    14: ("agreements.supervisor", "text"),
    15: ("agreements.responsibility", "text"),
    16: ("agreements.supervision", "text"),
    17: ("agreements.revocation", "text"),
    22: ("agreements.supersedes", "text"),
    19: ("agreements.organisation_key", "key"),
    20: ("agreements.provider_key", "key"),
    21: ("agreements.supervisor_key", "key"),
}
"""Of each field of the terms by its number: the key of its title, and how it is shown. In the order of the page."""


class _Pages:
    def __init__(self, console: Serving) -> None:
        self._console = console

    async def all(self, request: Request) -> Response:
        me, found = await self._console.ask(request, lambda gateway: (who_is(gateway), gateway.list_agreements()))
        entries = [_entry(me, each) for each in found]
        may_draft = me.organisation.kind == "developer" and "signatory" in me.person.duties
        return self._console.page(request, "agreements.html", me=me, entries=entries, steps=STEPS, may_draft=may_draft)

    async def one(self, request: Request) -> Response:
        name = _named(request)
        me, found, ended = await self._console.ask(
            request, lambda gateway: (who_is(gateway), gateway.get_agreement(name), of_agreement(gateway, name))
        )
        return self._console.page(
            request,
            "agreement.html",
            me=me,
            page=page_of(found, me),
            suspension=_own_suspension(ended, me),
            steps=STEPS,
            sure=SURE,
            reasoned=REASONED,
            stops=STOPS,
        )

    async def hits(self, request: Request) -> Response:
        """The jobs and deployed models that a stop would hit: asked apart, since it takes longer than all the rest."""
        name = _named(request)
        jobs, models = await self._console.ask(
            request, lambda gateway: (_under_way(gateway, name), preview(gateway, "agreement", name).deployments)
        )
        return self._console.page(request, "agreement_hits.html", jobs=jobs, models=models, state_names=STATE_NAMES)

    async def draft(self, request: Request) -> Response:
        document = (await read_form(request, MAX_DOCUMENT)).get("document", "").replace("\r\n", "\n")
        drafted = await self._console.ask(
            request, lambda gateway: gateway.draft_agreement("document", document.encode())
        )
        return JSONResponse({"next": f"/agreements/{drafted.agreement.agreement}"})

    async def prepare(self, request: Request) -> Response:
        """The very bytes that are signed, for the browser to compare with what it shows."""
        name = _named(request)
        found = await self._console.ask(request, lambda gateway: gateway.get_agreement(name))
        return JSONResponse({"terms": to_base64(found.signed.terms)})

    async def step(self, request: Request) -> Response:
        form, name = await read_form(request), _named(request)
        step = messages.AgreementStep(
            agreement=name, action=form.get("action", ""), reason=form.get("reason", "").replace("\r\n", "\n")
        )
        if "signature" in form:
            step.signature.signature = from_base64(form["signature"], "signature")
            step.signature.key = from_base64(form.get("key", ""), "key")
        for kind, signed in (("stop", step.stop), ("lift", step.lift)):
            if kind in form:
                signed.body = from_base64(form[kind], kind)
                signed.signature = from_base64(form.get(f"{kind}_signature", ""), f"{kind}_signature")
        await self._console.ask(request, partial(_moved, step=step))
        return JSONResponse({"next": f"/agreements/{name}"})


def _named(request: Request) -> str:
    name: str = request.path_params["agreement"]
    if not _ID.fullmatch(name):
        raise Problem(Kind.UNKNOWN, "unknown_agreement", "There is no such agreement.")
    return name


def _moved(gateway: Gateway, *, step: messages.AgreementStep) -> object:
    """With what shows enclaves whose key signed, where it is not the organisation's own."""
    if step.HasField("signature"):
        person = who_is(gateway).person
        if person.HasField("certificate"):
            step.signature.certificate.CopyFrom(person.certificate)
    return gateway.move_agreement(step)


def _own_suspension(ended: Sequence[Stopped], me: Me) -> str:
    """The digest of the reader's own suspension, which is what to resume ends; empty where there is none."""
    in_force = (each.message for each in ended if not each.is_lifted)
    held = suspension_by(in_force, me.organisation.organisation)
    return "" if held is None else to_base64(held.digest)


def _under_way(gateway: Gateway, name: str) -> list[job_pb2.JobSummary]:
    """The jobs that wait or run under the agreement, or under one that it came in the place of."""
    names = [name, *gateway.get_agreement(name).predecessors]
    return [job for each in names for job in _under_way_of(gateway, each)]


def _under_way_of(gateway: Gateway, name: str) -> list[job_pb2.JobSummary]:
    wanted = job_pb2.ListJobSummariesRequest(agreement=name, states=_UNDER_WAY, page_size=PAGE)
    found = list[job_pb2.JobSummary]()
    while True:
        page = gateway.list_job_summaries(wanted)
        found += page.jobs
        wanted.page_token = page.next_page_token
        if not wanted.page_token:
            return found
