"""PeopleService."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import people_pb2 as messages
from yingbi.api.v1.people_pb2_grpc import PeopleServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance import decisions
from gateway.governance.callers import Caller
from gateway.governance.people import SESSION_SECONDS
from gateway.governance.policy import TABLE, Action, check, may
from gateway.jobs.removals import Removals
from gateway.storage import bearer_tokens, people
from gateway.storage.database import Database
from gateway.storage.people import Account, Said

Result = TypeVar("Result")


class PeopleService(PeopleServiceServicer):
    """Who is filed for the zone: organisations by the coordinator, people by their organisation's administrators."""

    def __init__(
        self,
        database: Database,
        authentication: Authentication,
        removals: Removals,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._removals = removals
        self._database = database
        self._authentication = authentication
        self._clock = clock

    @answers
    async def WhoAmI(self, request: Empty, context: Context) -> messages.Me:
        return await self._database.run(describe, self._authentication.account(context))

    @answers
    async def GetPolicy(self, request: Empty, context: Context) -> messages.Policy:
        self._authentication.account(context)
        return policy()

    @answers
    async def ListOrganisations(self, request: Empty, context: Context) -> messages.ListOrganisationsResponse:
        self._authentication.account(context)
        found = await self._database.run(people.all_organisations)
        return messages.ListOrganisationsResponse(organisations=found)

    @answers
    async def FileOrganisation(
        self, request: messages.FileOrganisationRequest, context: Context
    ) -> messages.Organisation:
        caller = self._allowed(context, Action.FILE_ORGANISATION)
        said = _said("organisation filed", caller, request.organisation)
        return await self._change(said, people.file_organisation, request, self._clock())

    @answers
    async def RemoveOrganisation(
        self, request: messages.RemoveOrganisationRequest, context: Context
    ) -> messages.Organisation:
        caller = self._allowed(context, Action.FILE_ORGANISATION)
        return await self._removals.remove_organisation(caller, request)

    @answers
    async def ListPeople(self, request: messages.ListPeopleRequest, context: Context) -> messages.ListPeopleResponse:
        caller = self._authentication.account(context).caller
        organisation = request.organisation
        if not may(caller, Action.SEE_PEOPLE):
            organisation = organisation or caller.organisation
            if organisation != caller.organisation:
                check(caller, Action.SEE_PEOPLE)
        return messages.ListPeopleResponse(people=await self._database.run(people.list_people, organisation))

    @answers
    async def InvitePerson(self, request: messages.InvitePersonRequest, context: Context) -> messages.Person:
        caller = self._allowed(context, Action.FILE_PERSON)
        invitation = _parsed(messages.Invitation, request.invitation.body, "invitation")
        said = _said("person invited", caller, invitation.person)
        return await self._change(said, people.invite, caller, request, self._clock())

    @answers
    async def AcceptInvitation(self, request: messages.AcceptInvitationRequest, context: Context) -> messages.Person:
        invitation = _parsed(messages.Invitation, request.certificate.invitation.body, "certificate")
        said = Said("invitation accepted", invitation.person, invitation.organisation, invitation.person)
        now = self._clock()
        ends = now + SESSION_SECONDS if request.session else None
        return await self._change(said, people.accept, request, self._who(context), ends, now)

    @answers
    async def RemovePerson(self, request: messages.RemovePersonRequest, context: Context) -> messages.Person:
        caller = self._allowed(context, Action.FILE_PERSON)
        return await self._removals.remove_person(caller, request)

    @answers
    async def ListTokens(self, request: Empty, context: Context) -> messages.ListTokensResponse:
        caller = self._authentication.account(context).caller
        return messages.ListTokensResponse(tokens=await self._database.run(bearer_tokens.list_all, caller.name))

    @answers
    async def CreateToken(self, request: messages.CreateTokenRequest, context: Context) -> messages.Token:
        account = self._authentication.account(context)
        said = _said("token made", account.caller, account.caller.name)
        step = bearer_tokens.create
        return await self._change(said, step, account, request, self._clock())

    @answers
    async def RevokeToken(self, request: messages.RevokeTokenRequest, context: Context) -> messages.Token:
        account = self._authentication.account(context)
        caller = account.caller
        if caller.scopes is not None and request.token_id != account.token_id:
            said_so = "A token with scopes can revoke itself and no other."
            raise Problem(Kind.NOT_ALLOWED, "other_scope", said_so, field="token_id")
        said = _said("token revoked", caller, request.token_id)
        return await self._change(said, bearer_tokens.revoke, caller.name, request.token_id, self._clock())

    def _who(self, context: Context) -> str | None:
        """Whose token the call came with; None where that is nobody's."""
        try:
            return self._authentication.account(context).caller.name
        except Problem:
            return None

    def _allowed(self, context: Context, action: Action) -> Caller:
        caller = self._authentication.account(context).caller
        check(caller, action)
        return caller

    async def _change(self, said: Said, step: Callable[..., Result], *arguments: Any) -> Result:
        return await self._authentication.change(self._database, said, step, *arguments)


def describe(connection: Any, account: Account) -> messages.Me:
    """What a caller is told of themselves."""
    caller = account.caller
    return messages.Me(
        person=people.find_person(connection, caller.name),
        organisation=people.find_organisation(connection, caller.organisation),
        scopes=sorted(caller.scopes or ()),
        expires=None if account.last is None else Timestamp(seconds=int(account.last)),
    )


def policy() -> messages.Policy:
    """The tables of who may do what, and of who decides about which grade, for people."""
    return messages.Policy(
        rows=[
            messages.PolicyRow(action=action.name.lower(), meaning=action.value, who=[f"{r}/{d}" for r, d in who])
            for action, who in TABLE.items()
        ],
        decisions=decisions.rows(),
    )


def _said(action: str, caller: Caller, subject: str) -> Said:
    return Said(action, caller.name, caller.organisation, subject)


def _parsed(kind: type[messages.Invitation], body: bytes, field: str) -> messages.Invitation:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Problem(Kind.MALFORMED, field, f"The {field} is none.", field=field) from error
