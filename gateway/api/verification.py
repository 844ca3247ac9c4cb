"""VerificationService."""

from __future__ import annotations

import time

from yingbi.api.v1 import verification_pb2 as messages
from yingbi.api.v1.verification_pb2_grpc import VerificationServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.policy import Action, check
from gateway.jobs.nodes import Nodes
from gateway.jobs.verifying import verify
from gateway.ledger import uses
from gateway.storage import catalogue
from gateway.storage.database import Database


class VerificationService(VerificationServiceServicer):
    """Passes sealed requests on and sealed answers back, and counts them."""

    def __init__(self, database: Database, nodes: Nodes, authentication: Authentication) -> None:
        self._database = database
        self._nodes = nodes
        self._authentication = authentication

    @answers
    async def Verify(self, request: messages.VerifyRequest, context: Context) -> messages.VerifyResponse:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        return await verify(self._database, self._nodes, caller, request)

    @answers
    async def GetVerificationUse(
        self, request: messages.GetVerificationUseRequest, context: Context
    ) -> messages.VerificationUse:
        caller = self._authentication.caller(context)
        check(caller, Action.ASK)
        await self._database.run(catalogue.find, request.dataset)
        return await self._database.run(uses.used, request.dataset, caller, time.time())
