"""Who calls: people of a zone's organisations, known by the hash of a credential.

Keeps: ROL-01
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from yingbi.api.v1.people_pb2 import SignedCertificate

MAX_ORGANISATION = 63


class Role(StrEnum):
    """What kind of organisation a caller is of: what its people can be for. `gateway.governance.policy` says what."""

    COORDINATOR = "coordinator"
    SUPERVISOR = "supervisor"
    PROVIDER = "provider"
    OPERATOR = "operator"
    DEVELOPER = "developer"
    AUDITOR = "auditor"


class Duty(StrEnum):
    """What a person does within their organisation."""

    ADMINISTRATOR = "administrator"
    ANALYST = "analyst"
    APPROVER = "approver"
    ASSESSOR = "assessor"
    AUDITOR = "auditor"
    COORDINATOR = "coordinator"
    OPERATOR = "operator"
    SIGNATORY = "signatory"


class Scope(StrEnum):
    """What a token may be used for, of what its person may. `gateway.governance.policy` says what that is."""

    READ = "read"
    ASK = "ask"
    DECIDE = "decide"
    ADMINISTER = "administer"


DUTIES: Mapping[Role, frozenset[Duty]] = MappingProxyType(
    {
        Role.COORDINATOR: frozenset({Duty.ADMINISTRATOR, Duty.COORDINATOR}),
        Role.SUPERVISOR: frozenset({Duty.ADMINISTRATOR, Duty.ASSESSOR}),
        Role.PROVIDER: frozenset({Duty.ADMINISTRATOR, Duty.APPROVER, Duty.SIGNATORY}),
        Role.OPERATOR: frozenset({Duty.ADMINISTRATOR, Duty.OPERATOR}),
        Role.DEVELOPER: frozenset({Duty.ADMINISTRATOR, Duty.ANALYST, Duty.SIGNATORY}),
        Role.AUDITOR: frozenset({Duty.ADMINISTRATOR, Duty.AUDITOR}),
    }
)
"""The duties that there are in an organisation of each kind."""


class Certified(Protocol):
    """A message with a place for a certificate: SignedAuthorization, SignedApproval, AgreementSignature."""

    @property
    def certificate(self) -> SignedCertificate: ...


@dataclass(frozen=True)
class Caller:
    """One account: its name, role, credential's hash, and Ed25519 public key, both hexadecimal.

    `organisation` is whom the account belongs to: 1 to 63 characters. What its developers spend, it spends. `role` is
    that organisation's kind, and `given` the person's duties in it; None: all that there are, as the first account
    of an organisation has.

    `signing_key` is the person's own, and `certificate` what enclaves know it by; the first account of an organisation
    has none, and the organisation's own key, which for others is `organisation_signing_key`. `scopes` are those of the
    token that the call came with; None: all that the person may.

    `hindrance` says in words why an operator's organisation may not operate now; empty for all others.
    """

    name: str
    role: Role
    bearer_hash: str
    signing_key: str
    organisation: str
    given: frozenset[Duty] | None = None
    organisation_signing_key: str = ""
    certificate: SignedCertificate | None = field(default=None, compare=False, repr=False)
    scopes: frozenset[Scope] | None = None
    hindrance: str = ""

    def __post_init__(self) -> None:
        if not 1 <= len(self.organisation) <= MAX_ORGANISATION:
            raise ValueError(f"the organisation of {self.name} must have 1 to {MAX_ORGANISATION} characters")

    @property
    def duties(self) -> frozenset[Duty]:
        """What this person does; never what no person of such an organisation does."""
        possible = DUTIES[self.role]
        return possible if self.given is None else self.given & possible

    @property
    def spends_as(self) -> str | None:
        """The organisation whose share of a budget this caller sees; None for an operator, who asks nothing."""
        return self.organisation if self.role is Role.DEVELOPER else None

    @property
    def key(self) -> bytes:
        """The person's 32-byte public key."""
        return bytes.fromhex(self.signing_key)

    @property
    def organisation_key(self) -> bytes:
        """The organisation's 32-byte public key."""
        return bytes.fromhex(self.organisation_signing_key or self.signing_key)

    def certify(self, signed: Certified) -> None:
        """Add to what this person signed the certificate that enclaves know the key by, where there is one.

        It proves itself: whoever adds it, a gateway too, can make nothing of it but what the person signed for.
        """
        if self.certificate is not None:
            signed.certificate.CopyFrom(self.certificate)


def load_callers(path: Path) -> list[Caller]:
    """The accounts in the file that `save_callers` wrote; raises OSError or ValueError.

    An account without an organisation, as in files of before there were any, is one of its own, by its name.
    """
    return [
        Caller(**{"organisation": entry["name"], **entry, "role": Role(entry["role"]), "given": _given(entry)})
        for entry in json.loads(path.read_text())
    ]


def _given(entry: dict[str, Any]) -> frozenset[Duty] | None:
    given = entry.get("given")
    return None if given is None else frozenset(map(Duty, given))


def save_callers(path: Path, callers: list[Caller]) -> None:
    """Write the first accounts; no secret is among them."""
    path.write_text(json.dumps([_entry(caller) for caller in callers], indent=1))


def _entry(caller: Caller) -> dict[str, Any]:
    names = ("name", "role", "bearer_hash", "signing_key", "organisation")
    given = None if caller.given is None else sorted(caller.given)
    return {**{name: getattr(caller, name) for name in names}, "given": given}
