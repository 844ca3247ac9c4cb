"""SignInService."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import astuple

from google.protobuf.empty_pb2 import Empty
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import sign_in_pb2 as messages
from yingbi.api.v1.people_pb2 import Token
from yingbi.api.v1.sign_in_pb2_grpc import SignInServiceServicer

from gateway.api import passkeys
from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.api.passkeys import Passkey
from gateway.governance import people as rules
from gateway.governance.sign_in import Attempts, Ceremonies, Site, failed, new_step, stand_in
from gateway.storage import bearer_tokens, sign_in
from gateway.storage.database import Database
from gateway.storage.people import Account, Said
from gateway.storage.sign_in import Opening

SIGN_IN, PASSKEY, TOTP = "sign in", "passkey", "totp"


class SignInService(SignInServiceServicer):
    """Sessions of the console."""

    def __init__(
        self,
        database: Database,
        authentication: Authentication,
        site: Site | None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`site` is where the console is; None: nowhere, and there are no passkeys."""
        self._database = database
        self._authentication = authentication
        self._site = site
        self._clock = clock
        self._ceremonies = Ceremonies()
        self._attempts = Attempts()
        self._stand_in = secrets.token_bytes(32)

    @answers
    async def BeginSignIn(self, request: messages.BeginSignInRequest, context: Context) -> messages.SignInChallenge:
        rules.check_text(request.person, "person")
        challenge = secrets.token_bytes(32)
        options = ""
        if self._site is not None:
            stored = await self._database.run(sign_in.list_passkeys, request.person)
            ids = [each.credential_id for each in stored] or [stand_in(self._stand_in, request.person)]
            options = passkeys.request_options(self._site, challenge, ids)
        begun = self._ceremonies.begin(SIGN_IN, request.person, challenge, self._clock())
        return messages.SignInChallenge(sign_in=begun, passkey_options=options)

    @answers
    async def FinishSignIn(self, request: messages.FinishSignInRequest, context: Context) -> messages.Session:
        now = self._clock()
        opening = self._opening(request.bearer_hash, request.label, now)
        ceremony = self._ceremonies.end(request.sign_in, SIGN_IN, now)
        person = ceremony.person
        said = Said("signed in", person, "", person, request.WhichOneof("proof") or "")
        if request.WhichOneof("proof") == "passkey" and self._site is not None:
            shown = passkeys.shown_id(request.passkey)
            stored = await self._database.run(sign_in.list_passkeys, person)
            used = next((each for each in stored if each.credential_id == shown), None)
            if used is None:
                raise failed()
            count = passkeys.new_count(self._site, ceremony.challenge, request.passkey, Passkey(*astuple(used)))
            return await self._open(said, sign_in.sign_in_by_passkey, person, used, count, opening, now)
        if request.WhichOneof("proof") == "code":
            self._attempts.begin(person, now)
            session = await self._open(said, sign_in.sign_in_by_code, person, request.code, opening, now)
            self._attempts.succeeded(person)
            return session
        raise failed()

    @answers
    async def OpenSession(self, request: messages.OpenSessionRequest, context: Context) -> messages.Session:
        account, now = self._authentication.account(context), self._clock()
        caller = account.caller
        opening = self._opening(request.bearer_hash, request.label, now)
        said = Said("signed in", caller.name, caller.organisation, caller.name, "link")
        return await self._open(said, sign_in.sign_in_by_link, caller.name, account.token_id, opening, now)

    @answers
    async def BeginPasskey(self, request: Empty, context: Context) -> messages.PasskeyChallenge:
        person, site = self._whole(context).caller.name, self._there()
        stored = await self._database.run(sign_in.list_passkeys, person)
        challenge = secrets.token_bytes(32)
        options = passkeys.creation_options(site, challenge, person, [each.credential_id for each in stored])
        begun = self._ceremonies.begin(PASSKEY, person, challenge, self._clock())
        return messages.PasskeyChallenge(challenge=begun, options=options)

    @answers
    async def RegisterPasskey(
        self, request: messages.RegisterPasskeyRequest, context: Context
    ) -> messages.SignInMethod:
        account, now = self._whole(context), self._clock()
        rules.check_text(request.label, "label")
        challenge = self._own(request.challenge, PASSKEY, account, now)
        made = passkeys.registered(self._there(), challenge, request.passkey)
        said = _said("passkey added", account)
        step = sign_in.add_passkey
        name = account.caller.name
        return await self._authentication.change(
            self._database, said, step, name, made.credential_id, made.public_key, made.sign_count, request.label, now
        )

    @answers
    async def BeginTotp(self, request: Empty, context: Context) -> messages.TotpSecret:
        import pyotp

        person, secret = self._whole(context).caller.name, pyotp.random_base32()
        begun = self._ceremonies.begin(TOTP, person, secret.encode(), self._clock())
        uri = pyotp.TOTP(secret).provisioning_uri(name=person, issuer_name=passkeys.NAME)
        return messages.TotpSecret(challenge=begun, secret=secret, uri=uri)

    @answers
    async def RegisterTotp(self, request: messages.RegisterTotpRequest, context: Context) -> messages.SignInMethod:
        account, now = self._whole(context), self._clock()
        secret = self._own(request.challenge, TOTP, account, now).decode()
        step = new_step(secret, request.code, 0, now)
        said = _said("codes added", account)
        return await self._authentication.change(
            self._database, said, sign_in.set_totp, account.caller.name, secret, step, now
        )

    @answers
    async def ListSignInMethods(self, request: Empty, context: Context) -> messages.ListSignInMethodsResponse:
        found = await self._database.run(sign_in.methods, self._whole(context).caller.name)
        return messages.ListSignInMethodsResponse(methods=found)

    @answers
    async def RemoveSignInMethod(
        self, request: messages.RemoveSignInMethodRequest, context: Context
    ) -> messages.ListSignInMethodsResponse:
        account = self._whole(context)
        said = _said(f"{request.kind} removed", account)
        name, step = account.caller.name, sign_in.remove_method
        left = await self._authentication.change(self._database, said, step, name, request.kind, request.method_id)
        return messages.ListSignInMethodsResponse(methods=left)

    @answers
    async def SignOut(self, request: Empty, context: Context) -> Token:
        account = self._authentication.account(context)
        said = _said("signed out", account)
        name, step = account.caller.name, bearer_tokens.revoke
        return await self._authentication.change(self._database, said, step, name, account.token_id, self._clock())

    async def _open(self, said: Said, step: Callable[..., messages.Session], *arguments: object) -> messages.Session:
        return await self._authentication.change(self._database, said, step, *arguments)

    def _opening(self, bearer_hash: str, label: str, now: float) -> Opening:
        rules.check_bearer_hash(bearer_hash)
        rules.check_text(label, "label")
        return Opening(bearer_hash, label or "session", now + rules.SESSION_SECONDS)

    def _own(self, challenge: str, kind: str, account: Account, now: float) -> bytes:
        """What was begun for this very person; raises Problem."""
        ceremony = self._ceremonies.end(challenge, kind, now)
        if ceremony.person != account.caller.name:
            raise failed()
        return ceremony.challenge

    def _whole(self, context: Context) -> Account:
        """Who calls with a token without limits: another must not be turned into a way to sign in."""
        account = self._authentication.account(context)
        if account.caller.scopes is not None:
            said = "How you sign in is changed with a token without limits."
            raise Problem(Kind.NOT_ALLOWED, "other_scope", said, hint="sign in, or use your profile")
        return account

    def _there(self) -> Site:
        if self._site is None:
            said = "This gateway knows no console: a passkey would be for none."
            raise Problem(Kind.UNAVAILABLE, "no_console", said, hint="set `console` in the gateway's gateway.json")
        return self._site


def _said(action: str, account: Account) -> Said:
    caller = account.caller
    return Said(action, caller.name, caller.organisation, caller.name)
