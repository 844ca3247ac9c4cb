"""Who may operate the zone: notices of the coordinator, applications under them, and what became of each."""

from __future__ import annotations

import datetime
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.agreements import Event, document_of, events_of, signature_over
from yingbi.api import digests
from yingbi.api.notices import CLAUSES
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2
from yingbi.api.v1 import operator_pb2 as messages
from yingbi.api.v1.dataset_pb2 import LawfulSource
from yingbi.transport import Gateway

STATES = {
    agreement_pb2.AGREEMENT_STATE_APPLIED: "applied for",
    agreement_pb2.AGREEMENT_STATE_ASSESSED: "review passed",
    agreement_pb2.AGREEMENT_STATE_ACTIVE: "in force",
    agreement_pb2.AGREEMENT_STATE_REFUSED: "refused",
    agreement_pb2.AGREEMENT_STATE_TERMINATED: "terminated",
    agreement_pb2.AGREEMENT_STATE_EXPIRED: "expired",
}


NOT_YET = "not yet in force"
"""Signed by both, of a term that begins later, by this machine's clock."""


@dataclass(frozen=True)
class Application:
    """An application to operate the zone; once both have signed, an operating agreement."""

    message: messages.OperatorRecord

    @property
    def notice(self) -> str:
        return self.message.agreement.notice.notice

    @property
    def operator(self) -> str:
        return self.message.agreement.operator

    @property
    def state(self) -> str:
        """As it was when it was fetched: "applied for", "review passed", "in force" and so on."""
        state, starts = self.message.state, self.message.agreement.notice.starts.seconds
        if state == agreement_pb2.AGREEMENT_STATE_ACTIVE and time.time() < starts:
            return NOT_YET
        return STATES[state]

    @property
    def waits_for(self) -> str:
        """Whose move it is, in words; empty where it is nobody's."""
        return self.message.waits_for

    @property
    def signed_by(self) -> list[str]:
        """The parties whose signatures are there."""
        signed, terms = self.message.signed, self.message.agreement
        parties = {
            terms.notice.coordinator: signed.HasField("coordinator"),
            terms.operator: signed.HasField("operator"),
        }
        return [name for name, has in parties.items() if has]

    @property
    def events(self) -> list[Event]:
        """Its life so far."""
        return events_of(self.message.events)

    def to_json(self) -> dict[str, object]:
        terms = self.message.agreement
        return {
            "notice": self.notice,
            "operator": self.operator,
            "state": self.state,
            "waits_for": self.waits_for or None,
            "starts": _iso(terms.notice.starts),
            "expires": _iso(terms.notice.expires),
            "statement": terms.statement,
            "evidence": [
                {"reference": each.reference, "sha256": each.document_sha256.hex()} for each in terms.evidence
            ],
            "signed_by": self.signed_by,
            "events": [event.to_json() for event in self.events],
        }


@dataclass(frozen=True)
class Notice:
    """What the coordinator published, with the applications that the caller may see."""

    message: messages.PublishedNotice

    @property
    def id(self) -> str:
        return self.message.notice.notice

    @property
    def applications(self) -> list[Application]:
        return [Application(each) for each in self.message.applications]

    def to_json(self) -> dict[str, object]:
        terms = self.message.notice
        return {
            "notice": self.id,
            "title": terms.title,
            **{name: getattr(terms, name) for name in CLAUSES},
            "coordinator": terms.coordinator,
            "supervisor": terms.supervisor,
            "published": _iso(self.message.published),
            "apply_by": _iso(terms.apply_by),
            "open": self.message.open,
            "starts": _iso(terms.starts),
            "expires": _iso(terms.expires),
            "applications": [each.to_json() for each in self.applications],
        }


@dataclass(frozen=True)
class Operators:
    """Who may operate a zone, as one of its callers may see and change it. All raise Problem."""

    gateway: Gateway

    def notices(self) -> list[Notice]:
        """All, in the order in which they were published."""
        return [Notice(each) for each in self.gateway.list_operators()]

    def notice(self, name: str) -> Notice:
        """One of them."""
        for each in self.notices():
            if each.id == name:
                return each
        hint = "`yingbi operator list` shows all"
        raise Problem(Kind.UNKNOWN, "unknown_notice", f"There is no notice {name!r}.", field="notice", hint=hint)

    def application(self, notice: str, operator: str) -> Application:
        """What became of an organisation's application under a notice."""
        for each in self.notice(notice).applications:
            if each.operator == operator:
                return each
        said = f"{operator!r} has not applied under notice {notice!r}."
        hint = "`yingbi operator list` shows those that you may see"
        raise Problem(Kind.UNKNOWN, "unknown_application", said, field="operator", hint=hint)

    def publish(self, file: str | Path) -> Notice:
        """Publish the notice that a YAML or JSON file describes, as the coordinator."""
        path = Path(file)
        return Notice(self.gateway.publish_notice(path.name, document_of(path)))

    def apply(self, notice: str, statement: str, evidence: Mapping[str, str | Path]) -> Application:
        """Apply under a notice, as an operator.

        Args:
            statement: what qualifies the organisation.
            evidence: files by what they are referred to. Only their SHA-256 is sent: show the supervisor the files.
        """
        sources = [
            LawfulSource(reference=reference, document_sha256=hashlib.sha256(document_of(Path(file))).digest())
            for reference, file in evidence.items()
        ]
        asked = messages.ApplyToOperateRequest(notice=notice, statement=statement, evidence=sources)
        return Application(self.gateway.apply_to_operate(asked))

    def review(self, notice: str, operator: str, *, passed: bool, reason: str) -> Application:
        """Pass or refuse an application, as the supervisor that the notice names."""
        return self._move(notice, operator, "assess" if passed else "refuse", reason)

    def terminate(self, notice: str, operator: str, reason: str) -> Application:
        """End an operating agreement for good, as the coordinator: from now on its people may stop things, and look."""
        return self._move(notice, operator, "terminate", reason)

    def sign(self, notice: str, operator: str) -> Application:
        """Sign an operating agreement's very terms with the profile's key, as the coordinator or the operator.

        Raises:
            Problem: BAD_EVIDENCE "other_terms", where the gateway shows other terms than it would have signed.
        """
        shown = self.application(notice, operator).message
        terms = shown.signed.terms
        if messages.OperatingAgreement.FromString(terms) != shown.agreement:
            raise Problem(
                Kind.BAD_EVIDENCE,
                "other_terms",
                f"The gateway shows other terms of {operator} under notice {notice} than it would have signed.",
                hint="do not sign; tell the zone's supervisor",
            )
        signature = signature_over(digests.OPERATING_AGREEMENT, terms, self.gateway.profile.token)
        asked = messages.OperatorStep(notice=notice, operator=operator, action="sign", signature=signature)
        return Application(self.gateway.move_operator(asked))

    def _move(self, notice: str, operator: str, action: str, reason: str) -> Application:
        asked = messages.OperatorStep(notice=notice, operator=operator, action=action, reason=reason)
        return Application(self.gateway.move_operator(asked))


def _iso(at: Timestamp) -> str:
    return at.ToDatetime(tzinfo=datetime.UTC).isoformat()
