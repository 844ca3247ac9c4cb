"""Who lets whom into a zone, and out: rules about organisations, people, invitations and tokens. Pure.

- An organisation is filed by the coordinator, with its key and a first account, which has all duties of its kind. No
  further provider or supervisor: enclaves were made with theirs, and take no other's word.
- An administrator invites people to the own organisation: what counts is the organisation's signature of the
  invitation, which names the person and the duties. It is accepted once, in time, or never. Nobody can call any more
  when their certificate has ended; they can be invited again before and after.
- Names are never given twice, also not those of who left: what was done under a name stays that person's doing.
- Who leaves loses tokens, sessions and open invitations at once. There is always an administrator left.
- A token never does more than the one that it was made with. It never lasts longer either, unless it was made in a
  session, for which its person signed in. All end with their person.

Keeps: ROL-03
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from yingbi.api import certificates
from yingbi.api.certificates import KEY_BYTES, Chain
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import (
    PERSON_STATE_ACTIVE,
    PERSON_STATE_INVITED,
    PERSON_STATE_LEFT,
    CreateTokenRequest,
    FileOrganisationRequest,
    Invitation,
    Organisation,
    Person,
    SignedCertificate,
    SignedInvitation,
)

from gateway.governance.callers import DUTIES, Caller, Duty, Role, Scope

OPEN, ACCEPTED, VOID = "open", "accepted", "void"
"""The states of an invitation. One that expired stays open, and is not accepted any more."""

SESSION_SECONDS = 8 * 3600
"""How long who signed in to the console stays so."""
MAX_INVITATION_DAYS = 30
MAX_CERTIFICATE_DAYS = 5 * 366
MAX_TEXT = 127
# Whose signatures about data count is in each enclave's policy, which is written when a zone is made: so is the file of
# the gateway's first accounts.
KNOWN_TO_ENCLAVES = frozenset({Role.PROVIDER, Role.SUPERVISOR})
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DAY = 86_400
# The year 10000, which no date can tell.
END_OF_TIME = 253_402_300_800


def check_filing(request: FileOrganisationRequest, filed: Sequence[Organisation], people: Collection[str]) -> Role:
    """The kind of a new organisation that can be filed beside those that ever were; raises Problem."""
    check_name(request.organisation, "organisation")
    check_name(request.person, "person")
    check_text(request.title, "title")
    check_text(request.real_name, "real_name")
    check_bearer_hash(request.bearer_hash)
    kind = next((kind for kind in Role if kind == request.kind), None)
    if kind is None:
        kinds = ", ".join(Role)
        raise _malformed("kind", f"There is no kind of organisation {request.kind!r}.", f"one of {kinds}")
    if kind in KNOWN_TO_ENCLAVES:
        raise _refused(
            "unknown_to_enclaves",
            f"The zone's enclaves take the word of the {kind} that they were made with: what {request.organisation} "
            "signed would count at none of them, and a job that it approved would be charged and refused.",
            f"invite people to the {kind} that is there, or make a zone with another",
            "kind",
        )
    if len(request.key) != KEY_BYTES:
        raise _malformed("key", f"An organisation's key has {KEY_BYTES} bytes, not {len(request.key)}.")
    if any(request.organisation == other.organisation for other in filed):
        raise _taken("organisation", request.organisation)
    if request.person in people:
        raise _taken("person", request.person)
    if any(request.key == other.key for other in filed):
        raise _refused("key_taken", "Another organisation is filed with this key.", "make a key of its own")
    return kind


def check_organisation_leaves(remover: Caller, organisation: Organisation) -> None:
    """Raise Problem unless the coordinator may remove this organisation: any that is there but the own."""
    check_there(organisation)
    if organisation.organisation == remover.organisation:
        raise _refused("own_organisation", "An organisation does not remove itself: nobody could file another.")


def check_there(organisation: Organisation) -> None:
    """Raise Problem REFUSED "organisation_left" where it was removed."""
    if organisation.left:
        raise _refused("organisation_left", f"{organisation.organisation} was removed from this zone.")


def check_invitation(
    signed: SignedInvitation, organisation: Organisation, present: Person | None, now: float
) -> Invitation:
    """An invitation that the organisation's administrator may file; raises Problem.

    `present` is who has the person's name already. Somebody of the same organisation who has not left can be invited
    again, for other duties or a longer time; an earlier invitation is void then. Not its first account, which has no
    certificate to renew.
    """
    check_there(organisation)
    invitation = certificates.check_invitation(signed, organisation.key)
    if invitation.organisation != organisation.organisation:
        said = f"The invitation is to {invitation.organisation}, and you administer {organisation.organisation}."
        raise Problem(Kind.NOT_ALLOWED, "other_organisation", said, field="organisation")
    check_name(invitation.person, "person")
    _check_duties(invitation.duties, Role(organisation.kind))
    _check_times(invitation, now)
    if present is not None and not _invitable(present, organisation):
        raise _taken("person", invitation.person)
    return invitation


def check_acceptance(
    certificate: SignedCertificate, organisation: Organisation, filed: bytes, state: str, now: float
) -> Chain:
    """What a person certified who accepts the invitation whose body was `filed`; raises Problem."""
    check_there(organisation)
    if state != OPEN:
        why = "was accepted already" if state == ACCEPTED else "does not count any more"
        raise _refused("invitation_used", f"This invitation {why}.", "ask your administrator for another one")
    chain = certificates.read_chain(certificate, organisation.key)
    if certificate.invitation.body != filed or chain.organisation != organisation.organisation:
        raise _refused("bad_certificate", "The certificate is of another invitation than the one that was filed.")
    certificates.check_acceptable(chain.invitation, now)
    return chain


def check_renewal(person: Person, caller: str | None, now: float) -> None:
    """Raise Problem NOT_ALLOWED "other_person" where somebody else would take the place of a person who is there.

    Whose certificate still counts accepts another with a token of their own: with an invitation alone, an administrator
    could go on in a colleague's name. After its end nobody can act in that name, and an invitation is enough again.
    `caller` is whose token the call came with.
    """
    there = person.state == PERSON_STATE_ACTIVE and now < certificates.certified_until(person.certificate)
    if there and caller != person.person:
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_person",
            f"{person.person} has joined already, and only they can accept this.",
            hint=f"as {person.person}: `yingbi person join SECRET --as {person.person}`",
        )


def check_removal(remover: Caller, person: Person, colleagues: Sequence[Person]) -> None:
    """Raise Problem unless the administrator may remove `person`, one of the own organisation.

    `colleagues` are the organisation's other people.
    """
    if person.organisation != remover.organisation:
        raise unknown_person(person.person)
    if person.state == PERSON_STATE_LEFT:
        raise _refused("person_left", f"{person.person} has left already.")
    left = [other for other in colleagues if other.state == PERSON_STATE_ACTIVE and Duty.ADMINISTRATOR in other.duties]
    if not left:
        raise _refused(
            "last_administrator",
            f"{person.person} is the last administrator of {person.organisation}.",
            "invite another administrator first; the coordinator can remove the whole organisation",
        )


def check_token(request: CreateTokenRequest, caller: Caller, ends: float | None, now: float) -> frozenset[Scope] | None:
    """The scopes (None: all) of a token that a caller may make with one; raises Problem.

    `ends` is when that one ends, unless it is a session; None: it has no end.
    """
    check_bearer_hash(request.bearer_hash)
    check_text(request.label, "label")
    unknown = set(request.scopes) - set(Scope)
    if unknown:
        raise _malformed("scopes", f"There is no scope {min(unknown)!r}.", f"one of {', '.join(Scope)}")
    scopes = frozenset(map(Scope, request.scopes)) or None
    if caller.scopes is not None and (scopes is None or not scopes <= caller.scopes):
        has = ", ".join(sorted(caller.scopes))
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_scope",
            f"With a token for {has}, none can be made that does more.",
            field="scopes",
            hint="name scopes of your own token, or use one without limits",
        )
    wanted = token_end(request)
    if wanted is not None and not now < wanted < END_OF_TIME:
        raise _malformed("expires", "The token would have ended already, or after the year 9999.")
    if ends is not None and (wanted is None or wanted > ends):
        raise Problem(
            Kind.NOT_ALLOWED, "outlives", "The token would outlive the one that it is made with.", field="expires"
        )
    return scopes


def token_end(request: CreateTokenRequest) -> float | None:
    """When the token is to end, in seconds since 1970; None: with its person."""
    return request.expires.seconds + request.expires.nanos / 1e9 if request.HasField("expires") else None


def check_bearer_hash(text: str) -> None:
    """Raise Problem MALFORMED unless `text` is what is kept of a bearer credential."""
    if not _HASH.fullmatch(text):
        raise _malformed("bearer_hash", "The hash of a bearer credential is 64 lower-case hexadecimal digits.")


def check_name(name: str, field: str) -> None:
    """Raise Problem MALFORMED unless `name` can be that of a person or organisation."""
    if not _NAME.fullmatch(name):
        raise _malformed(
            field, f"{name!r} is no name: a to z, 0 to 9 and hyphens, from a letter on, at most 63 characters."
        )


def check_text(text: str, field: str) -> None:
    """Raise Problem MALFORMED unless `text` is one line of at most 127 characters, or empty."""
    if len(text) > MAX_TEXT or not all(character.isprintable() for character in text):
        raise _malformed(field, f"The {field.replace('_', ' ')} is one line of at most {MAX_TEXT} characters.")


def unknown_person(name: str) -> Problem:
    """As for a person of another organisation: whether there is one is not told."""
    said = f"Your organisation has no {name!r}."
    return Problem(Kind.UNKNOWN, "unknown_person", said, field="person", hint="`yingbi person list`")


def _invitable(present: Person, organisation: Organisation) -> bool:
    renewable = present.state == PERSON_STATE_ACTIVE and present.HasField("certificate")
    return present.organisation == organisation.organisation and (renewable or present.state == PERSON_STATE_INVITED)


def _check_duties(named: Sequence[str], kind: Role) -> None:
    possible = DUTIES[kind]
    wrong = sorted(set(named) - possible)
    if wrong:
        raise _malformed(
            "duties", f"A {kind} has no {wrong[0]!r}.", f"duties of a {kind}: {', '.join(sorted(possible))}"
        )


def _check_times(invitation: Invitation, now: float) -> None:
    if not now < invitation.expires.seconds <= now + MAX_INVITATION_DAYS * _DAY:
        raise _malformed("expires", f"An invitation can be accepted for at most {MAX_INVITATION_DAYS} days.")
    ends = invitation.certificate_expires.seconds
    if not invitation.expires.seconds <= ends <= now + MAX_CERTIFICATE_DAYS * _DAY:
        raise _malformed(
            "certificate_expires",
            f"A certificate counts longer than its invitation, and for at most {MAX_CERTIFICATE_DAYS} days.",
        )


def _malformed(field: str, message: str, hint: str | None = None) -> Problem:
    return Problem(Kind.MALFORMED, field, message, field=field, hint=hint)


def _taken(what: str, name: str) -> Problem:
    hint = "choose another; names are never given twice, also not of who left"
    return _refused(f"{what}_exists", f"There is, or was, {what} {name!r} in this zone.", hint, what)


def _refused(code: str, message: str, hint: str | None = None, field: str | None = None) -> Problem:
    return Problem(Kind.REFUSED, code, message, field=field, hint=hint)
