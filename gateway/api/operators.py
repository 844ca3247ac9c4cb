"""OperatorService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from google.protobuf.empty_pb2 import Empty
from yingbi.api.v1 import operator_pb2 as messages
from yingbi.api.v1.operator_pb2_grpc import OperatorServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.operator_notices import read_notice
from gateway.governance.parties import parties_of
from gateway.governance.policy import Action, check
from gateway.storage import operators
from gateway.storage.database import Database


class OperatorService(OperatorServiceServicer):
    """Who may operate the zone: notices, applications and operating agreements."""

    def __init__(
        self, database: Database, authentication: Authentication, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._authentication = authentication
        self._clock = clock

    @answers
    async def PublishNotice(self, request: messages.PublishNoticeRequest, context: Context) -> messages.PublishedNotice:
        caller = self._authentication.caller(context)
        check(caller, Action.PUBLISH_NOTICE)
        # In a thread: reading YAML would hold up everybody else's requests.
        notice = await asyncio.to_thread(read_notice, request.file or "document", request.document)
        parties = parties_of(self._authentication)
        return await self._database.run(operators.publish, notice, parties, caller, self._clock())

    @answers
    async def ApplyToOperate(
        self, request: messages.ApplyToOperateRequest, context: Context
    ) -> messages.OperatorRecord:
        caller = self._authentication.caller(context)
        check(caller, Action.APPLY_TO_OPERATE)
        return await self._authentication.authorise(
            self._database, caller, operators.apply, request, caller, self._clock()
        )

    @answers
    async def MoveOperator(self, request: messages.OperatorStep, context: Context) -> messages.OperatorRecord:
        caller = self._authentication.caller(context)
        if request.HasField("signature"):
            caller.certify(request.signature)
        return await self._authentication.authorise(
            self._database, caller, operators.move, request, caller, self._clock()
        )

    @answers
    async def ListOperators(self, request: Empty, context: Context) -> messages.ListOperatorsResponse:
        caller = self._authentication.caller(context)
        found = await self._database.run(operators.list_all, caller, self._clock())
        return messages.ListOperatorsResponse(notices=found)
