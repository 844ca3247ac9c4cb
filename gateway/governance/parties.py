"""The organisations of a zone, as agreements name them: each with the key that it signs with. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.agreement_pb2 import Agreement

from gateway.governance.callers import Caller, Role


@dataclass(frozen=True)
class Party:
    """An organisation: its name, its kind, and its Ed25519 public key of 32 bytes."""

    organisation: str
    kind: Role
    key: bytes


def parties_of(callers: Iterable[Caller]) -> list[Party]:
    """The organisations that accounts belong to."""
    return list(dict.fromkeys(Party(each.organisation, each.role, each.organisation_key) for each in callers))


def completed(terms: Agreement, parties: Sequence[Party]) -> Agreement:
    """The terms, with the zone's only provider and supervisor where they name none, and everybody's keys.

    Raises:
        Problem: REFUSED "unknown_party" or "party_needed", at the document's field.
    """
    asking = named(parties, Role.DEVELOPER, terms.organisation, "organisation")
    provider = named(parties, Role.PROVIDER, terms.provider, "provider")
    supervisor = named(parties, Role.SUPERVISOR, terms.supervisor, "supervisor")
    found = Agreement()
    found.CopyFrom(terms)
    found.provider, found.supervisor = provider.organisation, supervisor.organisation
    found.organisation_key, found.provider_key, found.supervisor_key = asking.key, provider.key, supervisor.key
    return found


def named(parties: Sequence[Party], kind: Role, name: str, field: str) -> Party:
    """The organisation of this kind and name, or without a name the only one of its kind; raises Problem."""
    known = [party for party in parties if party.kind is kind]
    wanted = [party for party in known if party.organisation == name] if name else known
    if len(wanted) == 1:
        return wanted[0]
    names = sorted(party.organisation for party in known)
    if not name:
        said = f"The zone has {len(names)} organisations that are a {kind}" if names else f"The zone has no {kind}"
        raise Problem(Kind.REFUSED, "party_needed", f"{said}: the agreement has to name one.", field=field)
    near = nearest(name, names)
    raise Problem(
        Kind.REFUSED,
        "unknown_party",
        f"{name!r} is no {kind} of this zone.",
        field=field,
        hint=f"did you mean {near}?" if near else f"there are {', '.join(names) or 'none'}",
    )
