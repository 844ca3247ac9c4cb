"""Checking attestation evidence: roles as in RATS (RFC 9334), the verifier's side.

Evidence is signed by a platform key, the platform key is certified by an attestation root, and the root by
the zone's CA, which the verifier has pinned. Gateway, enclaves and clients all check it here.
"""

from __future__ import annotations

from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID
from google.protobuf.message import DecodeError, Message

from yingbi.api import digests
from yingbi.api.v1.attestation_pb2 import Evidence, EvidenceBody, KeyEpoch, SignedKeyEpoch

DEALER = "dealer"
Parsed = TypeVar("Parsed", bound=Message)


class EvidenceError(Exception):
    """Evidence that does not verify, and the reason in one sentence."""


def verify_evidence(evidence: Evidence, ca_pem: bytes) -> EvidenceBody:
    """The body of `evidence` once its chain up to the zone CA and its signature hold.

    Whether the measurement is the wanted one is the caller's question. Raises EvidenceError, and ValueError
    where `ca_pem` is no certificate.
    """
    platform = _platform_certificate(evidence, ca_pem)
    key = platform.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError("the platform key is not an Ed25519 key")
    if not digests.is_signed(key.public_bytes_raw(), digests.EVIDENCE, evidence.body, evidence.signature):
        raise EvidenceError("the evidence is not signed by the platform's key")
    body = _parsed(EvidenceBody, evidence.body)
    if body.format != "simulated" or not body.simulated:
        raise EvidenceError(f"evidence format {body.format!r} is not known here; known: 'simulated'")
    if body.node != _common_name(platform):
        raise EvidenceError(f"evidence of {body.node!r} comes from the platform of {_common_name(platform)!r}")
    return body


def verify_key_epoch(signed: SignedKeyEpoch, ca_pem: bytes) -> KeyEpoch:
    """The key epoch once its dealer's evidence and signature hold; raises EvidenceError."""
    dealer = verify_evidence(signed.dealer, ca_pem)
    if dealer.node != DEALER:
        raise EvidenceError(f"the key epoch was signed by {dealer.node!r}, which is not the dealer")
    if not digests.is_signed(dealer.signing_key, digests.KEY_EPOCH, signed.body, signed.signature):
        raise EvidenceError("the key epoch is not signed by the dealer's enclave")
    return _parsed(KeyEpoch, signed.body)


def roster_digest(epoch: KeyEpoch) -> bytes:
    """Who holds the key, in order: the same for epochs of the same enclaves, whatever their modulus."""
    parts = (part for holder in epoch.holders for part in (holder.node.encode(), holder.signing_key))
    return digests.digest_all(digests.ROSTER, parts)


def _platform_certificate(evidence: Evidence, ca_pem: bytes) -> x509.Certificate:
    authority = x509.load_pem_x509_certificate(ca_pem)
    try:
        platform, root = (x509.load_der_x509_certificate(der) for der in evidence.certificates)
        root.verify_directly_issued_by(authority)
        platform.verify_directly_issued_by(root)
        # Without this, any holder of a TLS key that the CA certified could vouch for platforms.
        may_issue = root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception as error:  # whatever a parser of certificates may say of garbage
        raise EvidenceError("the platform's certificates do not lead to the zone's CA") from error
    if not may_issue:
        raise EvidenceError("the attestation root's certificate may not issue others")
    return platform


def _common_name(certificate: x509.Certificate) -> str | None:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else None


def _parsed(kind: type[Parsed], body: bytes) -> Parsed:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise EvidenceError(f"there is no {kind.__name__} in the evidence") from error
