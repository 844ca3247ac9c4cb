"""AgreementService."""

from __future__ import annotations

import asyncio
import time

from yingbi.api.v1 import agreement_pb2 as messages
from yingbi.api.v1.agreement_pb2_grpc import AgreementServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.agreement_documents import read_agreement
from gateway.governance.callers import Role, require
from gateway.storage import agreements
from gateway.storage.database import Database


class AgreementService(AgreementServiceServicer):
    """Agreements: registered by operators, shown to those they are with."""

    def __init__(self, database: Database, authentication: Authentication) -> None:
        self._database = database
        self._authentication = authentication

    @answers
    async def RegisterAgreement(
        self, request: messages.RegisterAgreementRequest, context: Context
    ) -> messages.RegisteredAgreement:
        require(self._authentication.caller(context), Role.OPERATOR)
        # In a thread: reading YAML would hold up everybody else's requests.
        agreement = await asyncio.to_thread(read_agreement, request.file or "document", request.document)
        return await self._database.run(agreements.register, agreement, time.time())

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
