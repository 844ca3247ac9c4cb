"""What the console gives to pages that have a module of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import HTMLResponse
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Me
from yingbi.profile import Profile
from yingbi.transport import Gateway

from yingbi_dashboard.enclaves import Enclaves

Result = TypeVar("Result")


class Serving(Protocol):
    """The console of one zone, as pages use it."""

    @property
    def profile(self) -> Profile:
        """The zone's; without a token."""

    async def ask(self, request: Request, call: Callable[[Gateway], Result]) -> Result:
        """What `call` gives, made with the reader's own credential; raises Problem."""

    def gateway(self, credential: str) -> Gateway:
        """Calls with this credential: of somebody who is signing in."""

    def evidence(self, gateway: Gateway) -> Enclaves:
        """What fresh evidence says of the enclaves, at most a minute old; raises Problem for who is not known."""

    def page(self, request: Request, template: str, status: int = 200, **content: object) -> HTMLResponse:
        """A page or a part of one, in the reader's language."""


def check_kind(me: Me, *kinds: str) -> None:
    """Raise Problem NOT_ALLOWED "other_kind" unless the reader is of such an organisation.

    What somebody may do the gateway decides, at every call; this says at once whose page it is.
    """
    if me.organisation.kind not in kinds:
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_kind",
            f"This page is for people of a {' or a '.join(kinds)}; {me.person.person or 'you'} are of the"
            f" {me.organisation.kind or 'organisation'} {me.organisation.organisation}.",
        )
