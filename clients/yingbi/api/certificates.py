"""By which an enclave, a gateway or a reader of a receipt knows a person's key: a chain of exactly three keys.

The organisation's key signs an invitation, which names a person, their duties, and a key of the invitation's own, whose
private half is in the link that the person gets and nowhere else. With that the person certifies a key of their own.
So nobody but the organisation lets a person in, and nobody but the holder of the link says what the person's key is: a
gateway or a console that carries all this can neither make a person up nor stand in for one. Pure.

An invitation has to be accepted by its `expires`. Only who sees the acceptance can check that, once, with
`check_acceptable`; from then on the certificate counts until the invitation's `certificate_expires`.

Keeps: ROL-03
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Certificate, Invitation, SignedCertificate, SignedInvitation

KEY_BYTES = 32
ACCEPT_DAYS = 7
"""Within how many days an invitation is to be accepted, unless it says otherwise."""
CERTIFICATE_DAYS = 365
"""For how many days a person's key counts, unless the invitation says otherwise."""
_DAY = 86_400


@dataclass(frozen=True)
class Chain:
    """What a certificate says whose signatures all verify."""

    organisation: str
    person: str
    duties: frozenset[str]
    # The person's Ed25519 key, 32 bytes.
    key: bytes
    invitation: Invitation


def invite(
    organisation_key: Ed25519PrivateKey,
    *,
    organisation: str,
    person: str,
    duties: Iterable[str],
    now: float,
    expires: float | None = None,
    certificate_expires: float | None = None,
) -> tuple[SignedInvitation, Ed25519PrivateKey]:
    """A new invitation, and the key that accepts it: the secret of the link. Times are seconds since 1970."""
    secret = Ed25519PrivateKey.generate()
    body = Invitation(
        organisation=organisation,
        person=person,
        duties=sorted(set(duties)),
        invitation_key=secret.public_key().public_bytes_raw(),
        expires=Timestamp(seconds=int(now + ACCEPT_DAYS * _DAY if expires is None else expires)),
        organisation_key=organisation_key.public_key().public_bytes_raw(),
        certificate_expires=Timestamp(
            seconds=int(now + CERTIFICATE_DAYS * _DAY if certificate_expires is None else certificate_expires)
        ),
    ).SerializeToString(deterministic=True)
    return SignedInvitation(body=body, signature=digests.sign(organisation_key, digests.INVITATION, body)), secret


def accept(invitation: SignedInvitation, secret: Ed25519PrivateKey, key: bytes) -> SignedCertificate:
    """The certificate of a person's 32-byte public key, made with the secret of their invitation."""
    body = Certificate(person=_read_invitation(invitation).person, key=key).SerializeToString(deterministic=True)
    return SignedCertificate(
        invitation=invitation, body=body, signature=digests.sign(secret, digests.CERTIFICATE, body)
    )


def certified_key(certificate: SignedCertificate, organisation_key: bytes, *, duty: str, now: float) -> bytes:
    """The key of the person who does `duty` for the organisation with the 32-byte `organisation_key`, at `now`.

    Raises:
        Problem: REFUSED "bad_certificate" where the chain does not hold, "certificate_expired" where its time is over;
            NOT_ALLOWED "other_duty" where the person was let in for something else.
    """
    chain = read_chain(certificate, organisation_key)
    check_in_time(chain, now)
    if duty not in chain.duties:
        has = ", ".join(sorted(chain.duties))
        raise Problem(
            Kind.NOT_ALLOWED,
            "other_duty",
            f"{chain.person} of {chain.organisation} is certified as {has}, and this takes the {duty}.",
        )
    return chain.key


def read_chain(certificate: SignedCertificate, organisation_key: bytes) -> Chain:
    """What the certificate says, once every link of its chain holds; raises Problem REFUSED "bad_certificate".

    Of times nothing is checked.
    """
    invitation = check_invitation(certificate.invitation, organisation_key)
    if not digests.is_signed(invitation.invitation_key, digests.CERTIFICATE, certificate.body, certificate.signature):
        raise _bad("it is not signed with the key of its invitation")
    try:
        body = Certificate.FromString(certificate.body)
    except DecodeError as error:
        raise _bad("its body is none") from error
    if body.person != invitation.person:
        raise _bad("it is of another person than its invitation")
    if len(body.key) != KEY_BYTES or body.key in (invitation.invitation_key, organisation_key):
        raise _bad("it certifies no key of the person's own")
    return Chain(invitation.organisation, body.person, frozenset(invitation.duties), body.key, invitation)


def check_invitation(signed: SignedInvitation, organisation_key: bytes) -> Invitation:
    """The invitation, if the holder of `organisation_key` signed it; raises Problem REFUSED "bad_certificate"."""
    if not digests.is_signed(organisation_key, digests.INVITATION, signed.body, signed.signature):
        raise _bad("its invitation is not signed by the organisation")
    invitation = _read_invitation(signed)
    if invitation.organisation_key != organisation_key:
        raise _bad("its invitation is of another organisation's key")
    if len(invitation.invitation_key) != KEY_BYTES or invitation.invitation_key == organisation_key:
        raise _bad("its invitation has no key of its own")
    if not (invitation.organisation and invitation.person and invitation.duties):
        raise _bad("its invitation names no organisation, no person or no duty")
    return invitation


def check_acceptable(invitation: Invitation, now: float) -> None:
    """Raise Problem REFUSED "invitation_expired" unless the invitation can be accepted at `now`."""
    if now >= _seconds(invitation.expires):
        raise Problem(
            Kind.REFUSED,
            "invitation_expired",
            f"The invitation of {invitation.person} to {invitation.organisation} could be accepted until "
            f"{_date(invitation.expires)}.",
            hint="ask the organisation's administrator for another one",
        )


def check_in_time(chain: Chain, now: float) -> None:
    """Raise Problem REFUSED "certificate_expired" unless the certificate still counts at `now`."""
    expires = chain.invitation.certificate_expires
    if now >= _seconds(expires):
        raise Problem(
            Kind.REFUSED,
            "certificate_expired",
            f"The certificate of {chain.person} of {chain.organisation} ended at {_date(expires)}.",
            hint="ask the organisation's administrator for another invitation",
        )


def certified_until(certificate: SignedCertificate) -> float:
    """When the certificate ends, in seconds since 1970, as it says: nothing of it is checked here."""
    return _seconds(_read_invitation(certificate.invitation).certificate_expires)


def ended_holder(certificate: SignedCertificate, now: float) -> str | None:
    """Whose certificate has ended at `now`, as "ada of college"; None where it still counts, or where there is none.

    As it says: its chain was checked when its holder was let in.
    """
    if not certificate.HasField("invitation") or now < certified_until(certificate):
        return None
    invitation = _read_invitation(certificate.invitation)
    return f"{invitation.person} of {invitation.organisation}"


def _read_invitation(signed: SignedInvitation) -> Invitation:
    try:
        return Invitation.FromString(signed.body)
    except DecodeError as error:
        raise _bad("its invitation is none") from error


def _seconds(time: Timestamp) -> float:
    # An absent time is the year 1970: over.
    return time.seconds + time.nanos / 1e9


def _date(time: Timestamp) -> str:
    try:
        return f"{time.ToDatetime():%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return "no date that there is"


def _bad(why: str) -> Problem:
    return Problem(Kind.REFUSED, "bad_certificate", f"The certificate of a person's key does not hold: {why}.")
