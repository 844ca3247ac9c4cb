"""What the caller and the enclave both know of a verification: lengths, what is bound to what, and the refusals.

A request and its answer are padded to one length each before they are sealed, so that what passes between is as long
for an answer as for a refusal, for one claim as for many, and for a known subject as for an unknown one.
"""

from __future__ import annotations

from dataclasses import dataclass

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem

REQUEST_BYTES = 8192
"""Of a padded request, before it is sealed."""
ANSWER_BYTES = 1024
"""Of a padded answer, before it is sealed."""
MAX_SUBJECT_BYTES = 512
"""UTF-8 bytes of a subject's identifier."""
MAX_VALUE_BYTES = 256
"""UTF-8 bytes of one claimed value."""
MAX_CLAIMS = 16
NONCE_BYTES = 32
RUN_BYTES = 16
MAX_CONSENT_SECONDS = 24 * 3600
"""From when a consent was issued until it expires."""
MAX_ORDER_SECONDS = 3600
CLOCK_SECONDS = 300
"""How far the clocks of an issuer and a provider may be apart."""

_LENGTH_BYTES = 4


def terms_digest(terms: bytes) -> bytes:
    """What a consent is bound to, of serialized ConsentTerms. Their nonce keeps anybody from guessing them from it."""
    return digests.digest(digests.CONSENT_TERMS, terms)


def consent_digest(consent: bytes) -> bytes:
    """What names a consent, of the serialized Consent: the signature is no part of it, since there may be several."""
    return digests.digest(digests.CONSENT, consent)


def request_digest(sealed: bytes) -> bytes:
    """What names a sealed request."""
    return digests.digest(digests.VERIFICATION_REQUEST, sealed)


def request_info(enclave_key: bytes) -> bytes:
    """What a sealed request is bound to: the enclave that it is for."""
    return digests.digest(digests.VERIFICATION_REQUEST, b"sealed to", enclave_key)


def answer_info(request: bytes) -> bytes:
    """What a sealed answer is bound to: the digest of the sealed request that it answers."""
    return digests.digest(digests.VERIFICATION_ANSWER, request)


def pad(message: bytes, size: int) -> bytes:
    """`message` behind its length, filled up with zeros to `size` bytes; raises ValueError where it is too long."""
    if len(message) > size - _LENGTH_BYTES:
        raise ValueError(f"a message of {len(message)} bytes does not fit into {size}")
    return (len(message).to_bytes(_LENGTH_BYTES, "big") + message).ljust(size, b"\0")


def unpad(padded: bytes, size: int) -> bytes:
    """The message that `pad` filled up to `size` bytes; raises ValueError for bytes that it did not make."""
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    message = padded[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(padded) != size or length > size - _LENGTH_BYTES or pad(message, size) != padded:
        raise ValueError("these bytes are no padded message")
    return message


@dataclass(eq=False)
class Refusal(Exception):
    """Why an enclave gives no verdict. It depends on the consent, and on what was answered before, never on data."""

    code: str

    def problem(self) -> Problem:
        """What the caller is told."""
        message, hint = REFUSALS.get(self.code, (f"The enclave refused: {self.code[:40]}.", None))
        return Problem(Kind.REFUSED, self.code, message, field="consent", hint=hint)


_NEW = "ask the issuer for a new consent"
REFUSALS: dict[str, tuple[str, str | None]] = {
    "unknown_issuer": (
        "The consent is of an issuer that the provider did not approve for this dataset.",
        "the dataset's metadata names the issuers: `yingbi dataset show`",
    ),
    "issuer_is_developer": ("The consent's issuer is a developer of this zone, who cannot consent for subjects.", None),
    "bad_consent": ("The issuer's signature of the consent does not verify.", _NEW),
    "other_dataset": ("The consent is for another dataset.", _NEW),
    "other_developer": ("The consent is for another developer.", _NEW),
    "other_enclave": ("The consent is for another provider's enclave.", "ask the provider whose enclave it names"),
    "other_claims": (
        "The subject consented to something else: another subject, other claims or another purpose.",
        "ask for exactly what the consent was given for",
    ),
    "purpose": (
        "The provider does not answer for this purpose.",
        "the dataset's metadata names the purposes: `yingbi dataset show`",
    ),
    "blanket_consent": ("The consent is valid for more than a day; each use needs one of its own.", _NEW),
    "not_yet": ("The consent is not valid yet.", "compare the issuer's clock with the provider's"),
    "expired": ("The consent has expired.", _NEW),
    "bad_claims": (
        "The claims are not of the form that the dataset declares.",
        "fields and types are in the dataset's metadata: `yingbi dataset show`",
    ),
    "consent_used": ("The consent was used already; each is good for one answer.", _NEW),
    "subject_limit": ("This provider has given as many answers about this subject today as it gives.", "ask tomorrow"),
    "developer_limit": ("This provider has given you as many answers today as it gives.", "ask tomorrow"),
}
"""By code: the sentence, and what to do."""
