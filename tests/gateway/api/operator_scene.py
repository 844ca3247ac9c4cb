"""Who may operate a zone, in process: the service called as whoever holds a token, with a clock of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from yingbi.api import credentials, digests
from yingbi.api.v1 import operator_pb2 as messages
from yingbi.api.v1.agreement_pb2 import AgreementSignature

from gateway.api.operators import OperatorService
from gateway.governance.callers import Caller, Role
from gateway.storage import operators, people
from gateway.zone.first_operator import first_agreement
from tests.gateway.api.people_scene import START, Call, Zone, hashed, public, run

NOTICE = """
notice: {name}
title: "Operation of the zone"
conditions: "machines of its own"
scope: "running the gateway"
responsibility: "the operator"
supervision: "the record"
revocation: "with a reason"
apply_by: 2027-02-01
starts: 2027-01-15
"""


def first_callers() -> list[Caller]:
    """One account of each kind, whose name and token are its kind."""
    return [Caller(role.value, role, hashed(role), public(role).hex(), role.value) for role in Role]


class OperatedZone(Zone):
    """A zone with its own operator, and a further one, `runner`, whose name is also its token."""

    def open(self) -> None:
        super().open()
        run(self.database.run(self._begin))
        self.authentication.replace(run(self.database.run(people.accounts)))
        self.operators = OperatorService(self.database, self.authentication, clock=lambda: self.now)

    def _begin(self, connection: Any) -> None:
        runner = Caller("runner", Role.OPERATOR, hashed("runner"), public("runner").hex(), "runner")
        operators.begin(connection, first_callers(), first_agreement({role: role for role in Role}, START), self.now)
        people.seed(connection, [runner], self.now)

    def ask(self, method: str, token: str, request: Any = None) -> Any:
        return run(getattr(self.operators, method)(request or Empty(), Call(token)))

    def publish(self, name: str = "second") -> messages.PublishedNotice:
        document = NOTICE.format(name=name).encode()
        published: messages.PublishedNotice = self.ask(
            "PublishNotice", "coordinator", messages.PublishNoticeRequest(document=document)
        )
        return published

    def apply(self, notice: str = "second") -> messages.OperatorRecord:
        asked = messages.ApplyToOperateRequest(notice=notice, statement="has machines")
        applied: messages.OperatorRecord = self.ask("ApplyToOperate", "runner", asked)
        return applied

    def move(self, token: str, action: str, reason: str = "", notice: str = "second", **more: Any) -> Any:
        step = messages.OperatorStep(notice=notice, operator="runner", action=action, reason=reason, **more)
        return self.ask("MoveOperator", token, step)

    def sign(self, token: str, notice: str = "second", terms: bytes = b"", domain: str = "") -> Any:
        shown = next(each for each in self.ask("ListOperators", "coordinator").notices if each.notice.notice == notice)
        terms = terms or shown.applications[0].signed.terms
        signature = digests.sign(credentials.signing_key(token), domain or digests.OPERATING_AGREEMENT, terms)
        return self.move(
            token, "sign", notice=notice, signature=AgreementSignature(signature=signature, key=public(token))
        )

    def authorise(self, notice: str = "second") -> None:
        """Take the runner through all of it."""
        self.publish(notice)
        self.apply(notice)
        self.move("supervisor", "assess", "seen", notice)
        self.sign("coordinator", notice)
        self.sign("runner", notice)

    def hindrance(self, token: str) -> str:
        """What hinders whoever calls with this token, as every call is judged."""
        return self.authentication.account(Call(token)).caller.hindrance  # type: ignore[arg-type]


@pytest.fixture
def zone(tmp_path: Path) -> OperatedZone:
    return OperatedZone(tmp_path)
