"""Verifying (核验) what is claimed about one consenting subject: match or no match, from the provider's enclave.

The request is sealed to that enclave after its evidence was verified; the answer is sealed to a key that is made for
this request and forgotten with it. Whether the consent fits is looked at here first, so that none is lost by a slip;
the enclave looks again.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.api import credentials, digests
from yingbi.api.eat import Claims
from yingbi.api.escrow_files import no_such, read_json
from yingbi.api.evidence import EvidenceError, verify_key_epoch
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.suites import SEED_BYTES, SUITES, DecryptionKey
from yingbi.api.v1.attestation_pb2 import SignedKeyEpoch
from yingbi.api.v1.dataset_pb2 import Dataset
from yingbi.api.v1.verification_pb2 import (
    Consent,
    ConsentToken,
    SignedOrder,
    SignedVerdict,
    Verdict,
    VerificationAnswer,
    VerificationDeclaration,
    VerificationOrder,
    VerificationRequest,
    VerificationUse,
    VerifyRequest,
)
from yingbi.api.verification import (
    ANSWER_BYTES,
    REQUEST_BYTES,
    Refusal,
    answer_info,
    consent_digest,
    pad,
    request_digest,
    request_info,
    terms_digest,
    unpad,
)
from yingbi.attest import NONCE_BYTES, attest_for_sealing, of_node
from yingbi.consents import Ask, Value, read_token, terms_of
from yingbi.transport import Gateway

ORDER_SECONDS = 120


@dataclass(frozen=True)
class VerdictReceipt:
    """A verdict as its enclave signed it, and the key epoch that names the enclave. It names no subject."""

    signed: SignedVerdict = field(repr=False)
    key_epoch: SignedKeyEpoch = field(repr=False)

    @property
    def verdict(self) -> Verdict:
        return Verdict.FromString(self.signed.body)

    def verify(self, ca_pem: str) -> Verdict:
        """The verdict, once it is shown to be of an enclave of the zone with this CA; offline.

        Raises:
            Problem: BAD_EVIDENCE "verdict", or with the code of what is wrong with the key epoch.
        """
        try:
            epoch = verify_key_epoch(self.key_epoch, ca_pem.encode())
            verdict = self.verdict
        except EvidenceError as error:
            raise Problem(
                Kind.BAD_EVIDENCE, error.code, f"The verdict's key epoch does not verify: {error}."
            ) from error
        except DecodeError as error:
            raise _not_a_verdict("it is no verdict") from error
        keys = {holder.node: holder.signing_key for holder in epoch.holders}
        if verdict.key_epoch != epoch.epoch or verdict.node not in keys:
            raise _not_a_verdict(f"{verdict.node!r} is no provider of this key epoch")
        if not digests.is_signed(keys[verdict.node], digests.VERDICT, self.signed.body, self.signed.signature):
            raise _not_a_verdict(f"it is not signed by the enclave of {verdict.node}")
        return verdict

    def is_about(self, consent: str) -> bool:
        """Whether this is the answer that the consent with this token was used for."""
        body = read_token(consent).consent.body
        return self.verdict.consent_digest == consent_digest(body)

    def save(self, path: str | Path) -> None:
        """Write it; there is no secret in it, but whoever has the consent can tell whom it is about."""
        parts = {"verdict": self.signed, "key_epoch": self.key_epoch}
        document = {
            name: json_format.MessageToDict(part, preserving_proto_field_name=True) for name, part in parts.items()
        }
        Path(path).write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> VerdictReceipt:
        """From the file that `save` wrote; raises Problem."""
        path = Path(path)
        document = read_json(path)
        try:
            return cls(
                json_format.ParseDict(document["verdict"], SignedVerdict()),  # type: ignore[arg-type]
                json_format.ParseDict(document["key_epoch"], SignedKeyEpoch()),  # type: ignore[arg-type]
            )
        except (json_format.ParseError, KeyError, TypeError) as error:
            raise no_such(path, "receipt of a verdict", "`yingbi verify --save-receipt` writes one") from error


@dataclass(frozen=True)
class Verification:
    """What an enclave answered. Exactly one of `match` and `band` is there, as the dataset's metadata fixes it."""

    match: bool | None
    band: str | None
    node: str
    # Seconds since 1970, by the provider's clock.
    time: int
    receipt: VerdictReceipt = field(repr=False)
    # Of the caller's organisation, of this dataset, this one included; and what they cost together.
    uses: int
    owed: int

    @classmethod
    def of(cls, receipt: VerdictReceipt, use: VerificationUse) -> Verification:
        verdict = receipt.verdict
        kind = verdict.WhichOneof("result")
        match = verdict.match if kind == "match" else None
        band = verdict.band if kind == "band" else None
        return cls(match, band, verdict.node, verdict.time.seconds, receipt, use.uses, use.owed)

    def __str__(self) -> str:
        if self.band is not None:
            return self.band
        return "match" if self.match else "no match"

    def to_json(self) -> dict[str, object]:
        result = {"match": self.match} if self.band is None else {"band": self.band}
        return {**result, "node": self.node, "time": self.time, "uses": self.uses, "owed": self.owed}


@dataclass(frozen=True)
class Uses:
    """How often the caller's organisation had an answer of a dataset, the caller today (UTC), and what is owed."""

    uses: int
    today: int
    owed: int


def uses_of(gateway: Gateway, dataset: Dataset) -> Uses:
    """As the gateway counts them; raises Problem."""
    _offered(dataset)
    used = gateway.get_verification_use(dataset.declaration.dataset)
    return Uses(used.uses, used.today, used.owed)


def offer_json(offered: VerificationDeclaration) -> dict[str, object]:
    """What may be verified, as its metadata declares it."""
    return {
        "fields": [f"{one.table}.{one.column}" for one in offered.fields],
        "purposes": list(offered.purposes),
        "issuers": {issuer.name: issuer.key.hex() for issuer in offered.issuers},
        "bands": {band.name: band.percent for band in offered.bands},
        "limits": {
            "each_subject_a_day": offered.each_subject_a_day,
            "each_developer_a_day": offered.each_developer_a_day,
        },
        "price": offered.price,
    }


def ask_for(gateway: Gateway, dataset: Dataset, node: str) -> Ask:
    """What an issuer has to know, of the provider's enclave as its fresh evidence shows it; raises Problem."""
    _offered(dataset)
    enclave = of_node(attest_for_sealing(gateway, gateway.profile.trust), node)
    key = credentials.signing_key(gateway.profile.token).public_key().public_bytes_raw()
    return Ask(dataset.declaration.dataset, node, key.hex(), enclave.signing_key.hex())


def verify(
    gateway: Gateway, dataset: Dataset, subject: str | int, claims: Mapping[str, Value], purpose: str, consent: str
) -> Verification:
    """Ask the enclave that the consent names; raises Problem, mostly before the consent is used."""
    offered, token = _offered(dataset), read_token(consent)
    terms = terms_of(subject, claims, purpose, token.enclave_key, token.nonce)
    _check_claims(offered, claims)
    own = credentials.signing_key(gateway.profile.token).public_key().public_bytes_raw()
    try:
        check_token(token, terms, dataset, purpose, own, time.time())
        enclave = _enclave(gateway, token)
        reply = SUITES[enclave.suite].key(secrets.token_bytes(SEED_BYTES))
        request = _sealed(token, terms, enclave, reply)
        answered = gateway.verify(_ordered(gateway, dataset, token, enclave.node, request))
        signed = _opened(answered.sealed_answer, reply, request)
    except Refusal as refusal:
        raise refusal.problem() from refusal
    # Who holds the key, for the receipt.
    epoch = gateway.get_evidence(enclave.node, secrets.token_bytes(NONCE_BYTES)).key_epoch
    receipt = VerdictReceipt(signed, epoch)
    verdict = receipt.verify(gateway.profile.trust.ca_pem)
    if (verdict.node, verdict.consent_digest, verdict.request_digest) != (
        enclave.node,
        consent_digest(token.consent.body),
        request_digest(request),
    ):
        raise _not_a_verdict("it answers something else")
    return Verification.of(receipt, answered.use)


def check_token(
    token: ConsentToken, terms: bytes, dataset: Dataset, purpose: str, developer_key: bytes, now: float
) -> None:
    """Raise Refusal for what the enclave would refuse, as far as that can be known here."""
    body, offered = Consent.FromString(token.consent.body), dataset.declaration.verification
    signed = digests.is_signed(body.issuer_key, digests.CONSENT, token.consent.body, token.consent.signature)
    for holds, code in (
        (body.issuer_key in [issuer.key for issuer in offered.issuers], "unknown_issuer"),
        (signed, "bad_consent"),
        (body.dataset == dataset.declaration.dataset, "other_dataset"),
        (body.developer_key == developer_key, "other_developer"),
        (now < body.expires.seconds, "expired"),
        (body.terms_digest == terms_digest(terms), "other_claims"),
        (purpose in offered.purposes, "purpose"),
    ):
        if not holds:
            raise Refusal(code)


def _offered(dataset: Dataset) -> VerificationDeclaration:
    if not dataset.declaration.HasField("verification"):
        said = f"Nothing of {dataset.declaration.dataset} can be verified: its provider does not offer it."
        raise Problem(Kind.REFUSED, "no_verification", said, field="dataset", hint="ask for statistics of it in SQL")
    return dataset.declaration.verification


def _check_claims(offered: VerificationDeclaration, claims: Mapping[str, Value]) -> None:
    fields = [one.column for one in offered.fields]
    for name in claims:
        if name not in fields:
            near = nearest(name, fields)
            raise Problem(
                Kind.UNKNOWN,
                "unknown_field",
                f"{name!r} cannot be verified; what can is {', '.join(fields)}.",
                field=f"claims.{name}",
                hint=f"did you mean {near}?" if near else None,
            )


def _enclave(gateway: Gateway, token: ConsentToken) -> Claims:
    """The one that the consent names, as its fresh evidence shows it."""
    shown = attest_for_sealing(gateway, gateway.profile.trust)
    named = [enclave for enclave in shown if enclave.signing_key == token.enclave_key]
    if not named:
        raise Refusal("other_enclave")
    return named[0]


def _sealed(token: ConsentToken, terms: bytes, enclave: Claims, reply: DecryptionKey) -> bytes:
    request = VerificationRequest(
        consent=token.consent, terms=terms, reply_key=reply.public, reply_suite=reply.suite.name
    ).SerializeToString(deterministic=True)
    try:
        padded = pad(request, REQUEST_BYTES)
        return SUITES[enclave.suite].seal(padded, enclave.encryption_key, request_info(enclave.signing_key))
    except ValueError as error:
        raise Problem(Kind.MALFORMED, "claims", f"The request cannot be sealed: {error}.", field="claims") from error


def _ordered(gateway: Gateway, dataset: Dataset, token: ConsentToken, node: str, request: bytes) -> VerifyRequest:
    key = credentials.signing_key(gateway.profile.token)
    body = VerificationOrder(
        developer_key=key.public_key().public_bytes_raw(),
        dataset=dataset.declaration.dataset,
        dataset_version=dataset.version,
        node=node,
        request_digest=request_digest(request),
        consent_digest=consent_digest(token.consent.body),
        expires=Timestamp(seconds=int(time.time()) + ORDER_SECONDS),
    ).SerializeToString(deterministic=True)
    order = SignedOrder(body=body, signature=digests.sign(key, digests.VERIFICATION_ORDER, body))
    return VerifyRequest(order=order, sealed_request=request)


def _opened(sealed: bytes, reply: DecryptionKey, request: bytes) -> SignedVerdict:
    """The verdict in an answer; raises Refusal, or Problem where the answer is none."""
    try:
        padded = reply.open(sealed, answer_info(request_digest(request)))
        answer = VerificationAnswer.FromString(unpad(padded, ANSWER_BYTES))
    except (InvalidTag, ValueError, DecodeError) as error:
        raise _not_a_verdict("it was not sealed for this request") from error
    if answer.WhichOneof("kind") == "refusal":
        raise Refusal(answer.refusal)
    return answer.verdict


def _not_a_verdict(reason: str) -> Problem:
    return Problem(Kind.BAD_EVIDENCE, "verdict", f"The answer does not verify: {reason}.")
