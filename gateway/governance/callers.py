"""Who calls: developers and operators of a zone, known by the hash of a credential."""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from yingbi.api.credentials import bearer_hash
from yingbi.api.problem import Kind, Problem

MAX_ORGANISATION = 63


class Role(StrEnum):
    """What a caller may do: developers ask, operators approve and register."""

    DEVELOPER = "developer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Caller:
    """One account: its name, role, credential's hash, and Ed25519 public key, both hexadecimal.

    `organisation` is whom the account belongs to: 1 to 63 characters. What its developers spend, it spends.
    """

    name: str
    role: Role
    bearer_hash: str
    signing_key: str
    organisation: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.organisation) <= MAX_ORGANISATION:
            raise ValueError(f"the organisation of {self.name} must have 1 to {MAX_ORGANISATION} characters")

    @property
    def spends_as(self) -> str | None:
        """The organisation whose share of a budget this caller sees; None for an operator, who asks nothing."""
        return self.organisation if self.role is Role.DEVELOPER else None

    @property
    def key(self) -> bytes:
        """The 32-byte public key."""
        return bytes.fromhex(self.signing_key)


def load_callers(path: Path) -> list[Caller]:
    """The accounts in the file that `save_callers` wrote; raises OSError or ValueError.

    An account without an organisation, as in files of before there were any, is one of its own, by its name.
    """
    return [
        Caller(**{"organisation": entry["name"], **entry, "role": Role(entry["role"])})
        for entry in json.loads(path.read_text())
    ]


def save_callers(path: Path, callers: list[Caller]) -> None:
    """Write the accounts; no secret is among them."""
    path.write_text(json.dumps([asdict(caller) for caller in callers], indent=1))


def authenticate(callers: list[Caller], authorization: str | None) -> Caller:
    """The caller whose credential the `authorization` header carries; raises Problem."""
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() == "bearer" and credential:
        presented = bearer_hash(credential)
        for caller in callers:
            if hmac.compare_digest(caller.bearer_hash, presented):
                return caller
    raise Problem(
        Kind.NOT_AUTHENTICATED,
        "not_authenticated",
        "The token is not known to this zone.",
        hint="use the profile that `yingbi init` wrote, or --token",
    )


def require(caller: Caller, *roles: Role) -> None:
    """Raise Problem unless the caller has one of `roles`."""
    if caller.role not in roles:
        raise Problem(
            Kind.NOT_ALLOWED,
            "not_allowed",
            f"This needs the role {' or '.join(roles)}; {caller.name} is {caller.role}.",
        )
