"""AgreementService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2 as messages
from yingbi.api.v1.agreement_pb2_grpc import AgreementServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.agreement_documents import read_agreement
from gateway.governance.agreements import STEPS
from gateway.governance.parties import Party
from gateway.governance.policy import Action, check
from gateway.jobs.agreement_steps import AgreementSteps
from gateway.storage import agreements
from gateway.storage.database import Database


class AgreementService(AgreementServiceServicer):
    """Agreements: their lives, step by step, and shown to those they are with."""

    def __init__(
        self,
        database: Database,
        authentication: Authentication,
        steps: AgreementSteps,
        *,
        governed: bool = False,
        parties: Callable[[], Sequence[Party]] = list,
    ) -> None:
        """`governed`: nobody registers an agreement alone. `parties` are the zone's organisations, as they are now."""
        self._steps = steps
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
        for name in ("signature", "stop", "lift"):
            if request.HasField(name):
                caller.certify(getattr(request, name))
        return await self._steps.take(caller, request)

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
