"""Agreements: who may use which dataset, for which purpose, until when, within which privacy budget."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import agreement_pb2
from yingbi.budget import AgreementBudget


class State(Enum):
    """Whether something can be asked under an agreement; if not, why not."""

    IN_FORCE = "in force"
    NOT_YET = "not yet in force"
    EXPIRED = "expired"
    USED_UP = "used up"


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
            "state": self.state.value,
            "starts": self.starts.isoformat(),
            "expires": self.expires.isoformat(),
            "budget": self.budget.to_json(),
        }


def document_of(path: Path) -> bytes:
    """The bytes of an agreement's file; raises Problem."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Problem(Kind.MALFORMED, "file", f"Cannot read {str(path)!r}: {error.strerror}.", field="file") from error
