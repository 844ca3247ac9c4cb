"""/sign-in, /join and /sign-out: how a browser comes to a session, and ends it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Person, SignedCertificate
from yingbi.transport import Gateway

from yingbi_dashboard import security, sign_in
from yingbi_dashboard.forms import read_form
from yingbi_dashboard.people_view import DUTY_NAMES
from yingbi_dashboard.serving import Serving

Result = TypeVar("Result")


class SignInPages:
    """Pages that need no session, and the one that ends it."""

    def __init__(self, console: Serving) -> None:
        self._console = console

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/sign-in", self._sign_in, methods=["GET"]),
            Route("/sign-in", self._by_token, methods=["POST"]),
            Route("/sign-in/link", self._by_link, methods=["POST"]),
            Route("/sign-in/begin", self._begin, methods=["POST"]),
            Route("/sign-in/finish", self._finish, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/join", self._join, methods=["GET"]),
            Route("/join", self._joined, methods=["POST"]),
        ]

    async def _sign_in(self, request: Request) -> Response:
        """Goes on to `next`, where that is a page of the console."""
        following = security.next_page(request.query_params.get("next", ""))
        here = security.sign_in_for(following)
        return self._console.page(request, "sign_in.html", signed_in=False, next=following, here=here)

    async def _join(self, request: Request) -> Response:
        return self._console.page(request, "join.html", signed_in=False, duty_names=DUTY_NAMES)

    async def _by_token(self, request: Request) -> Response:
        token = security.checked_credential((await read_form(request)).get("credential", ""))
        _, made = await self._open(token, sign_in.by_token)
        return await self._with_session(request, Response(status_code=204), made)

    async def _by_link(self, request: Request) -> Response:
        token = security.checked_credential((await read_form(request)).get("credential", ""))
        person, made = await self._open(token, sign_in.by_link)
        return await self._with_session(request, _signed_in(person), made)

    async def _begin(self, request: Request) -> Response:
        person = (await read_form(request)).get("person", "")
        begun = await run_in_threadpool(self._console.gateway(sign_in.NOBODY).begin_sign_in, person)
        return JSONResponse({"sign_in": begun.sign_in, "options": begun.passkey_options})

    async def _finish(self, request: Request) -> Response:
        form = await read_form(request)
        proof = partial(
            sign_in.by_proof,
            sign_in=form.get("sign_in", ""),
            passkey=form.get("passkey", ""),
            code=form.get("code", ""),
        )
        person, made = await self._open(sign_in.NOBODY, proof)
        return await self._with_session(request, _signed_in(person), made)

    async def _joined(self, request: Request) -> Response:
        certificate = _certificate((await read_form(request)).get("certificate", ""))
        # Who joined before, and was invited again, shows who they are by the session that they have.
        present = _session_of(request) or sign_in.NOBODY
        person, made = await self._open(present, partial(sign_in.by_invitation, certificate=certificate))
        return await self._with_session(request, _signed_in(person), made)

    async def _sign_out(self, request: Request) -> Response:
        await self._end(_session_of(request))
        response = RedirectResponse("/sign-in", status_code=303)
        response.delete_cookie(security.SESSION, secure=True, httponly=True, samesite="strict", path="/")
        return response

    async def _open(self, caller: str, opening: Callable[[Gateway, str], Result]) -> tuple[Result, str]:
        """What `opening` returns, and the credential of the session that it opened, calling with that of `caller`."""
        made = sign_in.new_credential()
        return await run_in_threadpool(opening, self._console.gateway(caller), made), made

    async def _with_session(self, request: Request, response: Response, credential: str) -> Response:
        """Another session than the one before, which ends."""
        await self._end(_session_of(request))
        response.set_cookie(security.SESSION, credential, secure=True, httponly=True, samesite="strict", path="/")
        return response

    async def _end(self, credential: str) -> None:
        if sign_in.is_own(credential):
            # It may have ended, and a gateway that cannot be reached ends it in time.
            with suppress(Problem):
                await run_in_threadpool(self._console.gateway(credential).sign_out)


def _session_of(request: Request) -> str:
    """The credential in the cookie, or nothing."""
    with suppress(Problem):
        return security.checked_credential(request.cookies.get(security.SESSION, ""))
    return ""


def _signed_in(person: Person) -> JSONResponse:
    """What the browser needs to find the key that it keeps for this person."""
    return JSONResponse({"person": person.person, "key": person.key.hex()})


def _certificate(text: str) -> SignedCertificate:
    try:
        return SignedCertificate.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise Problem(Kind.MALFORMED, "certificate", "The certificate is none.", field="certificate") from error
