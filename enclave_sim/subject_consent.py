"""Whether a subject's consent covers a request: what it binds, one check after another, none of them on data. Pure.

A consent names one digest of terms, and terms have room for one subject, one purpose, one enclave and each field once;
so there is no form in which several subjects, any field or any purpose could be consented to. It expires within a day
of its issue, it is one developer's, and it is used once (`verification`).

What an issuer can do. It can sign consents that no subject gave: that is what being approved by the provider means, and
each of them is one question about one person whom the issuer could name, counted and limited per subject and developer.
A developer who colludes with an issuer learns what the issuer signs for, and no more: nothing here takes a claim, a
subject or a field from the developer that the issuer's signature does not cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.verification_pb2 import Claim, Consent, ConsentTerms, VerificationOrder, VerificationRequest
from yingbi.api.verification import (
    CLOCK_SECONDS,
    MAX_CONSENT_SECONDS,
    NONCE_BYTES,
    Refusal,
    consent_digest,
    terms_digest,
)

from enclave_sim.bodies import read_body
from enclave_sim.plan.schema import is_unit
from enclave_sim.plan.verification import canonical_claim, canonical_subject, column_of


@dataclass(frozen=True)
class Question:
    """What may be answered: canonical bytes of the subject, and of each claimed value by its field's place."""

    subject: bytes
    claims: dict[int, bytes]


def check_consent(
    request: VerificationRequest,
    order: VerificationOrder,
    declaration: DatasetDeclaration,
    enclave_key: bytes,
    developers: frozenset[bytes],
    now: float,
) -> Question:
    """What the consent covers; raises Refusal where it does not cover this request at this enclave at this time.

    Args:
        order: the developer's, whose signature holds and who is one of `developers`.
        now: seconds since 1970.
    """
    consent = read_body(Consent, request.consent.body)
    terms = read_body(ConsentTerms, request.terms)
    offered = declaration.verification
    issuers = {issuer.key for issuer in offered.issuers}
    signed = digests.is_signed(consent.issuer_key, digests.CONSENT, request.consent.body, request.consent.signature)
    _require(consent.issuer_key in issuers, "unknown_issuer")
    _require(consent.issuer_key not in developers, "issuer_is_developer")
    _require(signed and consent_digest(request.consent.body) == order.consent_digest, "bad_consent")
    _require(consent.dataset == order.dataset == declaration.dataset, "other_dataset")
    _require(consent.developer_key == order.developer_key, "other_developer")
    _check_time(consent.issued.seconds, consent.expires.seconds, now)
    _require(consent.terms_digest == terms_digest(request.terms), "other_claims")
    _require(terms.enclave_key == enclave_key, "other_enclave")
    _require(terms.purpose in offered.purposes, "purpose")
    _require(len(terms.nonce) == NONCE_BYTES, "bad_consent")
    return _question(terms.subject, terms.claims, declaration)


def _check_time(issued: int, expires: int, now: float) -> None:
    _require(expires - issued <= MAX_CONSENT_SECONDS, "blanket_consent")
    _require(issued <= now + CLOCK_SECONDS, "not_yet")
    _require(now < expires, "expired")


def _question(subject: str, claims: Sequence[Claim], declaration: DatasetDeclaration) -> Question:
    fields = {field.column: place for place, field in enumerate(declaration.verification.fields)}
    named = [claim.field for claim in claims]
    _require(bool(named) and named == sorted(set(named)) and set(named) <= set(fields), "bad_claims")
    unit = next(column for column in declaration.tables[0].columns if is_unit(column))
    try:
        return Question(
            canonical_subject(subject, unit),
            {
                fields[claim.field]: canonical_claim(
                    claim.value, column_of(declaration, declaration.verification.fields[fields[claim.field]])
                )
                for claim in claims
            },
        )
    except ValueError as error:
        raise Refusal("bad_claims") from error


def _require(holds: bool, code: str) -> None:
    if not holds:
        raise Refusal(code)
