"""Verifying attestation evidence: that it is genuine. What to make of its claims is `yingbi.api.appraisal`.

Evidence is a token (`yingbi.api.eat` in `yingbi.api.cose`) signed by a platform key; the platform key is certified by
an attestation root, and the root by the zone's CA, which the verifier has pinned. Gateway, enclaves and clients all
verify it here.

Three kinds of evidence differ in what makes them fresh. What a client asks for answers its own nonce. What signs a key
epoch or a receipt has the digest of that very body for its nonce: it was made for it, and it says when; so it is never
too old to show who signed. What an enclave shows when it joins is bound to nothing, and opens nothing by itself.
"""

from __future__ import annotations

from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from google.protobuf.message import DecodeError, Message

from yingbi.api import cose, digests, eat
from yingbi.api.eat import Claims
from yingbi.api.evidence_error import CHAIN, REPLAYED, SIGNATURE, EvidenceError
from yingbi.api.v1.attestation_pb2 import Evidence, KeyEpoch, SignedKeyEpoch

__all__ = ["DEALER", "EvidenceError", "read_claims", "roster_digest", "verify_evidence", "verify_key_epoch", "zone_of"]

DEALER = "dealer"
Parsed = TypeVar("Parsed", bound=Message)


def verify_evidence(evidence: Evidence, ca_pem: bytes, *, made_for: bytes | None = None) -> Claims:
    """The claims of `evidence` once its chain up to the zone CA, its signature and its report data hold.

    Whether they are the wanted ones is the caller's question: see `yingbi.api.appraisal`.

    Args:
        made_for: the nonce that it must have.

    Raises:
        EvidenceError: with the code of what does not hold.
        ValueError: `ca_pem` is no certificate.
    """
    signed = cose.take_apart(evidence.token)
    platform = _platform_certificate(signed.certificates, ca_pem)
    key = platform.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError("the platform key is not an Ed25519 key", CHAIN)
    try:
        key.verify(signed.signature, signed.covered)
    except InvalidSignature as error:
        raise EvidenceError("the evidence is not signed by the platform's key", SIGNATURE) from error
    claims = eat.decode(signed.payload)
    if not claims.simulated:
        raise EvidenceError("the token says that it is not simulated, and hardware signs other formats", SIGNATURE)
    if claims.node != _common_name(platform):
        raise EvidenceError(f"evidence of {claims.node!r} comes from the platform of {_common_name(platform)!r}", CHAIN)
    if made_for is not None and claims.nonce != made_for:
        raise EvidenceError(f"the evidence of {claims.node!r} was made for something else", REPLAYED)
    return claims


def read_claims(evidence: Evidence) -> Claims:
    """What `evidence` says, of which nothing is verified yet; raises EvidenceError."""
    return eat.decode(cose.take_apart(evidence.token).payload)


def verify_key_epoch(signed: SignedKeyEpoch, ca_pem: bytes) -> KeyEpoch:
    """The key epoch once its dealer's evidence, made for it, and its signature hold; raises EvidenceError."""
    dealer = verify_evidence(signed.dealer, ca_pem, made_for=digests.digest(digests.KEY_EPOCH, signed.body))
    if dealer.node != DEALER:
        raise EvidenceError(f"the key epoch was signed by {dealer.node!r}, which is not the dealer", CHAIN)
    if not digests.is_signed(dealer.signing_key, digests.KEY_EPOCH, signed.body, signed.signature):
        raise EvidenceError("the key epoch is not signed by the dealer's enclave", SIGNATURE)
    return _parsed(KeyEpoch, signed.body)


def zone_of(ca_pem: bytes) -> bytes:
    """What names a zone, 32 bytes: SHA-256 of its CA's certificate in DER; raises ValueError."""
    return x509.load_pem_x509_certificate(ca_pem).fingerprint(SHA256())


def roster_digest(epoch: KeyEpoch) -> bytes:
    """Who holds the key, in order: the same for epochs of the same enclaves, whatever their modulus."""
    parts = (part for holder in epoch.holders for part in (holder.node.encode(), holder.signing_key))
    return digests.digest_all(digests.ROSTER, parts)


def _platform_certificate(chain: tuple[bytes, ...], ca_pem: bytes) -> x509.Certificate:
    authority = x509.load_pem_x509_certificate(ca_pem)
    try:
        platform, root = (x509.load_der_x509_certificate(der) for der in chain)
        root.verify_directly_issued_by(authority)
        platform.verify_directly_issued_by(root)
        # Without this, any holder of a TLS key that the CA certified could vouch for platforms.
        may_issue = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception as error:  # whatever a parser of certificates may say of garbage
        raise EvidenceError("the platform's certificates do not lead to the zone's CA", CHAIN) from error
    if not may_issue:
        raise EvidenceError("the attestation root's certificate may not issue others", CHAIN)
    return platform


def _common_name(certificate: x509.Certificate) -> str | None:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


def _parsed(kind: type[Parsed], body: bytes) -> Parsed:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise EvidenceError(f"there is no {kind.__name__} in the evidence") from error
