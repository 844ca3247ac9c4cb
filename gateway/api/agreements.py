"""AgreementService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2 as messages
from yingbi.api.v1.agreement_pb2_grpc import AgreementServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.agreement_documents import read_agreement
from gateway.governance.agreement_states import WITHHOLDING
from gateway.governance.agreements import STEPS
from gateway.governance.callers import Caller
from gateway.governance.parties import Party
from gateway.governance.policy import Action, check
from gateway.storage import agreements
from gateway.storage.database import Database

CancelUnder = Callable[[Caller, str, str], Awaitable[None]]
"""By whom, under which agreement, and why."""


class AgreementService(AgreementServiceServicer):
    """Agreements: their lives, step by step, and shown to those they are with."""

    def __init__(
        self,
        database: Database,
        authentication: Authentication,
        *,
        governed: bool = False,
        parties: Callable[[], Sequence[Party]] = list,
        cancel_under: CancelUnder,
    ) -> None:
        """`governed`: nobody registers an agreement alone. `parties` are the zone's organisations, as they are now.

        `cancel_under` ends the jobs under an agreement that was suspended or terminated.
        """
        self._cancel_under = cancel_under
        self._database = database
        self._authentication = authentication
        self._governed = governed
        self._parties = parties

    @answers
    async def RegisterAgreement(
        self, request: messages.RegisterAgreementRequest, context: Context
    ) -> messages.RegisteredAgreement:
        caller = self._authentication.caller(context)
        check(caller, Action.REGISTER_AGREEMENT)
        if self._governed:
            raise Problem(
                Kind.REFUSED,
                "agreement_registered_alone",
                "Nobody registers an agreement alone here: it is applied for, assessed, consented to and signed.",
                hint=STEPS,
            )
        # In a thread: reading YAML would hold up everybody else's requests.
        agreement = await asyncio.to_thread(read_agreement, request.file or "document", request.document)
        return await self._database.run(agreements.register, agreement, time.time(), caller)

    @answers
    async def DraftAgreement(
        self, request: messages.RegisterAgreementRequest, context: Context
    ) -> messages.RegisteredAgreement:
        caller = self._authentication.caller(context)
        check(caller, Action.APPLY)
        agreement = await asyncio.to_thread(read_agreement, request.file or "document", request.document, complete=True)
        return await self._database.run(agreements.draft, agreement, self._parties(), caller, time.time())

    @answers
    async def MoveAgreement(self, request: messages.AgreementStep, context: Context) -> messages.RegisteredAgreement:
        caller = self._authentication.caller(context)
        if request.HasField("signature"):
            caller.certify(request.signature)
        # Who goes away leaves no agreement that ended with jobs that go on.
        return await asyncio.shield(self._moved(caller, request))

    async def _moved(self, caller: Caller, request: messages.AgreementStep) -> messages.RegisteredAgreement:
        moved = await self._database.run(agreements.move, request, caller, time.time())
        if moved.state in WITHHOLDING:
            await self._cancel_under(caller, request.agreement, request.reason)
        return moved

    @answers
    async def ListAgreements(
        self, request: messages.ListAgreementsRequest, context: Context
    ) -> messages.ListAgreementsResponse:
        caller = self._authentication.caller(context)
        found = await self._database.run(agreements.list_all, request.dataset, caller.spends_as)
        return messages.ListAgreementsResponse(agreements=found)

    @answers
    async def GetAgreement(
        self, request: messages.GetAgreementRequest, context: Context
    ) -> messages.RegisteredAgreement:
        caller = self._authentication.caller(context)
        return await self._database.run(agreements.show, request.agreement, caller.spends_as)
