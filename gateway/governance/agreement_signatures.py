"""Whose signature an agreement carries: an organisation's, by its own key or a signatory's that it certified. Pure."""

from __future__ import annotations

from yingbi.api import certificates, digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.agreement_pb2 import AgreementSignature, SignedAgreement

from gateway.governance.callers import Duty


def check_signature(
    signed: AgreementSignature,
    terms: bytes,
    organisation_key: bytes,
    *,
    now: float,
    starts: float,
    duty: Duty = Duty.SIGNATORY,
    domain: str = digests.AGREEMENT,
) -> None:
    """Refuse a signature that is not of these very bytes by the organisation with this 32-byte key.

    Args:
        terms: the serialized Agreement, or OperatingAgreement.
        now, starts: when it is checked, and when the term begins, in seconds since 1970. A signatory's certificate has
            to count at both: enclaves look when the first job is charged, which is after the second.
        duty, domain: what a certificate has to give, and in which domain the terms are signed.

    Raises:
        Problem: NOT_ALLOWED "bad_signature"; of a certificate as `certificates.certified_key` does.
    """
    key = organisation_key
    if signed.HasField("certificate"):
        for at in (now, starts):
            key = certificates.certified_key(signed.certificate, organisation_key, duty=duty, now=at)
    if len(key) != certificates.KEY_BYTES or signed.key != key:
        raise _bad("its key is not the organisation's, nor one of a signatory that the organisation certified")
    if not digests.is_signed(key, domain, terms, signed.signature):
        raise _bad("it is not over the agreement's terms as the gateway has them")


def ended_signatory(signed: SignedAgreement, now: float) -> str | None:
    """Who signed by a certificate that has ended at `now`, as "ada of college"; None: nobody did.

    Enclaves that have charged a job under its terms before take it all the same.
    """
    ended = (certificates.ended_holder(each.certificate, now) for each in (signed.organisation, signed.provider))
    return next((holder for holder in ended if holder is not None), None)


def _bad(why: str) -> Problem:
    return Problem(
        Kind.NOT_ALLOWED,
        "bad_signature",
        f"The signature of the agreement does not hold: {why}.",
        field="signature",
        hint="fetch the agreement again and sign what it says",
    )
