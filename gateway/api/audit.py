"""AuditService."""

from __future__ import annotations

from yingbi.api.v1 import audit_pb2 as messages
from yingbi.api.v1.audit_pb2_grpc import AuditServiceServicer

from gateway.api.authentication import Authentication
from gateway.api.errors import Context, answers
from gateway.governance.policy import Action, check
from gateway.storage import audit
from gateway.storage.database import Database

MAX_PAGE = 1000
PAGE = 500


class AuditService(AuditServiceServicer):
    """What was done, for those who watch."""

    def __init__(self, database: Database, authentication: Authentication) -> None:
        self._database = database
        self._authentication = authentication

    @answers
    async def ListAudit(self, request: messages.ListAuditRequest, context: Context) -> messages.ListAuditResponse:
        check(self._authentication.caller(context), Action.AUDIT)
        size = min(request.page_size or PAGE, MAX_PAGE)
        rows = await self._database.run(audit.page, min(request.after, 2**63 - 1), size)
        return messages.ListAuditResponse(rows=rows, last=await self._database.run(audit.last))

    @answers
    async def CheckAudit(self, request: messages.CheckAuditRequest, context: Context) -> messages.CheckAuditResponse:
        check(self._authentication.caller(context), Action.AUDIT)
        found = await self._database.run(lambda connection: list(audit.differences(connection)))
        return messages.CheckAuditResponse(differences=found)
