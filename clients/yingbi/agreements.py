"""Agreements: who may use which dataset, for which purpose, until when, within which privacy budget."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from yingbi.api import credentials, digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2
from yingbi.api.v1.people_pb2 import SignedCertificate
from yingbi.budget import AgreementBudget


class State(Enum):
    """Whether something can be asked under an agreement; if not, why not.

    A draft that was applied for is assessed, consented to and signed by both, and is in force then.
    """

    DRAFT = "draft"
    APPLIED = "applied for"
    ASSESSED = "assessed"
    CONSENTED = "consented to"
    SUSPENDED = "suspended"
    TERMINATED = "terminated"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"

    IN_FORCE = "in force"
    NOT_YET = "not yet in force"
    EXPIRED = "expired"
    USED_UP = "used up"


_STATES = {
    agreement_pb2.AGREEMENT_STATE_DRAFT: State.DRAFT,
    agreement_pb2.AGREEMENT_STATE_APPLIED: State.APPLIED,
    agreement_pb2.AGREEMENT_STATE_ASSESSED: State.ASSESSED,
    agreement_pb2.AGREEMENT_STATE_CONSENTED: State.CONSENTED,
    agreement_pb2.AGREEMENT_STATE_SUSPENDED: State.SUSPENDED,
    agreement_pb2.AGREEMENT_STATE_TERMINATED: State.TERMINATED,
    agreement_pb2.AGREEMENT_STATE_REFUSED: State.REFUSED,
    agreement_pb2.AGREEMENT_STATE_WITHDRAWN: State.WITHDRAWN,
    agreement_pb2.AGREEMENT_STATE_SUPERSEDED: State.SUPERSEDED,
}
"""Of an active one, and of one that expired, the time and what is left decide."""


@dataclass(frozen=True)
class Event:
    """One step of an agreement's life: what was done, by whom, when, and why."""

    action: str
    person: str
    organisation: str
    reason: str
    at: datetime.datetime

    def to_json(self) -> dict[str, object]:
        return {
            "action": self.action,
            "person": self.person,
            "organisation": self.organisation,
            "reason": self.reason or None,
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True)
class Agreement:
    """An agreement as it is registered, with what was spent under it when it was fetched."""

    message: agreement_pb2.RegisteredAgreement = field(repr=False)

    def __repr__(self) -> str:
        return f"Agreement({self.id!r}, {self.organisation} about {self.dataset}; {self.budget})"

    @property
    def id(self) -> str:
        return self.message.agreement.agreement

    @property
    def dataset(self) -> str:
        return self.message.agreement.dataset

    @property
    def organisation(self) -> str:
        """Whose developers may ask."""
        return self.message.agreement.organisation

    @property
    def purpose(self) -> str:
        return self.message.agreement.purpose

    @property
    def jobs(self) -> list[str]:
        """Which kinds of jobs may be asked for; none: every kind."""
        return list(self.message.agreement.jobs)

    @property
    def terms(self) -> agreement_pb2.Agreement:
        """All clauses."""
        return self.message.agreement

    @property
    def waits_for(self) -> str:
        """Whose move it is, in words; empty where it is nobody's."""
        return self.message.waits_for

    @property
    def events(self) -> list[Event]:
        """Its life so far; of one that an operator registered at once, none."""
        return events_of(self.message.events)

    @property
    def signed_by(self) -> list[str]:
        """The parties whose signatures are there."""
        signed, terms = self.message.signed, self.message.agreement
        parties = {terms.organisation: signed.HasField("organisation"), terms.provider: signed.HasField("provider")}
        return [name for name, has in parties.items() if has]

    @property
    def starts(self) -> datetime.datetime:
        """From then on it is in force."""
        return self.message.agreement.starts.ToDatetime(tzinfo=datetime.UTC)

    @property
    def expires(self) -> datetime.datetime:
        """From then on it is not."""
        return self.message.agreement.expires.ToDatetime(tzinfo=datetime.UTC)

    @property
    def budget(self) -> AgreementBudget:
        return AgreementBudget(self.message.budget)

    @property
    def state(self) -> State:
        """By this machine's clock, and by what was spent when it was fetched."""
        return self.state_at(time.time())

    def state_at(self, now: float) -> State:
        """At `now`, in seconds since 1970. The term is what counts first: what is over is expired, used up or not."""
        terms = self.message.agreement
        if self.message.state in _STATES:
            return _STATES[self.message.state]
        if now >= terms.expires.seconds:
            return State.EXPIRED
        if not self.budget.allows(1) or self.budget.left == 0:
            return State.USED_UP
        return State.NOT_YET if now < terms.starts.seconds else State.IN_FORCE

    def to_json(self) -> dict[str, object]:
        return {
            "agreement": self.id,
            "dataset": self.dataset,
            "organisation": self.organisation,
            "purpose": self.purpose,
            "jobs": self.jobs or None,
            "state": self.state.value,
            "starts": self.starts.isoformat(),
            "expires": self.expires.isoformat(),
            "budget": self.budget.to_json(),
            **self._life_json(),
        }

    def _life_json(self) -> dict[str, object]:
        """What an agreement of a zone where nobody registers one alone says besides."""
        terms = self.message.agreement
        said: dict[str, object] = {
            "scenario": terms.scenario,
            "columns": list(terms.columns),
            "provider": terms.provider,
            "supervisor": terms.supervisor,
            "responsibility": terms.responsibility,
            "supervision": terms.supervision,
            "revocation": terms.revocation,
            "supersedes": terms.supersedes,
            "max_uses_a_day": terms.max_uses_a_day,
            "waits_for": self.waits_for,
            "signed_by": self.signed_by,
            "events": [event.to_json() for event in self.events],
        }
        return {name: value for name, value in said.items() if value}


def signing(
    shown: agreement_pb2.RegisteredAgreement, token: str, certificate: SignedCertificate | None = None
) -> agreement_pb2.AgreementStep:
    """The step that signs the terms that a gateway shows, with the key of a profile's token.

    `certificate` is by what enclaves know that key; None: it is the organisation's own.

    Raises:
        Problem: BAD_EVIDENCE "other_terms", where the terms to sign are not those that are shown.
    """
    terms = shown.signed.terms
    if agreement_pb2.Agreement.FromString(terms) != shown.agreement:
        raise Problem(
            Kind.BAD_EVIDENCE,
            "other_terms",
            f"The gateway shows other terms of agreement {shown.agreement.agreement} than it would have signed.",
            hint="do not sign; tell the zone's operator",
        )
    signature = signature_over(digests.AGREEMENT, terms, token, certificate)
    return agreement_pb2.AgreementStep(agreement=shown.agreement.agreement, action="sign", signature=signature)


def signature_over(
    domain: str, terms: bytes, token: str, certificate: SignedCertificate | None = None
) -> agreement_pb2.AgreementSignature:
    """Of these terms in a domain of `digests`, with the key of a profile's token, and what certifies that key."""
    key = credentials.signing_key(token)
    return agreement_pb2.AgreementSignature(
        signature=digests.sign(key, domain, terms), key=key.public_key().public_bytes_raw(), certificate=certificate
    )


def events_of(messages: Iterable[agreement_pb2.AgreementEvent]) -> list[Event]:
    """The steps of a life, in their order."""
    return [
        Event(each.action, each.person, each.organisation, each.reason, each.at.ToDatetime(tzinfo=datetime.UTC))
        for each in messages
    ]


def document_of(path: Path) -> bytes:
    """The bytes of an agreement's file; raises Problem."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}: {error.strerror}.", field="file") from error
