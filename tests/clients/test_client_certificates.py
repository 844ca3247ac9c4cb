"""A person's key is known by a chain of three keys, and by nothing that differs from it in anything."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from yingbi.api import digests
from yingbi.api.certificates import accept, certified_key, check_acceptable, check_invitation, invite, read_chain
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.people_pb2 import Certificate, Invitation, SignedCertificate, SignedInvitation

NOW = 1_800_000_000.0
DAY = 86_400
CLINIC, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
ADA = Ed25519PrivateKey.generate()


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def invited(**changes: object) -> tuple[SignedInvitation, Ed25519PrivateKey]:
    terms: dict[str, object] = {"organisation": "clinic", "person": "ada", "duties": ["approver"], "now": NOW}
    return invite(CLINIC, **(terms | changes))  # type: ignore[arg-type]


INVITATION, SECRET = invited()
CERTIFICATE = accept(INVITATION, SECRET, public(ADA))


def key_of(certificate: SignedCertificate, *, duty: str = "approver", now: float = NOW) -> bytes:
    return certified_key(certificate, public(CLINIC), duty=duty, now=now)


def refused(certificate: SignedCertificate, **asked: object) -> str:
    with pytest.raises(Problem) as caught:
        key_of(certificate, **asked)  # type: ignore[arg-type]
    return caught.value.code


def test_the_chain_ends_in_the_persons_own_key() -> None:
    assert key_of(CERTIFICATE) == public(ADA)
    chain = read_chain(CERTIFICATE, public(CLINIC))
    assert (chain.organisation, chain.person, chain.duties) == ("clinic", "ada", frozenset({"approver"}))


def test_it_counts_until_the_invitation_says_and_for_its_duties_alone() -> None:
    assert refused(CERTIFICATE, now=NOW + 365 * DAY) == "certificate_expired"
    assert key_of(CERTIFICATE, now=NOW + 365 * DAY - 1) == public(ADA)
    with pytest.raises(Problem) as caught:
        key_of(CERTIFICATE, duty="signatory")
    assert (caught.value.code, caught.value.kind) == ("other_duty", Kind.NOT_ALLOWED)


def test_an_invitation_is_accepted_in_time_or_not_at_all() -> None:
    invitation = check_invitation(INVITATION, public(CLINIC))
    check_acceptable(invitation, NOW + 7 * DAY - 1)
    with pytest.raises(Problem) as caught:
        check_acceptable(invitation, NOW + 7 * DAY)
    assert caught.value.code == "invitation_expired"
    # The certificate counts on, for it was accepted in time.
    assert key_of(CERTIFICATE, now=NOW + 7 * DAY) == public(ADA)


@pytest.mark.requirement("ROL-03")
def test_another_organisation_lets_nobody_in() -> None:
    with pytest.raises(Problem) as caught:
        certified_key(CERTIFICATE, public(OTHER), duty="approver", now=NOW)
    assert caught.value.code == "bad_certificate"


@given(st.data())
def test_a_changed_byte_anywhere_is_refused(data: st.DataObject) -> None:
    whole = bytearray(CERTIFICATE.SerializeToString(deterministic=True))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = SignedCertificate.FromString(bytes(whole))
    except Exception:  # no message at all any more
        return
    assert refused(changed) == "bad_certificate"


@given(st.sampled_from([*Invitation.DESCRIPTOR.fields_by_name]), st.data())
def test_a_changed_field_of_the_invitation_is_refused(name: str, data: st.DataObject) -> None:
    """Whoever carries an invitation can widen nothing of it: no duty, no date, no name."""
    body = Invitation.FromString(INVITATION.body)
    match name:
        case "organisation" | "person":
            setattr(body, name, data.draw(st.text(max_size=9).filter(lambda text: text != getattr(body, name))))
        case "duties":
            body.duties.append(data.draw(st.sampled_from(["signatory", "administrator"])))
        case "expires" | "certificate_expires":
            getattr(body, name).CopyFrom(Timestamp(seconds=data.draw(st.integers(1, 2**33))))
        case _:
            setattr(body, name, data.draw(st.binary(min_size=32, max_size=32)))
    changed = SignedCertificate()
    changed.CopyFrom(CERTIFICATE)
    changed.invitation.body = body.SerializeToString(deterministic=True)
    assert refused(changed) == "bad_certificate"


def test_what_the_wrong_key_signs_is_refused() -> None:
    by_other = SignedInvitation(
        body=INVITATION.body, signature=digests.sign(OTHER, digests.INVITATION, INVITATION.body)
    )
    assert refused(accept(by_other, SECRET, public(ADA))) == "bad_certificate"
    assert refused(accept(INVITATION, OTHER, public(ADA))) == "bad_certificate"
    # Not even the organisation says what a person's key is.
    assert refused(accept(INVITATION, CLINIC, public(ADA))) == "bad_certificate"


def test_a_certificate_of_one_invitation_does_not_go_with_another() -> None:
    wider, _ = invited(duties=["approver", "signatory"])
    mixed = SignedCertificate(invitation=wider, body=CERTIFICATE.body, signature=CERTIFICATE.signature)
    assert refused(mixed) == "bad_certificate"


def test_a_signature_of_one_domain_is_none_of_the_other() -> None:
    body = Certificate(person="ada", key=public(ADA)).SerializeToString(deterministic=True)
    crossed = SignedCertificate(
        invitation=INVITATION, body=body, signature=digests.sign(SECRET, digests.INVITATION, body)
    )
    assert refused(crossed) == "bad_certificate"


def test_a_person_has_a_key_of_their_own_under_their_own_name() -> None:
    for key in (b"", b"short", public(SECRET), public(CLINIC)):
        assert refused(accept(INVITATION, SECRET, key)) == "bad_certificate"
    body = Certificate(person="eve", key=public(ADA)).SerializeToString(deterministic=True)
    other = SignedCertificate(
        invitation=INVITATION, body=body, signature=digests.sign(SECRET, digests.CERTIFICATE, body)
    )
    assert refused(other) == "bad_certificate"


def test_an_invitation_without_duties_names_or_dates_certifies_nothing() -> None:
    empty: list[dict[str, object]] = [{"duties": []}, {"person": ""}, {"organisation": ""}]
    for changes in empty:
        invitation, secret = invited(**changes)
        assert refused(accept(invitation, secret, public(ADA))) == "bad_certificate"
    body = Invitation.FromString(INVITATION.body)
    body.ClearField("certificate_expires")
    undated = SignedInvitation(body=body.SerializeToString(deterministic=True))
    undated.signature = digests.sign(CLINIC, digests.INVITATION, undated.body)
    assert refused(accept(undated, SECRET, public(ADA))) == "certificate_expired"


def test_nothing_is_no_certificate() -> None:
    assert refused(SignedCertificate()) == "bad_certificate"
