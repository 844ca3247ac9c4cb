"""/people: who is filed, who may do what, and how one signs in oneself."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from yingbi.api.certificates import certified_until
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import PERSON_STATE_ACTIVE, InvitePersonRequest, Person, SignedInvitation
from yingbi.api.v1.sign_in_pb2 import RegisterPasskeyRequest, RegisterTotpRequest, SignInMethod
from yingbi.transport import Gateway

from yingbi_dashboard import people_view
from yingbi_dashboard.decision_page import moment
from yingbi_dashboard.forms import read_form
from yingbi_dashboard.people_view import View
from yingbi_dashboard.serving import Serving

PAGE = "/people"
_NAMES: Mapping[str, Any] = {
    "role_names": people_view.ROLE_NAMES,
    "duty_names": people_view.DUTY_NAMES,
    "state_names": people_view.STATE_NAMES,
    "method_names": people_view.METHOD_NAMES,
}


class PeoplePages:
    """The page, and what is posted from it."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        """Where they are."""
        posts = {
            "invite": self._invite,
            "remove": self._remove,
            "tokens/revoke": self._revoke,
            "methods/remove": self._remove_method,
            "passkey/begin": self._begin_passkey,
            "passkey": self._passkey,
            "totp/begin": self._begin_totp,
            "totp": self._totp,
        }
        return [
            Route(PAGE, self._people, methods=["GET"]),
            Route(PAGE + "/{person}/remove", self._removal, methods=["GET"]),
            *(Route(f"{PAGE}/{path}", action, methods=["POST"]) for path, action in posts.items()),
        ]

    async def _people(self, request: Request) -> Response:
        view = await self._console.ask(request, read)
        return self._console.page(request, "people.html", view=view, me=view.me, **_NAMES)

    async def _removal(self, request: Request) -> Response:
        """What ends with a person, before it does."""
        name = request.path_params["person"]
        view = await self._console.ask(request, read)
        found = next((each for each in view.people if each.person == name and view.removable(each)), None)
        if found is None:
            raise Problem(Kind.UNKNOWN, "unknown_person", f"There is no {name!r} whom you could remove.")
        left = [each for each in view.people if each.person != name and _administers(each, found.organisation)]
        return self._console.page(
            request, "person_removal.html", me=view.me, person=found, is_last=not left, until=_until(found), **_NAMES
        )

    async def _invite(self, request: Request) -> Response:
        """With what the browser signed."""
        form = await read_form(request)
        wanted = InvitePersonRequest(
            invitation=_invitation(form.get("invitation", "")), real_name=form.get("real_name", "")
        )
        person = await self._console.ask(request, lambda gateway: gateway.invite_person(wanted))
        return JSONResponse({"person": person.person})

    async def _remove(self, request: Request) -> Response:
        form = await read_form(request)
        person, reason = form.get("person", ""), form.get("reason", "")
        await self._console.ask(request, lambda gateway: gateway.remove_person(person, reason))
        return _done()

    async def _revoke(self, request: Request) -> Response:
        token = (await read_form(request)).get("token_id", "")
        await self._console.ask(request, lambda gateway: gateway.revoke_token(token))
        return _done()

    async def _remove_method(self, request: Request) -> Response:
        form = await read_form(request)
        kind, method = form.get("kind", ""), form.get("method_id", "")
        await self._console.ask(request, lambda gateway: gateway.remove_sign_in_method(kind, method))
        return _done()

    async def _begin_passkey(self, request: Request) -> Response:
        begun = await self._console.ask(request, lambda gateway: gateway.begin_passkey())
        return JSONResponse({"challenge": begun.challenge, "options": begun.options})

    async def _passkey(self, request: Request) -> Response:
        wanted = RegisterPasskeyRequest(**_texts(await read_form(request), "challenge", "passkey", "label"))
        await self._console.ask(request, lambda gateway: gateway.register_passkey(wanted))
        return _done()

    async def _begin_totp(self, request: Request) -> Response:
        begun = await self._console.ask(request, lambda gateway: gateway.begin_totp())
        return JSONResponse({"challenge": begun.challenge, "secret": begun.secret, "uri": begun.uri})

    async def _totp(self, request: Request) -> Response:
        wanted = RegisterTotpRequest(**_texts(await read_form(request), "challenge", "code"))
        await self._console.ask(request, lambda gateway: gateway.register_totp(wanted))
        return _done()


def read(gateway: Gateway) -> View:
    """All that the page shows; raises Problem."""
    me, policy = gateway.who_am_i(), gateway.get_policy()
    methods, problem = _methods(gateway)
    own = me.organisation.organisation
    people = sorted(gateway.list_people("").people, key=lambda each: (each.organisation != own, each.organisation))
    return View(
        me=me,
        people=people,
        organisations=gateway.list_organisations().organisations,
        rules=people_view.rules_of(policy),
        policy=policy,
        tokens=people_view.counting(gateway.list_tokens().tokens, time.time()),
        methods=methods,
        methods_problem=problem,
        duties=people_view.duties_of(policy, me.organisation.kind),
    )


def _methods(gateway: Gateway) -> tuple[list[SignInMethod], Problem | None]:
    """How one signs in; or why this session does not see it, as with a token that has limits."""
    try:
        return gateway.list_sign_in_methods(), None
    except Problem as problem:
        if problem.kind is not Kind.NOT_ALLOWED:
            raise
        return [], problem


def _administers(person: Person, organisation: str) -> bool:
    is_there = person.organisation == organisation and person.state == PERSON_STATE_ACTIVE
    return is_there and people_view.ADMINISTRATOR in person.duties


def _until(person: Person) -> str:
    """When enclaves stop knowing the person's key; nothing where they do not know it by a certificate."""
    if not person.HasField("certificate"):
        return ""
    return moment(datetime.fromtimestamp(certified_until(person.certificate), UTC))


def _texts(form: Any, *names: str) -> dict[str, str]:
    return {name: form.get(name, "") for name in names}


def _done() -> Response:
    return JSONResponse({"next": PAGE})


def _invitation(text: str) -> SignedInvitation:
    try:
        return SignedInvitation.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise Problem(Kind.MALFORMED, "invitation", "The invitation is none.", field="invitation") from error
