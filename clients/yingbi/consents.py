"""Consents of subjects: what an issuer signs, and how a caller reads it. Nothing here speaks to a zone.

A consent is for one subject, one value of each named field, one purpose, one developer and one provider's enclave, is
used once, and expires within a day. There is no form for anything wider.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.api import digests
from yingbi.api.escrow_files import no_such, read_json
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.verification_pb2 import Claim, Consent, ConsentTerms, ConsentToken, SignedConsent
from yingbi.api.verification import MAX_CONSENT_SECONDS, NONCE_BYTES, terms_digest

Value: TypeAlias = bool | int | float | str | datetime.date | datetime.datetime
"""What may be claimed of a field. A number means itself, whichever way it is written: 1 is 1.0."""

DEFAULT_SECONDS = 900
_PREFIX = "yingbi-consent-"
_EXACT = 2**53
_KEY_BYTES = 32


@dataclass(frozen=True)
class IssuerKey:
    """The key of whoever may say that a subject consented."""

    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def new(cls) -> IssuerKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> IssuerKey:
        """From the file that `save` wrote; raises Problem."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(read_json(path)["issuer_private_key"])))
        except (KeyError, TypeError, ValueError) as error:
            raise no_such(path, "issuer's key", "`yingbi consent key` makes one") from error

    @property
    def public(self) -> bytes:
        """What a dataset's metadata names the issuer by."""
        return self.key.public_key().public_bytes_raw()

    def save(self, path: Path) -> None:
        """Write it for its owner alone; raises Problem where the file is there."""
        if path.exists():
            raise Problem(Kind.REFUSED, "file_exists", f"{path} is there already.", field="FILE")
        path.touch(mode=0o600)
        path.write_text(json.dumps({"issuer_private_key": self.key.private_bytes_raw().hex()}) + "\n")


@dataclass(frozen=True)
class Ask:
    """What an issuer has to know of who asks whom. All of it is public."""

    dataset: str
    node: str
    # Hexadecimal, Ed25519.
    developer_key: str
    enclave_key: str

    @classmethod
    def load(cls, path: Path) -> Ask:
        """From a file of `yingbi consent ask`; raises Problem."""
        document = read_json(path)
        try:
            ask = cls(**{name: str(document[name]) for name in cls.__dataclass_fields__})
            if len(bytes.fromhex(ask.developer_key)) != _KEY_BYTES or len(bytes.fromhex(ask.enclave_key)) != _KEY_BYTES:
                raise ValueError("a key has another length")
        except (KeyError, TypeError, ValueError) as error:
            raise no_such(path, "request for a consent", "`yingbi consent ask` makes one") from error
        return ask

    def to_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def sign_consent(
    issuer: IssuerKey,
    ask: Ask,
    *,
    subject: str | int,
    claims: Mapping[str, Value],
    purpose: str,
    now: float,
    seconds: int = DEFAULT_SECONDS,
) -> str:
    """The token of one consent, for the developer who asks.

    Args:
        seconds: for how long it is valid, at most a day.

    Raises:
        Problem: MALFORMED for what no single use is: "bundled_consent", "blanket_consent", "claims".
    """
    if not 1 <= seconds <= MAX_CONSENT_SECONDS:
        said = f"A consent is valid for 1 to {MAX_CONSENT_SECONDS:,} seconds, not {seconds:,}."
        raise Problem(Kind.MALFORMED, "blanket_consent", said, field="seconds", hint="sign one for each use")
    nonce, enclave_key = secrets.token_bytes(NONCE_BYTES), bytes.fromhex(ask.enclave_key)
    terms = terms_of(subject, claims, purpose, enclave_key, nonce)
    body = Consent(
        terms_digest=terms_digest(terms),
        dataset=ask.dataset,
        developer_key=bytes.fromhex(ask.developer_key),
        issuer_key=issuer.public,
        issued=Timestamp(seconds=int(now)),
        expires=Timestamp(seconds=int(now) + seconds),
    ).SerializeToString(deterministic=True)
    signed = SignedConsent(body=body, signature=digests.sign(issuer.key, digests.CONSENT, body))
    return token_text(ConsentToken(consent=signed, enclave_key=enclave_key, nonce=nonce))


def terms_of(subject: str | int, claims: Mapping[str, Value], purpose: str, enclave_key: bytes, nonce: bytes) -> bytes:
    """Serialized ConsentTerms; raises Problem."""
    if isinstance(subject, bool) or not isinstance(subject, str | int):
        said = f"A consent is of one subject, named by a text or a whole number, not {type(subject).__name__}."
        raise Problem(Kind.MALFORMED, "bundled_consent", said, field="subject", hint="ask for each subject by itself")
    if not claims:
        said = "Nothing is claimed."
        raise Problem(Kind.MALFORMED, "claims", said, field="claims", hint='claim values of fields: {"male": 1}')
    return ConsentTerms(
        subject=str(subject),
        claims=[Claim(field=name, value=claim_text(name, claims[name])) for name in sorted(claims)],
        purpose=purpose,
        enclave_key=enclave_key,
        nonce=nonce,
    ).SerializeToString(deterministic=True)


def claim_text(name: str, value: Value) -> str:
    """The text form of a claimed value, which is one for equal values; raises Problem "claims"."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else repr(value)
        case int() | str():
            return str(value)
        case datetime.datetime() if value.tzinfo is None:
            return value.isoformat(sep=" ")
        case datetime.date() if not isinstance(value, datetime.datetime):
            return value.isoformat()
        case _:
            said = f"{name} is claimed to be {value!r:.60}, which is no value: a claim is one value of one field."
            hint = "claim a text, a finite number, true or false, a date, or a time without a zone"
            raise Problem(Kind.MALFORMED, "claims", said, field=f"claims.{name}", hint=hint)


def token_text(token: ConsentToken) -> str:
    """The token as a text of one line."""
    return _PREFIX + base64.urlsafe_b64encode(token.SerializeToString(deterministic=True)).decode().rstrip("=")


def read_token(text: str) -> ConsentToken:
    """The token in a text of `token_text`; raises Problem "consent"."""
    encoded = text.strip().removeprefix(_PREFIX)
    try:
        if encoded == text.strip():
            raise ValueError("it begins otherwise")
        token = ConsentToken.FromString(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        Consent.FromString(token.consent.body)
    except (ValueError, DecodeError) as error:
        hint = "an issuer makes one with `yingbi consent sign`"
        said = "This is no consent token."
        raise Problem(Kind.MALFORMED, "consent", said, field="consent", hint=hint) from error
    return token
