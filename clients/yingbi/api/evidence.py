"""Checking attestation evidence: roles as in RATS (RFC 9334), the verifier's side.

Evidence is signed by a platform key, the platform key is certified by an attestation root, and the root by
the zone's CA, which the verifier has pinned. Gateway, enclaves and clients all check it here.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from yingbi.api import digests
from yingbi.api.v1.attestation_pb2 import Evidence, EvidenceBody, KeyEpoch, SignedKeyEpoch

DEALER = "dealer"


class EvidenceError(Exception):
    """Evidence that does not verify, and the reason in one sentence."""


def verify_evidence(evidence: Evidence, ca_pem: bytes) -> EvidenceBody:
    """The body of `evidence` once its chain up to the zone CA and its signature hold.

    Raises EvidenceError. Whether the measurement is the wanted one is the caller's question.
    """
    platform = _platform_certificate(evidence, ca_pem)
    key = platform.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise EvidenceError("the platform key is not an Ed25519 key")
    if not digests.is_signed(key.public_bytes_raw(), digests.EVIDENCE, evidence.body, evidence.signature):
        raise EvidenceError("the evidence is not signed by the platform's key")
    body = EvidenceBody.FromString(evidence.body)
    if body.format != "simulated" or not body.simulated:
        raise EvidenceError(f"evidence format {body.format!r} is not known here; known: 'simulated'")
    if body.node != _common_name(platform):
        raise EvidenceError(
            f"evidence of {body.node!r} comes from the platform of {_common_name(platform)!r}"
        )
    return body


def verify_key_epoch(signed: SignedKeyEpoch, ca_pem: bytes) -> KeyEpoch:
    """The key epoch once its dealer's evidence and signature hold; raises EvidenceError."""
    dealer = verify_evidence(signed.dealer, ca_pem)
    if dealer.node != DEALER:
        raise EvidenceError(f"the key epoch was signed by {dealer.node!r}, which is not the dealer")
    if not digests.is_signed(dealer.signing_key, digests.KEY_EPOCH, signed.body, signed.signature):
        raise EvidenceError("the key epoch is not signed by the dealer's enclave")
    return KeyEpoch.FromString(signed.body)


def _platform_certificate(evidence: Evidence, ca_pem: bytes) -> x509.Certificate:
    try:
        authority = x509.load_pem_x509_certificate(ca_pem)
        platform, root = (x509.load_der_x509_certificate(der) for der in evidence.certificates)
        root.verify_directly_issued_by(authority)
        platform.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise EvidenceError("the platform's certificates do not lead to the zone's CA") from error
    return platform


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
