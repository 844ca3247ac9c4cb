"""The page of operators: notices, who applied under them, whose move it is, and every step so far.

Its steps are taken from the command line: few people take one in years, and what they sign is shown there.

Keeps: APP-03
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yingbi.api.v1.people_pb2 import Me
from yingbi.operators import NOT_YET, Application, Notice, Operators

from yingbi_dashboard.agreements_page import STEPS as AGREEMENT_STEPS
from yingbi_dashboard.serving import Serving
from yingbi_dashboard.sign_in import who_is

STATES = {
    "applied for": "agreements.applied",
    "review passed": "operators.assessed",
    "in force": "agreements.in_force",
    NOT_YET: "agreements.not_yet",
    "refused": "agreements.refused",
    "terminated": "agreements.terminated",
    "expired": "agreements.expired",
}
STEPS = {**AGREEMENT_STEPS, "assess": "operators.do_review", "adopt": "operators.do_adopt"}
CLAUSE_TITLES = {
    "conditions": "operators.conditions",
    "scope": "operators.scope",
    "responsibility": "agreements.responsibility",
    "supervision": "agreements.supervision",
    "revocation": "agreements.revocation",
}
"""Of each clause of a notice: the key of its title."""


@dataclass(frozen=True)
class Entry:
    """An application as its reader sees it."""

    application: Application
    state: str
    # Whether the next step is one for the reader's organisation.
    is_mine: bool


@dataclass(frozen=True)
class Card:
    """A notice as its reader sees it."""

    notice: Notice
    entries: Sequence[Entry]


def card_of(notice: Notice, me: Me) -> Card:
    """A notice with the applications under it, for one reader."""
    return Card(notice, [_entry(each, me) for each in notice.applications])


def routes(console: Serving) -> list[Route]:
    """The page."""

    async def listed(request: Request) -> Response:
        me, found = await console.ask(request, lambda gateway: (who_is(gateway), Operators(gateway).notices()))
        cards = [card_of(each, me) for each in reversed(found)]
        return console.page(request, "operators.html", me=me, cards=cards, steps=STEPS, clauses=CLAUSE_TITLES)

    return [Route("/operators", listed)]


def _entry(application: Application, me: Me) -> Entry:
    terms, own = application.message.agreement, me.organisation.organisation
    movers = {
        "applied for": {terms.notice.supervisor},
        "review passed": {terms.notice.coordinator, terms.operator} - set(application.signed_by),
    }
    return Entry(application, STATES[application.state], own in movers.get(application.state, set()))
